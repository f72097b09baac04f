"""A second lock, written from docs/protocol.md and the RFCs alone: it shares no code with the Rust one."""
