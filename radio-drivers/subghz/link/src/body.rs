use heapless::Vec;

use crate::codec::{Error, Kind, MTU, is_assignable};
use crate::mic::Key;
use crate::{LockId, Quality};

/// Bodies of all kinds but data. Big-endian, fixed lengths.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// See [`Ack`].
    Ack(Ack),
    /// See [`Wake`].
    Wake(Wake),
    /// See [`Beacon`].
    Beacon(Beacon),
    /// See [`Join`].
    Join(Join),
    /// See [`Accept`].
    Accept(Accept),
    /// See [`Hello`].
    Hello(Hello),
    /// No counter below this one is taken.
    Floor(u32),
}

/// How the acknowledged frame was heard: `rssi lqi`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ack {
    /// As the sender of the acknowledgement heard it.
    pub quality: Quality,
}

/// A strobe: `countdown:2 channel`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wake {
    /// Milliseconds from the end of this frame to the earliest data.
    pub countdown_ms: u16,
    /// Where the data comes.
    pub channel: u8,
}

/// `counter:4 channel channels countdown:2 period flags`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Beacon {
    /// Of the network, never used twice.
    pub counter: u32,
    /// Where the gateway listens from the window on.
    pub channel: u8,
    /// Bit per channel that the network may move to.
    pub channels: u8,
    /// Milliseconds from the end of this frame to the listen window.
    pub countdown_ms: u16,
    /// Seconds to the next beacon.
    pub period_s: u8,
    /// Locks may join now.
    pub join_open: bool,
}

/// `lock:8 nonce:4`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Join {
    /// Who.
    pub lock: LockId,
    /// Higher than any before from this lock.
    pub nonce: u32,
}

/// `lock:8 node_nonce:4 gateway_nonce:4 address channels key:16`.
#[derive(Clone, PartialEq, Eq)]
pub struct Accept {
    /// For whom.
    pub lock: LockId,
    /// The nonce of the JOIN that this answers.
    pub node_nonce: u32,
    /// The gateway's nonce.
    pub gateway_nonce: u32,
    /// The lock's address from now on, 1 to 253.
    pub address: u8,
    /// As in the beacon.
    pub channels: u8,
    /// The network key, wrapped.
    pub wrapped: [u8; 16],
}

impl core::fmt::Debug for Accept {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Accept")
            .field("lock", &self.lock)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Accept {
    pub(crate) fn wrapped_key(&self) -> Key {
        Key(self.wrapped)
    }
}

/// `floor:4 interval:2 linger:2`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello {
    /// No counter of the gateway below this one is taken.
    pub floor: u32,
    /// Milliseconds between two listenings; 0: it always listens.
    pub interval_ms: u16,
    /// Milliseconds it listens after each acknowledged frame of its own.
    pub linger_ms: u16,
}

impl Body {
    /// The kind that goes into the header.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Ack(_) => Kind::Ack,
            Self::Wake(_) => Kind::Wake,
            Self::Beacon(_) => Kind::Beacon,
            Self::Join(_) => Kind::Join,
            Self::Accept(_) => Kind::Accept,
            Self::Hello(_) => Kind::Hello,
            Self::Floor(_) => Kind::Floor,
        }
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8, MTU> {
        let mut out = Vec::new();
        // Every body is shorter than MTU, so nothing is left out.
        let mut put = |bytes: &[u8]| out.extend_from_slice(bytes).unwrap_or_default();
        match self {
            Self::Ack(ack) => put(&ack.quality.to_bytes()),
            Self::Wake(wake) => {
                put(&wake.countdown_ms.to_be_bytes());
                put(&[wake.channel]);
            }
            Self::Beacon(beacon) => {
                put(&beacon.counter.to_be_bytes());
                put(&[beacon.channel, beacon.channels]);
                put(&beacon.countdown_ms.to_be_bytes());
                put(&[beacon.period_s, u8::from(beacon.join_open)]);
            }
            Self::Join(join) => {
                put(&join.lock);
                put(&join.nonce.to_be_bytes());
            }
            Self::Accept(accept) => {
                put(&accept.lock);
                put(&accept.node_nonce.to_be_bytes());
                put(&accept.gateway_nonce.to_be_bytes());
                put(&[accept.address, accept.channels]);
                put(&accept.wrapped);
            }
            Self::Hello(hello) => {
                put(&hello.floor.to_be_bytes());
                put(&hello.interval_ms.to_be_bytes());
                put(&hello.linger_ms.to_be_bytes());
            }
            Self::Floor(floor) => put(&floor.to_be_bytes()),
        }
        out
    }

    /// Reads the body of a kind; data has none.
    ///
    /// # Errors
    /// [`Error::Body`].
    pub fn decode(kind: Kind, bytes: &[u8]) -> Result<Self, Error> {
        let mut read = Reader(bytes);
        let body = match kind {
            Kind::Data => return Err(Error::Body),
            Kind::Ack => Self::Ack(Ack { quality: Quality::from_bytes(read.take()?) }),
            Kind::Wake => Self::Wake(Wake { countdown_ms: read.u16()?, channel: read.u8()? }),
            Kind::Beacon => Self::Beacon(Beacon {
                counter: read.u32()?,
                channel: read.u8()?,
                channels: read.u8()?,
                countdown_ms: read.u16()?,
                period_s: read.u8()?,
                join_open: match read.u8()? {
                    flag @ 0..=1 => flag == 1,
                    _ => return Err(Error::Body),
                },
            }),
            Kind::Join => Self::Join(Join { lock: read.take()?, nonce: read.u32()? }),
            Kind::Accept => Self::Accept(Accept {
                lock: read.take()?,
                node_nonce: read.u32()?,
                gateway_nonce: read.u32()?,
                address: read.address()?,
                channels: read.u8()?,
                wrapped: read.take()?,
            }),
            Kind::Hello => {
                Self::Hello(Hello { floor: read.u32()?, interval_ms: read.u16()?, linger_ms: read.u16()? })
            }
            Kind::Floor => Self::Floor(read.u32()?),
        };
        if read.0.is_empty() { Ok(body) } else { Err(Error::Body) }
    }
}

/// Fixed-size fields off the front of bytes; of records, too.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl Reader<'_> {
    pub(crate) fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Error::Body)?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Error> {
        self.take().map(u8::from_be_bytes)
    }

    /// One that a lock may have.
    pub(crate) fn address(&mut self) -> Result<u8, Error> {
        self.u8().and_then(|address| if is_assignable(address) { Ok(address) } else { Err(Error::Body) })
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Error> {
        self.take().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        self.take().map(u32::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bodies_are_these_bytes() {
        let lock = [1, 2, 3, 4, 5, 6, 7, 8];
        for (body, bytes) in [
            (Body::Ack(Ack { quality: Quality { rssi: Some(-70), lqi: Some(200) } }), "bac8"),
            (Body::Ack(Ack { quality: Quality { rssi: None, lqi: None } }), "7f00"),
            (Body::Wake(Wake { countdown_ms: 500, channel: 2 }), "01f402"),
            (
                Body::Beacon(Beacon {
                    counter: 9,
                    channel: 0,
                    channels: 0x3F,
                    countdown_ms: 20,
                    period_s: 10,
                    join_open: true,
                }),
                "00000009003f00140a01",
            ),
            (Body::Join(Join { lock, nonce: 3 }), "010203040506070800000003"),
            (
                Body::Accept(Accept {
                    lock,
                    node_nonce: 3,
                    gateway_nonce: 4,
                    address: 5,
                    channels: 1,
                    wrapped: [0xEE; 16],
                }),
                "010203040506070800000003000000040501eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee",
            ),
            (Body::Hello(Hello { floor: 512, interval_ms: 500, linger_ms: 300 }), "0000020001f4012c"),
            (Body::Floor(512), "00000200"),
        ] {
            assert_eq!(hex::encode(body.encode()), bytes);
            assert_eq!(Body::decode(body.kind(), &hex::decode(bytes).unwrap()), Ok(body));
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_to_the_same_bytes(kind in 0_usize..8, bytes in proptest::collection::vec(any::<u8>(), 0..48)) {
            let kind = [Kind::Data, Kind::Ack, Kind::Wake, Kind::Beacon, Kind::Join, Kind::Accept, Kind::Hello, Kind::Floor][kind];
            if let Ok(body) = Body::decode(kind, &bytes) {
                prop_assert_eq!(&body.encode()[..], &bytes[..]);
            }
        }
    }
}
