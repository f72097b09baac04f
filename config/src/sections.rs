//! Every section and key: name, meaning, type, default. The rules between keys are in `rules.rs`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::subghz::{SubghzChip, SubghzDevice, SubghzModel, SubghzProfile, SubghzRegion, SubghzTcxo};
use crate::values::{
    BrokerUrl, ClockSource, Custody, DevNonce, Encoding, Eui64, FlowControl, GatewayName, GpioButton,
    LogFormat, NetId, PlatformKey, Region, UnsealedDevice, ZigbeeFamily, ZigbeeId,
};

/// One key as the template and the spelling help see it.
pub(crate) struct Field {
    pub(crate) name: &'static str,
    /// Lines of its documentation.
    pub(crate) doc: &'static [&'static str],
    /// TOML shown, commented out, for a key that has no default.
    pub(crate) example: Option<&'static str>,
}

/// One `[section]`.
pub(crate) struct SectionInfo {
    pub(crate) name: &'static str,
    pub(crate) doc: &'static [&'static str],
    pub(crate) fields: &'static [Field],
}

/// Declares a section: the struct, its defaults, and the table of its keys, from one text.
macro_rules! section {
    (
        $(#[doc = $section_doc:literal])*
        $name:ident {
            $( $(#[doc = $doc:literal])* $field:ident : $ty:ty = $default:expr $(, example $example:literal)? ; )*
        }
    ) => {
        $(#[doc = $section_doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $( $(#[doc = $doc])* pub $field: $ty, )*
        }
        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }
        impl $name {
            const DOC: &'static [&'static str] = &[$($section_doc),*];
            const FIELDS: &'static [Field] = &[$(
                Field {
                    name: stringify!($field),
                    doc: &[$($doc),*],
                    example: [$(Some($example),)? None][0],
                },
            )*];
        }
    };
}

/// Declares [`Config`] from its sections.
macro_rules! config {
    ($( $(#[doc = $doc:literal])* $field:ident : $ty:ident , )*) => {
        /// The whole configuration of one gateway.
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct Config {
            $( $(#[doc = $doc])* pub $field: $ty, )*
        }
        /// All sections, in the order of the template.
        pub(crate) const SECTIONS: &[SectionInfo] = &[$(
            SectionInfo { name: stringify!($field), doc: $ty::DOC, fields: $ty::FIELDS },
        )*];
    };
}

config! {
    /// The gateway itself.
    gateway: Gateway,
    /// Log output.
    log: Log,
    /// The broker.
    mqtt: Mqtt,
    /// LoRaWAN radio.
    lora: Lora,
    /// Zigbee radio.
    zigbee: Zigbee,
    /// Ordinary Zigbee locks.
    unsealed: Unsealed,
    /// 433 MHz radio.
    subghz: Subghz,
    /// Test radio.
    loopback: Loopback,
    /// The owner's platform.
    platform: Platform,
    /// Bounds.
    limits: Limits,
    /// Metrics endpoint.
    metrics: Metrics,
    /// Local control socket.
    api: Api,
    /// Local web page.
    web: Web,
}

section! {
    /// The gateway itself.
    Gateway {
        /// Name of this gateway: a topic level and, unless `mqtt.client_id` says otherwise, the MQTT client id.
        /// Without it a random one is made at the first start and kept in the data directory.
        id: Option<GatewayName> = None, example "\"lobby-1\"";
        /// Database, radio keys and counters. Only the daemon's user may read it.
        data_dir: PathBuf = PathBuf::from("/var/lib/cardea");
        /// "auto" believes the system clock once systemd-timesyncd or chrony has synchronised it, and refuses
        /// interactive commands before that; "trust" believes it always.
        clock: ClockSource = ClockSource::Auto;
    }
}

section! {
    /// Log output, to standard error. Frames and payloads are never logged; lock ids only from "debug" on.
    Log {
        /// "text" or "json".
        format: LogFormat = LogFormat::Text;
        /// "error", "warn", "info", "debug", "trace", or directives such as "info,cardea_lora=debug".
        level: String = "info".into();
    }
}

section! {
    /// The MQTT broker (3.1.1). With mqtts:// its certificate is always checked; there is no way to switch that off.
    Mqtt {
        /// mqtt://host:1883, or mqtts://host:8883 for TLS.
        url: BrokerUrl = BrokerUrl { tls: false, host: "127.0.0.1".into(), port: 1883 };
        /// MQTT client id; the gateway id unless set.
        client_id: Option<String> = None, example "\"lobby-1\"";
        /// User name, if the broker wants one.
        username: Option<String> = None, example "\"lobby-1\"";
        /// File with the password, read anew at each connect; its trailing newline is dropped.
        password_file: Option<PathBuf> = None, example "\"/etc/cardea/mqtt-password\"";
        /// PEM file of the authorities that may certify the broker; the system's own unless set.
        ca_file: Option<PathBuf> = None, example "\"/etc/cardea/broker-ca.pem\"";
        /// PEM file of the client certificate (chain), read anew at each connect. Needs `key_file`.
        cert_file: Option<PathBuf> = None, example "\"/etc/cardea/client.pem\"";
        /// PEM file of the client certificate's private key.
        key_file: Option<PathBuf> = None, example "\"/etc/cardea/client.key\"";
        /// First levels of every topic.
        prefix: String = "cardea/v1".into();
        /// Topics that a cloud dictates, by name: state, info, health, locks, up, down, result, seen, link, event,
        /// request, response. A template has {prefix} and {gateway} where wanted, and {lock} or {verb} as a level
        /// where the default has it. The platform needs the same ones, for example
        /// { up = "devices/{gateway}/events/{lock}", down = "devices/{gateway}/commands/{lock}" }.
        topics: BTreeMap<String, String> = BTreeMap::new();
        /// Seconds between pings, 5 to 1200. A dead connection is noticed within two of them.
        keepalive: u16 = 30;
        /// "json" or "cbor".
        encoding: Encoding = Encoding::Json;
        /// "broker": an uplink is done with when the broker acknowledged it. "platform": classes interactive and
        /// log are kept until the platform has seen them, which survives a broker that loses what it acknowledged.
        custody: Custody = Custody::Broker;
        /// Largest MQTT packet in bytes, either way. Larger ones from the broker are discarded and counted.
        max_packet: u32 = 262_144;
        /// Uplinks that may be on their way to the broker at once.
        inflight: u16 = 100;
    }
}

section! {
    /// LoRaWAN through a packet forwarder (Semtech UDP protocol, version 2).
    Lora {
        /// Switches the radio on.
        enabled: bool = false;
        /// UDP address the packet forwarder sends to. The protocol has no authentication: keep it on loopback, or on
        /// a network that only the forwarder is on.
        bind: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 1700));
        /// "EU868" or "US915".
        region: Region = Region::Eu868;
        /// EUI of the packet forwarder that is listened to; with an empty list the first one heard is taken
        /// (allowed on loopback only).
        forwarders: Vec<Eui64> = Vec::new();
        /// US915: which eight of the 64 channels the concentrator listens to, 1 to 8. EU868 ignores it.
        sub_band: u8 = 2;
        /// EU868: channels beside the three that are always there, in Hz, at most five; the concentrator must listen
        /// to them. US915 ignores it.
        extra_channels: Vec<u32> = vec![867_100_000, 867_300_000, 867_500_000, 867_700_000, 867_900_000];
        /// NetID, 6 hexadecimal digits; 000000 and 000001 are free for private networks.
        net_id: NetId = NetId([0; 3]);
        /// How join attempts are told from replayed ones: "unused" (LoRaWAN 1.0.3 and older: no DevNonce twice) or
        /// "rising" (LoRaWAN 1.0.4).
        dev_nonce: DevNonce = DevNonce::Unused;
        /// DevEUIs of the devices to which the other of the two rules applies.
        dev_nonce_exceptions: Vec<Eui64> = Vec::new();
        /// Seconds from the end of an uplink to the first receive window, 1 to 15. Five leaves the platform time to
        /// answer.
        rx1_delay: u8 = 5;
        /// Data rate offset of the first receive window (EU868 0 to 5, US915 0 to 3).
        rx1_dr_offset: u8 = 0;
        /// Data rate of the second receive window; the region's unless set. EU868 class C locks answer seven times
        /// faster with 3.
        rx2_dr: Option<u8> = None, example "3";
        /// Frequency of the second receive window, Hz; the region's unless set.
        rx2_frequency: Option<u32> = None, example "869525000";
        /// Transmit power is the region's limit, but never more than this, dBm EIRP.
        max_eirp: i8 = 27;
        /// The packet forwarder gets a timed downlink at least this long before its time, milliseconds, 60 to 500.
        lead_ms: u32 = 150;
        /// Steer data rate and power of devices that ask for it (ADR).
        adr: bool = true;
    }
}

section! {
    /// Zigbee through a dongle on a serial port. A network is formed or taken over by `cardea radio form|adopt zigbee`,
    /// never by this file.
    Zigbee {
        /// Switches the radio on.
        enabled: bool = false;
        /// The dongle's port, by a name that stays: one from /dev/serial/by-id.
        device: Option<PathBuf> = None, example "\"/dev/serial/by-id/usb-ZEPHYR_Zigbee_NCP_0123456789ABCDEF-if00\"";
        /// What firmware the dongle has: "zboss" (ZBOSS NCP) or "ezsp" (Silicon Labs EmberZNet NCP). With "zboss-host" a
        /// program with the vendor's host library speaks to a ZBOSS dongle, see `host_program`.
        family: ZigbeeFamily = ZigbeeFamily::Zboss;
        /// With family "zboss-host": the program, built by who has the library's SDK (docs/zigbee.md).
        host_program: Option<PathBuf> = None, example "\"/usr/libexec/cardea/cardea-zboss-host\"";
        /// Baud of the port; means nothing on USB.
        baud: u32 = 115_200;
        /// Flow control of the port: "none", "hardware" (RTS and CTS) or "software" (XON and XOFF).
        flow_control: FlowControl = FlowControl::None;
        /// Channels on which a network may be formed, 11 to 26; the dongle takes the quietest. The default are those
        /// between the usual Wi-Fi channels, and 26 is left out because many devices may not use it at full power.
        channels: Vec<u8> = vec![11, 15, 20, 25];
        /// Cluster of the sealed tunnel, FC03 to FFFF: what the maker of the locks chose.
        cluster: ZigbeeId = ZigbeeId(0xFC7C);
        /// Manufacturer code of the maker of the locks, assigned by the CSA; FFF1 is for tests.
        manufacturer: ZigbeeId = ZigbeeId(0xFFF1);
    }
}

section! {
    /// Ordinary Zigbee locks, of any maker. They are NOT end-to-end protected: this gateway reads them and could open them, and so
    /// could whoever has its broker. Off unless you switch it on, for the devices that you name; see docs/zigbee.md.
    Unsealed {
        /// Lets the devices below in and publishes their states under {prefix}/{gateway}/unsealed/.
        enabled: bool = false;
        /// The devices, at most 64, by EUI-64; each is let in by `cardea unsealed admit` with what its label says. Without
        /// `commands = true` a device is only listened to, for example
        /// { 00124b0001020304 = { name = "Shed" }, 00124b0001020305 = { name = "Garage", commands = true } }.
        devices: BTreeMap<Eui64, UnsealedDevice> = BTreeMap::new();
        /// Seconds between two reports of a bolt at most, 10 to 43200, as the locks are told. A bolt that nobody has spoken of for
        /// half a minute longer is unknown. Less costs their batteries.
        report_seconds: u16 = 3_600;
        /// First level of the topics by which Home Assistant finds the locks; it is told nothing unless this is set.
        home_assistant: Option<String> = None, example "\"homeassistant\"";
    }
}

section! {
    /// 433 MHz through a module on the header (docs/433-radio.md): a CC1101 or an SX126x on SPI, or one that passes the bytes of a UART
    /// through. Keys that belong to another `chip` are refused. The rules of the band are kept: power, and time on the air. Whether
    /// they are those of your country is for you to find out.
    Subghz {
        /// Switches the radio on.
        enabled: bool = false;
        /// What the module is: "cc1101", "sx126x" (SX1261, SX1262, SX1268; locks do not notice which of the two) or "serial" (HC-12,
        /// E32 and their like, which only their own kind hears).
        chip: SubghzChip = SubghzChip::Cc1101;
        /// The module's SPI, or with chip "serial" its TTY, best by a name that stays: one from /dev/serial/by-id. "unix:" and a path is the
        /// socket of a virtual module, for tests and demonstrations.
        device: SubghzDevice = SubghzDevice::Local(PathBuf::from("/dev/spidev0.0"));
        /// Rules of the band: "eu" (10 mW e.r.p., 10 % of the time) or "cn" (10 mW e.r.p.; 1 % of the time, by our own caution).
        region: SubghzRegion = SubghzRegion::Eu;
        /// Output power of the module, dBm, 10 unless set. With chip "cc1101" -30, -20, -10, 0, 5, 7 or 10; with "sx126x" -9 to 10; with
        /// "serial" what its maker's tool set it to, which must be said because the gateway can neither set nor read it.
        power: Option<i8> = None, example "10";
        /// Gain of the antenna over a dipole less the loss of its cable, dB. Power and gain together may be 10 dBm at most.
        antenna_gain: i8 = 0;
        /// Network id, 1 to 254: one that no neighbour has. A random one is made and kept unless set; all locks must join anew when
        /// it is changed.
        network: Option<u8> = None, example "42";
        /// Chips "cc1101" and "sx126x": modulation of the network, "standard" (38.4 kbit/s) unless set, "slow" (4.8 kbit/s, reaches farther)
        /// or "fast" (100 kbit/s, for many locks nearby). Locks are made for one; all must join anew when it is changed.
        profile: Option<SubghzProfile> = None, example "\"standard\"";
        /// Chips "cc1101" and "sx126x": channels that the network may move to when its own is jammed, by number, 1 and 2 unless set; 0
        /// (433.92 MHz) is always used. 1 to 5, with profile "fast" 1 and 2.
        channels: Option<Vec<u8>> = None, example "[1, 2]";
        /// Chips "cc1101" and "sx126x": clock of the SPI, Hz, 4000000 unless set; 100000 to 6500000, with "sx126x" to 16000000.
        spi_hz: Option<u32> = None, example "4000000";
        /// Chips "cc1101" and "sx126x": GPIO chip of the module's lines, /dev/gpiochip0 unless set.
        gpio_chip: Option<PathBuf> = None, example "\"/dev/gpiochip0\"";
        /// Chip "cc1101": number of the line at GDO0 on its chip, 25 unless set.
        gdo0: Option<u32> = None, example "25";
        /// Chip "sx126x": number of the line at DIO1, an input, 25 unless set.
        dio1: Option<u32> = None, example "25";
        /// Chip "sx126x": number of the line at BUSY, an input, 24 unless set.
        busy: Option<u32> = None, example "24";
        /// Chip "sx126x": number of the line at NRESET (NRST, RST), an output, 23 unless set.
        nreset: Option<u32> = None, example "23";
        /// Chip "sx126x": which it is, "sx1261", "sx1262" or "sx1268"; "sx1262" unless set.
        model: Option<SubghzModel> = None, example "\"sx1262\"";
        /// Chip "sx126x": voltage at which DIO3 feeds the module's TCXO, as its maker says: "1.6V", "1.7V", "1.8V", "2.2V", "2.4V", "2.7V",
        /// "3.0V" or "3.3V". "none" unless set: the module has a crystal.
        tcxo: Option<SubghzTcxo> = None, example "\"1.8V\"";
        /// Chip "sx126x" with `tcxo`: milliseconds that it takes to start, 1 to 10, 5 unless set.
        tcxo_start_ms: Option<u8> = None, example "5";
        /// Chip "sx126x": DIO2 switches the antenna between sending and receiving, true unless set. A module whose switch wants other lines
        /// (RXEN, TXEN) is not supported.
        dio2_switch: Option<bool> = None, example "true";
        /// Chip "sx126x": the board has the coil of the DC-DC converter, false unless set.
        dcdc: Option<bool> = None, example "false";
        /// Chip "serial": baud of the UART, 1200 to 921600, 9600 unless set.
        baud: Option<u32> = None, example "9600";
        /// Chip "serial": rate on the air, bits per second, as the module is set. This and what follows must be said: nothing of it can be
        /// read from a module, and who guesses is late, or on the air for longer than is allowed.
        air_bps: Option<u32> = None, example "5000";
        /// Chip "serial": bytes that the module puts into one packet on the air.
        packet_bytes: Option<u16> = None, example "58";
        /// Chip "serial": milliseconds on the air that such a packet costs beside its bytes: preamble, header, checksum.
        overhead_ms: Option<u16> = None, example "20";
        /// Chip "serial": milliseconds that the module waits behind the last byte before it sends, at the most.
        hold_ms: Option<u16> = None, example "10";
    }
}

section! {
    /// A radio made of UDP datagrams, for tests and development. No lock is on it; leave it off.
    Loopback {
        /// Switches the radio on.
        enabled: bool = false;
        /// UDP address, on loopback only.
        bind: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 1799));
    }
}

section! {
    /// Bounds on what is kept.
    Limits {
        /// Bytes of uplinks kept while the broker is away. When it is full the oldest of the lowest class go, and a
        /// gap marker says so.
        outbox_bytes: u64 = 256 * 1024 * 1024;
        /// Bytes of those that one lock may use.
        lock_bytes: u64 = 4 * 1024 * 1024;
        /// Locks that may be admitted.
        locks: u32 = 10_000;
    }
}

section! {
    /// Prometheus metrics over HTTP.
    Metrics {
        /// Switches the endpoint on.
        enabled: bool = true;
        /// Address of `/metrics`, on loopback only: there is no password.
        bind: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 9464));
    }
}

section! {
    /// The socket through which `cardea status`, `cardea locks` and the local page talk to the daemon.
    Api {
        /// Unix socket; whoever may write to it administers the gateway.
        socket: PathBuf = PathBuf::from("/run/cardea/cardea.sock");
    }
}

section! {
    /// The owner's platform, as far as this gateway knows it. It never has a key that reads or forges a lock's frames.
    Platform {
        /// Public signing keys of the platform, as `cardea-platform gateway-key` prints them; two while they change, at most
        /// four. What is signed with another key (whether a lock was activated, on its pairing page) is not believed.
        keys: Vec<PlatformKey> = Vec::new();
    }
}

section! {
    /// The local web page: claim the gateway, pair locks, see what is wrong. Nothing but the claim is on it before
    /// `cardea claim-code` and `cardea claim --confirm` at the gateway.
    Web {
        /// Switches the page on.
        enabled: bool = false;
        /// Address of the page, over TLS with a certificate that the gateway makes for itself.
        https: SocketAddr = SocketAddr::from(([0, 0, 0, 0], 8443));
        /// Address that only says where the page is and why browsers warn; nothing listens unless set.
        http: Option<SocketAddr> = None, example "\"0.0.0.0:80\"";
        /// Names that browsers may use beside this machine's host name, that name with .local, and its addresses.
        names: Vec<String> = Vec::new();
        /// Says the name cardea-XXXX.local on the local network (multicast DNS); the log says which.
        mdns: bool = true;
        /// A button at the gateway that stands for presence, as `cardea claim --confirm` does: chip and line, to ground; with
        /// ":high" behind it, to the supply.
        button: Option<GpioButton> = None, example "\"gpiochip0:17\"";
    }
}
