//! What went over the wire, as a file that Wireshark reads (pcap, LINKTYPE_ZBOSS_NCP).

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Direction;

const LINKTYPE_ZBOSS_NCP: u32 = 292;
/// The two bytes before each frame, and the length behind them.
const SIGNATURE: [u8; 2] = [0xDE, 0xAD];

/// Writes frames as they are complete, from both directions. For wires without faults: what is no frame is left out.
pub struct Capture {
    file: File,
    /// What may become a frame, to the NCP and to the host.
    partial: [Vec<u8>; 2],
    frames: u64,
}

impl Capture {
    /// Begins a file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut file = File::create(path)?;
        let mut header = Vec::new();
        header.extend_from_slice(&0xA1B2_C3D4_u32.to_le_bytes());
        header.extend_from_slice(&[2, 0, 4, 0]);
        header.extend_from_slice(&[0; 8]);
        header.extend_from_slice(&65_535_u32.to_le_bytes());
        header.extend_from_slice(&LINKTYPE_ZBOSS_NCP.to_le_bytes());
        file.write_all(&header)?;
        Ok(Self { file, partial: Default::default(), frames: 0 })
    }

    /// Frames so far.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// These bytes went over the wire.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add(&mut self, direction: Direction, bytes: &[u8]) -> io::Result<()> {
        let [to_ncp, to_host] = &mut self.partial;
        let partial = match direction {
            Direction::ToNcp => to_ncp,
            Direction::ToHost => to_host,
        };
        partial.extend_from_slice(bytes);
        while let Some(at) = partial.windows(2).position(|two| two == SIGNATURE) {
            partial.drain(..at);
            let Some(&[_, _, low, high]) = partial.first_chunk::<4>() else { break };
            let length = usize::from(u16::from_le_bytes([low, high])).saturating_add(2);
            let Some(frame) = partial.get(..length) else { break };
            let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let field = |number: u64| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
            let size = field(u64::try_from(length).unwrap_or(0));
            let mut record = Vec::with_capacity(16 + length);
            record.extend_from_slice(&field(time.as_secs()));
            record.extend_from_slice(&field(time.subsec_micros().into()));
            record.extend_from_slice(&size);
            record.extend_from_slice(&size);
            record.extend_from_slice(frame);
            self.file.write_all(&record)?;
            self.frames += 1;
            partial.drain(..length);
        }
        Ok(())
    }
}
