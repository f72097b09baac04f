//! Against RFC 9529 and the transcripts of other implementations.
