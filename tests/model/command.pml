/* Commands: authentic, new, fresh, and only then carried out; once, in time, whatever the gateway and the battery do.
 *
 * The platform asks for up to NC unlocks, repeats each as often as it likes under new sequence numbers, and gives up
 * when it likes. The gateway holds every request, event and response that was ever sent, and delivers any of them at
 * any time, never, or again; what it makes itself fails the tag. The lock may lose power between any two steps; NVM
 * is the ledger record (replay window and command cache, one write).
 *
 * Time is the true time in ticks. What the lock believes is any interval around it that time.pml allows, or nothing.
 * Cryptography: a request is authentic when its sequence number is one that the platform has used.
 */

#ifdef MUT_NOTHING_SURVIVES /* one of the three alone is not enough for a replay: the other two catch it */
#define MUT_WINDOW_IN_RAM
#define MUT_CACHE_IN_RAM
#define MUT_NO_ECHO_AFTER_RESET
#endif

#ifndef NC
#define NC 2     /* commands; the lock remembers CACHE of them */
#endif
#ifndef CACHE
#define CACHE 2
#endif
#ifndef NP
#define NP 3     /* sequence numbers of the platform, 0..NP-1 */
#endif
#ifndef NT
#define NT 1     /* challenges and Echo values, 1..NT */
#endif
#ifndef END
#define END 1    /* ticks */
#endif
#define LIFE 1   /* of a challenge or Echo value, by the lock's timer */
#define WINDOW 3
#define NEVER 15 /* no not_after */

#define IN(set, bit) (((set) >> (bit)) & 1)
#define LOW(next) ((next) > WINDOW -> (next) - WINDOW : 0)

byte now;

/* Requests that the platform has sent, by sequence number. */
byte piv;
byte rq_command[NP], rq_token[NP], rq_not_after[NP];
/* Responses that the lock has sent: 0 none, NEVER done or refused, otherwise an Echo value. */
byte response[NP];
/* Challenges that events have carried away from the lock. */
byte events;

/* The platform: each command is new (0), open (1) or over (2). */
byte stage[NC], echo[NC];
byte echoed;    /* by command: the Echo of a 4.01 was used, a second 4.01 ends it */
byte challenge; /* the latest that came by an event, not yet used */
byte taken;     /* events that have come in */
#ifndef ANY_ORDER
byte sent;      /* commands that were sent at least once */
#endif

/* The lock, in RAM: next number above all seen, and what is used below it. */
byte next, used, cache[CACHE];
bool must_echo;
byte tokens;           /* alive or not yet swept */
byte issued[NT + 1];   /* when */
byte echoes;           /* which of them are Echo values */
byte last_token;
byte pc;               /* of carry_out: 0 idle, 1 begun, 2 committed, 3 driven */
byte at, with;         /* the number and token of the request being carried out */
/* In NVM. */
byte nvm_next, nvm_used, nvm_cache[CACHE];

/* Ghosts. */
byte done;             /* commands that were carried out */
byte done_at;          /* numbers whose request was carried out */
bool twice, late, unsent, uncommitted, without_echo, replayed;

inline remember(c) { /* the oldest gives way */
#if CACHE == 2
    cache[0] = cache[1]; cache[1] = c + 1
#else
    cache[0] = c + 1
#endif
}
#if CACHE == 2
#define KNOWN(list, c) (list[0] == c + 1 || list[1] == c + 1)
#else
#define KNOWN(list, c) (list[0] == c + 1)
#endif

/* Ledger::save */
inline save() {
#ifndef MUT_WINDOW_IN_RAM
    nvm_next = next; nvm_used = used;
#endif
#ifndef MUT_CACHE_IN_RAM
    nvm_cache[0] = cache[0];
#if CACHE == 2
    nvm_cache[1] = cache[1];
#endif
#endif
    skip
}

/* Agent::carry_out, the bolt: what the lemmas are about. */
inline drive(c) {
    twice = twice || IN(done, c);
    replayed = replayed || IN(done_at, at);
    unsent = unsent || stage[c] == 0 || at >= piv || rq_command[at] != c;
    uncommitted = uncommitted || !KNOWN(nvm_cache, c) || !(IN(nvm_used, at) || at < LOW(nvm_next));
    without_echo = without_echo || must_echo;
    late = late || !((with != 0 && now < issued[with] + LIFE) || (rq_not_after[at] != NEVER && now <= rq_not_after[at]));
    done = done | (1 << c); done_at = done_at | (1 << at)
}

inline reset() {
    d_step {
        next = nvm_next; used = nvm_used; cache[0] = nvm_cache[0];
#if CACHE == 2
        cache[1] = nvm_cache[1];
#endif
        tokens = 0; echoes = 0; pc = 0; at = 0; with = 0;
#ifndef MUT_NO_ECHO_AFTER_RESET
        must_echo = 1
#endif
    }
}

/* Agent::ask_echo: a fresh value in a 4.01. */
inline ask_echo(p) {
    if
    :: last_token < NT && response[p] == 0 ->
        last_token++; tokens = tokens | (1 << last_token); echoes = echoes | (1 << last_token);
        issued[last_token] = now; respond(p, last_token)
    :: else /* out of bounds: the 4.01 is lost */
    fi
}

/* Tokens::redeem: alive, and only once. */
#define ALIVE(k) (k != 0 && IN(tokens, k))
inline redeem(k) {
    tokens = tokens & ~(1 << k)
}

inline begin(p, k) {
    at = p; with = k; remember(rq_command[p]);
#ifdef MUT_EFFECT_BEFORE_COMMIT
    drive(rq_command[p]); pc = 3
#else
    pc = 1
#endif
}

/* Agent::judge, for a command that is not in the cache. `u`: half the width of what the lock knows of the time. */
inline judge(p, k) {
    if
    :: k != 0 -> begin(p, k)
    :: k == 0 && rq_not_after[p] == NEVER -> ask_echo(p)
    :: k == 0 && rq_not_after[p] != NEVER ->
        if /* any of these estimates holds the truth */
        :: ask_echo(p) /* untrusted, or too close to tell */
#ifdef MUT_IGNORE_NOT_AFTER
        :: begin(p, 0)
#else
        :: now <= rq_not_after[p] -> begin(p, 0)     /* the latest it may be is in time */
#endif
        :: now > rq_not_after[p] -> respond(p, NEVER) /* the earliest it may be is too late */
        fi
    fi
}

/* Agent::answer, behind window and tag. */
inline answer(p) {
    k = (ALIVE(rq_token[p]) -> rq_token[p] : 0);
    if
#ifdef MUT_ECHO_IS_OPTIONAL
    :: must_echo && k == 0 && rq_not_after[p] == NEVER -> ask_echo(p)
    :: must_echo && (k != 0 || rq_not_after[p] != NEVER) -> judge(p, k)
    :: !must_echo ->
#else
    :: must_echo && (k == 0 || !IN(echoes, k)) -> ask_echo(p)
    :: else ->
#endif
        if
        :: must_echo -> must_echo = 0; next = p + 1; used = 255 /* end_reset, Window::after_echo */
        :: else
        fi;
        if
        :: k != 0 -> redeem(k)
        :: else
        fi;
        if
        :: KNOWN(cache, rq_command[p]) -> respond(p, NEVER) /* answered as it was */
#ifndef ANY_ORDER
        :: !KNOWN(cache, rq_command[p]) && p + 1 < next && !(k != 0 && IN(echoes, k)) -> ask_echo(p)
        :: !KNOWN(cache, rq_command[p]) && (p + 1 == next || (k != 0 && IN(echoes, k))) -> judge(p, k)
#else
        :: else -> judge(p, k)
#endif
        fi
    fi;
    k = 0
}

/* The end of a command at the platform: what still comes for it finds nobody. */
inline over(c) {
    stage[c] = 2; echo[c] = 0; echoed = echoed & ~(1 << c);
    n = 0;
    do
    :: n < NP -> if :: n < piv && rq_command[n] == c -> response[n] = 0 :: else fi; n++
    :: else -> break
    od;
    n = 0
}
inline respond(p, what) {
    if
    :: stage[rq_command[p]] == 1 -> response[p] = what
    :: else
    fi
}

/* Time passes; a token whose life is over is as good as swept. */
inline tick() {
    now++; n = 1;
    do
    :: n <= NT ->
        if
        :: IN(tokens, n) && now >= issued[n] + LIFE ->
            tokens = tokens & ~(1 << n); echoes = echoes & ~(1 << n); issued[n] = 0
        :: else
        fi; n++
    :: else -> break
    od;
    n = 0
}

init {
    byte p, c, k, n;
    do
    #ifdef MUT_CHALLENGE_FOR_EVER
    :: atomic { pc == 0 && now < END -> now++ }
#else
    :: atomic { pc == 0 && now < END -> tick() }
#endif

    /* Core::start_command */
    :: atomic { select(c : 0 .. NC - 1); if :: stage[c] == 0 && (c == 0 || stage[c - 1] != 0) -> stage[c] = 1 :: else fi; c = 0 }
    /* Core::try_send and compose: an Echo if it has one, else the open challenge, else not_after. */
    :: atomic { piv < NP -> select(c : 0 .. NC - 1);
        if
#ifndef ANY_ORDER
        :: stage[c] == 1 && piv > 0 && rq_command[piv - 1] != c && IN(sent, c) -> over(c)
        :: stage[c] == 1 && (piv == 0 || rq_command[piv - 1] == c || !IN(sent, c)) ->
            sent = sent | (1 << c);
#else
        :: stage[c] == 1 ->
#endif
            if
            :: echo[c] == 0 && challenge != 0 -> echo[c] = challenge; challenge = 0
            :: else
            fi;
            rq_command[piv] = c;
            if
            :: echo[c] != 0 -> rq_token[piv] = echo[c]; rq_not_after[piv] = NEVER
            :: rq_not_after[piv] = now + 1 /* it has none, or thinks that it has run out */
            fi;
            piv++
        :: else
        fi; c = 0 }
    /* Core::handle_answer: an Echo makes it go again, anything else ends it. Also by the deadline. */
    :: atomic { piv > 0 -> select(p : 0 .. NP - 1);
        if
        :: p < piv && response[p] != 0 && stage[rq_command[p]] == 1 ->
            c = rq_command[p];
            if
            :: response[p] != NEVER && !IN(echoed, c) -> echo[c] = response[p]; echoed = echoed | (1 << c)
            :: else -> over(c)
            fi
        :: else
        fi; p = 0; c = 0 }
    :: atomic { select(c : 0 .. NC - 1); if :: stage[c] == 1 -> over(c) :: else fi; c = 0 }
    /* Core::handle_event: the challenge that came last is the one that is used. Each event counts once. */
    :: atomic { last_token > 0 -> select(k : 1 .. NT);
        if :: IN(events, k) && !IN(taken, k) -> taken = taken | (1 << k); challenge = k :: else fi; k = 0 }

    /* Agent::next_event: an event with a fresh challenge. */
    :: atomic { pc == 0 && last_token < NT ->
        last_token++; tokens = tokens | (1 << last_token); issued[last_token] = now; events = events | (1 << last_token) }
    /* Agent::request: the gateway delivers any request that was ever sent. */
    :: atomic { pc == 0 && piv > 0 -> select(p : 0 .. NP - 1);
        if
        :: p < piv && p >= LOW(next) && !IN(used, p) ->
            used = used | (1 << p); next = (p + 1 > next -> p + 1 : next); answer(p)
        :: else
        fi; p = 0 }
#ifdef MUT_NO_TAG
    /* Something that the gateway made up, with a number of its choice. */
    :: atomic { pc == 0 && piv < NP -> begin(piv, 0) }
#endif
    /* Agent::carry_out: commit, effect, outcome. */
    :: atomic { pc == 1 -> save(); pc = 2 }
    :: atomic { pc == 2 -> drive(rq_command[at]); pc = 3 }
    :: atomic { pc == 3 -> save(); respond(at, NEVER); pc = 0; at = 0; with = 0 }
    /* Power loss. */
    :: reset()
    od
}

/* What moves the bolt was sent by the platform, as that command. */
ltl every_unlock_was_sent_by_the_platform { [] !unsent }
/* A command id moves the bolt at most once, across retries and resets. */
ltl a_command_id_is_carried_out_at_most_once { [] !twice }
/* A message moves the bolt at most once: a replay never does, before a reset or after it. */
ltl a_replay_is_never_carried_out { [] !replayed }
/* Number and id are in NVM before the bolt moves. */
ltl committed_before_the_effect { [] !uncommitted }
/* Not after not_after, and not beyond the life of the challenge it brought. */
ltl never_late { [] !late }
/* After a reset nothing is carried out before a request has brought back an Echo of this boot. */
ltl after_a_reset_nothing_without_echo { [] !without_echo }

/* The model can do what it is about. */
ltl reach_both_carried_out { [] !(done == 3 && stage[0] == 2 && stage[1] == 2) }
ltl reach_carried_out_after_a_reset { [] !(done_at > 1 && pc == 3 && IN(echoes, with)) }
