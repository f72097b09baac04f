//! The configuration file: whatever an editor or a tool left in it gives a configuration or problems, never a panic.

/// Parses, with one environment variable laid over it, and words what is wrong.
pub fn config_parse(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // A NUL divides the file from one environment variable's value.
    let (text, variables) = match text.split_once('\0') {
        Some((text, value)) => (text, vec![("CARDEA_MQTT__URL".to_owned(), value.to_owned())]),
        None => (text, Vec::new()),
    };
    if let Err(error) = cardea_config::parse(text, &variables) {
        let _ = error.to_string();
    }
}
