//! Consistent Overhead Byte Stuffing (Cheshire and Baker, 1999): packets in a stream of bytes, with a zero between them and in none.

/// Longest encoding of so many bytes, without its zeros.
#[must_use]
pub const fn encoded(len: usize) -> usize {
    len + len / 254 + 1
}

/// Without zeros around it.
#[must_use]
pub fn encode(packet: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(encoded(packet.len()));
    let mut groups = packet.split(|byte| *byte == 0).peekable();
    while let Some(mut group) = groups.next() {
        // 254 bytes without a zero have a code of their own, which stands for no zero.
        while let Some((head, rest)) = group.split_at_checked(254) {
            if rest.is_empty() && groups.peek().is_none() {
                break;
            }
            out.push(0xFF);
            out.extend(head);
            group = rest;
        }
        out.push(group.len() as u8 + 1);
        out.extend(group);
    }
    out
}

/// What is wrong with what stood between two zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It was cut, or is none.
    #[error("no stuffed packet")]
    Malformed,
    /// It did not fit.
    #[error("a packet that is too long")]
    TooLong,
}

/// Takes bytes, gives packets of which the encoding has at most `N` bytes. Whatever comes, it is in step again after the next zero.
pub struct Decoder<const N: usize> {
    buffer: [u8; N],
    /// What came since the last zero; more than `N` is counted as `N` + 1 and forgotten.
    len: usize,
}

impl<const N: usize> Default for Decoder<N> {
    fn default() -> Self {
        Self { buffer: [0; N], len: 0 }
    }
}

impl<const N: usize> Decoder<N> {
    /// Nothing has come since the last zero.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// `Some` at the zero behind a packet. Zeros in a row are no packets.
    pub fn push(&mut self, byte: u8) -> Option<Result<&[u8], Error>> {
        if byte != 0 {
            if let Some(place) = self.buffer.get_mut(self.len) {
                *place = byte;
            }
            self.len = (self.len + 1).min(N + 1);
            return None;
        }
        match std::mem::take(&mut self.len) {
            0 => None,
            len => {
                let packet = self.buffer.get_mut(..len).map_or(Err(Error::TooLong), unstuff);
                Some(packet)
            }
        }
    }
}

/// In place: what is decoded is never ahead of what is read.
fn unstuff(bytes: &mut [u8]) -> Result<&[u8], Error> {
    let (mut from, mut to) = (0, 0);
    while from < bytes.len() {
        let code = usize::from(bytes.get(from).copied().unwrap_or(0));
        let end = from + code;
        // Code bytes are never 0 here, since none of these bytes is.
        if code == 0 || end > bytes.len() {
            return Err(Error::Malformed);
        }
        bytes.copy_within(from + 1..end, to);
        to += code - 1;
        from = end;
        if code < 0xFF && from < bytes.len() {
            if let Some(place) = bytes.get_mut(to) {
                *place = 0;
            }
            to += 1;
        }
    }
    bytes.get(..to).ok_or(Error::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode<const N: usize>(stream: &[u8]) -> Vec<Result<Vec<u8>, Error>> {
        let mut decoder = Decoder::<N>::default();
        stream.iter().filter_map(|byte| decoder.push(*byte).map(|got| got.map(<[u8]>::to_vec))).collect()
    }

    /// Wikipedia's examples, which are the paper's.
    #[test]
    fn packets_are_stuffed_as_published() {
        let run = |from: u8, to: u8| (from..=to).collect::<Vec<u8>>();
        let cases: [(Vec<u8>, Vec<u8>); 9] = [
            (vec![0], vec![1, 1]),
            (vec![0, 0], vec![1, 1, 1]),
            (vec![0, 0x11, 0], vec![1, 2, 0x11, 1]),
            (vec![0x11, 0x22, 0, 0x33], vec![3, 0x11, 0x22, 2, 0x33]),
            (vec![0x11, 0, 0, 0], vec![2, 0x11, 1, 1, 1]),
            (run(1, 254), [vec![0xFF], run(1, 254)].concat()),
            ([vec![0], run(1, 254)].concat(), [vec![1, 0xFF], run(1, 254)].concat()),
            (run(1, 255), [vec![0xFF], run(1, 254), vec![2, 255]].concat()),
            ([run(2, 255), vec![0]].concat(), [vec![0xFF], run(2, 255), vec![1, 1]].concat()),
        ];
        for (plain, stuffed) in cases {
            assert_eq!(encode(&plain), stuffed);
            assert_eq!(decode::<300>(&[&stuffed[..], &[0]].concat()), [Ok(plain)]);
        }
    }

    #[test]
    fn what_is_too_long_or_cut_costs_itself_alone() {
        let good = encode(&[7, 0, 8]);
        let stream = [&[9; 40][..], &[0], &good, &[0, 0, 5, 1, 0], &good, &[0]].concat();
        let expected = [Err(Error::TooLong), Ok(vec![7, 0, 8]), Err(Error::Malformed), Ok(vec![7, 0, 8])];
        assert_eq!(decode::<8>(&stream), expected);
        // Exactly what fits, and one more.
        let fits = encode(&[1; 7]);
        assert_eq!(fits.len(), 8);
        assert_eq!(decode::<8>(&[&fits[..], &[0]].concat()), [Ok(vec![1; 7])]);
        assert_eq!(decode::<7>(&[&fits[..], &[0]].concat()), [Err(Error::TooLong)]);
    }
}
