//! Numbers of clusters, and of what is used of them. The Door Lock cluster has [a file of its own](super::door_lock).

/// Clusters.
pub mod id {
    /// What a device is.
    pub const BASIC: u16 = 0x0000;
    /// Its battery.
    pub const POWER: u16 = 0x0001;
    /// Makes itself known to who stands before it.
    pub const IDENTIFY: u16 = 0x0003;
    /// Alarms of other clusters.
    pub const ALARMS: u16 = 0x0009;
    /// What time it is; the gateway is the server.
    pub const TIME: u16 = 0x000A;
    /// Firmware; the gateway is the server.
    pub const OTA: u16 = 0x0019;
    /// How often it listens.
    pub const POLL_CONTROL: u16 = 0x0020;
    /// A lock.
    pub const DOOR_LOCK: u16 = 0x0101;
}

/// Attributes of the Basic cluster (ZCL §3.2).
pub mod basic {
    /// Text.
    pub const MANUFACTURER_NAME: u16 = 0x0004;
    /// Text.
    pub const MODEL: u16 = 0x0005;
    /// Enumeration: 1 mains, 3 battery.
    pub const POWER_SOURCE: u16 = 0x0007;
    /// Text: version of the firmware.
    pub const SOFTWARE_BUILD: u16 = 0x4000;
}

/// Attributes of the Power Configuration cluster (ZCL §3.3).
pub mod power {
    /// Tenths of a volt; 0xFF unknown.
    pub const BATTERY_VOLTAGE: u16 = 0x0020;
    /// Half percents; 0xFF unknown.
    pub const BATTERY_PERCENTAGE: u16 = 0x0021;
    /// Bitmap: alarms that are on.
    pub const BATTERY_ALARM_STATE: u16 = 0x003E;
}

/// The Identify cluster (ZCL §3.5).
pub mod identify {
    /// Attribute: seconds that are left.
    pub const TIME: u16 = 0x0000;
    /// Command to the server: seconds, u16.
    pub const IDENTIFY: u8 = 0x00;
}

/// The Alarms cluster (ZCL §3.11).
pub mod alarms {
    use crate::wire::{DecodeError, Reader};

    const ALARM: u8 = 0x00;

    /// Command to the client: something is wrong.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Alarm {
        /// As the cluster has it.
        pub code: u8,
        /// Whose alarm.
        pub cluster: u16,
    }

    impl Alarm {
        /// Reads a command of the server.
        ///
        /// # Errors
        /// See [`DecodeError`]; [`DecodeError::UnknownCall`] for any other command.
        pub fn parse(command: u8, payload: &[u8]) -> Result<Self, DecodeError> {
            if command != ALARM {
                return Err(DecodeError::UnknownCall(command.into()));
            }
            let mut reader = Reader::new(payload);
            let alarm = Self { code: reader.u8()?, cluster: reader.u16()? };
            reader.finish()?;
            Ok(alarm)
        }
    }
}

/// The Poll Control cluster (ZCL §3.16). Times are quarters of a second.
pub mod poll_control {
    use crate::wire::{DecodeError, Reader};

    /// Attribute: between two check-ins.
    pub const CHECK_IN_INTERVAL: u16 = 0x0000;
    /// Attribute: between two polls.
    pub const LONG_POLL_INTERVAL: u16 = 0x0001;
    /// Attribute: between two polls while it is fast.
    pub const SHORT_POLL_INTERVAL: u16 = 0x0002;
    /// Attribute: how long it stays fast.
    pub const FAST_POLL_TIMEOUT: u16 = 0x0003;
    /// Command to the client: I am here.
    pub const CHECK_IN: u8 = 0x00;
    /// Command to the server: the answer.
    pub const CHECK_IN_RESPONSE: u8 = 0x00;
    /// Command to the server: no need to be fast any more.
    pub const FAST_POLL_STOP: u8 = 0x01;
    /// Command to the server: new interval, u32.
    pub const SET_LONG_POLL_INTERVAL: u8 = 0x02;
    /// Command to the server: new interval, u16.
    pub const SET_SHORT_POLL_INTERVAL: u8 = 0x03;

    /// The answer to a check-in.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct CheckInResponse {
        /// Poll fast: something waits.
        pub fast: bool,
        /// For so long, quarters of a second; 0: as long as the device likes.
        pub timeout: u16,
    }

    impl CheckInResponse {
        /// The command's payload.
        #[must_use]
        pub fn encode(self) -> [u8; 3] {
            let [low, high] = self.timeout.to_le_bytes();
            [self.fast.into(), low, high]
        }

        /// Reads the command's payload.
        ///
        /// # Errors
        /// See [`DecodeError`].
        pub fn parse(payload: &[u8]) -> Result<Self, DecodeError> {
            let mut reader = Reader::new(payload);
            let fast = match reader.u8()? {
                0 => false,
                1 => true,
                _ => return Err(DecodeError::Field("start of fast polling")),
            };
            Ok(Self { fast, timeout: reader.u16()? })
        }
    }
}

/// The Time cluster (ZCL §3.12).
pub mod time {
    /// Attribute: seconds since 2000-01-01 UTC.
    pub const TIME: u16 = 0x0000;
    /// Attribute, bitmap: [`MASTER`], and others that a clock which is set over Zigbee has.
    pub const STATUS: u16 = 0x0001;
    /// Attribute, signed: local time minus UTC, seconds.
    pub const ZONE: u16 = 0x0002;
    /// Attribute: seconds since 2000-01-01, local time.
    pub const LOCAL: u16 = 0x0007;
    /// Flag of [`STATUS`]: the clock is set by something better than Zigbee. Where it is set, bit 1 (synchronised by another
    /// device) is not.
    pub const MASTER: u64 = 0x01;
    /// Unix time of the epoch that ZCL counts from.
    pub const EPOCH: u64 = 946_684_800;

    /// The value of [`TIME`] for a Unix time, seconds; 0xFFFFFFFF is invalid.
    #[must_use]
    pub fn from_unix(seconds: u64) -> u32 {
        seconds.checked_sub(EPOCH).and_then(|since| u32::try_from(since).ok()).unwrap_or(u32::MAX)
    }
}

/// The OTA Upgrade cluster (ZCL chapter 11), as far as a server without images speaks it. The numbers of the rest are here, too.
pub mod ota {
    use crate::wire::{DecodeError, Field, Reader};

    /// Attribute of the client: the version of its firmware.
    pub const FILE_VERSION: u16 = 0x0002;
    /// Attribute: milliseconds between two blocks, at least.
    pub const MINIMUM_BLOCK_PERIOD: u16 = 0x0009;
    /// Command to the client: there is something.
    pub const IMAGE_NOTIFY: u8 = 0x00;
    /// Command to the server: is there something? See [`QueryNextImage`].
    pub const QUERY_NEXT_IMAGE: u8 = 0x01;
    /// Command to the client: yes, and what; or a status that says no, and nothing else.
    pub const QUERY_NEXT_IMAGE_RESPONSE: u8 = 0x02;
    /// Command to the server: a piece, please.
    pub const IMAGE_BLOCK: u8 = 0x03;
    /// Command to the server: several pieces, please.
    pub const IMAGE_PAGE: u8 = 0x04;
    /// Command to the client: a piece.
    pub const IMAGE_BLOCK_RESPONSE: u8 = 0x05;
    /// Command to the server: I have it all, or it is bad.
    pub const UPGRADE_END: u8 = 0x06;
    /// Command to the client: when to start it.
    pub const UPGRADE_END_RESPONSE: u8 = 0x07;
    /// Status: there is no image for you.
    pub const NO_IMAGE_AVAILABLE: u8 = 0x98;

    /// Of the field control: the version of the hardware follows.
    const HAS_HARDWARE: u8 = 0x01;

    /// What a device has, and whether there is something newer (ZCL §11.13.4).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct QueryNextImage {
        /// Whose device.
        pub manufacturer: u16,
        /// Which of the maker's images.
        pub image_type: u16,
        /// What it runs.
        pub version: u32,
        /// On what.
        pub hardware: Option<u16>,
    }

    impl QueryNextImage {
        /// The command's payload.
        #[must_use]
        pub fn encode(self) -> Vec<u8> {
            let mut out = vec![if self.hardware.is_some() { HAS_HARDWARE } else { 0 }];
            self.manufacturer.write(&mut out);
            self.image_type.write(&mut out);
            self.version.write(&mut out);
            out.extend(self.hardware.into_iter().flat_map(u16::to_le_bytes));
            out
        }

        /// Reads the command's payload.
        ///
        /// # Errors
        /// See [`DecodeError`].
        pub fn parse(payload: &[u8]) -> Result<Self, DecodeError> {
            let mut reader = Reader::new(payload);
            let control = reader.u8()?;
            let (manufacturer, image_type, version) = (reader.u16()?, reader.u16()?, reader.u32()?);
            let hardware = if control & HAS_HARDWARE == 0 { None } else { Some(reader.u16()?) };
            reader.finish()?;
            Ok(Self { manufacturer, image_type, version, hardware })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::DecodeError;

    #[test]
    fn a_check_in_is_answered_with_these_bytes() {
        let fast = poll_control::CheckInResponse { fast: true, timeout: 40 };
        assert_eq!(fast.encode(), [1, 40, 0]);
        assert_eq!(poll_control::CheckInResponse::parse(&[1, 40, 0]), Ok(fast));
        assert!(poll_control::CheckInResponse::parse(&[2, 0, 0]).is_err());
    }

    #[test]
    fn an_alarm_names_its_cluster() {
        let jammed = alarms::Alarm { code: 0, cluster: id::DOOR_LOCK };
        assert_eq!(alarms::Alarm::parse(0, &[0, 1, 1]), Ok(jammed));
        assert!(alarms::Alarm::parse(0, &[0, 1]).is_err() && alarms::Alarm::parse(1, &[0, 1, 1]).is_err());
    }

    #[test]
    fn time_counts_from_the_year_2000_and_is_never_guessed() {
        assert_eq!(time::from_unix(time::EPOCH), 0);
        assert_eq!(time::from_unix(1_767_225_600), 820_540_800); // 2026-01-01
        assert_eq!((time::from_unix(0), time::from_unix(u64::MAX)), (u32::MAX, u32::MAX));
    }

    #[test]
    fn a_question_for_firmware_is_these_bytes() {
        let plain = ota::QueryNextImage { manufacturer: 0x1234, image_type: 1, version: 2, hardware: None };
        let with = ota::QueryNextImage { hardware: Some(3), ..plain };
        for (query, hex) in [(plain, "003412010002000000"), (with, "0134120100020000000300")] {
            let bytes = hex::decode(hex).unwrap();
            assert_eq!(query.encode(), bytes);
            assert_eq!(ota::QueryNextImage::parse(&bytes), Ok(query));
            assert_eq!(ota::QueryNextImage::parse(&bytes[..bytes.len() - 1]), Err(DecodeError::Short));
            let longer = [&bytes[..], &[0]].concat();
            assert_eq!(ota::QueryNextImage::parse(&longer), Err(DecodeError::Trailing(1)));
        }
    }
}
