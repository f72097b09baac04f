//! What a gateway can do by holding back a request of the platform.

mod common;

use cardea_oscore::coap::Code;
use cardea_resources::{Op, Outcome};

use common::{World, command, outcome};

#[test]
fn a_repeat_that_was_held_back_behind_eight_commands_does_not_move_the_bolt_again() {
    let mut world = World::activated();
    let not_after = Some(world.unix() + 100);
    assert_eq!(outcome(&world.command(1, Op::Unlock, not_after, None)).outcome, Outcome::Done);
    // The answer got lost, so the platform repeats the command; the gateway keeps the repeat.
    let repeat = world.platform.request("l", Code::POST, &command(1, Op::Unlock, not_after), None);
    for id in 2..=9 {
        assert_eq!(outcome(&world.command(id, Op::Lock, not_after, None)).outcome, Outcome::Done);
    }
    let before = world.drives().len();
    world.deliver(&repeat);
    assert_eq!(world.drives().len(), before, "the same command id, twice at the bolt");
}
