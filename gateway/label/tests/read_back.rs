//! The pictures, read by a program that nobody here wrote: librsvg draws them, ZBar reads the codes.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::path::Path;
use std::process::Command;

use cardea_framing::LockId;
use cardea_label::svg;
use cardea_radio::{Admission, AdmissionSecret, LorawanClass, label};
use zeroize::Zeroizing;

fn labels() -> [Admission; 4] {
    let zigbee = |code: &str| AdmissionSecret::Zigbee {
        eui: [0, 0x12, 0x4b, 0, 1, 2, 3, 4],
        install_code: Zeroizing::new(hex::decode(code).unwrap()),
    };
    [
        AdmissionSecret::Loopback,
        zigbee("83fed3407a932b70"),
        zigbee("83fed3407a939723a5c639b26916d505c3b5"),
        AdmissionSecret::Lorawan {
            dev_eui: [0xaa; 8],
            join_eui: [0x70; 8],
            app_key: Zeroizing::new([0x5b; 16]),
            class: LorawanClass::C,
        },
    ]
    .map(|secret| Admission { lock: LockId([0x21, 0x43, 0x65, 0x87, 0xa9, 0xcb, 0xed, 0x0f]), secret })
}

/// `None`: the program is not there.
fn run(program: &str, arguments: &[&std::ffi::OsStr]) -> Option<String> {
    let output = match Command::new(program).args(arguments).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        output => output.unwrap(),
    };
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// What ZBar reads in the picture, drawn at so many pixels for its width.
fn read(directory: &Path, picture: &str, pixels: &str) -> Option<String> {
    let (svg, png) = (directory.join("label.svg"), directory.join("label.png"));
    std::fs::write(&svg, picture).unwrap();
    let os = std::ffi::OsStr::new;
    run("rsvg-convert", &[os("-w"), os(pixels), os("-o"), png.as_os_str(), svg.as_os_str()])?;
    run("zbarimg", &[os("-q"), os("--raw"), os("-Sdisable"), os("-Sqrcode.enable"), png.as_os_str()])
}

#[test]
fn every_kind_of_label_is_read_back_from_its_picture() {
    let directory = tempfile::tempdir().unwrap();
    for admission in labels() {
        let picture = svg(&admission).unwrap();
        // 40 mm at 300 dots to the inch, and a small picture on a screen.
        for pixels in ["472", "160"] {
            let Some(text) = read(directory.path(), &picture, pixels) else {
                assert!(std::env::var_os("CI").is_none(), "rsvg-convert and zbarimg belong to every CI run");
                eprintln!("skipped: there is no rsvg-convert or no zbarimg (librsvg2-bin, zbar-tools)");
                return;
            };
            assert!(text.trim_end().bytes().all(|byte| !byte.is_ascii_lowercase()), "{text}");
            let read = label::parse(&text).unwrap();
            assert_eq!(label::reveal(&read), label::reveal(&admission));
        }
        // The same in print: a label is typed where there is no camera.
        let print: String = picture
            .split("<text ")
            .skip(1)
            .filter_map(|text| Some(text.split_once('>')?.1.split_once('<')?.0))
            .collect();
        assert_eq!(print, *label::reveal(&admission));
    }
}
