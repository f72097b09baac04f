//! The 433 MHz section: what each kind of module takes, and what an owner is told who mixes them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

use cardea_config::{
    Error, SubghzBus, SubghzChip, SubghzModel, SubghzModule, SubghzProfile, SubghzTcxo, parse,
};

fn said(text: &str) -> String {
    match parse(text, &[]) {
        Err(Error::Invalid(problems)) => Error::Invalid(problems).to_string(),
        other => panic!("expected problems, got {other:?}"),
    }
}

fn bus() -> SubghzBus {
    SubghzBus { spi_hz: 4_000_000, gpio_chip: "/dev/gpiochip0".into() }
}

#[test]
fn a_433_mhz_radio_keeps_to_ten_milliwatts_and_what_cannot_work_is_named() {
    let good = "[subghz]\nenabled = true\n";
    let config = parse(good, &[]).unwrap();
    assert_eq!(config.subghz.device.to_string(), "/dev/spidev0.0");
    let socket = parse("[subghz]\ndevice = \"unix:/run/cc1101\"\n", &[]).unwrap();
    assert_eq!(socket.subghz.device.to_string(), "unix:/run/cc1101");
    assert!(parse(&format!("{good}power = 7\nantenna_gain = 3\n"), &[]).is_ok());
    for (line, words) in [
        ("device = \"spidev0.0\"", "absolute path"),
        ("device = \"unix:cc1101\"", "absolute path"),
        ("power = 9", "-30, -20"),
        ("antenna_gain = 1", "10 mW"),
        ("region = \"us\"", "eu"),
        ("profile = \"turbo\"", "standard"),
        ("channels = [6]", "0 to 5"),
        ("network = 0", "1 to 254"),
        ("spi_hz = 10000000", "100000"),
    ] {
        let text = said(&format!("{good}{line}\n"));
        assert!(text.starts_with("line 3: ") && text.contains(words), "{text}");
    }
    assert!(said("[subghz]\nprofile = \"fast\"\nchannels = [3]\n").contains("0 to 2"));
}

/// A file of the time when there was no `chip`.
#[test]
fn a_file_without_a_chip_is_a_cc1101_as_it_was() {
    let text = "[subghz]\nenabled = true\ndevice = \"/dev/spidev0.0\"\nspi_hz = 4000000\ngpio_chip = \"/dev/gpiochip0\"\n\
                gdo0 = 25\nregion = \"eu\"\nprofile = \"slow\"\npower = 7\nantenna_gain = 0\nchannels = [1, 2]\nnetwork = 42\n";
    let old = parse(text, &[]).unwrap().subghz;
    assert_eq!(old.chip, SubghzChip::Cc1101);
    assert_eq!(old.module(), SubghzModule::Cc1101 { gdo0: 25, bus: bus() });
    assert_eq!((old.power_dbm(), old.profile(), old.channels()), (7, SubghzProfile::Slow, &[1, 2][..]));
    let none = parse("", &[]).unwrap().subghz;
    assert_eq!(none.module(), old.module());
    assert_eq!(
        (none.power_dbm(), none.profile(), none.channels()),
        (10, SubghzProfile::Standard, &[1, 2][..])
    );
}

const SX126X: &str = "[subghz]\nenabled = true\nchip = \"sx126x\"\n";

#[test]
fn an_sx126x_is_wired_as_the_documentation_has_it_unless_said_otherwise() {
    let usual = SubghzModule::Sx126x {
        bus: bus(),
        dio1: 25,
        busy: 24,
        nreset: 23,
        model: SubghzModel::Sx1262,
        tcxo: SubghzTcxo::None,
        tcxo_start_ms: 5,
        dio2_switch: true,
        dcdc: false,
    };
    assert_eq!(parse(SX126X, &[]).unwrap().subghz.module(), usual);
    let other = "device = \"/dev/spidev1.0\"\nspi_hz = 16000000\ngpio_chip = \"/dev/gpiochip4\"\ndio1 = 1\nbusy = 2\nnreset = 3\n\
                 model = \"sx1268\"\ntcxo = \"2.4V\"\ntcxo_start_ms = 10\ndio2_switch = false\ndcdc = true\npower = -9\n";
    let other = parse(&format!("{SX126X}{other}"), &[]).unwrap().subghz;
    let bus = SubghzBus { spi_hz: 16_000_000, gpio_chip: "/dev/gpiochip4".into() };
    let module = SubghzModule::Sx126x {
        bus,
        dio1: 1,
        busy: 2,
        nreset: 3,
        model: SubghzModel::Sx1268,
        tcxo: SubghzTcxo::V2_4,
        tcxo_start_ms: 10,
        dio2_switch: false,
        dcdc: true,
    };
    assert_eq!((other.module(), other.power_dbm()), (module, -9));
    for (line, key, words) in [
        ("gdo0 = 25", "gdo0", "`chip` \"cc1101\", and `subghz.chip` is \"sx126x\""),
        ("hold_ms = 10", "hold_ms", "`chip` \"serial\", and"),
        ("baud = 9600", "baud", "take the line out"),
        ("device = \"/dev/ttyAMA0\"", "device", "`chip = \"serial\"`"),
        ("device = \"/dev/serial/by-id/usb-1\"", "device", "/dev/spidev0.0"),
        ("spi_hz = 20000000", "spi_hz", "16000000"),
        ("power = 11", "power", "-9 to 10"),
        ("power = -10", "power", "-9 to 10"),
        ("antenna_gain = 1", "antenna_gain", "10 mW"),
        ("tcxo = \"1.9V\"", "tcxo", "1.8V"),
        ("model = \"sx1276\"", "model", "sx1262"),
        ("busy = 25", "busy", "DIO1, BUSY and NRESET are three"),
        ("nreset = 24", "nreset", "another line"),
        ("tcxo_start_ms = 5", "tcxo_start_ms", "its voltage"),
        ("channels = [6]", "channels", "0 to 5"),
    ] {
        let text = said(&format!("{SX126X}{line}\n"));
        assert!(text.starts_with(&format!("line 4: `subghz.{key}`: ")) && text.contains(words), "{text}");
    }
    let text = said(&format!("{SX126X}tcxo = \"1.8V\"\ntcxo_start_ms = 11\n"));
    assert!(text.starts_with("line 5: `subghz.tcxo_start_ms`: must be 1 to 10"), "{text}");
    // The other way round, in words for both.
    for (line, of) in [("dio1 = 25", "sx126x"), ("tcxo = \"1.8V\"", "sx126x"), ("air_bps = 5000", "serial")] {
        let text = said(&format!("[subghz]\n{line}\n"));
        let (refused, is) = (format!("belongs to `chip` \"{of}\""), "`subghz.chip` is \"cc1101\"");
        assert!(text.starts_with("line 2: ") && text.contains(&refused) && text.contains(is), "{text}");
    }
    assert!(said("[subghz]\nchip = \"sx1262\"\n").contains("`sx126x`"));
}

const SERIAL: &str = "[subghz]\nenabled = true\nchip = \"serial\"\ndevice = \"/dev/ttyAMA0\"\npower = 8\n\
                      air_bps = 5000\npacket_bytes = 58\noverhead_ms = 20\nhold_ms = 10\n";

#[test]
fn a_serial_module_says_what_nobody_can_guess() {
    let serial = parse(SERIAL, &[]).unwrap().subghz;
    let module =
        SubghzModule::Serial { baud: 9_600, air_bps: 5_000, packet_bytes: 58, overhead_ms: 20, hold_ms: 10 };
    assert_eq!((serial.module(), serial.channels().len()), (module, 0));
    for key in ["power", "air_bps", "packet_bytes", "overhead_ms", "hold_ms"] {
        let without: String =
            SERIAL.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect();
        let text = said(&without);
        assert!(text.contains(&format!("`subghz.{key}`: must be said with a serial module")), "{text}");
    }
    for (line, key, words) in [
        ("spi_hz = 4000000", "spi_hz", "`chip` \"cc1101\" and \"sx126x\", and"),
        ("gpio_chip = \"/dev/gpiochip0\"", "gpio_chip", "take the line out"),
        ("profile = \"fast\"", "profile", "\"serial\""),
        ("channels = [1]", "channels", "\"serial\""),
        ("gdo0 = 25", "gdo0", "\"cc1101\""),
        ("dcdc = true", "dcdc", "\"sx126x\""),
        ("antenna_gain = 3", "antenna_gain", "10 mW"),
        ("baud = 300", "baud", "1200"),
    ] {
        let text = said(&format!("{SERIAL}{line}\n"));
        assert!(text.starts_with(&format!("line 10: `subghz.{key}`: ")) && text.contains(words), "{text}");
    }
    let loud = said(&SERIAL.replace("power = 8", "power = 20"));
    assert!(loud.contains("`subghz.power`") && loud.contains("10 mW"), "{loud}");
    let spi = said(&SERIAL.replace("/dev/ttyAMA0", "/dev/spidev0.0"));
    assert!(spi.starts_with("line 4: ") && spi.contains("/dev/ttyAMA0"), "{spi}");
    assert!(said(&SERIAL.replace("/dev/ttyAMA0", "unix:/run/module")).contains("pseudo-terminal"));
}
