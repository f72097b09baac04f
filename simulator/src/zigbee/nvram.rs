//! What an NCP remembers through resets and without power.

use std::collections::{BTreeMap, BTreeSet};

use cardea_zigbee::ezsp::call::NetworkParameters;
use cardea_zigbee::zboss::call::{DatasetBytes, IbCounters};
use cardea_zigbee::{Eui64, Key, NwkAddr, coordinator::Network};
use zeroize::Zeroizing;

/// ADDR_MAP, layout 2: who has which address.
const ADDR_MAP: u16 = 11;
const ADDR_MAP_VERSION: u16 = 2;
const ADDR_RECORD: usize = 16;
/// APS_SECURE: the link key with each device.
const APS_SECURE: u16 = 14;
const APS_HEADER: usize = 4;
const APS_RECORD: usize = 28;
/// A key that the device has proven to hold.
const VERIFIED: u32 = 2 << 2;
/// Devices that fit the tables of the largest firmware.
pub(super) const MAX_DEVICES: usize = 200;

/// The network that is resumed.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) network: Network,
    pub(super) key: Key,
    pub(super) key_number: u8,
}

/// The address of a device of which only the key is known.
pub(super) const UNKNOWN: NwkAddr = NwkAddr(0xFFFF);

/// A device of the network.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) nwk: NwkAddr,
    /// Its own link key.
    pub(super) key: Option<Key>,
}

/// What EmberZNet remembers beside.
#[derive(Clone, Default)]
pub(super) struct Ember {
    /// What the network was formed with: bits, and the key of all devices or the secret behind theirs.
    pub(super) security: Option<(u16, Key)>,
    pub(super) parameters: Option<NetworkParameters>,
    /// Where in the table each device's link key is.
    pub(super) key_table: BTreeMap<u8, Eui64>,
}

/// The memory of an NCP. A blank one by default.
#[derive(Clone, Default)]
pub struct Nvram {
    pub(super) stored: Option<Stored>,
    pub(super) eui: Option<Eui64>,
    pub(super) members: BTreeMap<Eui64, Member>,
    /// Devices that have the coordinator for their parent; a restored coordinator has none until they come back.
    pub(super) children: BTreeSet<Eui64>,
    /// Link keys of install codes.
    pub(super) codes: BTreeMap<Eui64, Key>,
    pub(super) counters: Option<IbCounters>,
    pub(super) ember: Ember,
    /// Written by the host; the stack takes it at its next start.
    written: Vec<(u16, Zeroizing<Vec<u8>>)>,
}

impl Nvram {
    /// The network that is remembered.
    #[must_use]
    pub fn network(&self) -> Option<Network> {
        self.stored.as_ref().map(|stored| stored.network)
    }

    /// The devices of the network.
    pub fn devices(&self) -> impl Iterator<Item = Eui64> + '_ {
        self.members.keys().copied()
    }

    /// Forgets the network and its devices. The NCP's own address stays if it was not set by a host.
    pub(super) fn erase(&mut self) {
        *self = Self::default();
    }

    /// Outgoing frame counters, from 0 where there were none.
    pub(super) fn counters(&mut self) -> &mut IbCounters {
        self.counters.get_or_insert(IbCounters { nib: 0, aib: 0 })
    }

    /// A device is not in the network any more.
    pub(super) fn forget(&mut self, eui: Eui64) {
        self.members.remove(&eui);
        self.children.remove(&eui);
        self.ember.key_table.retain(|_, of| *of != eui);
    }

    /// Takes a dataset that counts from the next start on. False: no such dataset.
    pub(super) fn write(&mut self, dataset: u16, data: &DatasetBytes) -> bool {
        let known = matches!(dataset, IbCounters::DATASET | ADDR_MAP | APS_SECURE);
        if known {
            self.written.retain(|(before, _)| *before != dataset);
            self.written.push((dataset, data.0.clone()));
        }
        known
    }

    /// A dataset's version and content, as the stack has it; what was only written is not there yet.
    pub(super) fn read(&self, dataset: u16) -> Option<(u16, DatasetBytes)> {
        let (version, bytes) = match dataset {
            IbCounters::DATASET => (1, self.counters?.encode()),
            ADDR_MAP if !self.members.is_empty() => (ADDR_MAP_VERSION, self.addresses()),
            APS_SECURE if self.members.values().any(|member| member.key.is_some()) => (0, self.keys()),
            _ => return None,
        };
        Some((version, DatasetBytes(Zeroizing::new(bytes))))
    }

    /// The stack starts: what was written counts.
    pub(super) fn load(&mut self) {
        // Addresses first: a key belongs to a device.
        self.written.sort_by_key(|(dataset, _)| *dataset);
        for (dataset, data) in std::mem::take(&mut self.written) {
            match dataset {
                IbCounters::DATASET => self.counters = IbCounters::parse(&data).ok().or(self.counters),
                ADDR_MAP => self.load_addresses(&data),
                _ => self.load_keys(&data),
            }
        }
    }

    fn addresses(&self) -> Vec<u8> {
        let count = u8::try_from(self.members.len()).unwrap_or(u8::MAX);
        let [version, _] = ADDR_MAP_VERSION.to_le_bytes();
        let mut out = vec![count, version, 0, 0];
        for (eui, member) in self.members.iter().take(count.into()) {
            out.extend(eui.0.iter().rev());
            out.extend_from_slice(&member.nwk.0.to_le_bytes());
            // Index, two fields of address conflicts, alignment.
            out.extend_from_slice(&[0; 6]);
        }
        out
    }

    fn load_addresses(&mut self, data: &[u8]) {
        let Some((header, records)) = data.split_at_checked(4) else { return };
        let count = header.first().copied().unwrap_or(0);
        for record in records.chunks_exact(ADDR_RECORD).take(count.into()).take(MAX_DEVICES) {
            let Some((eui, rest)) = record.split_first_chunk::<8>() else { return };
            let Some((nwk, _)) = rest.split_first_chunk::<2>() else { return };
            let nwk = NwkAddr(u16::from_le_bytes(*nwk));
            let member = self.members.entry(swapped(*eui)).or_insert(Member { nwk, key: None });
            member.nwk = nwk;
        }
    }

    fn keys(&self) -> Vec<u8> {
        let mut out = vec![0; APS_HEADER];
        for (eui, member) in &self.members {
            let Some(key) = &member.key else { continue };
            out.extend(eui.0.iter().rev());
            out.extend_from_slice(&key.0);
            out.extend_from_slice(&VERIFIED.to_le_bytes());
        }
        out
    }

    fn load_keys(&mut self, data: &[u8]) {
        for record in data.get(APS_HEADER..).unwrap_or(&[]).chunks_exact(APS_RECORD) {
            let Some((eui, rest)) = record.split_first_chunk::<8>() else { return };
            let Some((key, _)) = rest.split_first_chunk::<16>() else { return };
            // A key of a device without an address is of no use to anybody.
            if let Some(member) = self.members.get_mut(&swapped(*eui)) {
                member.key = Some(Key(*key));
            }
        }
    }
}

fn swapped(mut eui: [u8; 8]) -> Eui64 {
    eui.reverse();
    Eui64(eui)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What zigpy-zboss 2.0.5 writes when it restores a network (`tests/vectors/zboss-ncp.json`), behind each length.
    #[test]
    fn datasets_of_another_host_count_after_a_restart_and_are_read_back_the_same() {
        let written = [
            (7, "3412000000000000"),
            (11, "010200000102030405064b003c4a000000000000"),
            (14, "000000000102030405064b00101112131415161718191a1b1c1d1e1f08000000"),
        ];
        let mut nvram = Nvram::default();
        for (dataset, hex) in written {
            assert!(nvram.write(dataset, &DatasetBytes(Zeroizing::new(hex::decode(hex).unwrap()))));
            assert!(nvram.read(dataset).is_none(), "only after a restart");
        }
        nvram.load();
        for (dataset, hex) in written {
            assert_eq!(hex::encode(&*nvram.read(dataset).unwrap().1.0), hex, "dataset {dataset}");
        }
        assert!(!nvram.write(1, &DatasetBytes(Zeroizing::new(vec![]))), "of COMMON nobody knows the layout");
        assert_eq!(nvram.members.len(), 1);
    }

    #[test]
    fn datasets_that_are_cut_add_nothing() {
        let mut nvram = Nvram::default();
        for dataset in [7, 11, 14] {
            nvram.write(dataset, &DatasetBytes(Zeroizing::new(vec![9, 2, 0, 0, 1, 2])));
        }
        nvram.load();
        assert!(nvram.members.is_empty() && nvram.counters.is_none());
    }
}
