//! Locks and phones prove themselves to each other with no third party online: the real daemon, a lock with the real
//! agent, a phone with the SDK's holder on the control socket, and a broker that is down.

mod lorawan;
mod passed_on;
mod program;
mod site;

use std::time::Duration;

use cardea_api::{ClientError, PeerClient, PeerEvent};
use cardea_credentials::Scope;
use cardea_resources::Bolt;
use cardea_sdk::{Ask, Outcome};
use cardea_tests::phone::Phone;

use site::{LIMIT, Site, key};

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_with_a_grant_opens_the_door_while_the_broker_is_down_and_the_owner_hears_of_it_later() {
    let mut site = Site::new().await;
    let key = key();
    let bundle = site.grant(&key, "Ada", |_| {}).await;
    site.outage().await;
    assert_eq!(*site.lock.bolt().borrow(), Bolt::Locked);
    let socket = site.socket.clone();
    let work = tokio::task::spawn_blocking(move || {
        let mut phone = Phone::new(&socket, &bundle, key);
        assert!(phone.connect(LIMIT), "no session");
        let unlocked = phone.ask(Ask::Unlock);
        assert!(matches!(unlocked, Outcome::Done { bolt: Bolt::Unlocked, .. }), "{unlocked:?}");
        // What the grant does not name stays forbidden.
        assert_eq!(phone.ask(Ask::Lock), Outcome::Rejected { code: "4.03".into() });
        assert!(matches!(phone.ask(Ask::Status), Outcome::Status { bolt: Bolt::Unlocked, .. }));
    });
    work.await.unwrap();
    assert_eq!(*site.lock.bolt().borrow(), Bolt::Unlocked);
    let metrics = site.daemon.metrics();
    assert!(!metrics.contains("cardea_peer_datagrams_total 0"), "{metrics}");
    site.broker.up();
    site.hears_of("Ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_whose_grant_names_the_log_reads_it_while_the_broker_is_down_and_others_do_not() {
    let mut site = Site::new().await;
    let (reader, opener) = (key(), key());
    let for_reader = site.grant(&reader, "caretaker", |new| new.scope = Scope::LOG).await;
    let for_opener = site.grant(&opener, "Ada", |_| {}).await;
    site.outage().await;
    let socket = site.socket.clone();
    let work = tokio::task::spawn_blocking(move || {
        let mut ada = Phone::new(&socket, &for_opener, opener);
        assert!(ada.connect(LIMIT), "no session");
        assert!(ada.ask(Ask::Unlock).is_success());
        assert_eq!(ada.ask(Ask::Log), Outcome::Rejected { code: "4.03".into() });
        let mut caretaker = Phone::new(&socket, &for_reader, reader);
        assert!(caretaker.connect(LIMIT), "no session");
        let outcome = caretaker.ask(Ask::Log);
        assert!(matches!(outcome, Outcome::Log { entries: 1.., .. }), "{outcome:?}");
        let tag = hex::encode(&for_opener.grant().id()[..4]);
        let entry = caretaker.log.iter().find(|entry| entry.kind == "unlocked by grant");
        assert_eq!(entry.and_then(|entry| entry.value.clone()), Some(format!("grant {tag}")));
        for other in [Ask::Status, Ask::Unlock] {
            assert_eq!(caretaker.ask(other), Outcome::Rejected { code: "4.03".into() });
        }
    });
    work.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_grant_or_not_its_key_opens_nothing_through_the_gateway() {
    let site = Site::new().await;
    let bundle = site.grant(&key(), "Ada", |_| {}).await;
    let (socket, stranger) = (site.socket.clone(), cardea_framing::LockId([9; 8]));
    let work = tokio::task::spawn_blocking(move || {
        match PeerClient::attach(&socket, stranger) {
            Err(ClientError::Refused(why)) => assert!(why.contains("no such lock"), "{why}"),
            other => panic!("{:?}", other.map(|peer| peer.address)),
        }
        let mut thief = Phone::new(&socket, &bundle, key());
        assert!(!thief.connect(Duration::from_secs(3)), "the bundle, and another key");
        // The gateway lets an address go with its connection, and gives the next phone another.
        let first = thief.gateway.address;
        drop(thief);
        let next = Phone::new(&socket, &bundle, key());
        assert_ne!(next.gateway.address, first);
    });
    work.await.unwrap();
    assert_eq!(*site.lock.bolt().borrow(), Bolt::Locked);
    let log = site.daemon.log();
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_phones_are_refused_and_shown_out() {
    use std::io::{BufRead, BufReader, Write};
    let site = Site::new().await;
    let (socket, lock) = (site.socket.clone(), site.lock.id());
    let work = tokio::task::spawn_blocking(move || {
        let mut all: Vec<PeerClient> = Vec::new();
        while let Ok(peer) = PeerClient::attach(&socket, lock) {
            all.push(peer);
            assert!(all.len() <= 8, "more phones than there is room for");
        }
        assert_eq!(all.len(), 8);
        let mut peer = all.pop().unwrap();
        for wrong in [&[][..], &[0x08, 1, 2], &[0x10, 0, 0], &[0x10, 0xff, 0xff, 1], &[0xff; 900]] {
            peer.send(wrong).unwrap();
            let event = peer.next(LIMIT).unwrap();
            assert!(matches!(event, Some(PeerEvent::Refused { .. })), "{wrong:?}: {event:?}");
        }
        drop(all);
        drop(peer);
        // Lines that are none, and one that does not end.
        let stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut stream = BufReader::new(stream);
        let mut answer = String::new();
        // Those before are on their way out: until then the answer is that there are too many.
        while !answer.starts_with(r#"{"status":"ok""#) {
            assert!(answer.is_empty() || answer.contains("too many phones"), "{answer}");
            answer.clear();
            writeln!(stream.get_mut(), r#"{{"verb":"attach","lock":"{lock}"}}"#).unwrap();
            stream.read_line(&mut answer).unwrap();
        }
        answer.clear();
        stream.get_mut().write_all(b"{\"verb\":\"status\"}\n").unwrap();
        stream.read_line(&mut answer).unwrap();
        assert!(answer.contains("refused"), "{answer}");
        answer.clear();
        stream.get_mut().write_all(&[b'x'; 5_000]).unwrap();
        assert_eq!(stream.read_line(&mut answer).unwrap_or(0), 0, "{answer}");
    });
    work.await.unwrap();
    let log = site.daemon.log();
    assert!(!log.contains("panicked"), "{log}");
}
