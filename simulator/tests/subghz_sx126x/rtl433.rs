//! rtl_433 reads samples of what an SX126x sent, with the line that reads a CC1101's.

use std::process::Command;

use cardea_simulator::Random;
use cardea_simulator::subghz::{Conditions, Iq, Sx126xConfig, cu8};
use cardea_subghz::Profile;

use super::bench::{Bench, SECOND, config};

const SEED: u64 = 433;

#[test]
fn rtl_433_reads_the_bytes_that_the_driver_sends_in_all_profiles() {
    if Command::new("rtl_433").arg("-V").output().is_err() {
        let skip = std::env::var_os("CARDEA_ALLOW_SKIP").is_some_and(|value| value == "1");
        assert!(skip, "no rtl_433: apt-get install rtl-433, or set CARDEA_ALLOW_SKIP=1 to go without");
        println!("skipped: no rtl_433");
        return;
    }
    let chance = Random::new(SEED, 6);
    for profile in [Profile::Slow, Profile::Standard, Profile::Fast] {
        for len in [1, 8, 24, 32, 40, 61] {
            let mut frame = vec![0; len];
            chance.fill(&mut frame);
            let mut bench = Bench::new(SEED, Conditions::default());
            bench.sx126x(config(profile, 61), Sx126xConfig::default());
            bench.run(SECOND / 50);
            assert_eq!(bench.send(0, &frame, false), Ok(None));
            let burst = bench.air.bursts().remove(0);

            // It takes frequency and rate from the file's name, and needs another detector for the slow one.
            let (rate, name, detector, reset) = match profile {
                Profile::Slow => (250e3, "g001_433.92M_250k.cu8", "classic", 6000),
                Profile::Standard => (250e3, "g001_433.92M_250k.cu8", "minmax", 1500),
                Profile::Fast => (1e6, "g001_433.92M_1000k.cu8", "minmax", 1500),
                Profile::Serial(_) => unreachable!("it has no chip"),
            };
            let iq = Iq { rate, centre_hz: 433.92e6, snr_db: 25.0, inverted: false };
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(name), cu8(&burst, iq, &Random::new(SEED, 7))).unwrap();
            let bit = 1e6 / f64::from(profile.bit_rate());
            let output = Command::new("rtl_433")
                .current_dir(dir.path())
                .args(["-c", "/dev/null", "-r", name, "-R", "0", "-Y", detector, "-F", "json", "-X"])
                .arg(format!("n=ours,m=FSK_PCM,s={bit:.3},l={bit:.3},r={reset},preamble={{32}}c956c956"))
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let found: serde_json::Value =
                serde_json::from_str(text.lines().next().expect("one packet")).unwrap();
            let row = found["rows"][0]["data"].as_str().unwrap();

            let covered = [&[len as u8][..], &frame].concat();
            let sum = crc::Crc::<u16>::new(&crc::CRC_16_CMS).checksum(&covered);
            let sent = hex::encode([&covered[..], &sum.to_be_bytes()].concat());
            assert!(row.starts_with(&sent), "{profile:?} {len}: {row}");
        }
    }
}
