//! Who is drawn, in which order, and by way of whom each is reached.

use std::collections::BTreeMap;

use cardea_api::{Lock, MapDevice, MapKind, RadioMap};

/// One that is drawn.
#[derive(Clone, Copy)]
pub(super) enum Dot<'a> {
    /// A lock, and what the map says of it.
    Lock(&'a Lock, Option<&'a MapDevice>),
    Router(&'a MapDevice),
}

impl<'a> Dot<'a> {
    fn device(&self) -> Option<&'a MapDevice> {
        match self {
            Self::Lock(_, device) => *device,
            Self::Router(device) => Some(device),
        }
    }

    fn parent(&self) -> Option<&'a str> {
        self.device()?.behind.as_ref().map(|behind| behind.device.as_str())
    }
}

/// How one is reached.
pub(super) enum Way<'a> {
    /// The radio itself has it for a child, or is its neighbour.
    Direct { lqi: u8, age_s: u64 },
    /// By way of this device; `index`: its place among those that are drawn.
    Behind { device: &'a str, lqi: u8, age_s: u64, index: Option<usize> },
    /// Nobody said.
    Unknown,
}

/// The locks of one radio and its routers.
pub(super) struct Ways<'a> {
    /// Of the radio itself.
    radio: Option<&'a str>,
    routers: Vec<&'a MapDevice>,
    dots: Vec<Dot<'a>>,
    /// The place of each device that is drawn.
    index: BTreeMap<&'a str, usize>,
}

impl<'a> Ways<'a> {
    /// Routers in order of their addresses, each with the locks behind it; then the other locks. `locks` are in order.
    pub(super) fn new(map: Option<&'a RadioMap>, locks: Vec<&'a Lock>) -> Self {
        let devices = map.map(|map| map.devices.as_slice()).unwrap_or_default();
        let by_lock: BTreeMap<&str, &MapDevice> =
            devices.iter().filter_map(|device| Some((device.lock.as_deref()?, device))).collect();
        let radio = devices.iter().find(|device| device.kind == MapKind::Coordinator);
        let routers: Vec<_> = devices.iter().filter(|device| device.kind == MapKind::Router).collect();
        let mut behind: BTreeMap<Option<&str>, Vec<Dot<'a>>> = BTreeMap::new();
        let drawn: Vec<&str> =
            routers.iter().filter(|router| router.joined).map(|router| router.device.as_str()).collect();
        for lock in locks {
            let dot = Dot::Lock(lock, by_lock.get(lock.lock.to_string().as_str()).copied());
            let parent = dot.parent().filter(|parent| drawn.contains(parent));
            behind.entry(parent).or_default().push(dot);
        }
        let mut dots = Vec::new();
        for router in routers.iter().filter(|router| router.joined) {
            dots.push(Dot::Router(router));
            dots.append(&mut behind.remove(&Some(router.device.as_str())).unwrap_or_default());
        }
        dots.append(&mut behind.remove(&None).unwrap_or_default());
        let place = |(n, dot): (usize, &Dot<'a>)| Some((dot.device()?.device.as_str(), n));
        let index = dots.iter().enumerate().filter_map(place).collect();
        Self { radio: radio.map(|radio| radio.device.as_str()), routers, dots, index }
    }

    pub(super) fn dots(&self) -> &[Dot<'a>] {
        &self.dots
    }

    pub(super) fn is_empty(&self) -> bool {
        self.dots.is_empty()
    }

    pub(super) fn has_routers(&self) -> bool {
        !self.routers.is_empty()
    }

    pub(super) fn routers(&self) -> &[&'a MapDevice] {
        &self.routers
    }

    pub(super) fn way(&self, dot: &Dot<'a>) -> Way<'a> {
        let Some(behind) = dot.device().and_then(|device| device.behind.as_ref()) else {
            return Way::Unknown;
        };
        let (device, lqi, age_s) = (behind.device.as_str(), behind.lqi, behind.age_s);
        if self.radio == Some(device) {
            return Way::Direct { lqi, age_s };
        }
        Way::Behind { device, lqi, age_s, index: self.index.get(device).copied() }
    }
}
