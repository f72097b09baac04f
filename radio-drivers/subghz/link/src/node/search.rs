use crate::{Micros, Node, NodeEvent};

/// Rest after all channels were silent: doubled each time.
const REST: Micros = 60_000_000;
const LONGEST_REST: Micros = 3_600_000_000;

/// Looking for the gateway's channel.
#[derive(Default)]
pub(crate) struct Search {
    listening: Option<(u8, Micros)>,
    tried: u8,
    rest_until: Option<Micros>,
    rests: u8,
}

impl Search {
    pub(super) fn channel(&self) -> Option<u8> {
        self.listening.map(|(channel, _)| channel)
    }

    pub(super) fn timeout(&self) -> Option<Micros> {
        self.listening.map(|(_, until)| until).or(self.rest_until)
    }

    pub(super) fn found(&mut self) {
        *self = Self::default();
    }
}

impl Node {
    /// Asks to be let in, for about a minute: [`NodeEvent::Joined`] or [`NodeEvent::NotJoined`]. A lock that has joined before keeps its
    /// old session until the new one stands.
    pub fn join(&mut self, now: Micros) {
        self.join_wanted = true;
        self.join_nonce = self.join_nonce.saturating_add(1);
        self.store.must();
        self.search.found();
        self.begin_search(now);
    }

    pub(super) fn begin_search(&mut self, now: Micros) {
        if self.search.listening.is_none() && self.search.rest_until.is_none_or(|until| now >= until) {
            self.search.rest_until = None;
            self.search.tried = 0;
            self.listen_on(now, self.channel);
        }
    }

    fn listen_on(&mut self, now: Micros, channel: u8) {
        self.sniff = None;
        self.search.tried |= 1_u8.checked_shl(u32::from(channel)).unwrap_or(0);
        // A period and a bit.
        let period = self.config.profile.beacon_period();
        self.search.listening = Some((channel, now + period + period / 10));
    }

    pub(super) fn check_search(&mut self, now: Micros) {
        if self.search.rest_until.is_some_and(|until| now >= until) {
            self.begin_search(now);
        }
        if self.search.listening.is_none_or(|(_, until)| now < until) {
            return;
        }
        self.search.listening = None;
        let channels = self.config.profile.channels().len();
        let allowed = self.joined.as_ref().map_or(0xFF, |joined| joined.channels);
        let next = (0..channels.min(8) as u8).find(|&n| (allowed & !self.search.tried) >> n & 1 == 1);
        if let Some(channel) = next {
            self.listen_on(now, channel);
        } else if self.join_wanted {
            self.give_up_joining();
        } else {
            let rest = (REST << self.search.rests.min(6)).min(LONGEST_REST);
            self.search.rests = self.search.rests.saturating_add(1);
            self.search.rest_until = Some(now + rest);
            self.channel = 0;
        }
    }

    pub(super) fn give_up_joining(&mut self) {
        self.join_wanted = false;
        self.search.found();
        self.tell(NodeEvent::NotJoined);
    }

    /// A moment of the listen window that a beacon announced.
    pub(super) fn in_window(&mut self, now: Micros, countdown_ms: u16) -> Micros {
        now + Micros::from(countdown_ms) * 1_000 + self.chance.below(self.config.profile.window())
    }
}
