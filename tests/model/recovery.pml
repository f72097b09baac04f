/* A platform that was put back from a backup older than the activation of its lock has the lock again, and nobody else has.
 *
 * The lock L has burnt its owner code and has pinned the root of the platform P. P's records say what they said before:
 * a code, and no key. Whoever enrolled the lock named its key in full, or by the 8-byte id alone. F is another lock whose
 * id is the same, and which has no code. H is a platform with a root of its own; it works with the gateway.
 * The gateway delivers anything at any time, never, or again, and says errors that nobody meant, until it becomes honest,
 * if it ever does.
 */

bool by_key; /* enrolled by the whole thumbprint */

/* The lock. */
byte hs;        /* 0 idle, 1 message_1 is out, 2 message_3 by name is out, 3 message_3 by value, without EAD_3 */
bool turn;      /* the next handshake goes by value */
bool by_value;  /* this one does */
bool last;      /* the one before it did */
bool context;   /* with P, as P's records are now */

/* The platform, durable. */
bool pcode, pinned_l, pinned_f, recovered;

bool honest;
byte restores;
/* Ghosts: what the lemmas speak of. */
bool shown_to_another, twice_in_a_row;

#define SETTLED (context && pinned_l)

inline start() { /* start_handshake */
    d_step {
        hs = 1; by_value = turn; turn = 0;
        twice_in_a_row = twice_in_a_row || (by_value && last);
        last = by_value
    }
}
inline failed_by_error() { /* an error message, whoever sent it */
    d_step {
#ifdef MUT_BY_VALUE_AGAIN
        turn = (hs == 2 || hs == 3);
#else
        turn = (hs == 2);
#endif
        hs = 0
    }
}
inline ends_well() { d_step { hs = 0; context = 1 } }
/* handle_message_3: by name, or by value without a proof of the code. */
inline by_name_at_p() {
    if
    :: pinned_l -> ends_well()
    :: else -> failed_by_error() /* error 3 */
    fi
}
inline by_value_at_p() {
    if
    :: pinned_l -> ends_well()
    :: !pinned_l && !pinned_f &&
#ifndef MUT_BY_SHORT_ID
        by_key &&
#endif
        1 -> pinned_l = 1; recovered = 1;
#ifndef MUT_RECORD_KEEPS_CODE
        pcode = 0;
#endif
        ends_well()
    :: else -> failed_by_error()
    fi
}

init {
    if :: by_key = 1 :: by_key = 0 fi;
    pinned_l = 1; context = 1;
    do
    /* The backup from before the activation; twice at most. */
    :: atomic { !honest && restores < 2 -> restores++; pcode = 1; pinned_l = 0; pinned_f = 0; recovered = 0; context = 0 }
    /* No context that serves, or a hint that anybody may have given. */
    :: atomic { !honest && hs == 0 -> start() }
    /* message_2 of P, whose root is pinned: by name or by value, as its turn is. */
    :: atomic { !honest && hs == 1 -> hs = (by_value -> 3 : 2) }
    /* message_2 of H: sound, and of another root. */
    :: atomic { !honest && hs == 1 ->
#ifdef MUT_ANY_ROOT
        shown_to_another = shown_to_another || by_value;
#endif
        hs = 0 }
    /* message_3 arrives at P. */
    :: atomic { !honest && hs == 2 -> by_name_at_p() }
    :: atomic { !honest && hs == 3 -> by_value_at_p() }
    /* F's message_3 by value, without EAD_3; its own key is all that it can prove. */
    :: atomic { !honest && !pinned_f ->
        if
#ifdef MUT_ANY_KEY
        :: by_key && !pinned_l -> pinned_f = 1
#endif
        :: skip /* its thumbprint is not the one that was named */
        fi }
    /* An error that nobody meant; silence; power loss. */
    :: atomic { !honest && hs != 0 -> failed_by_error() }
    :: atomic { !honest && hs != 0 -> hs = 0 }

    :: atomic { !honest && by_key -> honest = 1; hs = 0 }
    :: atomic { honest && !SETTLED -> start(); hs = (by_value -> 3 : 2);
#ifdef MUT_NEVER_BY_VALUE
        hs = 2;
#endif
        if
        :: hs == 2 -> by_name_at_p()
        :: else -> by_value_at_p()
        fi }
    :: atomic { honest && SETTLED -> skip }
    od
}

/* The key that is taken is the one that was named. */
ltl no_other_key_is_recovered { [] !pinned_f }
/* An 8-byte id is not enough to be taken by. */
ltl a_short_id_recovers_nobody { [] (by_key || !recovered) }
/* The code in the record is no good any more. */
ltl a_recovered_lock_has_no_code { [] (!recovered || !pcode) }
/* The lock's credential goes to the root that it has pinned. */
ltl the_credential_is_shown_to_the_owner_only { [] !shown_to_another }
/* However many errors somebody forges, every other handshake is a short one. */
ltl by_value_in_every_other_handshake_at_most { [] !twice_in_a_row }
/* With an honest gateway and a key named in full, the platform has its lock again. */
ltl the_platform_has_its_lock_again { [] (honest -> <> SETTLED) }

ltl reach_a_recovery { [] !(recovered && restores == 2 && honest) }
ltl reach_a_forged_error { [] !(turn && pinned_l) }
