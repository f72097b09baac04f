//! `cardea`: the gateway daemon and its command line.

fn main() -> std::process::ExitCode {
    cardea_gateway::cli::main()
}
