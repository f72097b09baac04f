//! What a gateway may hand to a lock in its site, with genuine signatures among it.

use cardea_agent::{Agent, AgentEvent, Output, Slot};
use cardea_credentials::{
    Addition, Authority, Lists, PAGE_THUMBPRINTS, Page, Question, Signer, Site, SiteKind, SiteMessage,
    SoftSigner, Thumbprint, Trust, issue_authority,
};
use cardea_framing::{Kind, LinkConfig, LockLink};

use crate::agent::{Board, Motor, Nvm, Ticks, activated, boot, datagram, keys, signing};

const SITE: [u8; 8] = *b"site-001";

/// A script of steps (kind, length, bytes) against a lock in a site: messages of any content, pages, additions and
/// authorities that are signed as they should be, in any order, with the nonce that the lock drew or without; time,
/// resets, and pages that vanish from flash. Epochs only rise, the lock comes to rest after each step, and boots on
/// what it wrote.
pub fn agent_site(data: &[u8]) {
    let _ = run(data);
}

fn run(mut data: &[u8]) -> Option<()> {
    let root = keys()?.0.public().thumbprint();
    let (nvm, ticks, motor) = (activated()?, Ticks::default(), Motor::default());
    join(&nvm, root);
    let mut lock = Lock { agent: boot(&nvm, &ticks, &motor)?, gateway: gateway(), nonce: None, epoch: 0 };
    lock.settle();
    for _ in 0..32 {
        let Some((&[kind, len], tail)) = data.split_first_chunk() else { break };
        let (bytes, tail) = tail.split_at(usize::from(len).min(tail.len()));
        data = tail;
        let nonce = lock.nonce.filter(|_| kind & 0x80 != 0);
        match kind % 8 {
            0 => lock.take(datagram(Kind::Site, bytes)),
            1 => lock.hand(SiteKind::Revocations, nonce, page(bytes, &root)),
            2 => lock.hand(SiteKind::SiteRevocations, nonce, addition(bytes, root)),
            3 => lock.hand(SiteKind::Authority, nonce, authority(bytes, root)),
            4 => ticks.0.set(ticks.0.get() + 1_000 * u64::from(len) + 1),
            5 => ticks.0.set(ticks.0.get() + 60_000),
            6 => {
                let page = Slot::Revoked(bytes.first().copied().unwrap_or_default() % 32);
                nvm.0.borrow_mut().remove(&page);
            }
            _ => {
                drop(lock.agent);
                lock.agent = boot(&nvm, &ticks, &motor)?;
            }
        }
        lock.settle();
    }
    drop(lock);
    assert!(boot(&nvm, &ticks, &motor).is_some(), "it does not boot on what it wrote itself");
    Some(())
}

struct Lock {
    agent: Agent<Board>,
    /// Takes what the lock says, so that it goes on to ask.
    gateway: LockLink,
    /// Of the newest question.
    nonce: Option<[u8; 8]>,
    epoch: u32,
}

impl Lock {
    fn hand(&mut self, kind: SiteKind, nonce: Option<[u8; 8]>, signed: Option<Vec<u8>>) {
        let Some(signed) = signed else { return };
        let mut body = [0; 1024];
        let len = SiteMessage { kind, nonce, signed: &signed }.encode(&mut body).unwrap_or_default();
        self.take(body.get(..len).and_then(|body| datagram(Kind::Site, body)));
    }

    fn take(&mut self, datagram: Option<Vec<u8>>) {
        if let Some(datagram) = datagram {
            self.agent.handle_frame(&datagram);
        }
    }

    fn receipt(&mut self, frame: &[u8]) {
        let receipt = match self.gateway.handle_frame(0, frame) {
            Ok(Some(incoming)) => incoming.receipt,
            _ => None,
        };
        let Some(receipt) = receipt else { return };
        self.gateway.custody(0, receipt);
        let mut out = [0; 32];
        if let Some(len) = self.gateway.poll_transmit(0, 32, &mut out) {
            self.agent.handle_frame(out.get(..len).unwrap_or_default());
        }
    }

    fn settle(&mut self) {
        self.agent.handle_timeout();
        let mut frame = [0; 256];
        let mut turns = 0;
        loop {
            turns += 1;
            assert!(turns <= 200, "the lock never comes to rest");
            match self.agent.poll_transmit(222, &mut frame) {
                Some(Output::Frame(len)) => {
                    self.receipt(frame.get(..len).unwrap_or_default());
                    let question = frame.get(1..len).and_then(|body| Question::decode(body).ok());
                    self.nonce = question.map(|question| question.nonce).or(self.nonce);
                }
                Some(Output::Poll) => {}
                None => {
                    while let Some(event) = self.agent.poll_event() {
                        if let AgentEvent::Revocations { epoch } = event {
                            assert!(epoch >= self.epoch, "an older list is in force");
                            self.epoch = epoch;
                        }
                    }
                    return;
                }
            }
        }
    }
}

fn gateway() -> LockLink {
    LockLink::new(LinkConfig { retry_ms: 1_000, max_attempts: 1, reassembly_ms: 1_000, max_datagram: 1_024 })
}

/// The record of a lock that the platform has put into the site.
fn join(nvm: &Nvm, root: Thumbprint) {
    let mut trust = Trust::new(root);
    trust.join(SITE, 0);
    let mut record = vec![1];
    record.extend(trust.to_bytes());
    record.extend(Lists::default().to_bytes());
    record.extend([0; 12]);
    nvm.0.borrow_mut().insert(Slot::Site, record);
}

/// So many keys, made of one byte.
fn thumbprints(count: u8, seed: u8) -> Vec<Thumbprint> {
    (0..count.min(PAGE_THUMBPRINTS as u8)).map(|n| [seed.saturating_add(n); 32]).collect()
}

fn signed(write: impl FnOnce(&mut [u8]) -> Result<usize, cardea_credentials::Error>) -> Option<Vec<u8>> {
    let mut out = vec![0; 1024];
    let len = write(&mut out).ok()?;
    out.truncate(len);
    Some(out)
}

fn page(bytes: &[u8], root: &Thumbprint) -> Option<Vec<u8>> {
    let &[epoch, page, pages, count, seed] = bytes.first_chunk()?;
    let keys = thumbprints(count, seed);
    let platform = signing()?;
    signed(|out| Page::sign((epoch.into(), 1), (page, pages), &keys, root, &platform, out))
}

fn authority_key(version: u8) -> Option<SoftSigner> {
    SoftSigner::from_bytes(&[version; 32]).ok()
}

fn authority(bytes: &[u8], root: Thumbprint) -> Option<Vec<u8>> {
    let (&version, site) = (bytes.first()?, Site { root, id: SITE });
    let authority = Authority { key: authority_key(version)?.public(), version: version.into() };
    let platform = signing()?;
    signed(|out| issue_authority(&site, &authority, &platform, out))
}

fn addition(bytes: &[u8], root: Thumbprint) -> Option<Vec<u8>> {
    let (&[version, counter, count, seed], site) = (bytes.first_chunk()?, Site { root, id: SITE });
    let (keys, authority) = (thumbprints(count, seed), authority_key(version)?);
    signed(|out| Addition::sign((version.into(), counter.into()), &keys, &site, &authority, out))
}
