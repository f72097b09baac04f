//! OSCORE (RFC 8613) and the small CoAP codec under it, sans-IO, no_std.
