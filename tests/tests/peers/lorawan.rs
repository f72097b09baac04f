//! The phone's story with a lock on LoRaWAN: the handshake in fragments, a question and its answer in a frame each.

use std::time::{Duration, Instant};

use cardea_radio::LorawanClass;
use cardea_resources::Bolt;
use cardea_sdk::{Ask, Outcome};
use cardea_tests::phone::Phone;

use crate::site::{Site, key};

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_opens_a_class_c_lorawan_lock_by_its_grant_while_the_broker_is_down() {
    let begin = Instant::now();
    let mut site = Site::on_lorawan(LorawanClass::C).await;
    println!("joined and activated after {:?}", begin.elapsed());
    let key = key();
    let bundle = site.grant(&key, "Ada", |_| {}).await;
    site.outage().await;
    assert_eq!(*site.lock.bolt().borrow(), Bolt::Locked);
    let socket = site.socket.clone();
    let work = tokio::task::spawn_blocking(move || {
        let mut phone = Phone::new(&socket, &bundle, key);
        phone.patience_ms = 40_000;
        let begin = Instant::now();
        // What is lost on this radio is said again after many seconds; a phone tries more than once.
        let connected = (0..2).any(|_| phone.connect(Duration::from_secs(60)));
        assert!(connected, "no session");
        println!("session after {:?}", begin.elapsed());
        let begin = Instant::now();
        let unlocked = |outcome: &Outcome| matches!(outcome, Outcome::Done { bolt: Bolt::Unlocked, .. });
        assert!((0..3).any(|_| unlocked(&phone.ask(Ask::Unlock))), "three times no answer");
        println!("unlocked after {:?}", begin.elapsed());
    });
    work.await.unwrap();
    assert_eq!(*site.lock.bolt().borrow(), Bolt::Unlocked);
    assert!(!site.daemon.log().contains("panicked"));
}
