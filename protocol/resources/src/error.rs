/// Why a payload could not be decoded or encoded. Unless said otherwise the sender of the payload is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes end inside the CBOR item.
    #[error("payload ends inside its CBOR item")]
    Truncated,
    /// Not a definite-length map, or a value of another CBOR type than its key asks for.
    #[error("a CBOR item has the wrong type")]
    WrongType,
    /// Valid CBOR, but not in core deterministic encoding: a longer integer than needed, keys out of order or twice.
    #[error("CBOR is not deterministically encoded")]
    NotDeterministic,
    /// A critical key (0 to 23) that this payload does not have.
    #[error("unknown critical key {0}")]
    UnknownKey(u8),
    /// A required key is absent.
    #[error("key {0} is missing")]
    MissingKey(u8),
    /// The value of this key is outside what the key allows.
    #[error("value of key {0} is out of range")]
    OutOfRange(u8),
    /// Something other than `0x00` padding follows the item.
    #[error("bytes other than padding follow the item")]
    TrailingBytes,
    /// The caller's buffer is too small for the encoding.
    #[error("output buffer too small")]
    BufferTooSmall,
}
