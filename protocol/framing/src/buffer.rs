/// Bytes that a [`Link`](crate::Link) keeps: a fixed array in a lock, the heap in a gateway.
pub trait Buffer: Default {
    /// Makes it exactly `len` bytes long (content of new bytes: zero); false if it cannot hold that many.
    #[must_use]
    fn resize(&mut self, len: usize) -> bool;

    /// What it holds.
    fn bytes(&self) -> &[u8];

    /// What it holds, to write.
    fn bytes_mut(&mut self) -> &mut [u8];

    /// Forgets the content and gives back memory where there is memory to give back.
    fn release(&mut self);
}

impl<const N: usize> Buffer for heapless::Vec<u8, N> {
    fn resize(&mut self, len: usize) -> bool {
        Self::resize(self, len, 0).is_ok()
    }

    fn bytes(&self) -> &[u8] {
        self
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }

    fn release(&mut self) {
        self.clear();
    }
}

#[cfg(any(feature = "alloc", test))]
impl Buffer for alloc::vec::Vec<u8> {
    fn resize(&mut self, len: usize) -> bool {
        Self::resize(self, len, 0);
        self.shrink_to_fit();
        true
    }

    fn bytes(&self) -> &[u8] {
        self
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }

    fn release(&mut self) {
        *self = Self::new();
    }
}
