//! `cardea-zboss-host`: see the crate.

fn main() -> std::io::Result<std::process::ExitCode> {
    cardea_zigbee_zboss_sys::program::main()
}
