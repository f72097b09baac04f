//! UART 0 of the mps2 boards (CMSDK APB UART), and the records that go over it: kind, length (u16, little-endian), bytes.

const UART0: usize = 0x4000_4000;
const DATA: usize = UART0;
const STATE: usize = UART0 + 4;
const CONTROL: usize = UART0 + 8;
const DIVIDER: usize = UART0 + 16;
const TX_FULL: u32 = 1;
const RX_FULL: u32 = 2;

/// The line.
pub struct Serial(());

impl Serial {
    /// Switches sender and receiver on.
    pub fn open() -> Self {
        write(DIVIDER, 16); // the least that counts as a bit rate
        write(CONTROL, 3);
        Self(())
    }

    /// Sends one record.
    pub fn send(&mut self, kind: u8, bytes: &[u8]) {
        let len = (bytes.len() as u16).to_le_bytes();
        for byte in [kind].iter().chain(&len).chain(bytes) {
            while read(STATE) & TX_FULL != 0 {}
            write(DATA, u32::from(*byte));
        }
    }

    /// Waits for one record; what does not fit into `out` is lost.
    pub fn receive<'a>(&mut self, out: &'a mut [u8]) -> (u8, &'a [u8]) {
        let kind = self.byte();
        let len = usize::from(u16::from_le_bytes([self.byte(), self.byte()]));
        for at in 0..len {
            let byte = self.byte();
            if let Some(place) = out.get_mut(at) {
                *place = byte;
            }
        }
        (kind, out.get(..len).unwrap_or_default())
    }

    fn byte(&mut self) -> u8 {
        while read(STATE) & RX_FULL == 0 {}
        read(DATA) as u8
    }
}

fn read(address: usize) -> u32 {
    // SAFETY: a register of this board's UART, word-aligned; reading has no effect on memory.
    unsafe { (address as *const u32).read_volatile() }
}

fn write(address: usize, value: u32) {
    // SAFETY: as above; the UART has no DMA.
    unsafe { (address as *mut u32).write_volatile(value) }
}
