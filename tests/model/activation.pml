/* Activation: who gets pinned, by what proof, and when the owner code is gone.
 *
 * The lock L and the owner's platform P know the owner code. H is a second platform with a valid vendor chain, a root
 * of its own and no code; it works with the gateway. F is a lock without the code that claims L's place at P.
 * The gateway holds every message that was ever sent and delivers any of them at any time, never, or again.
 *
 * A handshake is named by x (the lock's G_X and C_I), y (the platform's G_Y and C_R) and the platform it is with:
 * that triple is the transcript, and everything keyed by it is a term that only its two ends can make. H learns what
 * the lock says to H, and nothing of what L and P say to each other.
 */

#define NX 2 /* handshakes that the lock starts, numbered 1..NX; x = 0 is started by F */
#define NY 2 /* handshakes that P answers, 0..NY-1 */
#define P 1
#define H 2

#define IN(set, bit) (((set) >> (bit)) & 1)
#define XY(x, y) ((x) * NY + (y)) /* below 8 */

/* What the gateway holds, one bit for each message. */
byte m2, m4;      /* (x, y), with P; message_1 of every x <= started is in the clear */
byte m3, m3_kid;  /* (x, y), to P: with EAD_3, and by kid without it */
bool m3h;         /* L's message_3 to H in the handshake that runs now: H may answer it, and has its EAD_3 */
byte hello;       /* L's first OSCORE message under (x, y), by x */
byte answer;      /* P's OSCORE answer under (x, y), by x */

/* The lock, in NVM. */
bool code = true;
byte owner;  /* 0, P or H */
byte ctx_x;  /* context (x, ctx_y, owner); 0: none */
byte ctx_y;
/* The lock, in RAM. */
byte hs;     /* 0 idle, 1 sent message_1, 2 sent message_3, 3 verified message_4, 4 owner saved */
byte hx, hy, hr;
bool known;  /* mode: the platform's key under the pinned root; otherwise the owner code */
bool parity; /* of failures: pinned and not burnt, both modes are tried in turn */
byte started;

/* P, durable but for its open handshakes. */
bool pcode = true;
bool pinned_l, pinned_f; /* whose identity key P has stored for this lock */
byte pctx;               /* x + 1 of P's newest context, 0 none */
byte activations;
byte py[NY];             /* x + 1 of the handshake that y answers; 0 free */

/* Ghosts: what the lemmas speak of. */
bool ead4_ok;            /* the lock has verified EAD_4 in the handshake it is in */
bool pinned_before_ead4, oscore_done, poscore_done, wrong_code_pinned, proof_after_burn;
bool repinned, counted_twice;

#define COME(set, bit) set = set | (1 << (bit))

inline idle() { d_step { hs = 0; hx = 0; hy = 0; hr = 0; m3h = 0; ead4_ok = 0; } }

inline pin(who) {
    pinned_before_ead4 = pinned_before_ead4 || (owner == 0 && !ead4_ok);
    repinned = repinned || (owner != 0 && owner != who);
    owner = who
}

init {
    byte x, y;
    do
    /* Agent::start_handshake: message_1, in the mode that owner and code call for. */
    :: atomic { hs == 0 && started < NX ->
        started++; hx = started; hs = 1;
        known = (owner != 0 && (!code || !parity)) }
    /* Agent::message_2 from P: authentic, by value or kid; message_3 carries EAD_3 in an activation. */
    :: atomic { hs == 1 -> select(y : 0 .. NY - 1);
        if
        :: IN(m2, XY(hx, y)) && (owner == 0 || owner == P) ->
            hs = 2; hy = y; hr = P;
            if
            :: known -> COME(m3_kid, XY(hx, y))
            :: else -> COME(m3, XY(hx, y))
            fi
        :: else
        fi }
    /* Agent::message_2 from H: it may answer whatever message_1 it sees; its chain is sound, its root its own. */
    :: atomic { hs == 1 &&
        (owner == 0 || owner == H) && /* verify_platform: under the pinned root, if there is one */
        !known ->
        hs = 2; hy = 0; hr = H; m3h = 1;
#ifdef MUT_PIN_BEFORE_EAD4
        pin(H)
#endif
        }
#ifdef MUT_ANY_ROOT
    :: atomic { hs == 1 && known -> hs = 3; hr = H } /* a sound chain, and nobody asks under which root */
#endif
    /* Agent::message_4 from P: only for the transcript that runs; EAD_4 in an activation. */
    :: atomic { hs == 2 && hr == P && IN(m4, XY(hx, hy)) -> hs = 3; ead4_ok = !known }
    /* Agent::message_4 from H: it can encrypt it, being an end of the handshake; as EAD_4 it has nothing, a guess, or
     * the EAD_3 that it was just sent. */
    :: atomic { hs == 2 && hr == H ->
        if
        :: idle(); parity = !parity /* none, or a guess: HandshakeFailure::WrongCode */
        :: m3h ->
#ifdef MUT_ONE_LABEL
            hs = 3; ead4_ok = 1 /* the MAC names no direction: the reflected EAD_3 fits */
#else
            idle(); parity = !parity
#endif
        fi }
    /* Owner::save, then Session::create: two writes, and the power may go between them. */
    :: atomic { hs == 3 -> pin(hr); hs = 4 }
    :: atomic { hs == 4 -> ctx_x = hx; ctx_y = hy; idle() }
    /* Agent::handshake_failed by silence, or by an EDHOC error that anybody may have sent. */
    :: atomic { hs == 1 || hs == 2 -> idle(); parity = !parity }
    /* Power loss: RAM is gone, NVM stays. */
    :: atomic { hs != 0 -> idle(); parity = 0 }
    /* Agent::next_event: the first OSCORE message under the new context. */
    :: atomic { ctx_x != 0 && hs == 0 && owner == P -> COME(hello, ctx_x) }
    /* Agent::confirmed, by an authentic OSCORE message of the platform: burns the code before anything else. */
    :: atomic { ctx_x != 0 && IN(answer, ctx_x) && !oscore_done ->
        oscore_done = 1;
#ifndef MUT_KEEP_CODE
        code = 0;
#endif
        }
#ifdef MUT_BURN_EARLY
    :: atomic { hs == 4 -> code = 0 }
#endif

    /* Core::handle_message_1: at most NY at once; P is not asked who sends it. */
    :: atomic { select(x : 0 .. NX);
        if
        :: x <= started ->
            if
            :: py[0] == 0 -> py[0] = x + 1; COME(m2, XY(x, 0))
            :: py[0] != 0 && py[1] == 0 && py[0] != x + 1 -> py[1] = x + 1; COME(m2, XY(x, 1))
            :: else
            fi
        :: else
        fi }
    /* Core::handle_message_3 and prove, from L. After the burn, by kid under the pinned credential only. */
    :: atomic { select(x : 1 .. NX); select(y : 0 .. NY - 1);
        if
        :: (IN(m3, XY(x, y)) || IN(m3_kid, XY(x, y))) && py[y] == x + 1 && !IN(m4, XY(x, y)) ->
            if
            :: IN(m3, XY(x, y)) && pcode && !pinned_f -> /* EAD_3 verifies: the same code and key once more is the same activation */
                if
                :: !pinned_l -> activations++
                :: else
#ifdef MUT_NOT_IDEMPOTENT
                    activations++
#endif
                fi;
                counted_twice = counted_twice || activations > 1;
                proof_after_burn = proof_after_burn || poscore_done;
                pinned_l = 1; pctx = x + 1; COME(m4, XY(x, y))
            :: IN(m3_kid, XY(x, y)) && pinned_l -> pctx = x + 1; COME(m4, XY(x, y))
            :: else -> py[y] = 0 /* Activation::Owned, or second_key */
            fi
        :: else
        fi }
    /* The same from F, which knows every byte of the handshake but not the code. */
    :: atomic { select(y : 0 .. NY - 1);
        if
        :: py[y] == 1 ->
#ifdef MUT_NO_EAD3
            pinned_f = 1; wrong_code_pinned = 1;
#endif
            py[y] = 0 /* Activation::WrongCode */
        :: else
        fi }
    /* P gives up what is open, or restarts once; what it stored stays. */
    :: atomic { py[0] != 0 || py[1] != 0 -> py[0] = 0; py[1] = 0 }
    /* Core::confirm: the lock's first OSCORE message burns the code here, and gets an answer. */
    :: atomic { select(x : 1 .. NX);
        if
        :: pctx == x + 1 && IN(hello, x) && pinned_l ->
            poscore_done = 1; COME(answer, x);
#ifndef MUT_PLATFORM_KEEPS_CODE
            pcode = 0
#endif
        :: else
        fi }
    od
}

/* No platform without the owner code is ever pinned. */
ltl only_the_owner_is_pinned { [] (owner != H) }
/* The lock pins only after it has verified EAD_4. */
ltl pinned_only_after_ead_4 { [] !pinned_before_ead4 }
/* A pin stays. */
ltl a_pin_stays { [] !repinned }
/* A wrong code pins nobody at the platform. */
ltl a_wrong_code_pins_no_lock { [] (!wrong_code_pinned && !pinned_f) }
/* Once an OSCORE message has come in, the code is gone from NVM, whatever reset follows. */
ltl the_first_oscore_message_burns_the_code { [] (oscore_done -> !code) }
/* Until then it is there, so that the same activation can be repeated. */
ltl the_code_lasts_until_then { [] (!code -> oscore_done) }
/* The platform accepts no proof by a code that its first OSCORE message has burnt. */
ltl no_proof_after_the_burn { [] !proof_after_burn }
/* The same code and key before that is one activation, however often it is repeated. */
ltl activation_is_idempotent { [] !counted_twice }
