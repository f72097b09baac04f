//! What `cardea-platform` reads from its owner: the configuration file, and a line on its socket.

/// `platform.toml`: whatever an editor left in it gives settings or words, never a panic.
pub fn platform_config(data: &[u8]) {
    cardea_server::fuzz::platform_config(data);
}

/// A request line: what is read is written and read again as the same.
pub fn platform_request(data: &[u8]) {
    cardea_server::fuzz::platform_request(data);
}
