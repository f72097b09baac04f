//! What an operator meets: the template, the schema, and the answers to mistakes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

use cardea_config::{Config, Custody, Error, Place, Problem, ZigbeeFamily, parse, schema, template};

fn problems(text: &str) -> Vec<Problem> {
    problems_with(text, &[])
}

fn problems_with(text: &str, variables: &[(&str, &str)]) -> Vec<Problem> {
    let variables: Vec<_> = variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    match parse(text, &variables) {
        Err(Error::Invalid(problems)) => problems,
        other => panic!("expected problems, got {other:?}"),
    }
}

fn said(text: &str) -> String {
    Error::Invalid(problems(text)).to_string()
}

/// The checked-in copies are what the types say; `UPDATE=1 cargo test` writes them anew.
fn same_as_checked_in(name: &str, made: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(kept, made, "{name} is out of date: run the tests once with UPDATE=1");
}

#[test]
fn the_example_is_the_template() {
    same_as_checked_in("cardea.example.toml", &template());
}

#[test]
fn the_schema_is_the_types() {
    same_as_checked_in("cardea.schema.json", &schema());
    let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["properties"]["mqtt"]["default"]["url"], "mqtt://127.0.0.1:1883");
}

#[test]
fn an_empty_file_and_the_template_are_the_defaults() {
    assert_eq!(parse("", &[]).unwrap(), Config::default());
    assert_eq!(parse(&template(), &[]).unwrap(), Config::default());
}

/// All examples of the template, but for those that it says belong to another 433 MHz chip than this.
fn uncommented(chip: &str) -> String {
    let (mut text, mut comment) = (String::new(), String::new());
    for line in template().lines() {
        if let Some(words) = line.strip_prefix("# ") {
            comment.push_str(words);
            continue;
        }
        let of_chips =
            comment.strip_prefix("Chip").and_then(|rest| rest.split_once(": ")).map(|(chips, _)| chips);
        if of_chips.is_none_or(|chips| chips.contains(chip)) {
            text.push_str(line.strip_prefix('#').unwrap_or(line));
            text.push('\n');
        }
        comment.clear();
    }
    text
}

#[test]
fn every_commented_example_is_itself_valid() {
    for chip in ["cc1101", "sx126x", "serial"] {
        // What goes with another value than the default only.
        let text = uncommented(chip)
            .replace("mqtt://127.0.0.1:1883", "mqtts://broker.example")
            .replace("family = \"zboss\"", "family = \"zboss-host\"")
            .replace("chip = \"cc1101\"", &format!("chip = \"{chip}\""));
        let config = parse(&text, &[]).unwrap_or_else(|error| panic!("{chip}: {error}"));
        assert_eq!(config.mqtt.url.port, 8883);
        assert!(config.gateway.id.is_some() && config.mqtt.key_file.is_some());
        let subghz = config.subghz;
        assert_eq!(
            (subghz.gdo0.is_some(), subghz.tcxo.is_some(), subghz.hold_ms.is_some()),
            (chip == "cc1101", chip == "sx126x", chip == "serial"),
        );
    }
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_nearest_match() {
    let found =
        problems("[mqtt]\nurl = \"mqtt://b\"\nkeep_alive = 30\n\n[metrics]\nbnid = \"127.0.0.1:1\"\n");
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].to_string(), "line 3: `mqtt.keep_alive`: no such key; did you mean `keepalive`?");
    assert_eq!(found[1].to_string(), "line 6: `metrics.bnid`: no such key; did you mean `bind`?");
}

#[test]
fn an_unknown_section_and_a_key_outside_its_section_are_explained() {
    assert_eq!(said("[mqt]\n"), "line 1: `mqt`: no such section; did you mean [mqtt]?");
    assert_eq!(
        said("url = \"mqtt://b\"\n"),
        "line 1: `url`: belongs in a section; did you mean `url` in [mqtt]?"
    );
    assert!(said("[barometer]\n").contains("there are `gateway`"));
    assert!(said("[log]\nregion = \"EU868\"\n").contains("there is one in [lora]"));
}

#[test]
fn a_wrong_value_is_named_with_its_line() {
    let found = problems("[lora]\nenabled = true\nregion = \"EU433\"\n");
    assert_eq!(found[0].place, Place::Line(3));
    assert_eq!(found[0].key, "lora.region");
    assert!(found[0].message.contains("EU868"), "{}", found[0]);
    assert!(said("[mqtt]\nkeepalive = \"often\"\n").starts_with("line 2: `mqtt.keepalive`"));
    assert!(said("[mqtt]\nurl = \"http://b\"\n").contains("mqtt://host:port"));
    assert!(said("[mqtt\n").starts_with("line 1: "));
    assert!(said("mqtt = 3\n").starts_with("line 1: "));
}

#[test]
fn rules_between_keys_name_the_line_or_the_variable() {
    let found = problems("[mqtt]\nurl = \"mqtt://b\"\nca_file = \"/x\"\nkeepalive = 1\ncert_file = \"/y\"\n");
    let lines: Vec<_> = found.iter().map(|p| (p.place.clone(), p.key.as_str())).collect();
    assert_eq!(
        lines,
        [
            (Place::Line(3), "mqtt.ca_file"),
            (Place::Line(4), "mqtt.keepalive"),
            (Place::Line(5), "mqtt.cert_file"),
            (Place::Line(5), "mqtt.cert_file")
        ]
    );
    let found = problems_with("", &[("CARDEA_METRICS__BIND", "0.0.0.0:80")]);
    assert_eq!(found[0].place, Place::Variable("CARDEA_METRICS__BIND".into()));
    assert!(said("[loopback]\nenabled = true\nbind = \"192.0.2.1:5\"\n").contains("loopback address"));
    assert!(
        said("[lora]\nenabled = true\nbind = \"0.0.0.0:1700\"\n").contains("must name the packet forwarder")
    );
    for prefix in ["", "/a", "a/", "a//b", "a/+/b", "#", "$SYS", "a b"] {
        assert!(said(&format!("[mqtt]\nprefix = {prefix:?}\n")).contains("topic levels"), "{prefix}");
    }
}

#[test]
fn a_zigbee_radio_needs_its_port_and_what_cannot_work_is_named() {
    let good = "[zigbee]\nenabled = true\ndevice = \"/dev/serial/by-id/x\"\n";
    let config = parse(good, &[]).unwrap();
    assert_eq!((config.zigbee.cluster.0, config.zigbee.channels), (0xFC7C, vec![11, 15, 20, 25]));
    assert_eq!(config.zigbee.family, ZigbeeFamily::Zboss);
    let other = parse(&format!("{good}family = \"ezsp\"\n"), &[]).unwrap();
    assert_eq!(other.zigbee.family, ZigbeeFamily::Ezsp);
    assert!(said("[zigbee]\nenabled = true\n").contains("/dev/serial/by-id"));
    for (line, words) in [
        ("family = \"znp\"", "zboss"),
        ("channels = []", "11 to 26"),
        ("channels = [10]", "11 to 26"),
        ("cluster = \"FC00\"", "FC03"),
        ("cluster = 64636", "string"),
        ("baud = 0", "1200"),
        ("flow_control = \"some\"", "hardware"),
        ("form = true", "no such key"),
    ] {
        let text = said(&format!("{good}{line}\n"));
        assert!(text.starts_with("line 4: ") && text.contains(words), "{text}");
    }
}

#[test]
fn a_host_program_goes_with_its_family_alone_and_is_named_in_full() {
    let good = "[zigbee]\nenabled = true\ndevice = \"/dev/serial/by-id/x\"\n";
    let program = "host_program = \"/usr/libexec/cardea/cardea-zboss-host\"\n";
    let config = parse(&format!("{good}family = \"zboss-host\"\n{program}"), &[]).unwrap();
    assert_eq!(config.zigbee.family, ZigbeeFamily::ZbossHost);
    assert!(config.zigbee.host_program.is_some_and(|path| path.ends_with("cardea-zboss-host")));
    for (lines, words) in [
        ("family = \"zboss-host\"\n".to_owned(), "needs it"),
        (program.to_owned(), "no other family"),
        (format!("family = \"ezsp\"\n{program}"), "no other family"),
        ("family = \"zboss-host\"\nhost_program = \"cardea-zboss-host\"\n".to_owned(), "absolute path"),
    ] {
        let text = said(&format!("{good}{lines}"));
        assert!(text.contains("zigbee.host_program") && text.contains(words), "{text}");
    }
}

#[test]
fn the_environment_overrides_the_file() {
    let variables = [
        ("CARDEA_MQTT__URL".to_owned(), "mqtts://other:1".to_owned()),
        ("CARDEA_MQTT__CUSTODY".to_owned(), "platform".to_owned()),
        ("CARDEA_MQTT__KEEPALIVE".to_owned(), "60".to_owned()),
        ("CARDEA_MQTT__USERNAME".to_owned(), "1234".to_owned()),
        ("CARDEA_LORA__ENABLED".to_owned(), "true".to_owned()),
        ("CARDEA_LORA__FORWARDERS".to_owned(), "[\"0102030405060708\"]".to_owned()),
        ("CARDEA_CONFIG".to_owned(), "/elsewhere".to_owned()),
        ("PATH".to_owned(), "/bin".to_owned()),
    ];
    let config = parse("[mqtt]\nurl = \"mqtt://file\"\nkeepalive = 20\n", &variables).unwrap();
    assert_eq!(config.mqtt.url.host, "other");
    assert_eq!(config.mqtt.custody, Custody::Platform);
    assert_eq!(config.mqtt.keepalive, 60);
    assert_eq!(config.mqtt.username.as_deref(), Some("1234"));
    assert_eq!(config.lora.forwarders[0].0, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn a_variable_that_does_not_fit_is_named() {
    let found = problems_with("", &[("CARDEA_MQTT__KEEPALIVE", "soon"), ("CARDEA_MQTT__KEPALIVE", "5")]);
    assert_eq!(found[0].place, Place::Variable("CARDEA_MQTT__KEEPALIVE".into()));
    assert!(found[1].message.contains("did you mean `keepalive`"), "{}", found[1]);
}

#[test]
fn a_password_in_the_address_is_refused_and_not_repeated() {
    let text = said("[mqtt]\nurl = \"mqtt://user:hunter2@broker\"\n");
    assert!(text.contains("password_file"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn addresses_are_read_as_written() {
    let url = |text: &str| text.parse::<cardea_config::BrokerUrl>();
    assert_eq!(url("mqtt://h").unwrap().to_string(), "mqtt://h:1883");
    assert_eq!(url("mqtts://h/").unwrap().to_string(), "mqtts://h:8883");
    assert_eq!(url("mqtt://[::1]:5").unwrap().to_string(), "mqtt://[::1]:5");
    for bad in [
        "",
        "h",
        "mqtt://",
        "mqtt://h:0",
        "mqtt://h:99999",
        "mqtt://[::1",
        "mqtt://[::1]5",
        "mqtt://[x]",
        "mqtt://a b",
    ] {
        assert!(url(bad).is_err(), "{bad}");
    }
}

#[test]
fn nothing_switches_certificate_validation_off() {
    let text = (template() + &schema()).to_lowercase();
    for word in ["insecure", "skip_verify", "no_verify", "verify =", "danger", "allow_invalid"] {
        assert!(!text.contains(word), "{word}");
    }
}

#[test]
fn the_local_page_is_off_and_goes_by_host_names_only() {
    assert!(!parse("", &[]).unwrap().web.enabled);
    assert!(parse("[web]\nnames = [\"lobby.example\", \"gw-1\"]\n", &[]).is_ok());
    for name in ["https://lobby", "lobby:8443", "lobby example", "", "-lobby", "lobby..example", "*"] {
        let found = problems(&format!("[web]\nnames = [\"{name}\"]\n"));
        assert_eq!((found[0].key.as_str(), &found[0].place), ("web.names", &Place::Line(2)), "{name}");
    }
    assert_eq!(problems("[web]\nhttp = \"0.0.0.0:8443\"\n")[0].key, "web.http");
}

#[test]
fn a_button_is_a_line_of_a_chip_and_nothing_else() {
    let button =
        |text: &str| parse(&format!("[web]\nbutton = \"{text}\"\n"), &[]).map(|c| c.web.button.unwrap());
    let good = button("gpiochip0:17").unwrap();
    assert_eq!((good.chip.as_str(), good.line, good.active_high), ("gpiochip0", 17, false));
    assert!(button("gpiochip4:5:high").unwrap().active_high);
    for text in [
        "gpiochip0",
        "gpiochip0:",
        "gpiochip0:x",
        "gpiochip0:-1",
        "gpiochip0:17:low",
        "gpiochip0:1:high:",
        "../mem:1",
        "gpiochip/../mem:1",
        "gpiochip0:4294967296",
        "",
    ] {
        let found = problems(&format!("[web]\nbutton = \"{text}\"\n"));
        assert_eq!(found[0].key, "web.button", "{text}");
    }
}

#[test]
fn keys_of_a_platform_are_compressed_points_and_at_most_four() {
    let key = format!("02{}", "ab".repeat(32));
    let keys = |all: &[&str]| format!("[platform]\nkeys = {all:?}\n");
    assert_eq!(parse(&keys(&[&key, &key]), &[]).unwrap().platform.keys.len(), 2);
    for wrong in [&key[2..], &key.replacen("02", "04", 1), "", "zz"] {
        assert!(parse(&keys(&[wrong]), &[]).is_err(), "{wrong}");
    }
    assert_eq!(problems(&keys(&[key.as_str(); 5]))[0].key, "platform.keys");
}
