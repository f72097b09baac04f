//! Messages that do not fit a frame: on ZBOSS the dongle's matter, on EZSP the host's.

use bytes::Bytes;
use cardea_simulator::zigbee::{Asdu, DoorLockConfig, Downlink, Uplink};
use cardea_zigbee::coordinator::{Event, Frame, MAX_ASDU, Order, Outcome};
use cardea_zigbee::{Eui64, InstallCode};
use tokio::time::timeout;

use crate::bench::{Bench, LONG, SOON, Stick};

const LOCK: Eui64 = Eui64([7; 8]);
const CLUSTER: u16 = 0x0101;

pub(crate) async fn messages_as_long_as_they_may_be_go_both_ways(stick: Stick) {
    let (mut bench, _) = Bench::formed(stick).await;
    let code = InstallCode::new(&[0x83, 0xFE, 0xD3, 0x40, 0x7A, 0x93, 0x2B, 0x70]).unwrap();
    let config =
        DoorLockConfig { eui: LOCK, code: Some(code.clone()), unique_key: true, poll: Some(150), pin: None };
    // Its application is this test.
    let mut lock = bench.dongle.add(config.device());
    lock.send(Uplink::Power(true));
    bench.order(Order::Admit { eui: LOCK, code, seconds: 60 }).await;
    let joined = |event: &Event| matches!(event, Event::Joined { eui: LOCK, .. }).then_some(());
    bench.until("the lock joins", SOON, joined).await;

    for length in [83, 300, MAX_ASDU] {
        let payload: Bytes = (0..length).map(|n| n.to_le_bytes()[0]).collect();
        bench.handle += 1;
        let handle = bench.handle;
        let frame = Frame {
            handle,
            eui: LOCK,
            profile: 0x0104,
            cluster: CLUSTER,
            dst_endpoint: 1,
            src_endpoint: 1,
            payload: payload.clone(),
            deadline: bench.clock.now() + 30_000,
            acknowledge: true,
            urgent: false,
        };
        bench.order(Order::Send(frame)).await;
        let ended = |event: &Event| match event {
            Event::Outcome { handle: of, outcome } if *of == handle => Some(outcome.clone()),
            _ => None,
        };
        assert_eq!(bench.until("its end", LONG, ended).await, Outcome::Acknowledged, "{length} bytes");
        let heard = timeout(SOON, async {
            loop {
                match lock.receive().await.unwrap() {
                    Downlink::Frame(asdu) => return asdu.payload,
                    Downlink::Joined | Downlink::Left | Downlink::Bound(..) => {}
                }
            }
        });
        assert!(heard.await.unwrap() == payload[..], "{length} bytes arrive as they were");

        let answer = Asdu {
            profile: 0x0104,
            cluster: CLUSTER,
            src_endpoint: 1,
            dst_endpoint: 1,
            payload: payload.to_vec(),
        };
        lock.send(Uplink::Frame(answer));
        let received = |event: &Event| match event {
            Event::Received(received) if received.cluster == CLUSTER => Some(received.payload.clone()),
            _ => None,
        };
        assert!(bench.until("the same", SOON, received).await == payload, "{length} bytes come back");
    }
    assert_eq!(bench.traffic().dropped, 0);
}
