//! What programs that nobody here wrote make of the CC1101 driver and of the model of its chip: rtl_433 (Debian) reads samples
//! of what was on the air, PyPI's `cc1101` drives the chip.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use cardea_simulator::Random;
use cardea_simulator::subghz::{Air, Burst, ChipConfig, Conditions, Iq, Spi, cu8};
use cardea_subghz::cc1101::{Cc1101, Config, Profile};
use cardea_tests::venv;
use embedded_hal::spi::SpiDevice;

const SEED: u64 = 433;

// ------------------------------------------------------------------------------------------ rtl_433

/// What our driver has its chip send.
fn on_air(config: Config, frame: &[u8]) -> Burst {
    let air = Air::new(SEED, Conditions::default());
    let radio = Cc1101::new(air.chip(ChipConfig::default()), config, 0, u64::MAX / 2);
    air.sent_by(radio, frame).expect("the frame did not go out")
}

/// `None`, and a line that says why, where rtl_433 is not installed and may be missing.
fn rtl_433() -> Option<&'static str> {
    if Command::new("rtl_433").arg("-V").output().is_ok() {
        return Some("rtl_433");
    }
    let skip = std::env::var_os("CARDEA_ALLOW_SKIP").is_some_and(|value| value == "1");
    assert!(skip, "no rtl_433: apt-get install rtl-433, or set CARDEA_ALLOW_SKIP=1 to go without");
    println!("skipped: no rtl_433");
    None
}

/// The rows that rtl_433 finds behind `sync`, as hex; what is in them and not in the frame is one byte that we append.
fn decode(dir: &Path, profile: Profile, burst: &Burst, inverted: bool, sync: &str) -> Vec<Vec<u8>> {
    // rtl_433 takes frequency and rate from the file's name. It needs another detector for the slow one.
    let (rate, name, detector, reset) = match profile {
        Profile::Slow => (250e3, "g001_433.92M_250k.cu8", "classic", 6000),
        Profile::Standard => (250e3, "g001_433.92M_250k.cu8", "minmax", 1500),
        Profile::Fast => (1e6, "g001_433.92M_1000k.cu8", "minmax", 1500),
    };
    let iq = Iq { rate, centre_hz: 433.92e6, snr_db: 25.0, inverted };
    std::fs::write(dir.join(name), cu8(burst, iq, &Random::new(SEED, 1))).unwrap();
    let bit = profile.byte_ns() as f64 / 8_000.0;
    let output = Command::new("rtl_433")
        .current_dir(dir)
        .args(["-c", "/dev/null", "-r", name, "-R", "0", "-Y", detector, "-F", "json", "-X"])
        .arg(format!("n=ours,m=FSK_PCM,s={bit:.3},l={bit:.3},r={reset},preamble={sync}"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .flat_map(|found| found["rows"].as_array().cloned().unwrap_or_default())
        .map(|row| {
            let mut data = row["data"].as_str().unwrap().to_owned();
            if data.len() % 2 == 1 {
                data.push('0');
            }
            hex::decode(data).unwrap()
        })
        .collect()
}

/// CRC-16/CMS by the crate `crc`; the model has its own.
fn crc(bytes: &[u8]) -> u16 {
    let crc = crc::Crc::<u16>::new(&crc::CRC_16_CMS);
    crc.checksum(bytes)
}

/// The frame of a row that begins with a length, if its checksum is right.
fn frame_of(row: &[u8]) -> Option<&[u8]> {
    let len = usize::from(*row.first()?);
    let (body, rest) = row.split_at_checked(1 + len)?;
    (rest.first_chunk()? == &crc(body).to_be_bytes()).then(|| &body[1..])
}

const OURS: &str = "{32}c956c956";

#[test]
fn rtl_433_reads_the_bytes_that_the_driver_sends_in_all_profiles() {
    let Some(_) = rtl_433() else { return };
    let chance = Random::new(SEED, 2);
    for profile in Profile::ALL {
        let mut right = 0;
        for len in [1, 8, 24, 32, 40, 61, 8, 12, 20, 50] {
            let mut frame = vec![0; len];
            chance.fill(&mut frame);
            let burst = on_air(Config { profile, ..Config::default() }, &frame);
            let dir = tempfile::tempdir().unwrap();
            let rows = decode(dir.path(), profile, &burst, false, OURS);
            assert_eq!(
                rows.iter().filter_map(|row| frame_of(row)).collect::<Vec<_>>(),
                [&frame[..]],
                "{profile:?}"
            );
            right += 1;
        }
        println!("{profile:?}: {right} of 10 frames, seed {SEED}");
    }
}

#[test]
fn rtl_433_finds_nothing_with_another_sync_word_or_a_deviation_that_is_inverted() {
    let Some(_) = rtl_433() else { return };
    let mut frame = [0; 40];
    Random::new(SEED, 3).fill(&mut frame);
    for profile in Profile::ALL {
        let burst = on_air(Config { profile, ..Config::default() }, &frame);
        let dir = tempfile::tempdir().unwrap();
        for (inverted, sync, found) in
            [(false, OURS, 1), (false, "{32}d391d391", 0), (true, OURS, 0), (true, "{32}36a936a9", 1)]
        {
            let rows = decode(dir.path(), profile, &burst, inverted, sync);
            assert_eq!(rows.len(), found, "{profile:?}, inverted {inverted}, {sync}");
        }
    }
}

#[test]
fn a_bit_of_the_checksum_that_is_flipped_on_the_air_is_seen_in_what_rtl_433_read() {
    let Some(_) = rtl_433() else { return };
    let mut frame = [0; 40];
    Random::new(SEED, 4).fill(&mut frame);
    for profile in Profile::ALL {
        let mut burst = on_air(Config { profile, ..Config::default() }, &frame);
        *burst.bytes.last_mut().unwrap() ^= 0x04;
        let dir = tempfile::tempdir().unwrap();
        let rows = decode(dir.path(), profile, &burst, false, OURS);
        assert_eq!(rows.len(), 1, "{profile:?}");
        assert_eq!(rows[0][1..41], frame);
        assert_eq!(frame_of(&rows[0]), None, "{profile:?}");
    }
}

// ------------------------------------------------------------------------------------------ PyPI cc1101

/// Runs the library on a chip, a millisecond of the air for each transfer; what it found.
fn library(spi: &mut Spi, air: &Air, payload: &[u8]) -> Option<serde_json::Value> {
    let mut child = venv::python("cc1101_peer.py")?
        .args(["433920000", "38383.5", &hex::encode(payload)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut to = child.stdin.take().unwrap();
    let mut found = None;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(json) = line.strip_prefix('=') {
            found = serde_json::from_str(json).ok();
            break;
        }
        let mut bytes = hex::decode(line).unwrap();
        spi.transfer_in_place(&mut bytes).unwrap();
        let until = air.now() + 1_000;
        while air.now() < until {
            while air.edge(0).is_some() {}
            air.advance(until);
        }
        writeln!(to, "{}", hex::encode(bytes)).unwrap();
    }
    assert!(child.wait().unwrap().success());
    Some(found.expect("the library says what it found"))
}

#[test]
fn the_cc1101_library_of_python_takes_the_model_for_a_chip_and_sends_a_packet() {
    let air = Air::new(SEED, Conditions::default());
    let mut spi = air.chip(ChipConfig::default());
    let Some(found) = library(&mut spi, &air, b"twenty bytes of text") else { return };
    assert_eq!(found.get("refused"), None);
    assert_eq!(
        (found["state"].as_str(), found["frequency"].as_f64().map(f64::round)),
        (Some("IDLE"), Some(433_919_830.0))
    );
    while air.now() < 10_000_000 {
        while air.edge(0).is_some() {}
        air.advance(10_000_000);
    }
    let burst = air.bursts().remove(0);
    assert_eq!(burst.byte_ns, Profile::Standard.byte_ns(), "its registers for 38.4 kbit/s are ours");
    assert!((burst.carrier_hz - 433_919_830.0).abs() < 200.0);
    let packet = &burst.bytes[burst.preamble + 4..];
    assert_eq!(frame_of(packet), Some(&b"twenty bytes of text"[..]), "{}", hex::encode(&burst.bytes));
}

#[test]
fn the_cc1101_library_of_python_refuses_what_is_no_chip() {
    for (version, part) in [(0x00, 0x00), (0x17, 0x00), (0x14, 0x80)] {
        let air = Air::new(SEED, Conditions::default());
        let mut spi = air.chip(ChipConfig { version, part, ..ChipConfig::default() });
        let Some(found) = library(&mut spi, &air, b"x") else { return };
        assert!(
            found["refused"].as_str().unwrap().contains("nsupported chip version") || part != 0,
            "{found}"
        );
        assert!(air.bursts().is_empty());
    }
}
