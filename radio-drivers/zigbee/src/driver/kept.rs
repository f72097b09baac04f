//! Backups as records of the store: a tenth of the file's size, since one is written whenever somebody joins.

use zeroize::Zeroizing;

use super::backups::{KeptFrom, Taken};
use crate::backup::{Backup, Device, LinkKey, MAX_DEVICES, NetworkKey};
use crate::coordinator::Network;
use crate::types::{Eui64, Key, NwkAddr};
use crate::wire::{DecodeError, Reader, secret_buffer};

/// Versions of the record: without and with a source and a date at its end.
const PLAIN: u8 = 1;
const DATED: u8 = 2;
/// What a record takes at most without its devices, and with each, bytes.
const RECORD_BYTES: usize = 74;
const DEVICE_BYTES: usize = 35;
/// Where it is from.
const FROM_DONGLE: u8 = 0;
const FROM_RESTORE: u8 = 1;
/// What is known of a device.
const HAS_ADDRESS: u8 = 1;
const IS_CHILD: u8 = 2;
const HAS_KEY: u8 = 4;

pub(super) fn to_record(backup: &Backup, taken: Option<Taken>) -> Zeroizing<Vec<u8>> {
    let Network { coordinator, extended_pan, pan, channel } = backup.network;
    let devices = backup.devices.get(..MAX_DEVICES).unwrap_or(&backup.devices);
    let mut out = secret_buffer(RECORD_BYTES + DEVICE_BYTES.saturating_mul(devices.len()));
    out.push(if taken.is_some() { DATED } else { PLAIN });
    out.extend_from_slice(&coordinator.0);
    out.extend_from_slice(&extended_pan.0);
    out.extend_from_slice(&pan.to_le_bytes());
    out.push(channel);
    out.extend_from_slice(&backup.channels.to_le_bytes());
    out.push(backup.update_id);
    out.extend_from_slice(&backup.key.key.0);
    out.push(backup.key.number);
    out.extend_from_slice(&backup.key.frame_counter.to_le_bytes());
    out.push(backup.hashed_link_keys.is_some().into());
    out.extend(backup.hashed_link_keys.iter().flat_map(|key| key.0));
    out.extend_from_slice(&u16::try_from(devices.len()).unwrap_or(u16::MAX).to_le_bytes());
    for Device { eui, nwk, child, link_key } in devices {
        let flag = |is: bool, flag| if is { flag } else { 0 };
        out.extend_from_slice(&eui.0);
        out.push(
            flag(nwk.is_some(), HAS_ADDRESS) | flag(*child, IS_CHILD) | flag(link_key.is_some(), HAS_KEY),
        );
        out.extend(nwk.iter().flat_map(|nwk| nwk.0.to_le_bytes()));
        if let Some(LinkKey { key, rx_counter, tx_counter }) = link_key {
            out.extend_from_slice(&key.0);
            out.extend_from_slice(&rx_counter.to_le_bytes());
            out.extend_from_slice(&tx_counter.to_le_bytes());
        }
    }
    if let Some(Taken { from, unix_ms }) = taken {
        out.push(match from {
            KeptFrom::Dongle => FROM_DONGLE,
            KeptFrom::Restored => FROM_RESTORE,
        });
        // 0: nobody knew the time.
        out.extend_from_slice(&unix_ms.unwrap_or(0).to_le_bytes());
    }
    out
}

pub(super) fn from_record(record: &[u8]) -> Result<(Box<Backup>, Option<Taken>), DecodeError> {
    let mut read = Reader::new(record);
    let version = read.u8()?;
    if !matches!(version, PLAIN | DATED) {
        return Err(DecodeError::Field("the record's version"));
    }
    let (coordinator, extended_pan) = (Eui64(read.array()?), Eui64(read.array()?));
    let network = Network { coordinator, extended_pan, pan: read.u16()?, channel: read.u8()? };
    let (channels, update_id) = (read.u32()?, read.u8()?);
    let key = NetworkKey { key: Key(read.array()?), number: read.u8()?, frame_counter: read.u32()? };
    let hashed_link_keys = match read.u8()? {
        0 => None,
        1 => Some(Key(read.array()?)),
        _ => return Err(DecodeError::Field("whether link keys are made of a secret")),
    };
    let count = usize::from(read.u16()?);
    if count > MAX_DEVICES {
        return Err(DecodeError::Field("the number of devices"));
    }
    let devices = (0..count).map(|_| device(&mut read)).collect::<Result<_, _>>()?;
    let taken = if version == DATED { Some(taken(&mut read)?) } else { None };
    read.finish()?;
    let source = concat!("cardea@", env!("CARGO_PKG_VERSION")).to_owned();
    let backup = Backup { source, network, channels, update_id, key, hashed_link_keys, devices };
    backup.check().map_err(|_| DecodeError::Field("the backup"))?;
    Ok((Box::new(backup), taken))
}

fn taken(read: &mut Reader<'_>) -> Result<Taken, DecodeError> {
    let from = match read.u8()? {
        FROM_DONGLE => KeptFrom::Dongle,
        FROM_RESTORE => KeptFrom::Restored,
        _ => return Err(DecodeError::Field("where a backup is from")),
    };
    let unix_ms = u64::from_le_bytes(read.array()?);
    Ok(Taken { from, unix_ms: Some(unix_ms).filter(|at| *at != 0) })
}

fn device(read: &mut Reader<'_>) -> Result<Device, DecodeError> {
    let (eui, flags) = (Eui64(read.array()?), read.u8()?);
    if flags & !(HAS_ADDRESS | IS_CHILD | HAS_KEY) != 0 {
        return Err(DecodeError::Field("what is known of a device"));
    }
    let nwk = if flags & HAS_ADDRESS == 0 { None } else { Some(NwkAddr(read.u16()?)) };
    let link_key = match flags & HAS_KEY {
        0 => None,
        _ => Some(LinkKey { key: Key(read.array()?), rx_counter: read.u32()?, tx_counter: read.u32()? }),
    };
    Ok(Device { eui, nwk, child: flags & IS_CHILD != 0, link_key })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup() -> Backup {
        let link_key = LinkKey { key: Key([7; 16]), rx_counter: 8, tx_counter: 9 };
        Backup {
            source: concat!("cardea@", env!("CARGO_PKG_VERSION")).to_owned(),
            network: Network {
                coordinator: Eui64([1; 8]),
                extended_pan: Eui64([2; 8]),
                pan: 0x1A62,
                channel: 15,
            },
            channels: 1 << 15,
            update_id: 3,
            key: NetworkKey { key: Key([4; 16]), number: 5, frame_counter: 6 },
            hashed_link_keys: None,
            devices: vec![
                Device {
                    eui: Eui64([6; 8]),
                    nwk: Some(NwkAddr(0x1234)),
                    child: true,
                    link_key: Some(link_key),
                },
                Device { eui: Eui64([5; 8]), nwk: None, child: false, link_key: None },
            ],
        }
    }

    const TAKEN: Taken = Taken { from: KeptFrom::Restored, unix_ms: Some(0x0102_0304_0506) };

    #[test]
    fn a_record_is_these_bytes_and_is_read_again() {
        let head = "010101010101010102020202020202\
             02621a0f008000000304040404040404040404040404040404050600000000";
        let devices = "0200\
             06060606060606060734120707070707070707070707070707070708000000090000000505050505050505\
             00";
        let dongle = Taken { from: KeptFrom::Dongle, unix_ms: None };
        for (taken, version, date) in [
            (None, "01", ""),
            (Some(TAKEN), "02", "010605040302010000"),
            (Some(dongle), "02", "000000000000000000"),
        ] {
            let record = to_record(&backup(), taken);
            assert_eq!(hex::encode(&*record), format!("{version}{head}{devices}{date}"));
            assert_eq!(from_record(&record).unwrap(), (Box::new(backup()), taken));
        }
        let hashed = Backup { hashed_link_keys: Some(Key([9; 16])), ..backup() };
        assert_eq!(*from_record(&to_record(&hashed, None)).unwrap().0, hashed);
    }

    #[test]
    fn a_record_that_is_damaged_or_of_an_impossible_network_is_not_read() {
        for taken in [None, Some(TAKEN)] {
            let record = to_record(&backup(), taken);
            for cut in 0..record.len() {
                assert!(from_record(&record[..cut]).is_err(), "{cut}");
            }
            assert!(from_record(&[&record[..], &[0]].concat()).is_err());
            assert!(from_record(&[&[3][..], &record[1..]].concat()).is_err(), "a version to come");
        }
        let impossible = Backup { key: NetworkKey { key: Key([0; 16]), ..backup().key }, ..backup() };
        assert!(from_record(&to_record(&impossible, None)).is_err());
    }

    /// The most that a dongle holds, and the most that there may be: neither moves while it is written.
    #[test]
    fn the_record_of_many_devices_is_small_and_leaves_no_copy_behind() {
        for (count, most) in [(255_u32, 9_000), (1_024, 36_000)] {
            let device = |n: u32| {
                let mut eui = [0x10; 8];
                eui[4..].copy_from_slice(&n.to_be_bytes());
                let link_key = Some(LinkKey { key: Key([7; 16]), rx_counter: n, tx_counter: n });
                Device { eui: Eui64(eui), nwk: Some(NwkAddr(1 + n as u16)), child: false, link_key }
            };
            let hashed_link_keys = Some(Key([9; 16]));
            let many = Backup { devices: (0..count).map(device).collect(), hashed_link_keys, ..backup() };
            let record = to_record(&many, Some(TAKEN));
            assert!(record.len() < most + 100, "{}", record.len());
            assert!(record.len() <= RECORD_BYTES + DEVICE_BYTES * many.devices.len(), "it grew");
            assert_eq!(*from_record(&record).unwrap().0, many);
        }
    }
}
