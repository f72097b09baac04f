//! Phones, keypads and other locks: EDHOC with the lock as Responder, sessions that live in RAM only, and what a grant
//! of the platform lets its holder ask. Nobody else is online for any of it.
//!
//! The lock is named by `kid` (its id); who wants something of it has its CWT from the platform, with the grant. The
//! grant itself is CRED_I (`kcwt`): the key it names is the one that EDHOC proves. The grants above a delegated one come
//! in EAD_3. A grant is judged anew for each request, so one that ends or is revoked, ends its sessions' rights with it.

use cardea_credentials::{
    EAD_GRANTS_ABOVE, Error as CredentialError, Grant, MAX_GRANT_CHAIN, Moment, Permit, PublicKey, Rights,
    Signer, verify_grant_chain,
};
use cardea_edhoc::correlation::{Prefix, split};
use cardea_edhoc::{
    Admission, AdmissionConfig, AuthKey, EphemeralKey, Error as EdhocError, IdCred, Method, Responder,
    ResponderConfig, Suite,
};
use cardea_oscore::coap::{Code, Message};
use cardea_oscore::{Binding, Context, OscoreOption, ReplayGuard, Window, echo};
use cardea_resources::{Command, CommandId, Op, Outcome};
use heapless::{Deque, Vec};
use zeroize::Zeroize;

use crate::access::Role;
use crate::agent::{Agent, AgentEvent, MESSAGE_MAX};
use crate::board::{Board, Slot, Storage, StorageFault};
use crate::bytes::{Reader, Writer};
use crate::fresh::{CHALLENGE_LIFE_MS, TokenKind};
use crate::ledger::{By, Entry};
use crate::lists::{Short, short};
use crate::outbox::{SEALED_MAX, To};
use crate::serve::{Answer, Asker, Fresh};
use crate::server::{Reply, unknown_critical};
use crate::session::derive;
use crate::time::thousandth;

/// Sessions at once; the oldest gives way.
const SESSIONS: usize = 2;
/// Handshakes that wait for message_3.
const HANDSHAKES: usize = 2;
/// Longest wait for message_3, in milliseconds: a few fragments over a slow radio.
const PATIENCE_MS: u64 = 30_000;
/// From then on one that waits gives way to another source's.
const YIELD_MS: u64 = 5_000;
/// Life of a session, in milliseconds. A phone that stays longer proves itself again.
const SESSION_MS: u64 = 5 * 60 * 1000;
/// Commands whose outcome a session remembers.
const REMEMBERED: usize = 4;
/// Grants for one use that are kept until they expire.
const USES: usize = 16;
const USES_VERSION: u8 = 1;
/// Peers' contexts are numbered from here on, beyond all that the platform will ever have.
const FIRST_GENERATION: u32 = 1 << 31;
/// Handshakes cost three scalar multiplications before anybody has proved anything.
const ADMISSION: AdmissionConfig = AdmissionConfig { burst: 6, share: 3, every_ms: 20_000 };
const KNOWN_EADS: &[u32] = &[EAD_GRANTS_ABOVE.unsigned_abs()];

/// message_2 is out.
struct Handshake {
    address: u16,
    responder: Responder,
    begun: u64,
}

/// One session with a holder of a grant.
struct Peer {
    address: u16,
    generation: u32,
    context: Context,
    window: Window,
    next_number: u64,
    /// When message_2 went out: what is said under this context was said later.
    since: u64,
    rights: Rights,
    rests_on: RestsOn,
    /// See [`grant_tag`].
    tag: CommandId,
    commands: Deque<Entry, REMEMBERED>,
}

/// The keys that void a grant when they are revoked.
#[derive(Clone)]
struct RestsOn {
    /// The platform's, which signed the grant or the first of its chain.
    issuer: Short,
    /// Its holder's, and those of the holders before him.
    holders: Vec<Short, { 2 * MAX_GRANT_CHAIN }>,
}

impl RestsOn {
    fn new(signing: &PublicKey, grant: &Grant) -> Self {
        Self { issuer: short(&signing.thumbprint()), holders: grant.keys().map(short).collect() }
    }
}

/// Everything about peers that is not in NVM.
pub(crate) struct Peers {
    admission: Admission,
    handshakes: Vec<Handshake, HANDSHAKES>,
    sessions: [Option<Peer>; SESSIONS],
    next_generation: u32,
}

impl Default for Peers {
    fn default() -> Self {
        Self {
            admission: Admission::new(ADMISSION),
            handshakes: Vec::new(),
            sessions: [const { None }; SESSIONS],
            next_generation: FIRST_GENERATION,
        }
    }
}

impl Peers {
    /// Contexts in use.
    pub(crate) fn contexts(&self) -> impl Iterator<Item = &Context> {
        self.sessions.iter().flatten().map(|peer| &peer.context)
    }

    /// What a session remembers of a command.
    pub(crate) fn command(&self, peer: usize, id: CommandId) -> Option<Entry> {
        let peer = self.sessions.get(peer)?.as_ref()?;
        peer.commands.iter().find(|entry| entry.id == id).copied()
    }

    /// A place for a handshake of this source, if it may have one.
    fn make_room(&mut self, now: u64, address: u16) -> bool {
        self.handshakes
            .retain(|waiting| waiting.address != address && now.saturating_sub(waiting.begun) < PATIENCE_MS);
        if self.handshakes.is_full() {
            let oldest = self.handshakes.iter().enumerate().min_by_key(|(_, waiting)| waiting.begun);
            match oldest.filter(|(_, waiting)| now.saturating_sub(waiting.begun) >= YIELD_MS) {
                Some((place, _)) => drop(self.handshakes.swap_remove(place)),
                None => return false,
            }
        }
        self.scrub();
        true
    }

    /// Overwrites what handshakes left behind that were moved: a move copies, and the copy is what is dropped.
    fn scrub(&mut self) {
        self.handshakes.spare_capacity_mut().zeroize();
    }

    /// Ends sessions that have lived long enough.
    fn expire(&mut self, now: u64) {
        for slot in &mut self.sessions {
            if slot.as_ref().is_some_and(|peer| now.saturating_sub(peer.since) >= SESSION_MS) {
                *slot = None; // its keys are overwritten where they are; taken out, they would stay here
            }
        }
    }

    fn insert(&mut self, peer: Peer) {
        let same = |known: &Option<Peer>| known.as_ref().is_some_and(|known| known.address == peer.address);
        let slots = self.sessions.iter().enumerate();
        let oldest = slots.min_by_key(|(_, known)| known.as_ref().map(|known| known.since));
        let place = self.sessions.iter().position(same).or_else(|| oldest.map(|(place, _)| place));
        if let Some(slot) = place.and_then(|place| self.sessions.get_mut(place)) {
            *slot = Some(peer);
        }
    }
}

/// Names a grant in ledger and log: by the platform's own, because holders choose the ids of those they pass on.
fn grant_tag(grant: &Grant) -> CommandId {
    let [a, b, c, d, ..] = grant.origin();
    [a, b, c, d]
}

impl<B: Board> Agent<B> {
    /// Takes an EDHOC datagram's body from the peer at this site address, which says nothing about who it is.
    pub(crate) fn peer_edhoc(&mut self, now: u64, address: u16, body: &mut [u8]) {
        // What is refused is not answered: an error message would be airtime for the asking.
        let done = match split(body) {
            Ok((Prefix::New, message)) => self.peer_message_1(now, address, message),
            Ok((Prefix::Session(id), message)) => {
                let start = body.len() - message.len();
                let message = body.get_mut(start..).unwrap_or_default();
                self.peer_message_3(now, address, id.as_bytes(), message)
            }
            Err(_) => None,
        };
        if done.is_none() {
            self.drop_frame();
        }
    }

    #[inline(never)]
    fn peer_message_1(&mut self, now: u64, address: u16, message: &[u8]) -> Option<()> {
        self.owner.as_ref()?; // a lock without an owner believes no grant
        let mut responder = Responder::new(ResponderConfig {
            suites: &[Suite::S2],
            methods: &[Method::StaticDh],
            c_r: self.choose_c_i()?,
            known_eads: KNOWN_EADS,
        });
        let c_i = responder.handle_message_1(message).ok()?.c_i;
        while responder.c_r() == c_i {
            responder.set_c_r(self.choose_c_i()?).ok()?;
        }
        if !self.peers.make_room(now, address) {
            return None;
        }
        self.peers.admission.admit(now, address.into()).ok()?;
        let Ok(ephemeral) = EphemeralKey::generate(Suite::S2, &mut self.parts.random) else {
            self.tell(AgentEvent::RandomFailed);
            return None;
        };
        let answer = self.peer_datagram(address, Prefix::Session(c_i), |agent, out| {
            let key = AuthKey::Agreement(&agent.parts.dh);
            responder.message_2(ephemeral, &IdCred::Kid(&agent.lock_id.0), &agent.cwt, &key, &[], out)
        })?;
        self.outbox.push_peer(|out| {
            *out = answer;
            Some(())
        })?;
        let _ = self.peers.handshakes.push(Handshake { address, responder, begun: now }); // room was made
        Some(())
    }

    #[inline(never)]
    #[allow(clippy::needless_borrows_for_generic_args)] // a key by value is a key more on the stack
    fn peer_message_3(&mut self, now: u64, address: u16, id: &[u8], message: &mut [u8]) -> Option<()> {
        let signing = self.owner.as_ref()?.signing;
        let place = self
            .peers
            .handshakes
            .iter()
            .position(|waiting| waiting.address == address && waiting.responder.c_r().as_bytes() == id)?;
        // One try: whoever fails starts again, and pays for it at the admission.
        let Handshake { mut responder, begun, .. } = self.peers.handshakes.swap_remove(place);
        self.peers.scrub();
        if now.saturating_sub(begun) >= PATIENCE_MS {
            return None;
        }
        let peer = responder.parse_message_3_in_place(message).ok()?;
        let IdCred::Kcwt(cwt) = peer.id_cred else { return None };
        let above = peer.eads.value(EAD_GRANTS_ABOVE).unwrap_or_default();
        let mut admitted = 1;
        // Looked at by reference, as what follows is apart: copies would lie on the stack below a multiplication.
        let verified = self.grant_of(now, address, (cwt, above), &signing, &mut admitted);
        let grant = verified.as_ref()?;
        responder.verify_message_3(&peer, cwt, &grant.terms().holder).ok()?;
        let rests_on = RestsOn::new(&signing, grant);
        if self.is_barred(&rests_on) {
            return None; // it would only keep others from a session
        }
        (0..admitted).for_each(|_| self.peers.admission.proved(address.into()));
        self.peers.expire(now);
        // The session first: a phone that has message_4 may count on it.
        self.seat(address, begun, grant, rests_on, &responder)?;
        self.outbox.push_peer(|out| {
            let prefix = Prefix::Session(peer.conn_id);
            let write = |out: &mut [u8]| responder.message_4(&[], out);
            crate::handshake::edhoc_datagram(out, To::Peer(address), prefix, write).ok()
        })
    }

    /// Each signature above the holder's own grant costs as much of the admission as a handshake.
    #[inline(never)]
    fn grant_of(
        &mut self,
        now: u64,
        address: u16,
        (cwt, above): (&[u8], &[u8]),
        signing: &PublicKey,
        admitted: &mut u8,
    ) -> Option<Grant> {
        let lock = self.parts.identity.public().thumbprint();
        let admit = || {
            self.peers.admission.admit(now, address.into()).map_err(|_| CredentialError::Busy)?;
            *admitted += 1;
            Ok(())
        };
        verify_grant_chain(cwt, above, &lock, signing, admit).ok()
    }

    /// Whether a list names one of these keys, or nobody can tell.
    fn is_barred(&mut self, rests_on: &RestsOn) -> bool {
        let RestsOn { issuer, holders } = rests_on;
        // A grant by a key that the platform has given up since has to be issued again.
        let current = self.owner.as_ref().is_some_and(|owner| short(&owner.signing.thumbprint()) == *issuer);
        if !current {
            return true;
        }
        self.site.bars(&mut self.parts.storage, *issuer, holders).unwrap_or_else(|StorageFault| {
            self.tell(AgentEvent::StorageFailed);
            true
        })
    }

    /// Gives the holder of a grant, who has proved its key, a session.
    #[inline(never)]
    fn seat(
        &mut self,
        address: u16,
        since: u64,
        grant: &Grant,
        rests_on: RestsOn,
        responder: &Responder,
    ) -> Option<()> {
        let keys = responder.oscore().ok()?;
        let context =
            derive(keys.secret(), &keys.salt, keys.sender_id.as_bytes(), keys.recipient_id.as_bytes())?;
        let generation = self.peers.next_generation;
        self.peers.next_generation = generation.checked_add(1).unwrap_or(FIRST_GENERATION);
        let (window, commands) = (Window::default(), Deque::new());
        self.peers.insert(Peer {
            address,
            generation,
            context,
            window,
            next_number: 0,
            since,
            rights: grant.rights(),
            rests_on,
            tag: grant_tag(grant),
            commands,
        });
        Some(())
    }

    #[inline(never)]
    fn peer_datagram(
        &mut self,
        address: u16,
        prefix: Prefix,
        write: impl FnOnce(&mut Self, &mut [u8]) -> Result<usize, EdhocError>,
    ) -> Option<Vec<u8, SEALED_MAX>> {
        let mut out = Vec::new();
        crate::handshake::edhoc_datagram(&mut out, To::Peer(address), prefix, |out| write(self, out)).ok()?;
        Some(out)
    }

    /// Takes a restored OSCORE message from the peer at this site address.
    #[inline(never)]
    pub(crate) fn peer_oscore(&mut self, now: u64, address: u16, coap: &[u8]) {
        self.peers.expire(now);
        let Some(message) = Message::parse(coap).ok().filter(|message| message.code().is_request()) else {
            return self.drop_frame();
        };
        let mut plain = [0; MESSAGE_MAX];
        let Some((place, len, overtaken, mut binding)) =
            self.open_peer_request(address, &message, coap, &mut plain)
        else {
            return self.drop_frame();
        };
        let Ok(inner) = Message::parse(plain.get(..len).unwrap_or_default()) else {
            return self.drop_frame();
        };
        let answer = match echo::value(&inner) {
            Ok(token) if !unknown_critical(&inner) => {
                let Some((asker, generation, young)) = self.peer_asker(now, place) else { return };
                let mut spend = |agent: &mut Self| {
                    let echoed = token.and_then(|token| agent.tokens.redeem(now, generation, token));
                    let echoed = echoed.map(|(kind, age)| Fresh { age, echo: kind == TokenKind::Echo });
                    echoed.or_else(|| young.map(|age| Fresh { age, echo: false }))
                };
                self.serve(now, asker, &inner, overtaken, &mut spend)
            }
            _ => Some(Answer::empty(Code::BAD_OPTION)),
        };
        self.answer_peer(now, place, &mut binding, message.token(), answer);
    }

    fn open_peer_request(
        &mut self,
        address: u16,
        message: &Message<'_>,
        coap: &[u8],
        plain: &mut [u8],
    ) -> Option<(usize, usize, bool, Binding)> {
        let header = OscoreOption::of(message).ok()?;
        let partial_iv = header.partial_iv?;
        let place = self.peers.sessions.iter().position(|slot| {
            slot.as_ref().is_some_and(|peer| peer.address == address && peer.context.matches(&header))
        })?;
        let slot = self.peers.sessions.get_mut(place)?;
        let peer = slot.as_mut()?;
        peer.window.check(partial_iv).ok()?;
        let opened = peer.context.unprotect_request(coap, plain);
        if peer.context.is_retired() {
            *slot = None; // too many failed tags: the peer makes a new one
            return None;
        }
        let (len, binding) = opened.ok()?;
        let overtaken = peer.window.is_overtaken(partial_iv);
        peer.window.commit(partial_iv).ok()?;
        Some((place, len, overtaken, binding))
    }

    /// Who asks, by the grant as it stands now; the context's generation; and, while the handshake is young enough to
    /// prove freshness, its age: a request under its keys cannot be older.
    fn peer_asker(&mut self, now: u64, place: usize) -> Option<(Asker, u32, Option<u64>)> {
        let holds = self.peer_permit(now, place).is_some();
        let peer = self.peers.sessions.get(place)?.as_ref()?;
        let scope = if holds { peer.rights.scope().bits() } else { 0 };
        let asker = Asker { role: Role::Grantee, scope, by: By::PEER, peer: Some(place) };
        let age = now.saturating_sub(peer.since);
        Some((asker, peer.generation, (age < CHALLENGE_LIFE_MS).then_some(age)))
    }

    /// What the grant of this session allows now, if anything.
    fn peer_permit(&mut self, now: u64, place: usize) -> Option<(Permit, Moment)> {
        let moment = self.moment(now)?;
        let peer = self.peers.sessions.get(place)?.as_ref()?;
        let permit = peer.rights.permit(peer.rights.scope(), moment).ok()?;
        let rests_on = peer.rests_on.clone();
        (!self.is_barred(&rests_on)).then_some((permit, moment))
    }

    /// The present for a grant. Where it is not known to less than a quarter of an hour, no grant holds.
    fn moment(&self, now: u64) -> Option<Moment> {
        let present = self.time.estimate(now)?;
        let earliest = thousandth(present.unix_ms.saturating_sub(present.uncertainty_ms));
        let latest = thousandth(present.unix_ms.saturating_add(present.uncertainty_ms).saturating_add(999));
        Moment::new(u32::try_from(earliest).ok()?, u32::try_from(latest).ok()?).ok()
    }

    /// A command that was judged: a grant for one use is used up in NVM before the bolt moves. `None`: it was before.
    pub(crate) fn carry_out_for(
        &mut self,
        now: u64,
        place: usize,
        command: &Command,
    ) -> Result<Option<Outcome>, StorageFault> {
        let Some((permit, moment)) = self.peer_permit(now, place) else { return Ok(None) };
        let Some(Some(Peer { tag, .. })) = self.peers.sessions.get(place) else { return Ok(None) };
        let tag = *tag;
        if let Permit::Once { use_id, until } = permit
            && !self.use_up(use_id, until, moment)?
        {
            return Ok(None);
        }
        let outcome = self.carry_out(By::PEER, tag, command.op)?;
        if let Some(Some(peer)) = self.peers.sessions.get_mut(place) {
            peer.remember(command.id, command.op, outcome);
        }
        Ok(Some(outcome))
    }

    /// Notes durably that a grant for one use is used. False if it was, or if there is no room to note it.
    fn use_up(&mut self, use_id: [u8; 8], until: u32, now: Moment) -> Result<bool, StorageFault> {
        let mut record = [0; Slot::Uses.max_len()];
        let len = self.parts.storage.read(Slot::Uses, &mut record)?;
        let mut uses = Vec::<([u8; 8], u32), USES>::new();
        if let Some(len) = len {
            // One that makes no sense hides uses: no such grant is believed any more.
            let known = read_uses(record.get(..len).unwrap_or_default()).ok_or(StorageFault)?;
            uses = known;
        }
        uses.retain(|(_, until)| *until > now.earliest());
        if uses.iter().any(|(known, _)| *known == use_id) || uses.push((use_id, until)).is_err() {
            return Ok(false);
        }
        let mut writer = Writer::new(&mut record);
        writer.u8(USES_VERSION);
        for (use_id, until) in &uses {
            writer.bytes(use_id);
            writer.u32(*until);
        }
        let len = writer.finish().ok_or(StorageFault)?;
        self.parts.storage.write(Slot::Uses, record.get(..len).unwrap_or_default())?;
        Ok(true)
    }

    /// Seals the answer; without one, a 4.01 that asks for an Echo.
    fn answer_peer(
        &mut self,
        now: u64,
        place: usize,
        binding: &mut Binding,
        token: &[u8],
        answer: Option<Answer>,
    ) {
        let echo = match &answer {
            Some(_) => None,
            None => match self.random_token() {
                Some(value) => Some(value),
                None => return,
            },
        };
        let mtu = self.mtu;
        let Some(Some(peer)) = self.peers.sessions.get_mut(place) else { return };
        let mut own = None;
        if let Some(value) = echo {
            own = Some(peer.next_number);
            peer.next_number = peer.next_number.saturating_add(1);
            self.tokens.issue(now, peer.generation, TokenKind::Echo, value);
        }
        let reply = Reply {
            to: To::Peer(peer.address),
            own,
            token,
            code: answer.as_ref().map_or(Code::UNAUTHORIZED, |answer| answer.code),
            echo: echo.as_ref(),
            payload: answer.as_ref().map_or(&[][..], Answer::payload),
            mtu,
        };
        if self.outbox.push_peer(|out| reply.seal(&peer.context, binding, out)).is_none() {
            self.drop_frame();
        }
    }
}

impl Peer {
    fn remember(&mut self, id: CommandId, op: Op, outcome: Outcome) {
        if self.commands.is_full() {
            self.commands.pop_front();
        }
        let _ = self.commands.push_back(Entry { by: By::PEER, id, op, outcome: Some(outcome) }); // room was made
    }
}

fn read_uses(record: &[u8]) -> Option<Vec<([u8; 8], u32), USES>> {
    let mut reader = Reader::new(record);
    if reader.u8()? != USES_VERSION {
        return None;
    }
    let mut uses = Vec::new();
    while !reader.end() {
        uses.push((reader.array()?, reader.u32()?)).ok()?;
    }
    Some(uses)
}
