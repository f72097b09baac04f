//! What a lock knows of its site, and how it takes the public, signed messages of a site: revocation lists, the site's
//! authority, its additions, memberships and time tokens. Cheap checks come first, signatures are counted, and what a
//! message changes is in NVM before it counts.

use cardea_credentials::{
    Accepted, Error, Gate, Intake, LISTS_LEN, Lists, Membership, Progress, Question, Signer, SiteKind,
    SiteMessage, TRUST_LEN, Thumbprint, Trust, verify_membership, verify_time_token,
};
use cardea_framing::{Class, Datagram, Header, Kind, ReceiptToken};
use cardea_oscore::coap::Code;
use cardea_resources::{SiteSetting, SiteState};
use heapless::Vec;

use crate::agent::{Agent, AgentEvent};
use crate::asking::Asking;
use crate::board::{Board, Slot, Storage, StorageFault};
use crate::bytes::{Reader, Writer};
use crate::lists::{Places, Short, short};
use crate::owner::Owner;
use crate::serve::Answer;

const RECORD_VERSION: u8 = 1;
/// Header byte and question.
pub(crate) const QUESTION_MAX: usize = 1 + cardea_credentials::MAX_QUESTION_LEN;

/// The record in `Slot::Site`, and what goes with it in RAM.
pub(crate) struct Site {
    trust: Trust,
    intake: Intake,
    places: Places,
    gate: Gate,
    pub(crate) asking: Asking,
    /// The record could be read.
    sound: bool,
    /// So could every page of the list in force.
    whole: bool,
    /// A list names the authority.
    authority_barred: bool,
}

/// What a message brought.
pub(crate) enum Taken {
    /// Nothing that anybody has to be told.
    Noted,
    /// A list of the platform is in force now.
    List,
    /// The time at some moment of the `round_trip_ms` that end now.
    Time { unix_s: u32, round_trip_ms: u64 },
    /// A membership that was asked for.
    Member(Membership),
}

/// Why a message was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is worth nothing.
    Dropped,
    /// It may be worth something and is not looked at now: let it come again.
    Busy,
    /// So may it, but it could not be stored.
    Storage,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        if error == Error::Busy { Self::Busy } else { Self::Dropped }
    }
}

impl From<StorageFault> for Refused {
    fn from(_: StorageFault) -> Self {
        Self::Storage
    }
}

impl Site {
    /// No site and no lists, under this root.
    pub(crate) fn new(root: Thumbprint) -> Self {
        Self::with(Trust::new(root), Lists::default(), Places::default())
    }

    fn with(trust: Trust, lists: Lists, places: Places) -> Self {
        Self {
            trust,
            intake: Intake::new(lists),
            places,
            gate: Gate::new(),
            asking: Asking::default(),
            sound: true,
            whole: true,
            authority_barred: false,
        }
    }

    /// What NVM holds for a lock under this root. A record of another owner's time is none.
    pub(crate) fn load(storage: &mut impl Storage, root: Thumbprint) -> Result<Self, StorageFault> {
        let mut record = [0; Slot::Site.max_len()];
        let mut site = match storage.read(Slot::Site, &mut record)? {
            None => Self::new(root),
            Some(len) => match decode(record.get(..len).unwrap_or_default()) {
                Some((trust, ..)) if trust.site().root != root => Self::new(root),
                Some((trust, lists, places)) => Self::with(trust, lists, places),
                // Which lists were in force nobody knows any more: no grant holds until the platform says.
                None => Self { sound: false, ..Self::new(root) },
            },
        };
        let lists = *site.intake.lists();
        site.whole = site.places.is_whole(storage, lists.epoch)?;
        if !site.whole {
            // The same list may come once more, and none below it counts.
            site.places.least = site.places.least.max(lists.epoch);
            site.intake = Intake::new(Lists { epoch: lists.epoch.saturating_sub(1), ..lists });
        }
        site.judge_authority(storage)?;
        site.want_news();
        Ok(site)
    }

    /// From a start, or from the platform's word, there may be news. Outside a site nobody need have any: there the lock
    /// asks for what it misses.
    fn want_news(&mut self) {
        if self.trust.is_in_site() {
            self.asking.want_all();
        } else if !self.admits_grants() {
            self.asking.want(SiteKind::Revocations);
        }
    }

    /// Whether a grant can hold at all: the lists are what they should be.
    pub(crate) fn admits_grants(&self) -> bool {
        self.sound && self.whole && !self.places.full && self.intake.lists().epoch >= self.places.least
    }

    /// Whether a grant of the key `issuer` that rests on `keys` is void. The platform's list may name any of them; the
    /// site may name all but the issuer, which is the platform.
    pub(crate) fn bars(
        &self,
        storage: &mut impl Storage,
        issuer: Short,
        keys: &[Short],
    ) -> Result<bool, StorageFault> {
        Ok(!self.admits_grants() || self.name(storage, Some(issuer), keys)?)
    }

    fn name(
        &self,
        storage: &mut impl Storage,
        issuer: Option<Short>,
        keys: &[Short],
    ) -> Result<bool, StorageFault> {
        self.places.name(storage, self.intake.lists(), &self.trust.site().root, issuer, keys)
    }

    fn judge_authority(&mut self, storage: &mut impl Storage) -> Result<(), StorageFault> {
        self.authority_barred = match self.trust.authority() {
            Some(authority) => self.name(storage, None, &[short(&authority.key.thumbprint())])?,
            None => false,
        };
        Ok(())
    }

    /// Takes the body of a datagram of kind *site*.
    pub(crate) fn take(
        &mut self,
        now: u64,
        body: &[u8],
        storage: &mut impl Storage,
        owner: Option<&Owner>,
        identity: &impl Signer,
    ) -> Result<Taken, Refused> {
        let owner = owner.ok_or(Refused::Dropped)?;
        let message = SiteMessage::decode(body)?;
        if !self.sound {
            return Err(Refused::Dropped);
        }
        let result = match message.kind {
            SiteKind::Revocations => self.take_page(now, &message, storage, owner),
            // The rest is the site's own business.
            _ if !self.trust.is_in_site() => Err(Refused::Dropped),
            SiteKind::Authority => self.take_authority(now, &message, storage, owner),
            SiteKind::SiteRevocations => self.take_addition(now, &message, storage),
            SiteKind::Time => self.take_time(now, &message, identity),
            SiteKind::Membership => self.take_membership(now, &message),
            SiteKind::Release => Err(Refused::Dropped),
        };
        if matches!(result, Err(Refused::Storage)) {
            self.asking.want(message.kind); // the question that it answered is closed
        }
        result
    }

    fn take_page(
        &mut self,
        now: u64,
        message: &SiteMessage<'_>,
        storage: &mut impl Storage,
        owner: &Owner,
    ) -> Result<Taken, Refused> {
        let before = *self.intake.lists();
        let (root, nonce) = (self.trust.site().root, message.nonce.as_ref());
        let taken = self.intake.page(message.signed, nonce, &root, &owner.signing, &mut self.gate, now);
        let (page, progress) = taken.map_err(|error| self.refused(now, message, error))?;
        if page.pages > crate::board::LIST_PAGES {
            // A list that does not fit still says that keys were revoked which this lock will not know.
            self.intake.give_up();
            let least = self.places.least.max(page.epoch);
            if least != self.places.least {
                let places = Places { least, ..self.places };
                self.save(storage, &self.trust, &before, &places)?;
                self.places = places;
            }
            self.asking.settled(now, SiteKind::Revocations);
            return Ok(Taken::Noted);
        }
        let stored = self.places.stage(storage, &page);
        let (lists, places) = match (stored, progress) {
            (Ok(()), Progress::Staged { .. }) => {
                self.asking.expect(now, SiteKind::Revocations);
                return Ok(Taken::Noted);
            }
            (Ok(()), Progress::Complete(lists)) => (lists, self.places.switched(page.pages)),
            (Err(fault), _) => {
                self.intake = Intake::new(before);
                return Err(fault.into());
            }
        };
        if let Err(fault) = self.save(storage, &self.trust, &lists, &places) {
            self.intake = Intake::new(before);
            return Err(fault.into());
        }
        (self.places, self.whole) = (places, true);
        self.judge_authority(storage)?;
        if self.admits_grants() || self.places.full {
            self.asking.settled(now, SiteKind::Revocations);
        }
        Ok(Taken::List)
    }

    fn take_authority(
        &mut self,
        now: u64,
        message: &SiteMessage<'_>,
        storage: &mut impl Storage,
        owner: &Owner,
    ) -> Result<Taken, Refused> {
        let mut trust = self.trust;
        let nonce = message.nonce.as_ref();
        let accepted = trust.accept_authority(message.signed, nonce, &owner.signing, &mut self.gate, now);
        if accepted.map_err(|error| self.refused(now, message, error))? == Accepted::Newer {
            self.save(storage, &trust, self.intake.lists(), &self.places)?;
            self.trust = trust;
            self.judge_authority(storage)?;
            // Its additions are counted anew.
            self.asking.want(SiteKind::SiteRevocations);
        }
        self.asking.settled(now, SiteKind::Authority);
        Ok(Taken::Noted)
    }

    fn take_addition(
        &mut self,
        now: u64,
        message: &SiteMessage<'_>,
        storage: &mut impl Storage,
    ) -> Result<Taken, Refused> {
        if self.authority_barred {
            return Err(Refused::Dropped);
        }
        let before = self.intake.clone();
        let nonce = message.nonce.as_ref();
        let taken = self.intake.addition(message.signed, nonce, &self.trust, &mut self.gate, now);
        let (addition, lists) = taken.map_err(|error| self.refused(now, message, error))?;
        let added = self.places.add(storage, &self.trust.site().root, addition.thumbprints());
        let stored = added.and_then(|places| {
            // Without room for it, it does not count, and no grant holds.
            let lists = if places.is_some() { &lists } else { before.lists() };
            let places = places.unwrap_or(Places { full: true, ..self.places });
            self.save(storage, &self.trust, lists, &places).map(|()| places)
        });
        match stored {
            Ok(places) => self.places = places,
            Err(fault) => {
                self.intake = before;
                return Err(fault.into());
            }
        }
        if self.places.full {
            self.intake = before;
        }
        self.judge_authority(storage)?;
        // There may be another one behind it.
        self.asking.expect(now, SiteKind::SiteRevocations);
        Ok(Taken::Noted)
    }

    /// Only what was asked for, by the nonce of that very question.
    fn take_time(
        &mut self,
        now: u64,
        message: &SiteMessage<'_>,
        identity: &impl Signer,
    ) -> Result<Taken, Refused> {
        let (nonce, asked) = self.answer(now, message)?;
        let authority = self.trust.authority().filter(|_| !self.authority_barred).ok_or(Refused::Dropped)?;
        self.gate.admit(true, now)?;
        let lock = identity.public().thumbprint();
        let unix_s = verify_time_token(message.signed, &lock, &nonce, authority)?;
        self.gate.close();
        self.asking.settled(now, SiteKind::Time);
        Ok(Taken::Time { unix_s, round_trip_ms: now.saturating_sub(asked.at) })
    }

    fn take_membership(&mut self, now: u64, message: &SiteMessage<'_>) -> Result<Taken, Refused> {
        let (_, asked) = self.answer(now, message)?;
        let authority = self.trust.authority().filter(|_| !self.authority_barred).ok_or(Refused::Dropped)?;
        self.gate.admit(true, now)?;
        let member = verify_membership(message.signed, self.trust.site(), &authority.key)?;
        if u32::from(member.address()) != asked.number {
            return Err(Refused::Dropped);
        }
        self.gate.close();
        self.asking.settled(now, SiteKind::Membership);
        Ok(Taken::Member(member))
    }

    fn answer(
        &self,
        now: u64,
        message: &SiteMessage<'_>,
    ) -> Result<([u8; 8], crate::asking::Asked), Refused> {
        let nonce = message.nonce.filter(|nonce| self.gate.answers(Some(nonce), now));
        let asked = self.asking.open().filter(|asked| asked.kind == message.kind);
        nonce.zip(asked).ok_or(Refused::Dropped)
    }

    /// What a message that was refused says nevertheless. Nothing of it is proved.
    fn refused(&mut self, now: u64, message: &SiteMessage<'_>, error: Error) -> Refused {
        match error {
            Error::NotAsked => self.asking.hint(now, message.kind),
            // The answer: nothing newer. Who lies about it could as well be silent.
            Error::RolledBack
                if self.gate.answers(message.nonce.as_ref(), now)
                    && self.asking.open().is_some_and(|asked| asked.kind == message.kind)
                    && (message.kind != SiteKind::Revocations || self.admits_grants()) =>
            {
                self.gate.close();
                self.asking.settled(now, message.kind);
            }
            _ => {}
        }
        error.into()
    }

    /// The platform, inside OSCORE, says where the lock is and how far the lists are. One write. False where additions
    /// were to be forgotten and have to stay.
    fn set(&mut self, storage: &mut impl Storage, setting: &SiteSetting) -> Result<bool, StorageFault> {
        let (mut trust, mut lists, mut places) = (self.trust, *self.intake.lists(), self.places);
        let moves = trust.site().id != setting.site;
        trust.join(setting.site, setting.version);
        if moves {
            (lists.version, lists.counter) = (0, 0);
            places = places.without_additions();
        }
        places.least = places.least.max(setting.epoch);
        let mut done = true;
        if let Some(counter) = setting.counter {
            let version = trust.authority().map_or(0, |authority| authority.version);
            let same = (lists.version, lists.counter) == (version, counter) && version == setting.version;
            done = same && lists.epoch >= setting.epoch && self.whole;
            if done {
                places = places.without_additions();
            }
        }
        self.save(storage, &trust, &lists, &places)?;
        if lists != *self.intake.lists() {
            self.intake = Intake::new(lists);
        }
        (self.trust, self.places, self.sound) = (trust, places, true);
        self.judge_authority(storage)?;
        self.want_news();
        Ok(done)
    }

    /// The epoch of the platform's list in force.
    pub(crate) fn epoch(&self) -> Option<u32> {
        Some(self.intake.lists().epoch)
    }

    pub(crate) fn state(&self) -> SiteState {
        let authority = self.trust.authority();
        SiteState {
            site: self.trust.site().id,
            version: authority.map_or(0, |authority| authority.version),
            epoch: self.intake.lists().epoch,
            counter: authority.map_or(0, |authority| self.intake.counted(authority)),
            grants: self.admits_grants(),
        }
    }

    /// One write, which puts everything in it in force at once.
    fn save(
        &self,
        storage: &mut impl Storage,
        trust: &Trust,
        lists: &Lists,
        places: &Places,
    ) -> Result<(), StorageFault> {
        let mut record = [0; Slot::Site.max_len()];
        let mut writer = Writer::new(&mut record);
        writer.u8(RECORD_VERSION);
        writer.bytes(&trust.to_bytes());
        writer.bytes(&lists.to_bytes());
        places.write(&mut writer);
        let len = writer.finish().ok_or(StorageFault)?;
        storage.write(Slot::Site, record.get(..len).unwrap_or_default())
    }

    /// When a question may be due.
    pub(crate) fn timeout(&self) -> Option<u64> {
        self.asking.timeout(self.trust.is_in_site())
    }

    /// Whether the site could say the time.
    fn has_authority(&self) -> bool {
        self.trust.is_in_site() && self.trust.authority().is_some() && !self.authority_barred
    }

    fn number(&self, kind: SiteKind) -> u32 {
        match kind {
            SiteKind::Authority => self.trust.version(),
            SiteKind::Revocations => self.intake.wanted().into(),
            SiteKind::SiteRevocations => {
                self.trust.authority().map_or(0, |known| self.intake.counted(known)).saturating_add(1)
            }
            SiteKind::Membership => self.asking.address.into(),
            SiteKind::Time | SiteKind::Release => 0,
        }
    }
}

fn decode(record: &[u8]) -> Option<(Trust, Lists, Places)> {
    let mut reader = Reader::new(record);
    if reader.u8()? != RECORD_VERSION {
        return None;
    }
    let trust = Trust::from_bytes(&reader.array::<TRUST_LEN>()?).ok()?;
    let lists = Lists::from_bytes(&reader.array::<LISTS_LEN>()?).ok()?;
    let places = Places::read(&mut reader)?;
    reader.end().then_some((trust, lists, places))
}

/// The body, if this is a site message that is read where it is. A release is short, and ends too much to be.
pub(crate) fn site_message(datagram: &[u8]) -> Option<&[u8]> {
    let Datagram { kind: Kind::Site, body, .. } = Datagram::parse(datagram).ok()? else { return None };
    let release = matches!(SiteMessage::decode(body), Ok(SiteMessage { kind: SiteKind::Release, .. }));
    (!release).then_some(body)
}

impl<B: Board> Agent<B> {
    /// Asks the site for the membership of whoever has this address (1 to 0xFFEF). It comes, if it comes, as
    /// [`AgentEvent::Member`]. Nothing in the agent rests on it.
    pub fn ask_membership(&mut self, address: u16) {
        self.site.asking.address = address;
        self.site.asking.want(SiteKind::Membership);
        self.pump();
    }

    /// What a site message brought, outside the lists; and its receipt, if it wants one.
    pub(crate) fn site_took(
        &mut self,
        now: u64,
        receipt: Option<ReceiptToken>,
        taken: Result<Taken, Refused>,
    ) {
        // What could not be looked at or stored now was not received.
        let kept = !matches!(taken, Err(Refused::Busy | Refused::Storage));
        match receipt {
            Some(receipt) if kept => self.link.custody(now, receipt),
            Some(receipt) => self.link.release(receipt),
            None => {}
        }
        match taken {
            Ok(Taken::Noted) => {}
            Ok(Taken::List) => self.tell(AgentEvent::Revocations { epoch: self.site.intake.lists().epoch }),
            Ok(Taken::Time { unix_s, round_trip_ms }) => self.time.site_says(unix_s, round_trip_ms, now),
            Ok(Taken::Member(member)) => self.tell(AgentEvent::Member {
                address: member.address(),
                key: member.member().thumbprint(),
                expires: member.expires(),
            }),
            Err(refused) => {
                self.drop_frame();
                if refused == Refused::Storage {
                    self.tell(AgentEvent::StorageFailed);
                }
            }
        }
    }

    /// Notes what is to be asked because of the time; asks nothing yet.
    pub(crate) fn site_wishes(&mut self, now: u64) {
        if self.site.has_authority() && self.time.wants_site(now) {
            self.site.asking.want(SiteKind::Time);
        }
    }

    /// The question that is due, as a datagram.
    pub(crate) fn next_question(&mut self, now: u64) -> Option<Vec<u8, QUESTION_MAX>> {
        self.owner.as_ref()?;
        let kind = self.site.asking.due(now, self.site.trust.is_in_site())?;
        let number = self.site.number(kind);
        self.site.asking.asked(now, kind, number);
        let nonce = self.random_token()?;
        let mut out = Vec::new();
        out.resize_default(QUESTION_MAX).ok()?;
        let (head, body) = out.split_first_mut()?;
        // Nobody keeps it: unanswered it is asked again, with another nonce.
        *head = Header { kind: Kind::Site, more: false, class: Class::Telemetry }.encode();
        let len = Question { kind, nonce, number }.encode(body).ok()?;
        out.truncate(1 + len);
        self.site.gate.ask(nonce, now);
        Some(out)
    }

    /// `GET a`.
    pub(crate) fn site_state(&self) -> Answer {
        Answer::with(Code::CONTENT, |out| self.site.state().encode(out))
    }

    /// `POST a`.
    pub(crate) fn set_site(&mut self, setting: &SiteSetting) -> Answer {
        let set = self.ledger.save(&mut self.parts.storage);
        let code = match set.and_then(|()| self.site.set(&mut self.parts.storage, setting)) {
            Ok(true) => Code::CHANGED,
            Ok(false) => Code::CONFLICT,
            Err(StorageFault) => return self.storage_failed(),
        };
        Answer::with(code, |out| self.site.state().encode(out))
    }
}
