use super::*;

fn refused(change: impl FnOnce(&mut Broker)) -> String {
    let mut broker = Broker::at("mqtts://broker.example");
    change(&mut broker);
    match broker.check() {
        Err(Error::Config(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn settings_that_cannot_work_are_told_at_once() {
    assert_eq!(Broker::at("mqtt://127.0.0.1").check().map_err(|e| e.to_string()), Ok(()));
    assert!(refused(|b| b.url = "broker.example".into()).starts_with("url: expected mqtt://"));
    for id in ["", "a b", "ä", &"x".repeat(65)] {
        assert!(refused(|b| b.client_id = id.into()).starts_with("client_id"), "{id:?}");
    }
    for seconds in [0, 4, 901] {
        assert_eq!(refused(|b| b.keepalive_s = seconds), "keepalive_s: 5 to 900");
    }
    assert!(refused(|b| b.password_file = Some("p".into())).contains("needs a username"));
    assert!(refused(|b| b.cert_file = Some("c".into())).contains("belong together"));
    assert!(refused(|b| b.key_file = Some("k".into())).contains("belong together"));
    let plain = |b: &mut Broker| (b.url, b.ca_file) = ("mqtt://broker.example".into(), Some("ca.pem".into()));
    assert!(refused(plain).contains("need an mqtts:// address"));
    assert!(!refused(|b| b.prefix = "a/#".into()).is_empty());
    let topic = |name: &str, template: &str| refused(|b| drop(b.topics.insert(name.into(), template.into())));
    assert!(topic("upp", "{gateway}/{lock}").starts_with("topics: no topic is called `upp`"));
    assert!(topic("up", "events/{lock}").contains("needs the level `{gateway}` once"));
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        Some(path)
    };
    let absent = refused(|b| b.ca_file = Some(dir.path().join("absent.pem")));
    assert!(absent.contains("absent.pem: No such file"), "{absent}");
    let empty = refused(|b| b.ca_file = file("empty.pem", ""));
    assert!(empty.contains("empty.pem: holds no PEM certificate"), "{empty}");
    let password = |text: &'static str| {
        refused(|b| {
            b.url = "mqtt://broker.example".into();
            b.username = Some("platform".into());
            b.password_file = file("password", text);
        })
    };
    let blank = password("\n");
    assert!(blank.contains("password: must hold a password"), "{blank}");
}

#[test]
fn the_link_is_what_the_settings_say() {
    let mut broker = Broker::at("mqtts://[2001:db8::1]:443");
    broker.prefix = "site".into();
    let mqtt = broker.mqtt().unwrap();
    assert_eq!((mqtt.host.as_str(), mqtt.port, mqtt.tls.is_some()), ("2001:db8::1", 443, true));
    assert!(mqtt.filters.contains(&"site/+/lock/+/up".to_owned()), "{:?}", mqtt.filters);
    assert_eq!(mqtt.timeout, LONGEST_WAIT);
    broker.keepalive_s = 5;
    assert_eq!(broker.mqtt().unwrap().timeout, Duration::from_secs(5));
}
