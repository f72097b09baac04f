use crate::coap::Code;

/// Why a message was refused or could not be built. "Peer" is whoever sent the bytes, "caller" the code above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Peer: the CoAP message ends inside its header, token or an option (RFC 7252 section 3).
    #[error("CoAP message ends early")]
    CoapTruncated,
    /// Peer: not CoAP version 1.
    #[error("not CoAP version 1")]
    CoapVersion,
    /// Peer: a token longer than 8 bytes.
    #[error("CoAP token longer than 8 bytes")]
    CoapToken,
    /// Peer: a code of a reserved class, or an Empty message with anything behind its header.
    #[error("CoAP code not allowed here")]
    CoapCode,
    /// Peer: reserved option nibble 15, or an option number above 65535.
    #[error("malformed CoAP option")]
    CoapOption,
    /// Peer: a payload marker with nothing behind it.
    #[error("CoAP payload marker without payload")]
    CoapMarker,
    /// Caller: options must be added in ascending order.
    #[error("CoAP options out of order")]
    OptionOrder,
    /// Caller: an option or message that OSCORE cannot protect here: `Proxy-Uri` (it would have to be taken apart,
    /// RFC 8613 section 4.1.3.3), an `OSCORE` option that is already there, a request code for a response or the like.
    #[error("message cannot be protected")]
    NotProtectable,
    /// Caller: the output buffer is too small.
    #[error("output buffer too small")]
    BufferTooSmall,
    /// Caller: identifier longer than the algorithm's nonce allows (RFC 8613 section 3.3), or ID context too long.
    #[error("identifier too long")]
    IdTooLong,
    /// Caller: sender and recipient id are equal, which would use one key and nonce for both directions.
    #[error("sender and recipient id are equal")]
    IdsEqual,
    /// Caller: an empty master secret, or a restored value that this crate never wrote.
    #[error("invalid stored or configured value")]
    InvalidState,
    /// Caller: the binding does not belong to this context and direction.
    #[error("binding of another context")]
    WrongBinding,
    /// Caller: a sequence number above 2^40 - 1 (RFC 8613 section 7.2.1).
    #[error("sequence numbers exhausted")]
    SequenceExhausted,
    /// Caller: no sequence number below the durable limit is left; reserve a block first.
    #[error("sequence number not reserved")]
    SequenceNotReserved,
    /// Peer: no OSCORE option where protection is required.
    #[error("message is not protected")]
    NotProtected,
    /// Peer: the OSCORE option is malformed, repeated, or lacks what its direction needs (RFC 8613 section 6.1).
    #[error("malformed OSCORE option")]
    OscoreOption,
    /// Peer: no payload, or one not longer than the tag.
    #[error("ciphertext too short")]
    Ciphertext,
    /// Peer: `kid` or kid context of another security context.
    #[error("unknown security context")]
    UnknownContext,
    /// Peer: sequence number already used, or too old to tell.
    #[error("replayed sequence number")]
    Replay,
    /// Peer: the tag is wrong. Counted, see [`crate::Context::failed_tags`].
    #[error("decryption failed")]
    Decrypt,
    /// Peer: authentic, but not a CoAP message that may stand inside: no code, a code of the wrong direction, malformed
    /// options, an OSCORE option.
    #[error("malformed protected message")]
    Inner,
    /// This context has seen too many wrong tags and protects nothing any more; make a new one.
    #[error("security context retired")]
    Retired,
}

impl Error {
    /// The code of the unprotected error response that RFC 8613 section 8.2 gives for this refusal of a request, for
    /// servers that answer at all; a lock on a radio stays silent. `None`: not the request's fault.
    pub fn response_code(self) -> Option<Code> {
        match self {
            Self::OscoreOption | Self::Ciphertext => Some(Code::BAD_OPTION),
            Self::NotProtected | Self::UnknownContext | Self::Replay | Self::Retired => {
                Some(Code::UNAUTHORIZED)
            }
            Self::Decrypt | Self::Inner => Some(Code::BAD_REQUEST),
            _ => None,
        }
    }
}
