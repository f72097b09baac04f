//! The lock itself: frames in, frames out.

use std::collections::{BTreeMap, BTreeSet};

use cardea_zigbee::zcl::{
    Configured, DataType, Frame, Global, Header, Reporting, Scope, Value, basic, door_lock, id, identify,
    ota, power, time,
};

use super::{DoorLockConfig, ENDPOINT, HOME_AUTOMATION, Hand, Served};
use crate::zigbee::{Asdu, Downlink};

/// Statuses (ZCL §2.6.3).
const SUCCESS: u8 = 0x00;
const FAILURE: u8 = 0x01;
const UNSUPPORTED_COMMAND: u8 = 0x81;
const UNSUPPORTED_ATTRIBUTE: u8 = 0x86;
const READ_ONLY: u8 = 0x88;
const UNREPORTABLE: u8 = 0x8C;
/// The global command (ZCL §2.5.1).
const READ: u8 = 0x00;
/// Commands of the Door Lock cluster beside lock and unlock.
const TOGGLE: u8 = 0x02;
const UNLOCK_WITH_TIMEOUT: u8 = 0x03;
const OPERATION: u8 = 0x20;
/// Event with a PIN: somebody unlocked at the keypad.
const BY_KEYPAD: u8 = 0;
/// By what means, in an operation event.
const BY_RF: u8 = 1;
const BY_HAND: u8 = 2;
/// What happened, in an operation event.
const LOCKED: u8 = 1;
const UNLOCKED: u8 = 2;
const REFUSED_LOCK: u8 = 3;
const REFUSED_UNLOCK: u8 = 5;

/// A lock with its batteries in.
pub(super) struct Firmware {
    config: DoorLockConfig,
    pub(super) locked: bool,
    jammed: bool,
    silent: bool,
    pub(super) obeyed: u32,
    identify_seconds: u16,
    /// Clusters whose reports go to this endpoint of the coordinator.
    bound: BTreeMap<u16, u8>,
    /// Attributes that are reported.
    reported: BTreeSet<(u16, u16)>,
    pub(super) served: Served,
    sequence: u8,
    pub(super) out: Vec<Asdu>,
}

impl Firmware {
    pub(super) fn new(config: DoorLockConfig) -> Self {
        Self {
            config,
            locked: true,
            jammed: false,
            silent: false,
            obeyed: 0,
            identify_seconds: 0,
            bound: BTreeMap::new(),
            reported: BTreeSet::new(),
            served: Served::default(),
            sequence: 0,
            out: Vec::new(),
        }
    }

    pub(super) fn handle(&mut self, downlink: Downlink) {
        match downlink {
            Downlink::Frame(_) if self.silent => {}
            Downlink::Frame(asdu) if asdu.dst_endpoint == ENDPOINT || asdu.dst_endpoint == 0xFF => {
                self.frame(&asdu);
            }
            Downlink::Bound(cluster, to, true) => {
                self.bound.insert(cluster, to);
            }
            Downlink::Bound(cluster, _, false) => {
                self.bound.remove(&cluster);
            }
            Downlink::Left => {
                self.bound.clear();
                self.reported.clear();
            }
            Downlink::Frame(_) | Downlink::Joined => {}
        }
    }

    pub(super) fn hand(&mut self, hand: Hand) {
        match hand {
            Hand::Turn(locked) => self.turn(locked),
            Hand::Jam => {
                self.jammed = true;
                self.report();
            }
            Hand::Keypad(pin) => {
                (self.locked, self.jammed) = (false, false);
                let length = u8::try_from(pin.len()).unwrap_or(u8::MAX);
                let head = [BY_KEYPAD, UNLOCKED, 7, 0, length];
                let event = [&head[..], pin.as_bytes(), &[0xFF, 0xFF, 0xFF, 0xFF, 0]].concat();
                self.unasked(Scope::Cluster, OPERATION, &event);
            }
            Hand::Silence(silent) => self.silent = silent,
            Hand::Inquire => self.inquire(),
        }
    }

    fn turn(&mut self, locked: bool) {
        (self.locked, self.jammed) = (locked, false);
        self.moved(BY_HAND, if locked { LOCKED } else { UNLOCKED });
    }

    fn frame(&mut self, asdu: &Asdu) {
        let Ok(frame) = Frame::parse(&asdu.payload) else { return };
        let Header { scope, from_server, manufacturer, .. } = frame.header;
        if from_server && manufacturer.is_none() && matches!(asdu.cluster, id::TIME | id::OTA) {
            return self.served_by(asdu, &frame);
        }
        if from_server || manufacturer.is_some() {
            return self.refuse(asdu, &frame, UNSUPPORTED_COMMAND);
        }
        match scope {
            Scope::Global => self.global(asdu, &frame),
            Scope::Cluster if asdu.cluster == id::DOOR_LOCK => self.command(asdu, &frame),
            Scope::Cluster if asdu.cluster == id::IDENTIFY && frame.header.command == identify::IDENTIFY => {
                if let [low, high] = *frame.payload {
                    self.identify_seconds = u16::from_le_bytes([low, high]);
                }
                if !frame.header.no_default_response {
                    self.refuse(asdu, &frame, SUCCESS);
                }
            }
            Scope::Cluster => self.refuse(asdu, &frame, UNSUPPORTED_COMMAND),
        }
    }

    /// From a server whose client it is.
    fn served_by(&mut self, asdu: &Asdu, frame: &Frame<'_>) {
        match (asdu.cluster, frame.header.scope, frame.header.command) {
            // The attributes of this cluster are the client's.
            (id::OTA, Scope::Global, READ) => self.global(asdu, frame),
            (id::OTA, Scope::Cluster, ota::IMAGE_NOTIFY) => self.ask_for_firmware(asdu.src_endpoint),
            _ => self.answered(asdu.cluster, frame),
        }
    }

    /// Asks the endpoint that its reports go to.
    fn inquire(&mut self) {
        self.served = Served::default();
        let Some(to) = self.bound.get(&id::DOOR_LOCK).copied().filter(|_| !self.silent) else { return };
        let read = Global::Read(vec![time::TIME, time::STATUS, time::ZONE, time::LOCAL]);
        self.ask(to, id::TIME, Scope::Global, read.command(), &read.encode());
        self.ask_for_firmware(to);
    }

    fn ask_for_firmware(&mut self, to: u8) {
        let query = ota::QueryNextImage { manufacturer: 0xFFF1, image_type: 1, version: 1, hardware: None };
        self.ask(to, id::OTA, Scope::Cluster, ota::QUERY_NEXT_IMAGE, &query.encode());
    }

    fn ask(&mut self, to: u8, cluster: u16, scope: Scope, command: u8, payload: &[u8]) {
        self.sequence = self.sequence.wrapping_add(1);
        let header = Header {
            scope,
            manufacturer: None,
            from_server: false,
            no_default_response: false,
            sequence: self.sequence,
            command,
        };
        self.say(cluster, to, &Frame { header, payload });
    }

    fn answered(&mut self, cluster: u16, frame: &Frame<'_>) {
        match (cluster, frame.header.scope, frame.header.command) {
            (id::TIME, Scope::Global, command) => {
                if let Ok(Global::ReadResponse(values)) = Global::parse(command, frame.payload) {
                    let number = |value: Value| {
                        value.unsigned().or_else(|| value.signed().map(i64::cast_unsigned)).ok_or(FAILURE)
                    };
                    self.served.time =
                        values.into_iter().map(|(name, value)| (name, value.and_then(number))).collect();
                }
            }
            (id::OTA, Scope::Cluster, ota::QUERY_NEXT_IMAGE_RESPONSE) => {
                self.served.firmware = frame.payload.first().copied();
            }
            _ => {}
        }
    }

    fn global(&mut self, asdu: &Asdu, frame: &Frame<'_>) {
        let cluster = asdu.cluster;
        let answer = match Global::parse(frame.header.command, frame.payload) {
            Ok(Global::Read(attributes)) => {
                let values = attributes.into_iter().map(|attribute| {
                    (attribute, self.attribute(cluster, attribute).ok_or(UNSUPPORTED_ATTRIBUTE))
                });
                Global::ReadResponse(values.collect())
            }
            Ok(Global::Write(values)) => {
                let failures =
                    values.into_iter().map(|(attribute, _)| match self.attribute(cluster, attribute) {
                        Some(_) => (READ_ONLY, attribute),
                        None => (UNSUPPORTED_ATTRIBUTE, attribute),
                    });
                Global::WriteResponse(failures.collect())
            }
            Ok(Global::ConfigureReporting(records)) => {
                let refused = records.into_iter().filter_map(|record| self.configure(cluster, &record));
                Global::ConfigureReportingResponse(refused.collect())
            }
            Ok(Global::DefaultResponse { .. } | Global::Report(_)) => return,
            _ => return self.refuse(asdu, frame, UNSUPPORTED_COMMAND),
        };
        self.answer(asdu, frame, Scope::Global, answer.command(), &answer.encode());
    }

    fn configure(&mut self, cluster: u16, record: &Reporting) -> Option<Configured> {
        let Reporting::Send { attribute, data_type, max_seconds, .. } = *record else { return None };
        let fits = self.attribute(cluster, attribute).map(|value| value.data_type() == data_type);
        match fits {
            Some(true) if max_seconds == u16::MAX => {
                self.reported.remove(&(cluster, attribute));
                None
            }
            Some(true) => {
                self.reported.insert((cluster, attribute));
                None
            }
            Some(false) => Some(Configured { status: UNREPORTABLE, direction: 0, attribute }),
            None => Some(Configured { status: UNSUPPORTED_ATTRIBUTE, direction: 0, attribute }),
        }
    }

    fn attribute(&self, cluster: u16, attribute: u16) -> Option<Value> {
        let number = |data_type, number| Value::number(data_type, number).ok();
        match (cluster, attribute) {
            // ZCL revision 8.
            (id::BASIC, 0x0000) => number(DataType::UINT8, 8),
            (id::OTA, ota::FILE_VERSION) => number(DataType::UINT32, 1),
            (id::BASIC, 0x0001 | 0x0003) => number(DataType::UINT8, 1),
            (id::BASIC, 0x0002) => number(DataType::UINT8, 22),
            (id::BASIC, basic::MANUFACTURER_NAME) => Value::string("Cardea").ok(),
            (id::BASIC, basic::MODEL) => Value::string("Ordinary virtual lock").ok(),
            (id::BASIC, basic::POWER_SOURCE) => number(DataType::ENUM8, 3),
            (id::BASIC, basic::SOFTWARE_BUILD) => Value::string("1.0").ok(),
            (id::POWER, power::BATTERY_VOLTAGE) => number(DataType::UINT8, 58),
            (id::POWER, power::BATTERY_PERCENTAGE) => number(DataType::UINT8, 180),
            (id::IDENTIFY, identify::TIME) => number(DataType::UINT16, self.identify_seconds.into()),
            (id::DOOR_LOCK, door_lock::LOCK_STATE) => number(
                DataType::ENUM8,
                if self.jammed {
                    0
                } else if self.locked {
                    1
                } else {
                    2
                },
            ),
            // Dead bolt.
            (id::DOOR_LOCK, 0x0001) => number(DataType::ENUM8, 0),
            (id::DOOR_LOCK, door_lock::ACTUATOR_ENABLED) => number(DataType::BOOLEAN, 1),
            (id::DOOR_LOCK, door_lock::AUTO_RELOCK_TIME) => number(DataType::UINT32, 0),
            (id::DOOR_LOCK, door_lock::SEND_PIN_OVER_THE_AIR) => number(DataType::BOOLEAN, 0),
            (id::DOOR_LOCK, door_lock::REQUIRE_PIN_FOR_RF) => {
                number(DataType::BOOLEAN, self.config.pin.is_some().into())
            }
            // Cluster revision, of every cluster.
            (id::BASIC | id::POWER | id::IDENTIFY | id::DOOR_LOCK, 0xFFFD) => number(DataType::UINT16, 1),
            _ => None,
        }
    }

    fn command(&mut self, asdu: &Asdu, frame: &Frame<'_>) {
        let command = frame.header.command;
        let (locks, pin) = match command {
            door_lock::LOCK => (true, frame.payload),
            door_lock::UNLOCK => (false, frame.payload),
            TOGGLE => (!self.locked, frame.payload),
            // When the time is over it stays as it is: nothing here waits.
            UNLOCK_WITH_TIMEOUT => (false, frame.payload.get(2..).unwrap_or(&[])),
            _ => return self.refuse(asdu, frame, UNSUPPORTED_COMMAND),
        };
        let allowed = match (&self.config.pin, pin) {
            (None, _) => true,
            (Some(pin), [length, digits @ ..]) => {
                usize::from(*length) == digits.len() && digits == pin.as_bytes()
            }
            (Some(_), []) => false,
        };
        let status = if allowed { SUCCESS } else { FAILURE };
        self.answer(asdu, frame, Scope::Cluster, command, &[status]);
        match (allowed, locks) {
            (true, _) => {
                (self.locked, self.jammed) = (locks, false);
                self.obeyed += 1;
                self.moved(BY_RF, if locks { LOCKED } else { UNLOCKED });
            }
            (false, true) => self.event(BY_RF, REFUSED_LOCK),
            (false, false) => self.event(BY_RF, REFUSED_UNLOCK),
        }
    }

    /// Whoever wants reports gets them.
    fn moved(&mut self, by: u8, code: u8) {
        self.event(by, code);
        self.report();
    }

    fn report(&mut self) {
        let wanted = (id::DOOR_LOCK, door_lock::LOCK_STATE);
        let Some(value) = self.attribute(wanted.0, wanted.1).filter(|_| self.reported.contains(&wanted))
        else {
            return;
        };
        let report = Global::Report(vec![(wanted.1, value)]);
        self.unasked(Scope::Global, report.command(), &report.encode());
    }

    /// Source, event, user 0, no PIN, local time unknown, no data (ZCL §7.3.2.17.32).
    fn event(&mut self, by: u8, code: u8) {
        self.unasked(Scope::Cluster, OPERATION, &[by, code, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0]);
    }

    fn unasked(&mut self, scope: Scope, command: u8, payload: &[u8]) {
        let Some(to) = self.bound.get(&id::DOOR_LOCK).copied().filter(|_| !self.silent) else { return };
        self.sequence = self.sequence.wrapping_add(1);
        let header = Header {
            scope,
            manufacturer: None,
            from_server: true,
            no_default_response: true,
            sequence: self.sequence,
            command,
        };
        self.say(id::DOOR_LOCK, to, &Frame { header, payload });
    }

    fn answer(&mut self, asdu: &Asdu, frame: &Frame<'_>, scope: Scope, command: u8, payload: &[u8]) {
        let header = Header { scope, command, ..frame.header.answer() };
        self.say(asdu.cluster, asdu.src_endpoint, &Frame { header, payload });
    }

    /// The default response. Not to another one, and not to who only wants to hear of failures when there is none.
    fn refuse(&mut self, asdu: &Asdu, frame: &Frame<'_>, status: u8) {
        let header = frame.header.answer();
        if frame.header.scope == Scope::Global && frame.header.command == header.command {
            return;
        }
        self.say(
            asdu.cluster,
            asdu.src_endpoint,
            &Frame { header, payload: &[frame.header.command, status] },
        );
    }

    fn say(&mut self, cluster: u16, to: u8, frame: &Frame<'_>) {
        self.out.push(Asdu {
            profile: HOME_AUTOMATION,
            cluster,
            src_endpoint: ENDPOINT,
            dst_endpoint: to,
            payload: frame.encode(),
        });
    }
}

#[cfg(test)]
mod tests {
    use cardea_zigbee::Eui64;

    use super::*;

    fn lock(pin: Option<&str>) -> Firmware {
        let eui = Eui64([1; 8]);
        let pin = pin.map(str::to_owned);
        Firmware::new(DoorLockConfig { eui, code: None, unique_key: true, poll: None, pin })
    }

    /// Gives a frame, and returns what it says, as hex.
    fn say(lock: &mut Firmware, cluster: u16, hex: &str) -> Vec<String> {
        let payload = hex::decode(hex).unwrap();
        let asdu =
            Asdu { profile: HOME_AUTOMATION, cluster, src_endpoint: 7, dst_endpoint: ENDPOINT, payload };
        lock.handle(Downlink::Frame(asdu));
        std::mem::take(&mut lock.out).into_iter().map(|asdu| hex::encode(asdu.payload)).collect()
    }

    #[test]
    fn it_moves_answers_and_reports_to_who_asked_for_it() {
        let mut lock = lock(None);
        assert_eq!(say(&mut lock, id::DOOR_LOCK, "010501"), ["19050100"], "nobody is bound");
        assert!(!lock.locked);
        lock.handle(Downlink::Bound(id::DOOR_LOCK, 1, true));
        assert_eq!(say(&mut lock, id::DOOR_LOCK, "0006060000003000003c00"), ["18060700"]);
        let event = "1901200101000000ffffffff00";
        assert_eq!(say(&mut lock, id::DOOR_LOCK, "010700"), ["19070000", event, "18020a00003001"]);
        lock.turn(false);
        assert_eq!(lock.out.len(), 2, "an event and a report");
    }

    #[test]
    fn a_lock_with_a_pin_moves_for_nobody_without_it() {
        let mut lock = lock(Some("4711"));
        assert_eq!(say(&mut lock, id::DOOR_LOCK, "010501"), ["19050101"]);
        assert_eq!(say(&mut lock, id::DOOR_LOCK, "0105010434373132"), ["19050101"]);
        assert!(lock.locked);
        assert_eq!(say(&mut lock, id::DOOR_LOCK, "0105010434373131"), ["19050100"]);
        assert!(!lock.locked);
    }

    #[test]
    fn what_it_does_not_have_is_refused_by_name() {
        let mut lock = lock(None);
        assert_eq!(say(&mut lock, id::BASIC, "00010034120000"), ["1801013412860000002008"]);
        assert_eq!(say(&mut lock, id::DOOR_LOCK, "010205"), ["18020b0581"]);
        assert_eq!(say(&mut lock, id::BASIC, "00020b0001"), Vec::<String>::new(), "no answer to an answer");
    }

    #[test]
    fn it_asks_for_the_time_and_for_firmware_and_remembers_what_it_is_told() {
        let mut lock = lock(None);
        lock.hand(Hand::Inquire);
        assert!(lock.out.is_empty(), "it knows nobody");
        lock.handle(Downlink::Bound(id::DOOR_LOCK, 1, true));
        lock.hand(Hand::Inquire);
        let asked: Vec<_> =
            lock.out.drain(..).map(|asdu| (asdu.cluster, hex::encode(asdu.payload))).collect();
        let query = "01020100f1ff010001000000";
        assert_eq!(asked, [(id::TIME, "0001000000010002000700".into()), (id::OTA, query.into())]);
        let told = say(&mut lock, id::TIME, "1801010000 00 e2 05000000 0100 01".replace(' ', "").as_str());
        assert!(told.is_empty());
        say(&mut lock, id::OTA, "19020298");
        assert_eq!(lock.served.time, BTreeMap::from([(0, Ok(5)), (1, Err(1))]));
        assert_eq!(lock.served.firmware, Some(0x98));
    }
}
