//! The device-tree overlay that docs/433-radio.md gives owners, compiled by dtc and laid over a tree that has a Raspberry Pi's labels.

use std::{path::Path, process::Command};

/// The labels that the overlay names, as a Raspberry Pi's own tree has them.
const BASE: &str = r#"/dts-v1/;
/ {
    compatible = "brcm,bcm2835";
    soc {
        gpio: gpio { };
        spi0: spi {
            #address-cells = <1>;
            #size-cells = <0>;
            status = "disabled";
            spidev0: spidev@0 { compatible = "spidev"; reg = <0>; spi-max-frequency = <125000000>; };
        };
    };
};
"#;

fn run(dir: &Path, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap_or_else(|error| panic!("{program} (Debian's device-tree-compiler): {error}"));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {words}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn the_overlay_of_the_documents_compiles_and_switches_spi_on_and_pulls_the_lines_down() {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/433-radio.md");
    let document = std::fs::read_to_string(document).unwrap();
    let overlay = document.split("```dts\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    std::fs::write(path.join("base.dts"), BASE).unwrap();
    std::fs::write(path.join("overlay.dts"), overlay).unwrap();
    for name in ["base", "overlay"] {
        run(path, "dtc", &["-q", "-@", "-O", "dtb", "-o", &format!("{name}.dtb"), &format!("{name}.dts")]);
    }
    run(path, "fdtoverlay", &["-i", "base.dtb", "-o", "all.dtb", "overlay.dtb"]);
    let get = |kind: &str, node: &str, property: &str| {
        run(path, "fdtget", &["-t", kind, "all.dtb", node, property])
    };
    assert_eq!(get("s", "/soc/spi", "status"), "okay");
    let pins = get("u", "/soc/spi/spidev@0", "pinctrl-0");
    let lines = "/soc/gpio/cc1101_pins";
    assert_eq!(get("u", lines, "phandle"), pins);
    // GPIO 25 (GDO0) and 24 (GDO2), inputs (0), pulled down (1), as brcm,bcm2835-gpio has them.
    assert_eq!(
        [get("u", lines, "brcm,pins"), get("u", lines, "brcm,function"), get("u", lines, "brcm,pull")],
        ["25 24", "0 0", "1 1"]
    );
    // What the example configuration says of the same.
    let example = include_str!("../../config/cardea.example.toml");
    assert!(example.contains("#gdo0 = 25\n") && example.contains("#spi_hz = 4000000\n"));
    assert_eq!(get("u", "/soc/spi/spidev@0", "spi-max-frequency"), "4000000");
}
