//! See the library.

fn main() -> std::process::ExitCode {
    cardea_server::main()
}
