//! What reaches a phone: a bundle as a file, and whatever a gateway or a lock sends it.

use cardea_credentials::{
    Agreement, Random, Scope, Signer, SoftAgreement, SoftSigner, Terms, issue_grant, issue_lock_identity,
};
use cardea_sdk::{Ask, Bundle, holder::Holder};

/// A file that somebody calls a bundle: what is taken is written again as it was.
pub fn sdk_bundle(data: &[u8]) {
    if let Ok(bundle) = Bundle::decode(data) {
        assert!(bundle.encode() == data, "not the same file");
    }
}

struct Counting(u8);

impl Random for Counting {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), cardea_credentials::Error> {
        for byte in out {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
        Ok(())
    }
}

/// Address of the lock.
const THERE: u16 = 5;

fn bundle() -> Option<Bundle> {
    let (lock, platform) = (SoftSigner::from_bytes(&[1; 32]).ok()?, SoftSigner::from_bytes(&[2; 32]).ok()?);
    let mut cwt = [0; 256];
    let dh = SoftAgreement::from_bytes(&[3; 32]).ok()?.public();
    let length = issue_lock_identity(&lock, &dh, &mut cwt).ok()?;
    let terms = Terms {
        lock: lock.public().thumbprint(),
        holder: SoftAgreement::from_bytes(&[4; 32]).ok()?.public(),
        scope: Scope::UNLOCK,
        not_before: 1,
        expires: u32::MAX,
        single_use: false,
        window: None,
        delegate: None,
    };
    let mut grant = [0; 256];
    let len = issue_grant(&terms, &[5; 8], &platform, &mut grant).ok()?;
    Bundle::new(cwt.get(..length)?, &platform.public(), grant.get(..len)?).ok()
}

/// Datagrams for a phone in a handshake: one length byte, the bytes, again. Nobody but the lock makes a session, whatever
/// is said, and what the phone says stays bounded.
pub fn sdk_holder(mut data: &[u8]) {
    thread_local! {
        static BUNDLE: Option<Bundle> = bundle();
    }
    let Some(bundle) = BUNDLE.with(Clone::clone) else { return };
    let Ok(key) = SoftAgreement::from_bytes(&[4; 32]) else { return };
    let mut holder = Holder::new(bundle, key, Box::new(Counting(0)), THERE);
    assert!(holder.connect(0).is_ok());
    let mut now = 0;
    let mut said = 0;
    while let Some((&len, rest)) = data.split_first() {
        let (datagram, rest) = rest.split_at(usize::from(len).min(rest.len()));
        data = rest;
        now += 1;
        holder.handle_datagram(now, datagram);
        holder.handle_timeout(now);
        assert!(holder.ask(now, Ask::Unlock, 1_000).is_err(), "a session without the lock's key");
        while holder.poll_transmit().is_some() {
            said += 1;
        }
        while holder.poll_event().is_some() {}
    }
    assert!(said <= 2, "more than the messages of one handshake");
}
