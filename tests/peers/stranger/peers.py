"""Phones and other holders of grants: EDHOC as their responder, sessions that live in memory only."""

from . import framing, grants, oscore
from .cbor import Refused
from .cose import thumbprint
from .edhoc import Responder, identifier, take_identifier
from .oscore import ECHO, Message, Option
from .session import CHALLENGE_MS, TAGS, Session

HANDSHAKES, HANDSHAKE_MS, YIELD_MS = 2, 30_000, 5_000
SESSIONS, SESSION_MS, COMMANDS = 2, 300_000, 4
ADMITTED, OF_ONE, ADMIT_MS = 6, 3, 20_000
USES = 16


class Peer:
    """Behind whose session a holder is: its address, its grant, what it commanded."""

    def __init__(self, address, grant, signing, since):
        self.address, self.grant, self.signing, self.since, self.commands = address, grant, signing, since, []


class Peers:
    def __init__(self, lock, store, random, save, revocations):
        self.lock, self.store, self.random, self.save, self.revocations = lock, store, random, save, revocations
        self.waiting, self.sessions, self.spent = {}, [], []

    # The handshake ------------------------------------------------------------------------------------------------

    def edhoc(self, address, body, now):
        """What fails is met with silence."""
        if not self.store["owner"]:
            raise Refused("nobody's lock")
        if body[:1] == b"\xf5":
            return self._message_1(address, body[1:], now)
        prefix, at = take_identifier(body, 0)
        held = self.waiting.get(address)
        if held is None or held[0].c_r != prefix or now >= held[1] + HANDSHAKE_MS:
            raise Refused("no handshake is waiting")
        del self.waiting[address]
        return self._message_3(address, *held, body[at:], now)

    def _admit(self, address, now):
        """Six at once and one more each 20 s; three of one source."""
        self.spent = [one for one in self.spent if now < one[0] + ADMITTED * ADMIT_MS]
        if len(self.spent) >= ADMITTED or sum(one[1] == address for one in self.spent) >= OF_ONE:
            raise Refused("too many handshakes")
        self.spent.append((now, address))

    def _message_1(self, address, message, now):
        self.waiting = {other: held for other, held in self.waiting.items()
                        if other != address and now < held[1] + HANDSHAKE_MS}
        if len(self.waiting) >= HANDSHAKES:
            oldest = min(self.waiting, key=lambda other: self.waiting[other][1])
            if now < self.waiting[oldest][1] + YIELD_MS:
                raise Refused("two handshakes wait")
            del self.waiting[oldest]
        sessions = self.lock.sessions
        taken = {held.context.recipient for held in [*self.sessions, *sessions.contexts]}
        taken |= {held[0].c_r for held in self.waiting.values()}
        responder = Responder.read_1(message, sessions.dh, self.random, taken)
        self._admit(address, now)
        self.waiting[address] = (responder, now)
        self._send(address, identifier(responder.c_i) + responder.write_2(sessions.id, sessions.cwt))

    def _message_3(self, address, responder, since, message, now):
        owner, lock = self.lock.sessions.owner(), self.lock.thumbprint

        def resolve(kid, cwt, items):
            if cwt is None:
                raise Refused("a grant comes by value")
            above = items.get(grants.ABOVE)
            if above == b"" or grants.ABOVE in items and above is None:
                raise Refused("an empty chain")
            responder.grant = grants.chain(cwt, above or b"", lock, owner.signing, lambda: self._admit(address, now))
            return cwt, responder.grant.holder

        responder.read_3(message, resolve, {grants.ABOVE})
        peer = Peer(address, responder.grant, owner.signing, since)
        if self._barred(peer):
            raise Refused("revoked")
        self.spent = [one for one in self.spent if one[1] != address]
        session = Session.fresh(*responder.oscore(), responder.c_i, responder.c_r, lambda: None)
        session.peer = peer
        kept = [held for held in self._alive(now) if held.peer.address != address]
        self.sessions = [*kept, session][-SESSIONS:]
        self._send(address, identifier(responder.c_i) + responder.write_4())

    def _send(self, address, body):
        self.lock.endpoint.send(framing.PEER_EDHOC, framing.INTERACTIVE, address.to_bytes(2, "big") + body)

    # Requests -----------------------------------------------------------------------------------------------------

    def _alive(self, now):
        return [held for held in self.sessions if now < held.peer.since + SESSION_MS]

    def oscore(self, address, body, now):
        outer = Message.decode(oscore.restore(body))
        found = outer.all(oscore.OSCORE)
        if len(found) != 1 or outer.code >= 0x20:
            raise Refused("no request")
        option = Option.decode(found[0])
        self.sessions = self._alive(now)
        session = next((held for held in self.sessions
                        if held.peer.address == address and held.context.recipient == option.kid), None)
        if session is None or not option.piv or option.kid_context is not None:
            raise Refused("no such session")
        number = int.from_bytes(option.piv, "big")
        if not session.window.is_new(number):
            raise Refused("replay")
        try:
            request = session.context.open_request(outer, option)
        except oscore.WrongTag:
            session.record["tags"] += 1
            if session.record["tags"] >= TAGS:
                self.sessions.remove(session)
            raise
        late = number < session.window.highest
        session.note(number)
        given = request.all(ECHO)
        fresh_at = session.redeem(given[0], now) if given else None
        if late and given and len(given[0]) != 8:
            fresh_at = None
        # What is said under keys this young cannot be older.
        if fresh_at is None and not late and now < session.peer.since + CHALLENGE_MS:
            fresh_at = session.peer.since
        self.lock.request(session, request, option.piv, late, fresh_at, now)

    # What a grant allows ------------------------------------------------------------------------------------------

    def _barred(self, peer):
        owner = self.lock.sessions.owner()
        if owner is None or owner.signing != peer.signing:
            return True
        return self.revocations.names([*peer.grant.keys, thumbprint(peer.signing)])

    def permits(self, peer, right, known):
        """Asked at each request: a session is no right."""
        return bool(peer.grant.rights & right) and peer.grant.holds(known) and not self._barred(peer)

    def use(self, peer, known):
        """Notes a single use, durably and before the effect. False if it was noted before."""
        grant = peer.grant
        if not grant.single_use:
            return True
        uses = [use for use in self.store["uses"] if use[1] > known[0]]
        if len(uses) >= USES or any(use[0] == grant.use for use in uses):
            return False
        self.store["uses"] = [*uses, [grant.use, grant.end]]
        self.save()
        return True

