//! Placeholder of the demo's entry point.
fn main() {}
