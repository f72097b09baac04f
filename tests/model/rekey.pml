/* Contexts of lock and platform: a new handshake, lost messages, a platform restored from a backup.
 *
 * Contexts are numbered in the order in which the platform made them; each is a key of its own. Handshakes are one
 * step at each end (activation.pml opens them up). The gateway holds every message and delivers it at any time, never,
 * or again, until it becomes honest, if it ever does; then liveness is asked for.
 * The lock has two places, the platform a list with phases.
 */

#define N 4 /* contexts, 1..N; the last one is left for the honest time */
#define NONE 0
#define UNCONFIRMED 1
#define ACTIVE 2
#define OLD 3

#define IN(set, bit) (((set) >> (bit)) & 1)

/* The lock: NVM has both places. `cur` is the newest generation. */
byte old, cur;
byte hs;        /* 0 none, 1 message_3 is out, otherwise 1 + the context that message_4 would bring */
bool wanted;
/* The platform. */
byte phase[N + 1];
byte made;
/* The network, by context. */
byte message_4, event, answer, command, reply;
bool honest, restored;
/* Ghosts. */
byte numbered;  /* contexts under which the platform has used numbers since the backup was made */
byte rolled_back;
bool number_twice;

#define SENDING_ACTIVE (phase[1] == ACTIVE -> 1 : (phase[2] == ACTIVE -> 2 : (phase[3] == ACTIVE -> 3 : (phase[4] == ACTIVE -> 4 : 0))))
#define OPENS(k) (phase[k] != ACTIVE || k == old || k == cur || cur > k)
#define SETTLED (cur != 0 && old == 0 && phase[cur] == ACTIVE && hs == 0)

/* Core::finish and add_context: durable before message_4 leaves. */
inline platform_message_3() {
    d_step {
        made++; hs = 1 + made; message_4 = message_4 | (1 << made);
#ifdef MUT_PLATFORM_SWITCHES_AT_ONCE
        confirm_rows(made)
#else
        phase[made] = UNCONFIRMED
#endif
    }
}
/* Core::confirm */
inline confirm_rows(k) {
    n = 1;
    do
    :: n < k && phase[n] != NONE -> phase[n] = OLD; n++
    :: n < k && phase[n] == NONE -> n++
    :: else -> break
    od;
    phase[k] = ACTIVE; n = 0
}
/* Agent::install: beside the one in use, or in place of one that nobody confirmed. */
inline install(k) {
#ifdef MUT_LOCK_DROPS_THE_OLD
    old = 0; cur = (cur == 0 -> k : 0);
#else
    if
    :: cur != 0 && old == 0 -> old = cur; cur = k
    :: else -> cur = k
    fi;
#endif
    hs = 0; wanted = 0
}
/* Core::handle_request under context k, from the lock. */
inline platform_hears(k) {
    if
    :: phase[k] == UNCONFIRMED -> confirm_rows(k); answer = answer | (1 << k)
    :: phase[k] == ACTIVE -> answer = answer | (1 << k)
    :: else /* receive-only, or unknown: no answer */
    fi
}
/* Agent::heard and confirmed. */
inline lock_hears(k) {
    wanted = 0;
    if
    :: k == cur -> old = 0
    :: else
    fi
}

init {
    byte k, n;
    do
    /* Agent::drive_handshake: without a context, or when something asks for another one. */
    :: atomic { !honest && hs == 0 && (cur == 0 || wanted) && made < N - 1 -> hs = 1 }
    :: atomic { !honest && hs == 1 && made < N - 1 -> platform_message_3() }
    :: atomic { !honest && hs > 1 && IN(message_4, hs - 1) -> k = hs - 1; install(k); k = 0 }
    :: atomic { !honest && hs != 0 -> hs = 0 } /* silence, or spoilt */
    /* Three events unanswered, or "security context not found", which anybody may say. */
    :: atomic { !honest && cur != 0 -> wanted = 1 }
    :: atomic { !honest && cur != 0 -> event = event | (1 << cur) }
    :: atomic { !honest && event != 0 -> select(k : 1 .. N); if :: IN(event, k) -> platform_hears(k) :: else fi; k = 0 }
    :: atomic { !honest && answer != 0 -> select(k : 1 .. N);
        if :: IN(answer, k) && (k == cur || k == old) -> lock_hears(k) :: else fi; k = 0 }
    /* Lock::sending: the active context, else the newest that is not confirmed. */
    :: atomic { !honest && made > 0 ->
        k = SENDING_ACTIVE;
        if
        :: k == 0 && phase[made] == UNCONFIRMED -> k = made
        :: else
        fi;
        if
        :: k != 0 ->
            number_twice = number_twice || IN(rolled_back, k);
            numbered = numbered | (1 << k); command = command | (1 << k)
        :: else
        fi; k = 0 }
    :: atomic { !honest && command != 0 -> select(k : 1 .. N);
        if :: IN(command, k) && (k == cur || k == old) -> lock_hears(k); reply = reply | (1 << k) :: else fi; k = 0 }
    :: atomic { !honest && reply != 0 -> select(k : 1 .. N);
        if :: IN(reply, k) && phase[k] == UNCONFIRMED -> confirm_rows(k) :: else fi; k = 0 }
    /* Power loss at the lock. */
    :: atomic { !honest && (hs != 0 || wanted) -> hs = 0; wanted = 0 }
    /* The platform comes back from a backup: without contexts, whatever it had. */
    :: d_step { !honest && !restored && made > 0 -> restored = 1;
#ifdef MUT_RESTORE_KEEPS_CONTEXTS
        rolled_back = numbered
#else
        n = 1;
        do :: n <= N -> phase[n] = NONE; n++ :: else -> break od;
        n = 0
#endif
        }

    /* The gateway delivers everything from now on, in order. */
    :: atomic { !honest -> honest = 1; hs = 0 }
    :: atomic { honest && !SETTLED ->
        if
        :: cur != 0 && !wanted ->
            platform_hears(cur);
            if
            :: phase[cur] == ACTIVE -> lock_hears(cur)
#ifndef MUT_WAITS_FOR_EVER
            :: else -> wanted = 1 /* after three of them */
#else
            :: else
#endif
            fi
        :: (cur == 0 || wanted) && made < N -> platform_message_3(); install(made)
        fi }
    :: atomic { honest && SETTLED -> skip }
    od
}

/* What the platform sends on, the lock can open, or the lock has something newer and is about to say so. */
ltl the_old_context_stays_until_the_new_one_is_confirmed { [] (restored || (OPENS(1) && OPENS(2) && OPENS(3) && OPENS(4))) }
/* Restoring the platform repeats no sequence number. */
ltl a_restored_platform_repeats_no_number { [] !number_twice }
/* From every state that the gateway can bring about, an honest one brings both ends to one confirmed context. */
ltl the_two_ends_never_deadlock { [] (honest -> <> SETTLED) }

ltl reach_three_contexts_and_a_restore { [] !(restored && made == N - 1 && old != 0 && phase[cur] == ACTIVE) }
