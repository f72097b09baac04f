//! Two ends and a bad network between them.

use std::{collections::BTreeSet, format, string::String, vec};

use proptest::prelude::*;

use super::*;

const CLASSES: [Class; 4] = [Class::Interactive, Class::Log, Class::Telemetry, Class::Bulk];

/// What the network does, per thousand frames, and how long it keeps one at most.
#[derive(Clone, Copy, Debug)]
struct Network {
    loss: u64,
    duplicates: u64,
    delay_ms: u64,
    /// The mtu moves between these.
    mtus: [usize; 2],
    /// Datagrams that are refused custody the first time they are delivered.
    releases: u64,
}

struct Random(u64);

impl Random {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// One end: its link, what it has to say and what it heard.
struct End<L> {
    link: L,
    script: Vec<Vec<u8>>,
    next: usize,
    next_at: u64,
    /// Datagrams delivered here and kept.
    heard: Vec<Vec<u8>>,
    released: BTreeSet<Vec<u8>>,
    /// Custody that the disk will give, and when.
    custody: Vec<(u64, ReceiptToken)>,
    safe: BTreeSet<Vec<u8>>,
    outcomes: Vec<LinkEvent>,
    /// Frames on their way here.
    air: Vec<(u64, Vec<u8>)>,
}

impl<B: Buffer, const N: usize> End<Link<B, N>> {
    fn new(link: Link<B, N>, side: u8, random: &mut Random) -> Self {
        let script = (0..12_u8)
            .map(|number| {
                let class = CLASSES[random.below(4) as usize];
                let len = if random.below(2) == 0 { 4 + random.below(40) } else { 4 + random.below(700) };
                let mut sealed = datagram(class, len as usize);
                (sealed[1], sealed[2]) = (side, number);
                sealed
            })
            .collect();
        Self {
            link,
            script,
            next: 0,
            next_at: 0,
            heard: vec![],
            released: BTreeSet::new(),
            custody: vec![],
            safe: BTreeSet::new(),
            outcomes: vec![],
            air: vec![],
        }
    }

    /// Everything this end does at `now`; gives the frames it sends.
    fn step(&mut self, now: u64, network: &Network, random: &mut Random) -> Vec<Vec<u8>> {
        let (due, later) = self.air.drain(..).partition(|(at, _)| *at <= now);
        self.air = later;
        let due: Vec<(u64, Vec<u8>)> = due;
        for (_, frame) in due {
            let Ok(Some(incoming)) = self.link.handle_frame(now, &frame) else { continue };
            let (sealed, token) = (incoming.datagram().to_vec(), incoming.receipt);
            match token {
                Some(token)
                    if random.below(1000) < network.releases && self.released.insert(sealed.clone()) =>
                {
                    self.link.release(token);
                    continue;
                }
                Some(token) => self.custody.push((now + random.below(50), token)),
                None => {}
            }
            self.heard.push(sealed);
        }
        let (due, later) = self.custody.drain(..).partition(|(at, _)| *at <= now);
        self.custody = later;
        let due: Vec<(u64, ReceiptToken)> = due;
        for (_, token) in due {
            let is_it = |sealed: &&Vec<u8>| id::digest(sealed) == token.digest;
            self.safe.extend(self.heard.iter().find(is_it).cloned());
            self.link.custody(now, token);
        }
        self.link.handle_timeout(now);
        self.outcomes.extend(self.link.poll_event());
        if self.next < self.script.len() && self.next_at <= now && self.link.can_send() {
            self.link.send(now, &self.script[self.next], self.next as u64).unwrap();
            self.next += 1;
            self.next_at = now + network.delay_ms / 4;
        }
        let mtu = network.mtus[random.below(8) as usize / 7];
        let sent = frames(&mut self.link, now, mtu);
        assert!(sent.iter().all(|frame| frame.len() <= mtu));
        self.outcomes.extend(self.link.poll_event());
        assert!(self.link.poll_timeout().is_none_or(|at| at > now), "a timer that does not move");
        sent
    }

    fn wakes(&self) -> Option<u64> {
        let sends = (self.next < self.script.len() && self.link.can_send()).then_some(self.next_at);
        let air = self.air.iter().map(|(at, _)| *at).min();
        let custody = self.custody.iter().map(|(at, _)| *at).min();
        [sends, air, custody, self.link.poll_timeout()].into_iter().flatten().min()
    }
}

fn throw(
    frames: Vec<Vec<u8>>,
    now: u64,
    network: &Network,
    random: &mut Random,
    air: &mut Vec<(u64, Vec<u8>)>,
) {
    for frame in frames {
        let copies = 1 + u64::from(random.below(1000) < network.duplicates);
        for _ in 0..copies {
            if random.below(1000) >= network.loss {
                air.push((now + 1 + random.below(network.delay_ms), frame.clone()));
            }
        }
    }
}

/// Plays both scripts to the end and checks what was promised; says what happened to whom.
fn play(seed: u64, network: Network) -> Result<(), String> {
    let mut random = Random(seed);
    let config =
        LinkConfig { retry_ms: 500, max_attempts: 8, reassembly_ms: 30_000, max_datagram: LOCK_DATAGRAM };
    let mut lock = End::new(LockLink::new(config), 1, &mut random);
    let mut gateway = End::new(Heap::new(config), 2, &mut random);
    let mut now = 0;
    for _ in 0..20_000 {
        let up = lock.step(now, &network, &mut random);
        throw(up, now, &network, &mut random, &mut gateway.air);
        let down = gateway.step(now, &network, &mut random);
        throw(down, now, &network, &mut random, &mut lock.air);
        match [lock.wakes(), gateway.wakes()].into_iter().flatten().min() {
            Some(at) => now = at.max(now + 1),
            None => break,
        }
    }
    judge("up", &lock, &gateway, &network)?;
    judge("down", &gateway, &lock, &network)
}

fn judge<L, M>(way: &str, from: &End<L>, to: &End<M>, network: &Network) -> Result<(), String> {
    if from.outcomes.len() != from.script.len() {
        return Err(format!("{way}: {} outcomes of {}", from.outcomes.len(), from.script.len()));
    }
    for (number, (sealed, outcome)) in from.script.iter().zip(&from.outcomes).enumerate() {
        let heard = to.heard.iter().filter(|heard| *heard == sealed).count();
        let handle = number as u64;
        let fine = match *outcome {
            LinkEvent::Delivered { handle: it } => it == handle && heard == 1 && to.safe.contains(sealed),
            LinkEvent::Sent { handle: it } => it == handle && heard <= 1 && (network.loss > 0 || heard == 1),
            LinkEvent::Failed { handle: it, .. } => {
                it == handle && heard <= 1 && network.loss + network.releases > 0
            }
        };
        if !fine {
            return Err(format!(
                "{way} {number} ({} bytes, header {:02x}): {outcome:?}, heard {heard} times",
                sealed.len(),
                sealed[0]
            ));
        }
    }
    let foreign = to.heard.iter().find(|heard| !from.script.contains(heard));
    foreign.map_or(Ok(()), |heard| Err(format!("{way}: never sent {heard:02x?}")))
}

fn networks() -> impl Strategy<Value = Network> {
    let mtus = (8_usize..60, 60_usize..250).prop_map(|(small, large)| (small.max(16), large));
    (0_u64..300, 0_u64..300, 1_u64..400, mtus, any::<bool>(), 0_u64..200).prop_map(
        |(loss, duplicates, delay_ms, (small, large), moves, releases)| Network {
            loss: if loss < 100 { 0 } else { loss },
            duplicates,
            delay_ms,
            mtus: if moves { [large, small] } else { [small, small] },
            releases: if releases < 100 { 0 } else { releases },
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Every datagram arrives once, or its sender is told that it may not have.
    #[test]
    fn once_or_failed(seed in any::<u64>(), network in networks()) {
        let outcome = play(seed, network);
        prop_assert!(outcome.is_ok(), "seed {seed} {network:?}: {}", outcome.unwrap_err());
    }

    /// No sequence of bytes makes an end panic, hang or hold more than it may.
    #[test]
    fn hostile_frames(frames in proptest::collection::vec((0_u8..64, proptest::collection::vec(any::<u8>(), 0..40)), 0..200)) {
        let mut gateway = gateway();
        gateway.send(0, &datagram(Class::Log, 300), 1).unwrap();
        for (now, (header, body)) in frames.into_iter().enumerate() {
            let frame: Vec<u8> = core::iter::once(header).chain(body).collect();
            let token = gateway.handle_frame(now as u64, &frame).ok().flatten().and_then(|incoming| incoming.receipt);
            token.into_iter().for_each(|token| gateway.custody(now as u64, token));
            while super::frame(&mut gateway, now as u64, 51).is_some() {}
            prop_assert!(gateway.held() <= 3 * (GATEWAY_DATAGRAM + 4));
        }
    }
}
