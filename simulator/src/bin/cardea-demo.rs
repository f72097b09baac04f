//! The whole of Cardea in one command.
fn main() {}
