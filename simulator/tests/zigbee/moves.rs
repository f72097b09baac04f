//! A network that moves from one family's dongle to the other's and back, while its locks stay where they are.

use cardea_zigbee::Eui64;
use cardea_zigbee::backup::{Backup, FRAME_COUNTER_JUMP};
use cardea_zigbee::coordinator::Event;

use crate::bench::{Bench, LONG, SOON, Stick};

/// Other dongles, with addresses of their own until they have the first one's.
const SECOND: Eui64 = Eui64(*b"\x02\xca\xde\xa3\0\0\0\x02");
const THIRD: Eui64 = Eui64(*b"\x02\xca\xde\xa3\0\0\0\x03");

/// The link keys of a backup, by device.
fn link_keys(backup: &Backup) -> Vec<(Eui64, [u8; 16])> {
    let keys = backup.devices.iter().filter_map(|device| Some((device.eui, device.link_key.as_ref()?.key.0)));
    keys.collect()
}

async fn there_and_back(first: Stick, second: Stick) {
    let (mut bench, network, mut lock) = Bench::joined(first).await;
    let mut other = bench.lock(1);
    let eui = other.label().eui;
    bench.admit(&other, other.label().code.clone()).await;
    let joined = |event: &Event| matches!(event, Event::Joined { eui: who, .. } if *who == eui).then_some(());
    bench.until("the other lock joins", SOON, joined).await;
    bench.deliver(&mut lock, 20).await;
    bench.deliver(&mut other, 21).await;
    let mut before = bench.backup().await;
    let keys = link_keys(&before);
    assert_eq!((keys.len(), before.network), (2, network));

    for (number, (stick, dongle)) in [(second, SECOND), (first, THIRD)].into_iter().enumerate() {
        bench.swap(stick, dongle, network).await;
        assert_eq!(bench.restore(&before).await, network, "{stick:?}");
        let length = 30 + 2 * number;
        bench.deliver(&mut lock, length).await;
        bench.deliver(&mut other, length + 1).await;
        // What they say arrives, too: the agent of a lock that is touched does.
        lock.lock().touch();
        let from_it = lock.label().eui;
        let said =
            |event: &Event| matches!(event, Event::Received(frame) if frame.eui == from_it).then_some(());
        bench.until("the lock is heard", LONG, said).await;
        let traffic = bench.traffic();
        assert_eq!((traffic.joined, traffic.rejoined), (0, 2), "{stick:?}: {traffic:?}");
        for lock in [&lock, &other] {
            let eui = lock.label().eui;
            assert!(bench.dongle.with(|ncp, _| ncp.shares_key(eui)), "{stick:?}: {eui} has another link key");
        }
        let after = bench.backup().await;
        assert!(after.key.frame_counter >= before.key.frame_counter + FRAME_COUNTER_JUMP);
        assert_eq!((link_keys(&after), &after.key.key), (keys.clone(), &before.key.key));
        before = after;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_moves_from_zboss_to_ezsp_and_back_and_its_locks_go_on() {
    there_and_back(Stick::Zboss, Stick::Ezsp(13)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_moves_from_ezsp_to_zboss_and_back_and_its_locks_go_on() {
    there_and_back(Stick::Ezsp(19), Stick::Zboss).await;
}
