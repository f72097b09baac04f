use crate::Error;

/// Pads a payload of `len` bytes in `out` with `0x00` to `target` bytes and returns the new length. A payload that is
/// already that long stays as it is.
///
/// # Errors
/// [`Error::BufferTooSmall`].
pub fn pad(out: &mut [u8], len: usize, target: usize) -> Result<usize, Error> {
    if target <= len {
        return Ok(len);
    }
    out.get_mut(len..target).ok_or(Error::BufferTooSmall)?.fill(0);
    Ok(target)
}

/// The sizes that interactive frames are padded to, so that an observer learns less from their length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Padder {
    /// The largest frame, in bytes, that the radio can carry now without a fragment.
    pub mtu: usize,
}

impl Padder {
    /// Frame sizes in bytes, ascending.
    pub const SIZES: [usize; 2] = [32, 48];

    /// How many bytes of padding a payload needs whose frame would be `frame_len` bytes without padding: to the next
    /// of [`Self::SIZES`] that the radio can carry, else none.
    pub fn padding(self, frame_len: usize) -> usize {
        Self::SIZES
            .into_iter()
            .find(|&size| size >= frame_len && size <= self.mtu)
            .map_or(0, |size| size - frame_len)
    }
}
