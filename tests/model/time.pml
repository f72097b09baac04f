/* What the lock knows of the time, when the gateway delays the platform's word and the site's word is a lie.
 *
 * One tick is the resolution of the platform's statements. The lock's timer gains or loses at most one tick in a tick
 * (drift, far beyond a crystal's), and its uncertainty grows with it. Round trips are measured exactly: in 40 s a
 * crystal drifts 2 ms. The platform's clock is right. The gateway holds the site authority's key, so a time token can
 * say anything.
 */

#define END 4
#define ZERO 8 /* of the true time, so that estimates may lie below it */
#define BEYOND 20

#define MAX(a, b) ((a) > (b) -> (a) : (b))
#define APART(a, b) ((a) > (b) -> (a) - (b) : (b) - (a))

byte now = ZERO;
/* RAM: the platform's sample grown old, and the clock as site time has moved it. */
bool known;
byte estimate, spread, clock;
byte floor;
/* A statement on its way: ticks since it was asked for, and what it says (0: not spoken yet). */
bool asked;
byte round_trip, said;
/* NVM. */
byte nvm_floor;
/* Ghosts: the estimate by the platform alone, and the highest floor there ever was. */
byte true_estimate, true_spread, highest;
bool floor_fell, raised_by_site, truth_outside, site_outside;

inline boot() { known = 0; estimate = 0; spread = 0; clock = 0; true_estimate = 0; true_spread = 0; asked = 0; round_trip = 0; said = 0; floor = nvm_floor }
inline watch() { d_step {
    truth_outside = truth_outside || (known && APART(estimate, now) > spread);
    site_outside = site_outside || (known && APART(clock, true_estimate) > true_spread) } }
inline watch_floor() { d_step { floor_fell = floor_fell || floor < highest; highest = MAX(highest, floor) } }

init {
    byte v, width;
    do
    /* A tick. The lock's timer counts none, one or two. */
    :: atomic { now < ZERO + END -> now++;
        if
        :: known ->
            spread++; true_spread++;
            if
            :: skip
            :: estimate++; true_estimate++; clock++
            :: estimate = estimate + 2; true_estimate = true_estimate + 2; clock = clock + 2
            fi
        :: else
        fi;
        if :: asked -> round_trip++ :: else fi;
        watch() }
    /* An event goes out; the platform answers, at some moment; the gateway delivers the answer, at another. */
    :: atomic { !asked -> asked = 1 }
    :: atomic { asked && said == 0 -> said = now }
    /* TrustedTime::platform_says */
    :: atomic { asked && said != 0 ->
#ifdef MUT_NO_ROUND_TRIP
        width = 1;
#else
        width = round_trip + 1;
#endif
        v = said + width / 2; width = (width + 1) / 2;
        if
        :: v + width < floor -> skip
        :: known && APART(estimate, v) <= spread + width && width > spread && v + width >= floor -> skip
        :: else ->
            estimate = v; spread = width; true_estimate = v; true_spread = width; clock = v; known = 1;
            if
            :: skip
            :: /* TrustedTime::record: at most once an hour */
#ifdef MUT_FLOOR_IS_THE_SAMPLE
                nvm_floor = estimate - spread; floor = nvm_floor
#else
                floor = MAX(floor, estimate - spread); nvm_floor = floor
#endif
            fi
        fi;
        watch(); watch_floor(); asked = 0; round_trip = 0; said = 0; v = 0; width = 0 }
    /* A time token of the site, asked for by nonce. It moves the clock, not what the platform's sample bounds. */
    :: atomic { known -> select(v : 0 .. BEYOND);
        if
#ifdef MUT_SITE_MOVES_ALL
        :: v < BEYOND -> clock = v
#else
        :: APART(v, estimate) <= spread -> clock = v;
#ifdef MUT_SITE_MOVES_THE_BOUND
            estimate = v;
#endif
#ifdef MUT_SITE_RAISES_THE_FLOOR
            raised_by_site = raised_by_site || clock > floor; floor = MAX(floor, clock); nvm_floor = floor;
#endif
            skip
#endif
        :: else
        fi;
        watch(); watch_floor(); v = 0 }
    /* Power loss: without an RTC only the floor survives. */
    :: atomic { known || asked -> boot(); watch_floor() }
    od
}

/* The truth lies inside what the lock believes: so who decides by its near end is never late. */
ltl the_truth_is_inside_the_bound { [] !truth_outside }
/* Site time moves the clock inside the bound that the platform's last word left, however often it speaks. */
ltl site_time_stays_inside_the_bound { [] !site_outside }
/* The floor in NVM never falls, over any reset. */
ltl the_floor_never_falls { [] !floor_fell }
/* Site time never raises it. */
ltl site_time_never_raises_the_floor { [] !raised_by_site }
/* The floor never lies in the future: a lie told once cannot lock the platform's true word out. */
ltl the_floor_is_never_ahead_of_the_truth { [] (floor <= now) }

ltl reach_a_late_answer { [] !(known && spread == 2 && nvm_floor > ZERO && clock != estimate) }
