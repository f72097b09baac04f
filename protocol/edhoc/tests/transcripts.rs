//! Every transcript that libedhoc 1.15.1 or pyca/cryptography made, from both ends, to the byte: suites 0 to 5,
//! methods 0 to 3, `kid`, `x5t` and `x5chain`, identifiers of every encoding, EAD in all four messages, negotiated
//! suites, keys without y.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a panic here is a verdict

mod common;

use cardea_edhoc::MAX_MESSAGE;
use common::{Transcript, bytes, same_eads, with_eads};

#[test]
fn both_ends_reproduce_the_transcripts() {
    let mut names = Vec::new();
    for t in Transcript::all() {
        names.push(t.name().to_owned());
        let mut initiator = t.initiator_sent_3();
        let mut responder = t.responder_sent_2();

        let mut plaintext = [0; MAX_MESSAGE];
        let peer = responder.parse_message_3(&t.message(3), &mut plaintext).unwrap();
        same_eads(&peer.eads, &t.eads(3));
        assert_eq!(peer.id_cred, t.initiator.id_cred());
        responder.verify_message_3(&peer, &t.initiator.cred, t.initiator.public()).unwrap();

        let mut out = [0; MAX_MESSAGE];
        let len = with_eads(&t.eads(4), |eads| responder.message_4(eads, &mut out)).unwrap();
        // One transcript ends with message_3; the others fix message_4 as well.
        if t.value["messages"]["message_4"].is_string() {
            assert_eq!(hex::encode(&out[..len]), hex::encode(t.message(4)), "{}", t.name());
        }
        let eads = initiator.handle_message_4(&out[..len], &mut plaintext).unwrap();
        same_eads(&eads, &t.eads(4));

        let theirs = &t.value["oscore"];
        let (ours_i, ours_r) = (initiator.oscore().unwrap(), responder.oscore().unwrap());
        assert_eq!(ours_i.secret(), bytes(&theirs["master_secret"]));
        assert_eq!(ours_i.salt.to_vec(), bytes(&theirs["master_salt"]));
        assert_eq!((ours_r.secret(), ours_r.salt), (ours_i.secret(), ours_i.salt));
        assert_eq!(ours_i.sender_id.as_bytes(), bytes(&theirs["initiator_sender_id"]));
        assert_eq!(ours_r.sender_id.as_bytes(), bytes(&theirs["initiator_recipient_id"]));

        let mut exported = [0; 32];
        initiator.export(32768, &[], &mut exported).unwrap();
        assert_eq!(exported.to_vec(), t.bytes("exporter_label_32768_len_32"));
        if let Some(context) = t.value["key_update"]["context"].as_str() {
            let context = hex::decode(context).unwrap();
            initiator.key_update(&context).unwrap();
            responder.key_update(&context).unwrap();
            let secret = bytes(&t.value["key_update"]["master_secret"]);
            assert_eq!(initiator.oscore().unwrap().secret(), secret);
            assert_eq!(responder.oscore().unwrap().secret(), secret);
        }
    }
    assert_eq!(
        names,
        [
            "s0-m0-kid",
            "s0-m3-kid",
            "s0-m1-kid",
            "s2-m0-kid",
            "s2-m1-kid",
            "s2-m2-kid",
            "s2-m3-kid",
            "s2-m3-kid-xonly",
            "s2-m3-kid-bstr-cid",
            "s2-m3-kid-long-cid",
            "s2-m3-kid-ead",
            "s2-m0-kid-ead",
            "s2-m3-negotiated",
            "s2-m0-x5t",
            "s2-m3-x5t",
            "s2-m0-mixed",
            "s4-m0-kid",
            "s4-m2-kid",
            "s4-m3-kid",
            "s4-m3-kid-ead",
            "s4-m0-x5chain",
            "s0-m0-x5chain2",
            "s5-m3-kid",
            "s5-m0-kid",
            "s5-m1-kid",
            "s5-m3-ead",
            "s3-m3-kid",
            "s3-m0-kid",
            "s2-m3-bstr-kid",
            "s2-m3-long-kid",
            "s2-m3-empty-ci",
        ]
    );
}

/// What fits one frame of 51 bytes with credentials by `kid`: all four messages.
#[test]
fn sizes_with_kid() {
    let t = Transcript::named("s2-m3-kid");
    assert_eq!([1, 2, 3, 4].map(|n| t.message(n).len()), [37, 45, 19, 9]);
}
