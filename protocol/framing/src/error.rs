/// Why bytes were not taken. The variant names the culprit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The header's version is not 0.
    #[error("unknown framing version")]
    Version,
    /// The header's kind is unknown, or a text names no kind.
    #[error("unknown frame kind")]
    Kind,
    /// The text names no class.
    #[error("unknown frame class")]
    Class,
    /// The text is not 16 lower-case hexadecimal digits.
    #[error("a lock id is 16 lower-case hexadecimal digits")]
    LockId,
    /// The frame or datagram ends before its header says it does, or carries nothing.
    #[error("frame is cut short")]
    Truncated,
    /// A frame with `more` set, or a receipt, where a datagram was expected.
    #[error("not a datagram")]
    NotADatagram,
    /// The peer address is in the reserved range.
    #[error("reserved peer address")]
    PeerAddress,
    /// The fragment's index is beyond its last, or it claims to be the only one.
    #[error("impossible fragment header")]
    Fragment,
    /// The fragments do not add up to the datagram that was sent.
    #[error("wrong CRC over a reassembled datagram")]
    Crc,
    /// The receipt has no form that this version knows.
    #[error("malformed receipt")]
    Receipt,
    /// The elided OSCORE message restores to nothing.
    #[error("malformed elided message")]
    Elided,
    /// The datagram is longer than this end takes.
    #[error("datagram is too big")]
    TooBig,
    /// A datagram is outstanding, or its event has not been collected.
    #[error("a datagram is still outstanding")]
    Busy,
    /// The caller's output buffer is too small.
    #[error("output buffer is too small")]
    Buffer,
}
