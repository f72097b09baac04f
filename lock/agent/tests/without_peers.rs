//! What a lock leaves out that is built without the feature `peers`: grants, and all that a site says about them.
#![cfg(not(feature = "peers"))]

mod common;

use cardea_agent::Slot;
use cardea_credentials::SiteKind;
use cardea_framing::{Header, Kind};
use cardea_oscore::coap::Code;
use cardea_resources::Status;

use common::World;
use common::site::{authority_cwt, list, strangers};

#[test]
fn there_is_no_resource_a_and_no_list() {
    let mut world = World::activated();
    for code in [Code::GET, Code::POST] {
        assert_eq!(world.ask("a", code, &[], None).code, Code::NOT_FOUND);
    }
    let status = world.ask("s", Code::GET, &[], None);
    assert_eq!(Status::decode(&status.payload).unwrap().revocations, None);
}

#[test]
fn site_messages_are_dropped_and_nothing_is_asked() {
    let mut world = World::activated();
    let page = list(1, &strangers(0..2)).remove(0);
    assert!(!world.hand(SiteKind::Revocations, None, &page));
    assert!(!world.hand(SiteKind::Authority, None, &authority_cwt(1)));
    for slot in [Slot::Site, Slot::Revoked(0), Slot::Revoked(cardea_agent::LIST_PAGES)] {
        assert_eq!(world.nvm.get(slot), None, "{slot:?}");
    }
    world.live(25 * 60 * 60 * 1000);
    assert!(world.questions.is_empty());
}

#[test]
fn frames_of_peers_are_dropped() {
    let mut world = World::activated();
    for kind in [Kind::PeerEdhoc, Kind::PeerOscore] {
        let head = Header { kind, more: false, class: cardea_framing::Class::Interactive }.encode();
        let before = world.agent().dropped();
        world.give(&[head, 0x01, 0x02, 0x03]);
        assert_eq!(world.agent().dropped(), before + 1);
    }
}
