//! How much RAM a lock gives the agent.

mod common;

use cardea_agent::Agent;
use common::board::Board;

#[test]
fn the_agent_fits_nine_and_a_half_kilobytes_with_keys_in_memory() {
    let size = size_of::<Agent<Board>>();
    println!("Agent: {size} bytes");
    assert!(size <= 9 * 1024 + 512, "{size} bytes");
}
