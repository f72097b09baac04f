/* Grants and their revocation at one lock.
 *
 * The platform signs a grant for phone 1. Phone 1 may pass it on to phone 2, phone 2 to phone 3, with any claims they
 * like: those who hold the keys of the links below are hostile, and so is the gateway, which also holds the site
 * authority's key. Nobody makes a signature without its key, so a chain is a list of claims with whom each names.
 * The platform's revocation list is cumulative, in signed pages; the gateway delivers any page at any time, never, or
 * again. The lock may lose power between any two steps.
 */

#define UNLOCK 1 /* scope bits */
#define LOCK 2
#define HERE 1   /* audience bits: this lock, and another one */
#define END 2
#define EPOCHS 2

#define IN(set, bit) (((set) >> (bit)) & 1)
#define CHAIN(n) ((1 << ((n) + 1)) - 2) /* phones 1..n */
#define BELOW(a, b) (((a) & ~(b)) == 0)

/* Links 0, 1, 2 of the chain: link 0 is what the platform signed, for phone 1; link i is for phone i + 1. */
byte scope[3], audience[3], until[3];
byte links;
bool by_site; /* the chain starts at the site authority instead */

byte now;
/* Epoch 1 is one page, {phone 2}; epoch 2 is two, {phone 2} and {phone 1}. Sets of phones are bits by their number. */
byte signed_epoch;
#define PAGES(e) ((e) == 1 -> 1 : 2)
#define ON_PAGE(e, p) ((p) == 0 -> 4 : 2)
#define LIST(e) ((e) == 0 -> 0 : ((e) == 1 -> 4 : 6))

/* NVM. */
byte epoch, revoked, pages; /* held; phones; pages of the next epoch that are in */
bool spent;                 /* the grant is for one use; its cti is noted */
/* RAM. */
byte pc, op, who;
bool read_spent;

/* Ghosts. */
bool widened, twice, by_revoked, fell, undone, without_platform, used;

/* The one function of narrowing: what the chain allows is what every link allows. */
inline narrow() {
    d_step {
        s = scope[0]; a = audience[0]; u = until[0]; n = 1;
        do
        :: n < links ->
#ifdef MUT_LAST_SCOPE
            s = scope[n];
#else
            s = s & scope[n];
#endif
#ifdef MUT_LAST_AUDIENCE
            a = audience[n];
#else
            a = a & audience[n];
#endif
#ifdef MUT_LAST_EXPIRY
            u = until[n];
#else
            u = (until[n] < u -> until[n] : u);
#endif
            n++
        :: else -> break
        od;
        n = 0
    }
}
/* What every link said, for the lemma: by quantifying over them, not by folding. */
#define OUTSIDE(i) (i < links && (!BELOW(op, scope[i]) || !BELOW(HERE, audience[i]) || now > until[i]))

init {
    byte s, a, u, n, e, p, before;
    /* Claims: the platform's, and whatever the others like. */
    select(s : 0 .. 3); scope[0] = s; select(s : 0 .. 3); scope[1] = s; select(s : 0 .. 3); scope[2] = s;
    select(s : 0 .. 3); audience[0] = s; select(s : 1 .. 3); audience[1] = s; audience[2] = HERE;
    select(s : 0 .. 2); until[0] = s; select(s : 0 .. 2); until[1] = s; until[2] = END;
    select(links : 1 .. 3); select(by_site : 0 .. 1);
    s = 0;
    do
    :: atomic { pc == 0 && now < END -> now++ }
    :: atomic { signed_epoch < EPOCHS -> signed_epoch++ }

    /* A request by the last link's holder. Order of the checks: chain, revocation, cti; then commit, then the bolt. */
    :: atomic { pc == 0 ->
        narrow();
        if
#ifndef MUT_SITE_GRANTS
        :: by_site -> skip /* a site credential says "member of this site", and nothing more */
#endif
#ifdef MUT_SITE_GRANTS
        :: (s & UNLOCK) && (a & HERE) && now <= u ->
#else
        :: !by_site && (s & UNLOCK) && (a & HERE) && now <= u ->
#endif
            if
#ifdef MUT_ONLY_THE_HOLDER
            :: IN(revoked, links) -> skip
#else
            :: (revoked & CHAIN(links)) != 0 -> skip /* anybody along the chain */
#endif
            :: else -> if :: !spent -> op = UNLOCK; who = links; pc = 1 :: else fi
            fi
        :: else
        fi; s = 0; a = 0; u = 0 }
#ifdef MUT_CTI_AFTER_EFFECT
    :: atomic { pc == 1 -> pc = 2 }
    :: atomic { pc == 3 -> spent = 1; pc = 0; op = 0; who = 0 }
#else
    :: atomic { pc == 1 -> spent = 1; pc = 2 }
    :: atomic { pc == 3 -> pc = 0; op = 0; who = 0 }
#endif
    :: atomic { pc == 2 ->
        twice = twice || used; used = 1;
        widened = widened || OUTSIDE(0) || OUTSIDE(1) || OUTSIDE(2);
        without_platform = without_platform || by_site;
        by_revoked = by_revoked || (LIST(epoch) & CHAIN(who)) != 0;
        pc = 3 }
    /* A page of the platform's list: of the next epoch only, noted at once, the epoch when all are in. */
    :: atomic { pc == 0 && signed_epoch > 0 -> select(e : 1 .. EPOCHS); select(p : 0 .. 1);
        before = revoked;
        if
#ifdef MUT_ANY_EPOCH
        :: e <= signed_epoch && p < PAGES(e) && e != epoch ->
#else
        :: e <= signed_epoch && p < PAGES(e) && e == epoch + 1 ->
#endif
#ifdef MUT_LIST_IS_REPLACED
            revoked = (pages == 0 -> ON_PAGE(e, p) : revoked | ON_PAGE(e, p));
#else
            revoked = revoked | ON_PAGE(e, p);
#endif
            pages = pages | (1 << p);
#ifdef MUT_ONE_PAGE_IS_ENOUGH
            fell = fell || e < epoch; epoch = e; pages = 0
#else
            if
            :: pages == (1 << PAGES(e)) - 1 -> fell = fell || e < epoch; epoch = e; pages = 0
            :: else
            fi
#endif
        :: else
        fi;
        undone = undone || !BELOW(before, revoked);
        e = 0; p = 0; before = 0 }
    /* Power loss. */
    :: atomic { pc != 0 -> pc = 0; op = 0; who = 0 }
    od
}

/* No chain widens scope, audience or time beyond any of its links. */
ltl no_chain_widens { [] !widened }
/* An unlock needs a grant that the platform signed, whoever the site says that somebody is. */
ltl no_unlock_without_the_platform { [] !without_platform }
/* A single-use cti is used once, over any reset. */
ltl a_cti_is_used_once { [] !twice }
/* Nobody along the chain is on the list of the epoch that the lock holds. */
ltl the_revoked_never_unlock { [] !by_revoked }
/* Epochs never fall. */
ltl epochs_never_fall { [] !fell }
/* Withheld, repeated or reordered pages never take a thumbprint off. */
ltl no_revocation_is_undone { [] !undone }

ltl reach_an_unlock_by_a_chain { [] !(pc == 3 && links == 3) }
ltl reach_the_last_epoch { [] !(epoch == EPOCHS && used) }
