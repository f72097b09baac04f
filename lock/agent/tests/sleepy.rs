//! Class A: when the lock asks for a receive window, and what a frame weighs.

mod common;

use cardea_agent::{Config, Output};
use cardea_oscore::coap::Code;
use cardea_resources::{Firmware, Op, Outcome};

use common::{MTU, World, command, outcome};

fn class_a() -> Config {
    Config { heartbeat_ms: 0, ..Config::class_a(Firmware::default()) }
}

/// Times of the polls in the next `ms`, from now.
fn polls(world: &mut World, ms: u64) -> Vec<u64> {
    let start = world.clock.now();
    let mut times = Vec::new();
    let mut frame = [0; 256];
    while world.clock.now() < start + ms {
        while let Some(output) = world.agent().poll_transmit(MTU, &mut frame) {
            if output == Output::Poll {
                times.push(world.clock.now() - start);
            }
        }
        world.clock.advance(100);
        world.agent().handle_timeout();
    }
    times
}

#[test]
fn while_a_challenge_is_open_the_lock_polls_two_and_then_five_seconds_after_rx2() {
    let mut world = World::activated_with(class_a());
    world.live(60_000);
    world.touch();
    assert_eq!(polls(&mut world, 120_000), [8_000, 19_000]);
}

#[test]
fn a_lock_that_waits_for_nothing_does_not_poll() {
    let mut world = World::activated_with(class_a());
    world.live(60_000);
    assert_eq!(polls(&mut world, 600_000), []);
    let mut world = World::activated();
    world.touch();
    assert_eq!(polls(&mut world, 60_000), [], "a listening radio never needs one");
}

#[test]
fn a_running_handshake_polls() {
    let mut world = World::with(class_a());
    world.boot();
    let mut frame = [0; 256];
    assert!(matches!(world.agent().poll_transmit(MTU, &mut frame), Some(Output::Frame(_))));
    let times = polls(&mut world, 19_900);
    assert_eq!(times, [8_000, 19_000]);
}

#[test]
fn a_command_comes_with_the_answer_to_a_touch() {
    let mut world = World::activated_with(class_a());
    let challenge = world.touch();
    world.wait(5_000);
    let reply = world.command(1, Op::Unlock, None, Some(&challenge));
    assert_eq!(outcome(&reply).outcome, Outcome::Done);
}

/// One frame goes down in a window, and the command went before the receipt of the touch.
#[test]
fn the_answer_to_a_command_does_not_wait_for_the_receipt_of_the_touch() {
    let mut world = World::activated_with(class_a());
    world.live(60_000);
    world.platform.events.clear();
    world.agent().touch();
    let mut frame = [0; 256];
    let Some(Output::Frame(len)) = world.agent().poll_transmit(MTU, &mut frame) else { panic!() };
    world.platform.uplink(&frame[..len]);
    let challenge = world.platform.events.last().unwrap().challenge;
    world.clock.advance(5_000);
    let request = world.platform.request("l", Code::POST, &command(1, Op::Unlock, None), Some(&challenge));
    world.agent().handle_frame(&request);
    let Some(Output::Frame(len)) = world.agent().poll_transmit(MTU, &mut frame) else { panic!() };
    world.platform.replies.clear();
    world.platform.uplink(&frame[..len]);
    assert_eq!(outcome(&world.platform.replies[0]).outcome, Outcome::Done);
}

#[test]
fn interactive_frames_come_in_two_sizes_only() {
    let mut world = World::activated();
    world.air.clear();
    world.touch();
    let now = world.unix();
    for id in 0..40 {
        world.command(id, Op::Unlock, Some(now + 10), None);
        world.ask("s", Code::GET, &[], None);
    }
    world.command(99, Op::Lock, None, None);
    let receipt = 3;
    for frame in world.air.iter().filter(|frame| frame.len() != receipt) {
        assert!([32, 48].contains(&frame.len()), "{} bytes: {frame:02x?}", frame.len());
    }
}

#[test]
fn an_unlock_fits_forty_bytes_with_echo_and_forty_four_with_its_id_at_a_three_byte_number() {
    let mut world = World::activated();
    world.platform.keys[0].next = 0x01_0000;
    let challenge = world.touch();
    let request = world.platform.request("l", Code::POST, &command(1, Op::Unlock, None), Some(&challenge));
    assert!(request.len() <= 40, "{}", request.len());
    let request =
        world.platform.request("l", Code::POST, &command(1, Op::Unlock, Some(u32::MAX)), Some(&[1; 8]));
    assert!(request.len() <= 48, "{}", request.len());
}
