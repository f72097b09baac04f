//! One transcript, from both ends, to the byte.

use cardea_edhoc::MAX_MESSAGE;

use super::{Transcript, bytes, same_eads, with_eads};

/// Both ends reproduce it: messages, OSCORE keys, exporter, and KeyUpdate where it has one.
pub fn reproduce(t: &Transcript) {
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
