//! EDHOC (RFC 9528), sans-IO, no_std.
