"""Handshakes with the platform and the contexts they leave: who is believed, when to try again, what is durable."""

import hmac
import math

from . import cbor, cose, framing, oscore
from .cbor import Refused
from .edhoc import Initiator, identifier, take_identifier
from .oscore import Context, Message, Option, Window

CHALLENGE_MS = 30_000
HANDSHAKE_MS, EXTENSIONS = 30_000, 5
RETRY_MS, RETRY_MAX_MS, WRONG_MAX_MS = 5_000, 900_000, 72_000
REKEY_MS, REKEY_AFTER = 900_000, 1 << 20
UNANSWERED = 3
TAGS = 1 << 16
BLOCK = 64


class Session:
    """One context with the platform: what is durable in `record`, and what a reset forgets."""

    def __init__(self, record, save, after_boot):
        self.record, self.save, self.must_echo = record, save, after_boot
        self.context = Context(record["secret"], record["salt"], record["sender"], record["recipient"])
        self.window = Window(record["highest"], record["seen"])
        self.next = record["limit"]
        self.challenges, self.outstanding = {}, {}
        self.peer = None  # of the platform's sessions
    @classmethod
    def fresh(cls, secret, salt, sender, recipient, save):
        record = {"secret": secret, "salt": salt, "sender": sender, "recipient": recipient,
                  "highest": -1, "seen": 0, "limit": 0, "tags": 0}
        return cls(record, save, False)

    def number(self):
        if self.next == self.record["limit"]:
            self.record["limit"] += BLOCK
            self.save()
        self.next += 1
        return self.next - 1

    def note(self, number):
        self.window.note(number)
        self.record["highest"], self.record["seen"] = self.window.highest, self.window.seen
        self.save()

    def start_anew(self, number):
        """RFC 8613 appendix B.1.2: everything up to this number is used."""
        self.window = Window(number, 0xFFFFFFFF)
        self.must_echo = False

    def challenge(self, random, size, now):
        value = random(size)
        self.challenges = {old: at for old, at in self.challenges.items() if now < at + CHALLENGE_MS}
        self.challenges = dict([*self.challenges.items()][-3:]) | {value: now}
        return value

    def redeem(self, value, now):
        """When this challenge was given out; once, and not for long."""
        for held, at in list(self.challenges.items()):
            if hmac.compare_digest(held, value):
                del self.challenges[held]
                return at if now < at + CHALLENGE_MS else None
        return None


class Sessions:
    """Handshake and contexts. The lock on top is told through its methods `established` and `authentic`."""

    def __init__(self, lock, store, random, save):
        self.lock, self.store, self.random, self.save = lock, store, random, save
        self.identity, self.dh = cose.Key(store["identity"]), cose.Key(store["dh"])
        self.cwt, self.id = store["cwt"], cose.thumbprint(self.identity.public)[:8]
        self.contexts = [Session(record, save, True) for record in store["contexts"]]
        self.handshake = self.start_at = self.done = None
        self.last_start, self.failures, self.silences = -math.inf, 0, 0
        self.unknown_by_name = False
        self.wrong, self.closed_until, self.unanswered, self.echoes = [], -math.inf, 0, 0

    @property
    def current(self):
        return self.contexts[0] if self.contexts else None

    def owner(self):
        return cose.PlatformCwt(self.store["owner"]) if self.store["owner"] else None

    # When ---------------------------------------------------------------------------------------------------------

    def link_up(self, now):
        if not self.contexts and self.handshake is None:
            self.start_at = now

    def want(self, now):
        """A reason to make a new context came up; an old one serves on meanwhile."""
        if self.handshake is None and self.start_at is None:
            self.start_at = max(now, self.last_start + REKEY_MS)

    def timeout(self, now):
        if self.handshake and now >= self.deadline:
            self._failed(now, wrong=False)
        if self.start_at is not None and now >= max(self.start_at, self.closed_until):
            self._start(now)

    def next_timeout(self):
        times = [self.deadline] if self.handshake else []
        if self.start_at is not None:
            times.append(max(self.start_at, self.closed_until))
        return min(times, default=math.inf)

    def alive(self, now):
        """Something of the handshake got through, in either direction."""
        if self.handshake:
            self.deadline = min(now + HANDSHAKE_MS, self.last_start + EXTENSIONS * HANDSHAKE_MS)

    def went_unanswered(self, now):
        """An event that the gateway took."""
        self.unanswered += 1
        if self.unanswered >= UNANSWERED:
            self.want(now)

    def _failed(self, now, wrong):
        self.handshake = None
        if wrong:
            self.silences, pause = 0, min(RETRY_MS << min(self.failures, 8), WRONG_MAX_MS)
            self.wrong = [at for at in self.wrong if now - at < 300_000] + [now]
            if len(self.wrong) >= 5:
                self.wrong, self.closed_until = [], now + 90_000
        else:
            self.silences, pause = self.silences + 1, min(RETRY_MS << min(self.silences, 8), RETRY_MAX_MS)
        self.failures += 1
        self.start_at = now + pause + int.from_bytes(self.random(2), "big") * (pause // 4) // 65536
        if self.contexts:
            self.start_at = max(self.start_at, self.last_start + REKEY_MS)

    # The handshake ------------------------------------------------------------------------------------------------

    def _start(self, now):
        self.start_at, self.last_start, self.unanswered = None, now, 0
        taken = {session.context.recipient for session in self.contexts}
        c_i = next(value for value in iter(lambda: bytes([self.random(1)[0] % 24]), None) if value not in taken)
        code = bool(self.store["code"])
        self.by_value = not self.store["owner"] or code and self.failures & 1 == 1 or not code and self.unknown_by_name
        self.proves, self.unknown_by_name = self.by_value and code, False
        self.handshake, self.step, self.last_message = Initiator.draw(self.dh, c_i, self.random), 2, None
        self.alive(now)
        self._send(b"\xf5" + self.handshake.message_1)

    def _send(self, body):
        self.lock.endpoint.send(framing.PLATFORM_EDHOC, framing.INTERACTIVE, body, order=1)

    def edhoc(self, body, now):
        if self.handshake is None or now < self.closed_until:
            raise Refused("no handshake is waiting")
        prefix, at = take_identifier(body, 0)
        if prefix != self.handshake.c_i:
            raise Refused("another session")
        message = body[at:]
        if message[:1] and message[0] >> 5 != 2:
            self.unknown_by_name = self.step == 4 and not self.by_value
            self._failed(now, wrong=True)
            raise Refused("EDHOC error message")
        if message == self.last_message:
            return
        try:
            self._message_2(message) if self.step == 2 else self._message_4(message, now)
            self.last_message = message
            self.alive(now)
        except Unknown:
            self._fail(cbor.sequence(3, True), now)
        except Refused:
            self._fail(cbor.sequence(1, "refused"), now)

    def _fail(self, error, now):
        c_r = getattr(self.handshake, "c_r", None)
        if c_r is not None:
            self._send(identifier(c_r) + error)
        self._failed(now, wrong=True)
        raise Refused("handshake")

    def _resolve(self, kid, cwt):
        owner = self.owner()
        if cwt is None:
            if owner is None:
                raise Unknown("no platform is pinned")
            self.platform = owner
        else:
            try:
                self.platform = cose.PlatformCwt(cwt)
            except Refused as why:
                raise Unknown("no platform's credential") from why
            if owner:
                rolled_back = self.platform.version < owner.version
                changed = self.platform.version == owner.version and self.platform.keys() != owner.keys()
                if self.platform.root != owner.root or rolled_back or changed:
                    raise Unknown("not the owner's platform")
        return self.platform.data, self.platform.dh[1:]

    def _message_2(self, message):
        self.handshake.read_2(message, self._resolve)
        items = []
        if self.proves:
            items = [(cose.LOCK_PROOF, cose.proof(self.store["code"], cose.LOCK_PROOF, self.handshake.th_3, self.cwt))]
        message_3 = self.handshake.write_3(None if self.by_value else self.id, self.cwt, items)
        self.step = 4
        self._send(identifier(self.handshake.c_r) + message_3)

    def _message_4(self, message, now):
        items = self.handshake.read_4(message, {cose.PLATFORM_PROOF})
        if self.proves:
            right = cose.proof(self.store["code"], cose.PLATFORM_PROOF, self.handshake.th_4, self.platform.data)
            if not hmac.compare_digest(items.get(cose.PLATFORM_PROOF) or b"", right):
                raise Refused("owner code")
        session = Session.fresh(*self.handshake.oscore(), self.handshake.c_r, self.handshake.c_i, self.save)
        self.store["owner"] = self.platform.data
        self.contexts = [session, *self.contexts[:1]]
        self.done, self.handshake, self.failures, self.silences = self.handshake, None, 0, 0
        self._store()
        self.lock.established(now)

    def _store(self):
        self.store["contexts"] = [session.record for session in self.contexts]
        self.save()

    # What comes under the contexts --------------------------------------------------------------------------------

    def oscore(self, body, now):
        outer = Message.decode(oscore.restore(body))
        found = outer.all(oscore.OSCORE)
        if not found:
            if outer.code == oscore.UNAUTHORIZED and self.contexts:
                self.want(now)
                return
            raise Refused("unprotected")
        option = Option.decode(found[0])
        if len(found) != 1 or option.kid_context is not None:
            raise Refused("OSCORE option")
        if outer.code < 0x20:
            self._request(outer, option, now)
        else:
            self._response(outer, option, now)

    def _request(self, outer, option, now):
        session = next((held for held in self.contexts if held.context.recipient == option.kid), None)
        if session is None or not option.piv:
            raise Refused("no such context")
        number = int.from_bytes(option.piv, "big")
        if not session.window.is_new(number):
            raise Refused("replay")
        try:
            request = session.context.open_request(outer, option)
        except oscore.WrongTag:
            self._wrong_tag(session, now)
            raise
        late = number < session.window.highest
        self._authentic(session)
        if session.must_echo:
            given = request.all(oscore.ECHO)
            if not given or len(given[0]) != 8 or session.redeem(given[0], now) is None:
                session.note(number)
                self.demand_echo(session, option.piv, outer.token, now)
                return
            session.start_anew(number)
            session.note(number)
            self.lock.request(session, request, option.piv, False, now, now)
            return
        session.note(number)
        given = request.all(oscore.ECHO)
        given_at = session.redeem(given[0], now) if given else None
        if late and given and len(given[0]) != 8:
            given_at = None
        self.lock.request(session, request, option.piv, late, given_at, now)

    def demand_echo(self, session, piv, token, now):
        self.echoes += 1
        echo = session.challenge(self.random, 8, now)
        answer = Message(oscore.UNAUTHORIZED, [(oscore.ECHO, echo)])
        self.lock.respond(session, piv, token, answer, own_number=True)

    def _response(self, outer, option, now):
        for session in self.contexts:
            asked = session.outstanding.get(outer.token)
            if asked is None:
                continue
            try:
                answer = session.context.open_response(outer, option, asked.piv)
            except oscore.WrongTag:
                self._wrong_tag(session, now)
                continue
            del session.outstanding[outer.token]
            self._authentic(session)
            self.lock.response(asked, answer, now)
            return
        raise Refused("no such request")

    def _wrong_tag(self, session, now):
        """At 2^16 of them the context is given up (the limits of RFC 9053 for 8-byte tags)."""
        session.record["tags"] += 1
        self.save()
        if session.record["tags"] >= TAGS:
            self.contexts.remove(session)
            self._store()
            self.start_at = now

    def _authentic(self, session):
        self.unanswered = 0
        if session is self.current and (len(self.contexts) > 1 or self.store["code"]):
            self.contexts, self.store["code"] = [session], b""
            self._store()


class Unknown(Refused):
    """A credential that this lock does not know."""


class Asked:
    """A request of the lock that waits for its answer."""

    def __init__(self, piv, at, event):
        self.piv, self.at, self.event, self.taken = piv, at, event, False
