//! Who has which address in the network, as devices and the NCP say.

use std::collections::BTreeMap;

use crate::types::{Eui64, NwkAddr};

/// Devices that are remembered: more than any NCP has children and routes for.
const MAX_DEVICES: usize = 1_024;

/// Both ways round; one address each.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    by_nwk: BTreeMap<NwkAddr, Eui64>,
    by_eui: BTreeMap<Eui64, NwkAddr>,
}

impl Addresses {
    pub(crate) fn learn(&mut self, eui: Eui64, nwk: NwkAddr) {
        if !nwk.is_unicast() || nwk == NwkAddr::COORDINATOR {
            return;
        }
        self.forget(eui);
        if let Some(before) = self.by_nwk.remove(&nwk) {
            self.by_eui.remove(&before);
        }
        if self.by_eui.len() >= MAX_DEVICES {
            // Whoever it is, the NCP knows the address when it is asked.
            if let Some((_, nwk)) = self.by_eui.pop_first() {
                self.by_nwk.remove(&nwk);
            }
        }
        self.by_nwk.insert(nwk, eui);
        self.by_eui.insert(eui, nwk);
    }

    pub(crate) fn forget(&mut self, eui: Eui64) {
        if let Some(nwk) = self.by_eui.remove(&eui) {
            self.by_nwk.remove(&nwk);
        }
    }

    pub(crate) fn eui(&self, nwk: NwkAddr) -> Option<Eui64> {
        self.by_nwk.get(&nwk).copied()
    }

    pub(crate) fn nwk(&self, eui: Eui64) -> Option<NwkAddr> {
        self.by_eui.get(&eui).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_device_and_a_device_one_address() {
        let (a, b) = (Eui64([1; 8]), Eui64([2; 8]));
        let mut known = Addresses::default();
        known.learn(a, NwkAddr(0x1111));
        known.learn(a, NwkAddr(0x2222));
        assert_eq!((known.eui(NwkAddr(0x1111)), known.nwk(a)), (None, Some(NwkAddr(0x2222))));
        known.learn(b, NwkAddr(0x2222));
        assert_eq!((known.nwk(a), known.eui(NwkAddr(0x2222))), (None, Some(b)));
        known.learn(a, NwkAddr::ROUTERS);
        assert_eq!(known.nwk(a), None);
        for n in 0..2_000u16 {
            let [high, low] = n.to_be_bytes();
            known.learn(Eui64([3, high, low, 0, 0, 0, 0, 0]), NwkAddr(n + 1));
        }
        assert_eq!((known.by_eui.len(), known.by_nwk.len()), (MAX_DEVICES, MAX_DEVICES));
    }
}
