//! What a hostile broker or gateway may publish to an owner's platform, and where an operator says the broker is.

use cardea_credentials::{OwnerCode, Random};
use cardea_framing::{Class, Datagram, Kind, LockId, uplink_id};
use cardea_sdk::{
    BrokerAddress, FileKeys, SqliteState,
    session::{Config, Core, Now},
};

/// Counts; a fuzz target must do the same thing twice.
struct Counting(u8);

impl Random for Counting {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), cardea_credentials::Error> {
        for byte in out {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
        Ok(())
    }
}

const LOCK: LockId = LockId([1, 2, 3, 4, 5, 6, 7, 8]);
const NOW: Now = Now { mono: 1_000, unix: 1_800_000_000_000 };

/// A platform with one enrolled lock; made once for each thread, its state is in memory.
fn with_core(act: impl FnOnce(&mut Core<FileKeys, SqliteState>)) {
    thread_local! {
        static CORE: std::cell::RefCell<Option<Core<FileKeys, SqliteState>>> =
            const { std::cell::RefCell::new(None) };
    }
    CORE.with_borrow_mut(|core| {
        if core.is_none() {
            *core = make();
        }
        if let Some(core) = core {
            act(core);
        }
    });
}

fn make() -> Option<Core<FileKeys, SqliteState>> {
    let dir = std::env::temp_dir().join(format!(
        "cardea-fuzz-sdk-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    let _ = std::fs::remove_dir_all(&dir);
    let keys = FileKeys::init(&dir).ok()?;
    let _ = std::fs::remove_dir_all(&dir);
    let state = SqliteState::in_memory().ok()?;
    let mut core = Core::open(keys, state, Box::new(Counting(0)), Config::default()).ok()?;
    core.begin().ok()?;
    core.enroll(LOCK.into(), &OwnerCode::from_bytes([7; 16])).ok()?;
    core.commit().ok()?;
    Some(core)
}

/// One message from the broker: topic (up to the first zero byte) and payload. Nothing a broker says may end a
/// batch, which would make it come again for ever.
pub fn sdk_message(data: &[u8]) {
    let (topic, payload) = match data.iter().position(|b| *b == 0) {
        Some(at) => data.split_at(at),
        None => (data, &[][..]),
    };
    let Ok(topic) = std::str::from_utf8(topic) else { return };
    let payload = payload.get(1..).unwrap_or_default();
    run(topic, payload);
}

/// A datagram of an enrolled lock in a sound envelope: EDHOC and OSCORE behind it.
pub fn sdk_uplink(data: &[u8]) {
    let Ok(parsed) = Datagram::parse(data) else { return };
    let (kind, class): (Kind, Class) = (parsed.kind, parsed.class);
    let envelope = format!(
        r#"{{"v":1,"id":"{}","lock":"{LOCK}","kind":"{kind}","class":"{}","data":"{}","radio":"r","at":1,"clock":"unsynced","epoch":"0101010101010101","seq":1}}"#,
        hex::encode(uplink_id(LOCK, data)),
        class.as_str(),
        base64(data),
    );
    run(&format!("cardea/v1/g/lock/{LOCK}/up"), envelope.as_bytes());
}

/// The broker's address out of an operator's configuration: what is taken can be connected to and is written as it is
/// read, and a refusal repeats no password.
pub fn sdk_broker_address(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match text.parse::<BrokerAddress>() {
        Ok(address) => {
            assert!(!address.host.is_empty() && address.port != 0);
            assert_eq!(address.to_string().parse(), Ok(address));
        }
        Err(why) => {
            let Some((user, host)) = text.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'))
            else {
                return;
            };
            // Words of ours may stand there, too: then the refusal is the same for anybody else's.
            if user.len() >= 8 && why.contains(user) {
                let scheme = text.split("://").next().unwrap_or_default();
                let other = format!("{scheme}://{}@{host}", "q".repeat(user.len())).parse::<BrokerAddress>();
                assert_eq!(other, Err(why));
            }
        }
    }
}

fn run(topic: &str, payload: &[u8]) {
    with_core(|core| {
        let Ok(()) = core.begin() else { return };
        let outcome = core.handle_message(NOW, topic, payload, false).and_then(|()| core.handle_timeout(NOW));
        assert!(outcome.is_ok(), "a message of the broker ended a batch");
        assert!(core.commit().is_ok());
        while core.poll_output().is_some() {}
        while core.poll_event().is_some() {}
    });
}

/// RFC 4648 §4; here to keep this crate's dependencies few.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = (0..3).fold(0_u32, |word, i| word << 8 | u32::from(chunk.get(i).copied().unwrap_or(0)));
        for i in 0..4 {
            let digit = (word >> (18 - 6 * i) & 63) as usize;
            let symbol = if i <= chunk.len() { ALPHABET.get(digit).copied().unwrap_or(b'=') } else { b'=' };
            text.push(char::from(symbol));
        }
    }
    text
}
