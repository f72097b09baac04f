//! The Zigbee Device Object's frames (Zigbee specification §2.4), which on EZSP the host writes: profile 0, endpoint 0, a
//! sequence number first.

use crate::coordinator::{Answer, Question};
use crate::descriptors::{Clusters, Neighbour, NodeDescriptor, SimpleDescriptor};
use crate::types::{Eui64, NwkAddr};
use crate::wire::{DecodeError, Field, Reader};

/// Set in the cluster of an answer.
const ANSWER: u16 = 0x8000;
/// A device tells its address.
pub(super) const DEVICE_ANNOUNCE: u16 = 0x0013;
/// Whose network address is it asked for.
pub(super) const NWK_ADDRESS: u16 = 0x0000;
/// Whose 64-bit address is it asked for.
pub(super) const IEEE_ADDRESS: u16 = 0x0001;
/// Routers are told for how long they let devices join.
pub(super) const PERMIT_JOINING: u16 = 0x0036;
const NODE_DESCRIPTOR: u16 = 0x0002;
const SIMPLE_DESCRIPTOR: u16 = 0x0004;
const ACTIVE_ENDPOINTS: u16 = 0x0005;
const BIND: u16 = 0x0021;
const NEIGHBOURS: u16 = 0x0031;
const LEAVE: u16 = 0x0034;
/// A binding to one device.
const TO_DEVICE: u8 = 3;

/// Cluster and ASDU of a question to the device with this address; `own` is who asks.
pub(super) fn question(
    sequence: u8,
    question: &Question,
    eui: Eui64,
    nwk: NwkAddr,
    own: Eui64,
) -> (u16, Vec<u8>) {
    let mut out = vec![sequence];
    let cluster = match question {
        Question::Node => {
            nwk.write(&mut out);
            NODE_DESCRIPTOR
        }
        Question::Endpoints => {
            nwk.write(&mut out);
            ACTIVE_ENDPOINTS
        }
        Question::Endpoint(endpoint) => {
            nwk.write(&mut out);
            out.push(*endpoint);
            SIMPLE_DESCRIPTOR
        }
        Question::Bind { endpoint, cluster, to_endpoint } => {
            eui.write(&mut out);
            out.push(*endpoint);
            cluster.write(&mut out);
            out.push(TO_DEVICE);
            own.write(&mut out);
            out.push(*to_endpoint);
            BIND
        }
        Question::Leave => return leave(sequence, eui),
        Question::Neighbours { start } => {
            out.push(*start);
            NEIGHBOURS
        }
    };
    (cluster, out)
}

/// Asks a device to leave for good.
pub(super) fn leave(sequence: u8, eui: Eui64) -> (u16, Vec<u8>) {
    let mut out = vec![sequence];
    eui.write(&mut out);
    out.push(0);
    (LEAVE, out)
}

/// Asks all who knows a device's address: that device answers.
pub(super) fn nwk_address(sequence: u8, eui: Eui64) -> Vec<u8> {
    let mut out = vec![sequence];
    eui.write(&mut out);
    out.extend_from_slice(&[0, 0]);
    out
}

/// Asks a device for its 64-bit address.
pub(super) fn ieee_address(sequence: u8, nwk: NwkAddr) -> Vec<u8> {
    let mut out = vec![sequence];
    nwk.write(&mut out);
    out.extend_from_slice(&[0, 0]);
    out
}

/// Tells routers for how long they let devices join.
pub(super) fn permit_joining(sequence: u8, seconds: u8) -> Vec<u8> {
    vec![sequence, seconds, 1]
}

/// What a device says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Its addresses: unasked, or because somebody asked.
    Address(Eui64, NwkAddr),
    /// What became of the question with this sequence number; `Err`: the device's status.
    Answer(u8, u16, Result<Answer, u8>),
    /// Nothing of ours.
    Other,
}

/// Reads an ASDU of profile 0.
pub(super) fn parse(cluster: u16, asdu: &[u8]) -> Result<Heard, DecodeError> {
    let mut reader = Reader::new(asdu);
    let sequence = reader.u8()?;
    if cluster == DEVICE_ANNOUNCE {
        let nwk = NwkAddr::read(&mut reader)?;
        return Ok(Heard::Address(Eui64::read(&mut reader)?, nwk));
    }
    if cluster & ANSWER == 0 {
        return Ok(Heard::Other);
    }
    let (asked, status) = (cluster & !ANSWER, reader.u8()?);
    if matches!(asked, NWK_ADDRESS | IEEE_ADDRESS) {
        if status != 0 {
            return Ok(Heard::Other);
        }
        let eui = Eui64::read(&mut reader)?;
        return Ok(Heard::Address(eui, NwkAddr::read(&mut reader)?));
    }
    if status != 0 {
        return Ok(Heard::Answer(sequence, asked, Err(status)));
    }
    let answer = match asked {
        NODE_DESCRIPTOR => {
            let _nwk = reader.u16()?;
            Answer::Node(NodeDescriptor::read(&mut reader)?)
        }
        ACTIVE_ENDPOINTS => {
            let _nwk = reader.u16()?;
            let count = reader.u8()?;
            Answer::Endpoints(reader.take(count.into())?.to_vec())
        }
        SIMPLE_DESCRIPTOR => {
            let _nwk = reader.u16()?;
            let length = reader.u8()?;
            Answer::Endpoint(simple_descriptor(reader.take(length.into())?)?)
        }
        BIND | LEAVE => Answer::Done,
        NEIGHBOURS => {
            let [total, _start, count] = reader.array()?;
            let list = (0..count).map(|_| Neighbour::read(&mut reader)).collect::<Result<_, _>>()?;
            Answer::Neighbours { total, list }
        }
        _ => return Ok(Heard::Other),
    };
    Ok(Heard::Answer(sequence, asked, Ok(answer)))
}

/// On the air each count stands before its list.
fn simple_descriptor(bytes: &[u8]) -> Result<SimpleDescriptor, DecodeError> {
    let mut reader = Reader::new(bytes);
    let endpoint = reader.u8()?;
    let (profile, device) = (reader.u16()?, reader.u16()?);
    let version = reader.u8()?;
    let mut list = || {
        let count = reader.u8()?;
        (0..count).map(|_| reader.u16()).collect::<Result<Vec<_>, _>>()
    };
    let clusters = Clusters { servers: list()?, clients: list()? };
    Ok(SimpleDescriptor { endpoint, profile, device, version, clusters })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: Eui64 = Eui64([0x00, 0x12, 0x4B, 0x00, 0x22, 0x26, 0xEF, 0x87]);
    const NWK: NwkAddr = NwkAddr(0x6B5D);
    const OWN: Eui64 = Eui64([0x00, 0x12, 0x4B, 0x00, 0x1C, 0xA1, 0xB8, 0x46]);

    /// As zigpy 2.4.0 serialises them (`zigpy.zdo.types`, the sequence number before).
    #[test]
    fn questions_are_these_bytes() {
        let bind = Question::Bind { endpoint: 1, cluster: 0x0101, to_endpoint: 1 };
        for (asked, cluster, hex) in [
            (Question::Node, 0x0002, "075d6b"),
            (Question::Endpoints, 0x0005, "075d6b"),
            (Question::Endpoint(11), 0x0004, "075d6b0b"),
            (bind, 0x0021, "0787ef2622004b12000101010346b8a11c004b120001"),
            (Question::Leave, 0x0034, "0787ef2622004b120000"),
            (Question::Neighbours { start: 3 }, 0x0031, "0703"),
        ] {
            let (is, asdu) = question(7, &asked, LOCK, NWK, OWN);
            assert_eq!((is, hex::encode(asdu).as_str()), (cluster, hex), "{asked:?}");
        }
        assert_eq!(hex::encode(nwk_address(7, LOCK)), "0787ef2622004b12000000");
        assert_eq!(hex::encode(ieee_address(7, NWK)), "075d6b0000");
        assert_eq!(hex::encode(permit_joining(7, 60)), "073c01");
    }

    #[test]
    fn answers_are_read_from_these_bytes() {
        let heard = |cluster, hex: &str| parse(cluster, &hex::decode(hex).unwrap());
        assert_eq!(heard(0x0013, "075d6b87ef2622004b120080"), Ok(Heard::Address(LOCK, NWK)));
        assert_eq!(heard(0x8000, "070087ef2622004b12005d6b"), Ok(Heard::Address(LOCK, NWK)));
        assert_eq!(
            heard(0x8005, "07005d6b020b01"),
            Ok(Heard::Answer(7, 5, Ok(Answer::Endpoints(vec![11, 1]))))
        );
        assert_eq!(heard(0x8021, "0784"), Ok(Heard::Answer(7, 0x21, Err(0x84))));
        assert_eq!(heard(0x8034, "0700"), Ok(Heard::Answer(7, 0x34, Ok(Answer::Done))));
        let Ok(Heard::Answer(7, 4, Ok(Answer::Endpoint(descriptor)))) =
            heard(0x8004, "07005d6b120b04010a00010300000101010002190000fc")
        else {
            panic!()
        };
        let clusters = Clusters { servers: vec![0, 0x0101, 1], clients: vec![0x0019, 0xFC00] };
        assert_eq!((descriptor.endpoint, descriptor.device, descriptor.clusters), (11, 0x000A, clusters));
        let node = heard(0x8002, "07005d6b0240803412528000002c800000").unwrap();
        assert!(matches!(node, Heard::Answer(7, 2, Ok(Answer::Node(node))) if node.is_sleepy()));
        let neighbour = "01dddddddddddddd87ef2622004b12005d6b120201ff";
        let lqi = heard(0x8031, &format!("0700050001{neighbour}")).unwrap();
        let Heard::Answer(7, 0x31, Ok(Answer::Neighbours { total: 5, list })) = lqi else {
            panic!("{lqi:?}")
        };
        assert_eq!((list.len(), list[0].eui, list[0].lqi), (1, LOCK, 255));
        assert_eq!(heard(0x8031, "07000500ff00"), Err(DecodeError::Short));
        assert_eq!(heard(0x0006, "07"), Ok(Heard::Other));
    }
}
