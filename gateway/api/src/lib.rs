//! The local control API of the gateway daemon.
//!
//! One typed API for everything that administers a gateway from beside it: the command line, and the local web
//! page. Over the daemon's Unix socket each [`Request`] is one line of JSON and is answered by one line with an
//! [`Answer`], in order. A line that says how many `bytes` has as many behind it, raw: a [`Secret`], which is never text. Who may connect to the socket may do everything here; the file's permissions are the
//! access control.
//!
//! The same socket speaks HTTP/1.1 to those who begin with it: `POST /v1/<verb>` with the other members as a JSON object.
//! [`openapi`] describes that, from the types here.
//!
//! [`Client`] is the blocking end of the command line. What this crate does not do: serve. That is the daemon's.

mod client;
mod lock_id;
mod map;
mod openapi;
mod operate;
mod peer;
mod reply;
mod request;
mod secret;
mod state;

pub use client::{Client, ClientError, PeerClient};
pub use map::{MapBehind, MapDevice, MapKind, RadioMap};
pub use openapi::{LINES_ONLY, is_verb, openapi};
pub use operate::{
    BrokerCause, BrokerFault, BrokerSettings, BrokerStep, BrokerTest, BrokerTrial, CommandState, DutyBand,
    HeardSample, Host, HostAddress, LogLevel, LogLine, Logs, RadioDetail, Trace,
};
pub use peer::{PeerEvent, PeerLine};
pub use reply::{Answer, ClaimCode, Reply};
pub use request::{Request, RequestError, ResetBy};
pub use secret::Secret;
pub use state::{
    Activation, ActivationOutcome, Broker, KeptBackup, Lock, Radio, Router, Status, Unsealed, UnsealedLock,
};

pub(crate) use request::request;

/// Longest line either way, bytes. A list of all locks is the longest there is.
pub const MAX_REPLY: usize = 64 * 1024 * 1024;

/// Longest request line, bytes.
pub const MAX_REQUEST: usize = 4096;

/// The most bytes behind a line, either way: the longest backup of a radio network.
pub const MAX_SECRET: usize = 512 * 1024;

#[cfg(test)]
mod tests {
    use cardea_framing::LockId;

    use super::*;

    #[test]
    fn requests_are_lines_anyone_can_write() {
        let parsed = |text: &str| Request::parse(text.as_bytes());
        assert!(parsed("{\"verb\":\"status\"}\n") == Ok(Request::Status {}));
        assert!(parsed(r#"{"verb":"locks"}"#) == Ok(Request::Locks {}));
        assert!(parsed(r#"{"verb":"admit","label":"x"}"#) == Ok(Request::Admit { label: "x".into() }));
        let remove = r#"{"verb":"remove","lock":"00112233445566ff"}"#;
        let lock = LockId([0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0xff]);
        assert!(parsed(remove) == Ok(Request::Remove { lock }));
        assert_eq!(serde_json::to_string(&Request::Remove { lock }).unwrap(), remove);
        assert!(parsed(&remove.replace("remove", "attach")) == Ok(Request::Attach { lock }));
        assert!(parsed(r#"{"verb":"claim_code"}"#) == Ok(Request::ClaimCode {}));
        assert!(parsed(r#"{"verb":"confirm_claim"}"#) == Ok(Request::ConfirmClaim {}));
        assert!(parsed(r#"{"verb":"recover"}"#) == Ok(Request::Recover {}));
        assert!(parsed(r#"{"verb":"fingerprint"}"#) == Ok(Request::Fingerprint {}));
        let code = Reply::ClaimCode { code: ClaimCode("7".repeat(16)) };
        assert!(!format!("{code:?}").contains('7'), "a log cannot hold it");
        let form = Request::FormNetwork { radio: "zigbee".into(), replace: false };
        assert!(parsed(r#"{"verb":"form_network","radio":"zigbee","replace":false}"#) == Ok(form));
        let adopt = Request::AdoptNetwork { radio: "zigbee".into() };
        assert!(parsed(r#"{"verb":"adopt_network","radio":"zigbee"}"#) == Ok(adopt));
        let line = r#"{"verb":"restore_network","radio":"zigbee","replace":true,"bytes":3}"#;
        let mut restore = parsed(line).ok().unwrap();
        *restore.secret().unwrap().1 = Secret::new(b"key".to_vec());
        assert_eq!(serde_json::to_string(&restore).unwrap(), line, "a secret is in no line");
        assert!(parsed(&line.replace('3', "0")).ok().unwrap().secret().is_none());
        assert!(parsed(&line.replace("3}", "3,\"file\":[1]}")).is_err());
        let router = Request::RemoveRouter { radio: "zigbee".into(), router: "02cadea500000000".into() };
        let line = r#"{"verb":"remove_router","radio":"zigbee","router":"02cadea500000000"}"#;
        assert!(parsed(line) == Ok(router));
        let rotate = Request::RotateNetworkKey { radio: "zigbee".into() };
        assert!(parsed(r#"{"verb":"rotate_network_key","radio":"zigbee"}"#) == Ok(rotate));
    }

    #[test]
    fn what_is_not_a_request_is_named_and_never_repeated() {
        for (line, words) in [
            (&b""[..], "not JSON"),
            (b"hello", "not JSON"),
            (b"{\"verb\":\"status\"", "not JSON"),
            (b"{\"verb\":\"reboot\"}", "does not know"),
            (b"{\"verb\":\"status\",\"more\":1}", "does not belong"),
            (b"{\"verb\":\"remove\",\"lock\":\"12\"}", "does not belong"),
            (b"{\"verb\":\"admit\",\"label\":42424242}", "does not belong"),
            (b"\xff\xfe", "not JSON"),
        ] {
            let error = Request::parse(line).err().unwrap().to_string();
            assert!(error.contains(words), "{error}");
            assert!(!error.contains("42424242"), "{error}");
        }
        assert!(Request::parse(&[b' '; MAX_REQUEST + 1]) == Err(RequestError::TooLong));
    }

    #[test]
    fn answers_look_like_those_over_the_broker() {
        let answer = Answer::Ok { data: Reply::Done };
        assert_eq!(serde_json::to_string(&answer).unwrap(), r#"{"status":"ok","data":"done"}"#);
        let file = Secret::new(b"key".to_vec());
        let backup = Reply::Backup { radio: "zigbee".into(), id: "ab".into(), devices: 1, bytes: 3, file };
        let said = serde_json::to_string(&backup).unwrap();
        assert_eq!(said, r#"{"backup":{"radio":"zigbee","id":"ab","devices":1,"bytes":3}}"#);
        assert!(format!("{backup:?}").contains("Secret(3 bytes)"));
        let answer = Answer::Error { error: "why".into() };
        assert_eq!(serde_json::to_string(&answer).unwrap(), r#"{"status":"error","error":"why"}"#);
    }
}
