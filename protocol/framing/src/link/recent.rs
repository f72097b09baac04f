/// How many datagrams an end of a link knows as repeats.
const REMEMBERED: usize = 8;

/// The datagrams that came lately: so that a repeat is answered instead of delivered again.
#[derive(Default)]
pub(super) struct Recent {
    entries: [Option<Entry>; REMEMBERED],
}

#[derive(Clone, Copy)]
struct Entry {
    digest: [u8; 8],
    in_custody: bool,
    at: u64,
}

/// What is known of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Known {
    /// Nothing: it is to be delivered.
    New,
    /// Delivered, and not safe yet: silence.
    Pending,
    /// Safe: its receipt may be sent again.
    InCustody,
}

impl Recent {
    /// Says what is known of a datagram, and remembers it if that is nothing.
    pub(super) fn meet(&mut self, now: u64, memory_ms: u32, digest: [u8; 8], in_custody: bool) -> Known {
        match self.find(now, memory_ms, digest) {
            Some(entry) if entry.in_custody => Known::InCustody,
            Some(_) => Known::Pending,
            None => {
                self.remember(Entry { digest, in_custody, at: now });
                Known::New
            }
        }
    }

    pub(super) fn is_in_custody(&mut self, now: u64, memory_ms: u32, digest: [u8; 8]) -> bool {
        self.find(now, memory_ms, digest).is_some_and(|entry| entry.in_custody)
    }

    pub(super) fn custody(&mut self, now: u64, memory_ms: u32, digest: [u8; 8]) {
        match self.find(now, memory_ms, digest) {
            Some(entry) => *entry = Entry { digest, in_custody: true, at: now },
            None => self.remember(Entry { digest, in_custody: true, at: now }),
        }
    }

    pub(super) fn forget(&mut self, digest: [u8; 8]) {
        for entry in &mut self.entries {
            if entry.is_some_and(|entry| entry.digest == digest) {
                *entry = None;
            }
        }
    }

    fn find(&mut self, now: u64, memory_ms: u32, digest: [u8; 8]) -> Option<&mut Entry> {
        let alive = |entry: &Entry| now.saturating_sub(entry.at) <= u64::from(memory_ms);
        self.entries.iter_mut().flatten().find(|entry| entry.digest == digest && alive(entry))
    }

    /// In the place of an earlier life of itself, else in a free one, else of the oldest.
    fn remember(&mut self, new: Entry) {
        self.forget(new.digest);
        if let Some(place) = self.entries.iter_mut().min_by_key(|entry| entry.map(|entry| entry.at)) {
            *place = Some(new);
        }
    }
}
