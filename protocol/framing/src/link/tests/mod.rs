mod bytes;
mod world;

use std::vec::Vec;

use super::*;
use crate::{GATEWAY_DATAGRAM, LOCK_DATAGRAM};

type Heap = Link<Vec<u8>, 2>;

const CONFIG: LinkConfig =
    LinkConfig { retry_ms: 1_000, max_attempts: 3, reassembly_ms: 60_000, max_datagram: LOCK_DATAGRAM };

fn lock() -> LockLink {
    Link::new(CONFIG)
}

fn gateway() -> Heap {
    Link::new(LinkConfig { max_datagram: GATEWAY_DATAGRAM, ..CONFIG })
}

fn frame<B: Buffer, const N: usize>(link: &mut Link<B, N>, now: u64, mtu: usize) -> Option<Vec<u8>> {
    let mut out = [0; 256];
    link.poll_transmit(now, mtu, &mut out).map(|len| out[..len].to_vec())
}

fn frames<B: Buffer, const N: usize>(link: &mut Link<B, N>, now: u64, mtu: usize) -> Vec<Vec<u8>> {
    core::iter::from_fn(|| frame(link, now, mtu)).collect()
}

/// The datagram and token that a frame completes.
fn take<B: Buffer, const N: usize>(
    link: &mut Link<B, N>,
    now: u64,
    frame: &[u8],
) -> Option<(Vec<u8>, Option<ReceiptToken>)> {
    let incoming = link.handle_frame(now, frame).unwrap()?;
    Some((incoming.datagram().to_vec(), incoming.receipt))
}

/// A platform OSCORE datagram of this class and length.
fn datagram(class: Class, len: usize) -> Vec<u8> {
    let header = Header { kind: Kind::PlatformOscore, more: false, class }.encode();
    core::iter::once(header).chain((1..len).map(|i| (i * 7) as u8)).collect()
}
