//! A site: the platform's revocation lists, an authority, and a gateway that hands over what they signed.

use cardea_credentials::{
    Addition, Authority, Error, PAGE_THUMBPRINTS, Page, Signer, Site, SiteKind, SiteMessage, SoftSigner,
    Thumbprint, issue_authority,
};
use cardea_framing::Kind;
use cardea_oscore::coap::Code;
use cardea_resources::{SiteSetting, SiteState};

use super::World;
use super::board::key;
use super::platform::datagram;

pub const ID: [u8; 8] = *b"site-001";
/// The platform's clock when a list was made; nothing depends on it.
pub const AT: u32 = 1_800_000_000;

pub fn site() -> Site {
    Site { root: key::signer(9).public().thumbprint(), id: ID }
}

/// The platform's signing key.
pub fn platform() -> SoftSigner {
    key::signer(30)
}

/// The authority's key in this version.
pub fn authority(version: u32) -> SoftSigner {
    key::signer(70 + version as u8)
}

pub fn written(write: impl FnOnce(&mut [u8]) -> Result<usize, Error>) -> Vec<u8> {
    let mut out = [0; 1024];
    let len = write(&mut out).unwrap();
    out[..len].to_vec()
}

/// So many thumbprints of nobody, in order.
pub fn strangers(range: std::ops::Range<u16>) -> Vec<Thumbprint> {
    range
        .map(|number| {
            let mut key = [0x0e; 32];
            key[..2].copy_from_slice(&number.to_be_bytes());
            key
        })
        .collect()
}

/// The signed pages of a list.
pub fn list(epoch: u32, keys: &[Thumbprint]) -> Vec<Vec<u8>> {
    let mut keys = keys.to_vec();
    keys.sort_unstable();
    let pages = keys.len().div_ceil(PAGE_THUMBPRINTS).max(1) as u8;
    (0..pages)
        .map(|page| {
            let from = usize::from(page) * PAGE_THUMBPRINTS;
            let keys = &keys[from..keys.len().min(from + PAGE_THUMBPRINTS)];
            written(|out| Page::sign((epoch, AT), (page, pages), keys, &site().root, &platform(), out))
        })
        .collect()
}

pub fn addition(version: u32, counter: u32, keys: &[Thumbprint]) -> Vec<u8> {
    let mut keys = keys.to_vec();
    keys.sort_unstable();
    written(|out| Addition::sign((version, counter), &keys, &site(), &authority(version), out))
}

pub fn authority_cwt(version: u32) -> Vec<u8> {
    let authority = Authority { key: authority(version).public(), version };
    written(|out| issue_authority(&site(), &authority, &platform(), out))
}

/// A site message as a datagram.
pub fn message(kind: SiteKind, nonce: Option<[u8; 8]>, signed: &[u8]) -> Vec<u8> {
    let body = written(|out| SiteMessage { kind, nonce, signed }.encode(out));
    datagram(Kind::Site, &body)
}

impl World {
    /// The gateway hands over a site message; true if the lock did not drop it.
    pub fn hand(&mut self, kind: SiteKind, nonce: Option<[u8; 8]>, signed: &[u8]) -> bool {
        let before = self.agent().dropped();
        self.give(&message(kind, nonce, signed));
        self.agent().dropped() == before
    }

    /// All pages of a list, as slowly as a lock verifies them.
    pub fn revoke(&mut self, epoch: u32, keys: &[Thumbprint]) {
        for page in list(epoch, keys) {
            self.wait(20_000);
            assert!(self.hand(SiteKind::Revocations, None, &page));
        }
    }

    /// `POST a`, with the Echo that it needs.
    pub fn set_site(&mut self, setting: SiteSetting) -> (Code, SiteState) {
        let mut payload = [0; SiteSetting::MAX_LEN];
        let len = setting.encode(&mut payload).unwrap();
        let mut reply = self.ask("a", Code::POST, &payload[..len], None);
        if let Some(echo) = reply.echo.take() {
            reply = self.ask("a", Code::POST, &payload[..len], Some(&echo));
        }
        (reply.code, SiteState::decode(&reply.payload).unwrap())
    }

    /// In the site, with its authority of version 1, and nothing left to ask.
    pub fn in_site() -> Self {
        let mut world = Self::activated();
        world.join_site();
        world
    }

    /// Into the site, with its authority of version 1.
    pub fn join_site(&mut self) {
        let setting = SiteSetting { site: ID, version: 1, epoch: 0, counter: None };
        assert_eq!(self.set_site(setting).0, Code::CHANGED);
        assert!(self.hand(SiteKind::Authority, None, &authority_cwt(1)));
    }

    pub fn site_state(&mut self) -> SiteState {
        let mut reply = self.ask("a", Code::GET, &[], None);
        if let Some(echo) = reply.echo.take() {
            reply = self.ask("a", Code::GET, &[], Some(&echo));
        }
        SiteState::decode(&reply.payload).unwrap()
    }
}
