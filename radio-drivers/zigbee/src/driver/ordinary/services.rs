//! What a lock may ask of the gateway: what time it is, and whether there is firmware for it.
//!
//! The time is told only by a gateway that knows it; one that does not says so in the cluster's own words, and gives no number
//! that could be taken for a time. That there is no firmware is always the answer: images are not distributed yet.

use crate::driver::wall::Wall;
use crate::zcl::{DataType, Frame, Global, Header, Scope, Value, id, ota, time};

/// Attributes that are read at once; an answer with more would not fit one radio frame.
const MAX_READ: usize = 8;
/// Of every cluster.
const CLUSTER_REVISION: u16 = 0xFFFD;
/// Statuses (ZCL §2.6.3).
const FAILURE: u8 = 0x01;
const MALFORMED_COMMAND: u8 = 0x80;
const UNSUPPORTED_COMMAND: u8 = 0x81;
const UNSUPPORTED_ATTRIBUTE: u8 = 0x86;
const READ_ONLY: u8 = 0x88;

/// The frame that answers a client's command, or the status of the default response that does.
pub(super) fn answer(wall: Wall, cluster: u16, header: Header, payload: &[u8]) -> Result<Vec<u8>, u8> {
    if header.manufacturer.is_some() {
        return Err(UNSUPPORTED_COMMAND);
    }
    let (scope, command, payload) = match (cluster, header.scope) {
        (id::TIME | id::OTA, Scope::Global) => {
            let answer = global(wall, cluster, header.command, payload)?;
            (Scope::Global, answer.command(), answer.encode())
        }
        (id::OTA, Scope::Cluster) if header.command == ota::QUERY_NEXT_IMAGE => {
            ota::QueryNextImage::parse(payload).map_err(|_| MALFORMED_COMMAND)?;
            (Scope::Cluster, ota::QUERY_NEXT_IMAGE_RESPONSE, vec![ota::NO_IMAGE_AVAILABLE])
        }
        _ => return Err(UNSUPPORTED_COMMAND),
    };
    let header = Header { scope, command, ..header.answer() };
    Ok(Frame { header, payload: &payload }.encode())
}

fn global(wall: Wall, cluster: u16, command: u8, payload: &[u8]) -> Result<Global, u8> {
    match Global::parse(command, payload) {
        Ok(Global::Read(attributes)) => {
            let attributes = attributes.into_iter().take(MAX_READ);
            Ok(Global::ReadResponse(attributes.map(|name| (name, attribute(wall, cluster, name))).collect()))
        }
        // Nobody sets the gateway's clock over the air.
        Ok(Global::Write(values)) => {
            let attributes = values.into_iter().take(MAX_READ).map(|(name, _)| name);
            let refusal = |name| match attribute(wall, cluster, name) {
                Err(UNSUPPORTED_ATTRIBUTE) => (UNSUPPORTED_ATTRIBUTE, name),
                _ => (READ_ONLY, name),
            };
            Ok(Global::WriteResponse(attributes.map(refusal).collect()))
        }
        Ok(_) => Err(UNSUPPORTED_COMMAND),
        Err(crate::wire::DecodeError::UnknownCall(_)) => Err(UNSUPPORTED_COMMAND),
        Err(_) => Err(MALFORMED_COMMAND),
    }
}

/// An attribute's value, or why there is none.
fn attribute(wall: Wall, cluster: u16, name: u16) -> Result<Value, u8> {
    let utc = wall.known_ms().map(|ms| time::from_unix(ms / 1_000)).filter(|utc| *utc != u32::MAX);
    let (data_type, number) = match (cluster, name) {
        (id::TIME, time::TIME) => (DataType::UTC, utc.map(u64::from)),
        (id::TIME, time::STATUS) => (DataType::BITMAP8, Some(if utc.is_some() { time::MASTER } else { 0 })),
        // As far as it goes the zone is that of this moment, summer time and all: there are no dates of the next change.
        (id::TIME, time::ZONE) => (DataType::INT32, wall.zone.map(|zone| i64::from(zone).cast_unsigned())),
        (id::TIME, time::LOCAL) => {
            let local = utc.zip(wall.zone).and_then(|(utc, zone)| utc.checked_add_signed(zone));
            (DataType::UINT32, local.map(u64::from))
        }
        (_, CLUSTER_REVISION) => (DataType::UINT16, Some(1)),
        _ => return Err(UNSUPPORTED_ATTRIBUTE),
    };
    number.and_then(|number| Value::number(data_type, number).ok()).ok_or(FAILURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-01 in a zone an hour and a half before UTC.
    const KNOWN: Wall = Wall { unix_ms: 1_767_225_600_999, synced: true, zone: Some(-5_400) };

    #[allow(clippy::unwrap_in_result)] // the bytes are the test's own
    fn ask(wall: Wall, cluster: u16, hex: &str) -> Result<String, u8> {
        let bytes = hex::decode(hex.replace(' ', "")).unwrap();
        let frame = Frame::parse(&bytes).unwrap();
        answer(wall, cluster, frame.header, frame.payload).map(hex::encode)
    }

    fn words(hex: &str) -> Result<String, u8> {
        Ok(hex.replace(' ', ""))
    }

    #[test]
    fn who_asks_for_the_time_is_told_it_by_a_gateway_that_knows_it() {
        // 820540800 = 0x30e87580.
        assert_eq!(ask(KNOWN, id::TIME, "00 07 00 0000"), words("18 07 01 0000 00 e2 8075e830"));
        assert_eq!(
            ask(KNOWN, id::TIME, "00 07 00 0100 0200 0700 fdff 0300"),
            words("18 07 01 0100 00 18 01 0200 00 2b e8eaffff 0700 00 23 6860e830 fdff 00 21 0100 0300 86")
        );
    }

    #[test]
    fn a_clock_that_nobody_set_gives_no_number_and_no_place_gives_no_local_time() {
        for wall in [Wall { synced: false, ..KNOWN }, Wall { unix_ms: 0, ..KNOWN }] {
            assert_eq!(
                ask(wall, id::TIME, "00 07 00 0000 0100 0700"),
                words("18 07 01 0000 01 0100 00 18 00 0700 01")
            );
        }
        let nowhere = Wall { zone: None, ..KNOWN };
        assert_eq!(ask(nowhere, id::TIME, "00 07 00 0200 0700"), words("18 07 01 0200 01 0700 01"));
    }

    #[test]
    fn nobody_sets_the_clock_and_no_answer_is_longer_than_a_radio_frame() {
        assert_eq!(ask(KNOWN, id::TIME, "00 07 02 0000 e2 00000000"), words("18 07 04 88 0000"));
        assert_eq!(ask(KNOWN, id::TIME, "00 07 02 0900 e2 00000000"), words("18 07 04 86 0900"));
        let many = format!("000700{}", "0000".repeat(500));
        assert_eq!(ask(KNOWN, id::TIME, &many).unwrap().len() / 2, 3 + MAX_READ * 8);
    }

    #[test]
    fn there_is_no_firmware_for_anybody_and_what_is_no_question_is_refused_by_name() {
        assert_eq!(ask(KNOWN, id::OTA, "01 09 01 00 3412 0100 02000000"), words("19 09 02 98"));
        assert_eq!(ask(KNOWN, id::OTA, "01 09 01 01 3412 0100 02000000 0300"), words("19 09 02 98"));
        assert_eq!(ask(KNOWN, id::OTA, "01 09 01 01 3412 0100 02000000"), Err(MALFORMED_COMMAND));
        assert_eq!(ask(KNOWN, id::OTA, "01 09 03 00"), Err(UNSUPPORTED_COMMAND));
        assert_eq!(ask(KNOWN, id::OTA, "00 09 00 fdff 0000"), words("18 09 01 fdff 00 21 0100 0000 86"));
        assert_eq!(ask(KNOWN, id::TIME, "00 09 00 00"), Err(MALFORMED_COMMAND));
        assert_eq!(ask(KNOWN, id::TIME, "00 09 06 00 0000 e2 0000 0000 00000000"), Err(UNSUPPORTED_COMMAND));
        assert_eq!(ask(KNOWN, id::TIME, "04 3412 09 00 0000"), Err(UNSUPPORTED_COMMAND));
        assert_eq!(ask(KNOWN, id::DOOR_LOCK, "00 09 00 0000"), Err(UNSUPPORTED_COMMAND));
    }
}
