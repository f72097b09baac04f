/* Nonces of the lock: no (key, nonce) seals two messages, whatever the battery does.
 *
 * The lock seals under two kinds of nonce: a sequence number of its own (events, every 4.01), and the number of the
 * request it answers (any other response). Own numbers are reserved in NVM in blocks; numbers of requests are held by
 * the replay window, of which NVM has whatever the last effect saved. The gateway delivers any request of the platform
 * at any time, never, or again.
 */

#define BLOCK 2
#define NOWN 7   /* own numbers watched, 0..NOWN-1 */
#define NP 4     /* numbers of the platform */
#define NT 3     /* Echo values, 1..NT */
#define WINDOW 2

#define IN(set, bit) (((set) >> (bit)) & 1)
#define LOW(n) ((n) > WINDOW -> (n) - WINDOW : 0)

/* NVM. */
byte saved;              /* Slot::Sequence: the limit below which numbers may have been used */
byte nvm_next, nvm_used; /* Slot::Ledger: the replay window */
/* RAM. */
byte number, limit;      /* SenderSequence */
byte next, used;         /* Window */
bool must_echo;
byte alive;              /* Echo values of this boot that were not redeemed */
/* The platform and the network. */
byte piv;
byte rq_echo[NP];        /* the Echo value a request carries, 0 none */
byte known;              /* Echo values that have reached the platform */
byte issued;

/* Ghosts. */
byte sealed_own, sealed_borrowed; /* what was used, for the life of the key */
bool own_twice, borrowed_twice, unreserved;

inline take() { /* Session::next_number; the write is before the number is used */
    if
    :: number >= limit ->
#ifdef MUT_RESUME_AT_SAVED
        saved = number; limit = number + BLOCK /* stores where it is, not where the block ends */
#else
        saved = number + BLOCK; limit = number + BLOCK
#endif
    :: else
    fi;
#ifdef MUT_USE_BEFORE_RESERVE
    saved = (number + 1 >= limit -> number : saved);
#endif
    unreserved = unreserved || number >= saved;
    own_twice = own_twice || IN(sealed_own, number);
    sealed_own = sealed_own | (1 << number);
    number++
}
inline borrow(p) { /* Context::protect_response without a number of its own */
    borrowed_twice = borrowed_twice || IN(sealed_borrowed, p);
    sealed_borrowed = sealed_borrowed | (1 << p)
}

init {
    byte p, k;
    do
    /* Agent::next_event. */
    :: atomic { number < NOWN -> take() }
    /* Core::seal_request: with an Echo that it has heard, or without. */
    :: atomic { piv < NP -> select(k : 0 .. NT);
        if :: k == 0 || IN(known, k) -> rq_echo[piv] = k; piv++ :: else fi; k = 0 }
    /* The 4.01 reaches the platform. */
    :: atomic { issued > 0 -> select(k : 1 .. NT); if :: k <= issued -> known = known | (1 << k) :: else fi; k = 0 }
    /* Agent::request and answer: what costs no freshness is answered at once, but not before the Echo of this boot. */
    :: atomic { piv > 0 && number < NOWN -> select(p : 0 .. NP - 1);
        if
        :: p < piv && p >= LOW(next) && !IN(used, p) ->
            used = used | (1 << p); next = (p + 1 > next -> p + 1 : next);
            k = rq_echo[p];
            if
            :: must_echo && (k == 0 || !IN(alive, k)) ->
                if
                :: issued < NT -> issued++; alive = alive | (1 << issued)
                :: else
                fi;
#ifdef MUT_401_BORROWS
                borrow(p)
#else
                take() /* Agent::ask_echo */
#endif
            :: else ->
                if
                :: must_echo -> must_echo = 0; alive = alive & ~(1 << k);
#ifndef MUT_WINDOW_STAYS
                    next = p + 1; used = 255 /* Window::after_echo */
#endif
                :: else
                fi;
                if
                :: borrow(p)                                     /* a reading request: nothing is saved */
                :: nvm_next = next; nvm_used = used; borrow(p)   /* a command: the ledger is saved before its answer */
                fi
            fi
        :: else
        fi; p = 0; k = 0 }
    /* Power loss; also between the reservation and the number's use, for what is lost then is only numbers. */
    :: d_step { number = saved; limit = saved; next = nvm_next; used = nvm_used; alive = 0;
#ifndef MUT_NO_ECHO_AFTER_RESET
        must_echo = 1
#endif
        }
    od
}

/* A number of its own seals one message. */
ltl no_own_number_twice { [] !own_twice }
/* The number of a request seals one response. */
ltl no_borrowed_number_twice { [] !borrowed_twice }
/* No number is used that NVM does not lie above. */
ltl numbers_are_reserved_before_use { [] !unreserved }

ltl reach_numbers_after_a_reset { [] !(IN(sealed_own, 0) && !IN(sealed_own, 1) && IN(sealed_own, 2) && IN(sealed_own, 4)) }
ltl reach_answers_after_echo { [] !(!must_echo && nvm_next > 2 && IN(sealed_borrowed, 0) && IN(sealed_borrowed, 3) && issued > 0) }
