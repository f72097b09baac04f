//! A platform with a sound certificate that does not know the owner code, at a real broker and behind a real gateway:
//! the lock refuses it, whatever it leaves out or makes up. The rules are tested one by one in
//! `lock/agent/tests/activation.rs`; the platform here is the one from there.

// Not all of the lock agent's test bench is used here.
#[path = "../../lock/agent/tests/common/board.rs"]
#[allow(dead_code, unreachable_pub)]
mod board;
#[path = "../../lock/agent/tests/common/platform.rs"]
#[allow(dead_code, unreachable_pub)]
mod platform;

use std::{net::SocketAddr, time::Duration};

use cardea_agent::{AgentEvent, HandshakeFailure};
use cardea_credentials::OwnerCode;
use cardea_envelope::{Data, Downlink, Encoding, MessageId, Topic, Topics, Uplink, VERSION};
use cardea_framing::Datagram;
use cardea_resources::Bolt;
use cardea_simulator::{Happening, VirtualLock};
use cardea_tests::{broker::Broker, daemon::Daemon, spy::Spy};
use platform::{Fault, Platform};

fn unix_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

/// Carries everything between lock and platform until the lock has made up its mind about its owner.
async fn decides(spy: &Spy, lock: &mut VirtualLock, platform: &mut Platform) -> AgentEvent {
    let topics = Topics::new("cardea/v1", "gw-test").unwrap();
    let (up, down) = (topics.name(&Topic::Up(lock.id())), topics.name(&Topic::Down(lock.id())));
    let mut heard = 0;
    for _ in 0..6_000 {
        for message in spy.ending(&up).into_iter().skip(heard) {
            heard += 1;
            let uplink: Uplink = Encoding::Json.decode(&message.payload).unwrap();
            platform.uplink(&uplink.data.0);
            while let Some(datagram) = platform.down.pop_front() {
                let header = Datagram::parse(&datagram).unwrap();
                let mut id = [0; 16];
                id[..8].copy_from_slice(&unix_ms().to_be_bytes());
                id[8] = u8::try_from(heard).unwrap();
                let message = Downlink {
                    v: VERSION,
                    id: MessageId(id),
                    lock: lock.id(),
                    kind: header.kind,
                    class: header.class,
                    not_after: unix_ms() + 10_000,
                    data: Data(datagram.clone()),
                };
                spy.publish(&down, &Encoding::Json.encode(&message), false);
            }
        }
        let told = tokio::time::timeout(Duration::from_millis(10), lock.happened()).await;
        if let Ok(Some((_, Happening::Agent(event)))) = told
            && matches!(event, AgentEvent::HandshakeFailed(_) | AgentEvent::Activated { .. })
        {
            return event;
        }
    }
    panic!("the lock neither accepts nor refuses its platform");
}

#[tokio::test]
async fn a_platform_that_cannot_prove_the_owner_code_is_refused_by_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path(), "");
    let spy = Spy::start(broker.port);
    let daemon = Daemon::start(dir.path(), broker.port, "");
    let gateway = SocketAddr::from(([127, 0, 0, 1], daemon.loopback));
    // It has no code and takes any proof; it leaves its own proof out; it makes one up; and it does all as it should.
    let cases =
        [(Fault::None, false), (Fault::NoProof, true), (Fault::WrongProof, true), (Fault::None, true)];
    for (number, (fault, knows_code)) in (1..).zip(cases) {
        let mut lock = VirtualLock::on_loopback(21, number, gateway).unwrap();
        daemon.admit(&[cardea_radio::label::reveal(lock.admission()).to_string()]);
        let code = OwnerCode::from_bytes(*lock.owner_code().to_bytes());
        let mut platform = Platform::new(knows_code.then_some(code), 1);
        platform.fault = fault;
        let decision = decides(&spy, &mut lock, &mut platform).await;
        if fault == Fault::None && knows_code {
            assert!(matches!(decision, AgentEvent::Activated { .. }), "{decision:?}");
        } else {
            assert_eq!(decision, AgentEvent::HandshakeFailed(HandshakeFailure::WrongCode), "{fault:?}");
            assert!(!platform.keys.is_empty(), "{fault:?}: it went as far as message_4");
        }
        assert_eq!(*lock.bolt().borrow(), Bolt::Locked);
    }
}
