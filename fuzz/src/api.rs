//! A line on the control socket: any user of the daemon's group can write one.

use cardea_api::{PeerLine, Request};

/// Reads a request line; what is read is written and read again as the same.
pub fn api_request(data: &[u8]) {
    match Request::parse(data) {
        Ok(request) => {
            let line = serde_json::to_vec(&request).unwrap_or_default();
            assert!(!line.is_empty(), "a request cannot be written");
            // Escapes may make a label's line longer than it came.
            if line.len() <= cardea_api::MAX_REQUEST {
                assert!(Request::parse(&line) == Ok(request), "not the same request");
            }
        }
        Err(error) => assert!(error.to_string().len() < 200, "an error that repeats what it read"),
    }
}

/// Reads a line of an attached phone; what is read is written and read again as the same.
pub fn api_peer_line(data: &[u8]) {
    match PeerLine::parse(data) {
        Ok(line) => {
            let text = serde_json::to_vec(&line).unwrap_or_default();
            assert!(PeerLine::parse(&text) == Ok(line), "not the same datagram");
        }
        Err(error) => assert!(error.to_string().len() < 200, "an error that repeats what it read"),
    }
}
