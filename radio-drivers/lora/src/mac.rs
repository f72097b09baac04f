//! MAC commands (LoRaWAN 1.0.4 §5): reading what a device may say, writing what we say.
//!
//! Not `lrwn`'s codec, because reading must never fail halfway on a device's bytes (its DevStatusAns overflows on a
//! margin byte above 127); the tests hold both against each other.

/// What a device says, with its bits as they are on the air.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FromDevice {
    LinkCheckReq,
    /// Bits: channel mask, data rate, power.
    LinkAdrAns(u8),
    /// Bits: channel, RX2 data rate, RX1 offset.
    RxParamSetupAns(u8),
    /// Battery level, and SNR margin in dB.
    DevStatusAns(u8, i8),
    RxTimingSetupAns,
    DeviceTimeReq,
    /// A command of known length that asks nothing of this network.
    Other,
}

/// All bits of a LinkADRAns or RXParamSetupAns that must be set for "done".
pub(crate) const ALL_ACCEPTED: u8 = 0b111;

/// Reads commands in order and stops at the first that is unknown or cut short: its length cannot be known, so
/// nothing behind it can be understood (LoRaWAN 1.0.4 §5).
pub(crate) fn read(mut bytes: &[u8]) -> impl Iterator<Item = FromDevice> {
    std::iter::from_fn(move || {
        let (command, rest) = read_one(bytes)?;
        bytes = rest;
        Some(command)
    })
}

fn read_one(bytes: &[u8]) -> Option<(FromDevice, &[u8])> {
    let (cid, rest) = bytes.split_first()?;
    let one = || rest.split_first();
    Some(match cid {
        0x02 => (FromDevice::LinkCheckReq, rest),
        0x03 => one().map(|(status, rest)| (FromDevice::LinkAdrAns(*status), rest))?,
        0x05 => one().map(|(status, rest)| (FromDevice::RxParamSetupAns(*status), rest))?,
        0x06 => {
            let (&[battery, margin], rest) = rest.split_first_chunk()?;
            // Six bits, two's complement; the two above them are reserved.
            let margin = i8::from_ne_bytes([margin << 2]) >> 2;
            (FromDevice::DevStatusAns(battery, margin), rest)
        }
        0x08 => (FromDevice::RxTimingSetupAns, rest),
        0x0d => (FromDevice::DeviceTimeReq, rest),
        // DutyCycleAns, TxParamSetupAns, BeaconTimingReq, ADRParamSetupAns
        0x04 | 0x09 | 0x0c | 0x12 => (FromDevice::Other, rest),
        // ResetInd, NewChannelAns, DlChannelAns, RekeyInd, RejoinParamSetupAns, PingSlotInfoReq, PingSlotChannelAns,
        // BeaconFreqAns, DeviceModeInd: of class B or LoRaWAN 1.1, or answers to what we never ask.
        0x01 | 0x07 | 0x0a | 0x0b | 0x0f | 0x10 | 0x11 | 0x13 | 0x20 => {
            one().map(|(_, rest)| (FromDevice::Other, rest))?
        }
        _ => return None,
    })
}

/// LinkCheckAns: dB above the demodulation floor, and how many gateways heard it.
pub(crate) fn link_check_ans(margin: u8, gateways: u8) -> [u8; 3] {
    [0x02, margin, gateways]
}

/// DeviceTimeAns for a Unix time in milliseconds: GPS seconds and 1/256 s, of the end of the uplink that asked.
pub(crate) fn device_time_ans(unix_ms: u64) -> Option<[u8; 6]> {
    /// 1980-01-06, Unix seconds.
    const GPS_EPOCH: u64 = 315_964_800;
    /// GPS time has run ahead of UTC by this much since 2017; no further leap second is announced.
    const LEAP_SECONDS: u64 = 18;
    let seconds = (unix_ms / 1000).checked_sub(GPS_EPOCH)?.checked_add(LEAP_SECONDS)?;
    let [a, b, c, d] = u32::try_from(seconds).ok()?.to_le_bytes();
    let fraction = u8::try_from(unix_ms % 1000 * 256 / 1000).ok()?;
    Some([0x0d, a, b, c, d, fraction])
}

/// RXParamSetupReq.
pub(crate) fn rx_param_setup_req(rx1_offset: u8, rx2_dr: u8, rx2_frequency: u32) -> [u8; 5] {
    let [a, b, c, _] = (rx2_frequency / 100).to_le_bytes();
    [0x05, (rx1_offset & 7) << 4 | rx2_dr & 15, a, b, c]
}

/// RXTimingSetupReq: seconds to RX1.
pub(crate) fn rx_timing_setup_req(delay: u8) -> [u8; 2] {
    [0x08, delay & 15]
}

/// LinkADRReq, one transmission of each uplink.
pub(crate) fn link_adr_req(dr: u8, power: u8, control: u8, mask: u16) -> [u8; 5] {
    let [low, high] = mask.to_le_bytes();
    [0x03, dr << 4 | power & 15, low, high, (control & 7) << 4 | 1]
}

#[cfg(test)]
mod tests {
    use lrwn::{DLSettings, MACCommand, MACCommandSet};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_every_command_a_device_may_send() {
        let bytes = [
            0x02, 0x03, 0x07, 0x04, 0x05, 0x07, 0x06, 0xfe, 0x3b, 0x07, 0x03, 0x08, 0x09, 0x0a, 0x03, 0x0d,
            0x10, 0x07, 0x11, 0x03, 0x12, 0x13, 0x01,
        ];
        let commands: Vec<_> = read(&bytes).collect();
        use FromDevice::*;
        assert_eq!(
            commands,
            [
                LinkCheckReq,
                LinkAdrAns(7),
                Other,
                RxParamSetupAns(7),
                DevStatusAns(254, -5),
                Other,
                RxTimingSetupAns,
                Other,
                Other,
                DeviceTimeReq,
                Other,
                Other,
                Other,
                Other
            ]
        );
    }

    #[test]
    fn an_unknown_or_cut_command_ends_the_reading() {
        assert_eq!(read(&[0x02, 0x80, 0x02]).count(), 1);
        assert_eq!(read(&[0x02, 0x06, 0x00]).count(), 1);
    }

    #[test]
    fn writes_what_lrwn_reads() {
        let bytes = [
            &link_check_ans(20, 1)[..],
            &device_time_ans(1_700_000_000_500).unwrap(),
            &rx_param_setup_req(2, 3, 869_525_000),
            &rx_timing_setup_req(5),
            &link_adr_req(5, 1, 0, 0x00ff),
        ]
        .concat();
        let mut set = MACCommandSet::new(vec![MACCommand::Raw(bytes.clone())]);
        set.decode_from_raw(false).unwrap();
        assert_eq!(set.to_vec().unwrap(), bytes);
        let MACCommand::DeviceTimeAns(time) = &set[1] else { panic!() };
        let since_gps_epoch = time.time_since_gps_epoch.as_millis();
        assert_eq!(since_gps_epoch, (1_700_000_000_500_u128) - 315_964_800_000 + 18_000);
        let MACCommand::RxParamSetupReq(rx) = &set[2] else { panic!() };
        assert_eq!(rx.frequency, 869_525_000);
        assert_eq!(rx.dl_settings, DLSettings { opt_neg: false, rx2_dr: 3, rx1_dr_offset: 2 });
        let MACCommand::LinkADRReq(adr) = &set[4] else { panic!() };
        assert_eq!((adr.dr, adr.tx_power, adr.redundancy.nb_rep, adr.redundancy.ch_mask_cntl), (5, 1, 1, 0));
        assert_eq!(adr.ch_mask.to_bytes(), [0xff, 0x00]);
    }

    proptest! {
        #[test]
        fn reading_anything_ends(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(read(&bytes).count() <= bytes.len());
        }
    }
}
