/* A flood: anybody may send EDHOC messages and messages with failed tags, as fast as the radio carries them.
 *
 * Frames come in one after the other; each is judged where it arrives, and nothing queues. The owner has an established
 * context. Time is in ticks of 90 s, so the window of five minutes is four of them, and a refusal is one.
 */

#define END 5
#define WRONG 5    /* limits.rs: MAX_WRONG */
#define WINDOW 4
#define REFUSAL 1
#define CAP 6      /* failed tags of a key; 2^16 in the code */

byte now;
byte wrong[WRONG]; /* when the last wrong handshakes were, oldest first */
byte count;
byte refuse_until;
byte tags;
bool retired;
/* Ghosts. */
bool owner_refused, over_cap, counted;
byte tried;        /* wrong handshakes that were worked on since the last tick that none counts from any more */
byte burst[END + 1];
bool too_many;

inline sweep() {
    do
    :: count > 0 && now - wrong[0] >= WINDOW ->
        wrong[0] = wrong[1]; wrong[1] = wrong[2]; wrong[2] = wrong[3]; wrong[3] = wrong[4]; wrong[4] = 0; count--
    :: else -> break
    od
}

init {
    do
    :: atomic { now < END -> now++ }
    /* Agent::edhoc_datagram: a handshake that fails by what came in. */
    :: atomic {
        if
#ifndef MUT_NO_LIMIT
        :: now < refuse_until -> skip
#endif
#ifdef MUT_NO_LIMIT
        :: burst[now] <= WRONG ->
#else
        :: now >= refuse_until && burst[now] <= WRONG ->
#endif
            burst[now]++; too_many = too_many || burst[now] > WRONG;
            sweep(); wrong[count] = now; count++;
            if
            :: count == WRONG ->
                count = 0; wrong[0] = 0; wrong[1] = 0; wrong[2] = 0; wrong[3] = 0; wrong[4] = 0; refuse_until = now + REFUSAL
            :: else
            fi
        :: else
        fi }
    /* Agent::failed_tag: counted for the key, and at the cap the key is given up. */
    :: atomic { !retired && tags <= CAP ->
        tags++;
        if
#ifndef MUT_NO_CAP
        :: tags == CAP -> retired = 1
#endif
        :: else
        fi;
        over_cap = over_cap || tags > CAP }
    /* Agent::request: a command of the owner, under the established context. */
    :: atomic { !retired ->
        if
#ifdef MUT_LIMIT_FOR_ALL
        :: now < refuse_until -> owner_refused = 1
#endif
        :: else -> counted = 1
        fi }
    od
}

/* No flood makes the lock refuse a command in the established context. */
ltl the_owner_is_served_under_a_flood { [] !owner_refused }
/* The fifth wrong handshake in five minutes closes the path: in 90 s at most five are worked on. */
ltl five_wrong_close_the_path { [] !too_many }
/* A key sees at most the cap of failed tags. */
ltl failed_tags_are_capped { [] !over_cap }

ltl reach_the_owner_while_refused { [] !(counted && now < refuse_until) }
