"""The lock itself: events, commands, log, PINs, time. No clock, no IO: `now` is milliseconds since boot."""

import math

from . import cbor, cose, framing, grants, oscore
from .cbor import Refused
from .oscore import CHANGED, CONTENT, ECHO, GET, POST, URI_PATH, Message
from .peers import COMMANDS, Peers
from .session import REKEY_AFTER, Asked, Sessions

LOCK, UNLOCK = 0, 1
DONE, FAILED, EXPIRED, NOT_FRESH, TOO_FAR, DENIED, BUSY, WEAK, UNSUPPORTED = range(9)
LOCKED, UNLOCKED, JAMMED, UNKNOWN_BOLT = range(4)
(BOOT, TOUCH, BOLT, BATTERY_LOW, HEARTBEAT, DOOR, TAMPER, REFUSED, CARRIED_OUT, PIN, PAD_CLOSED, GRANT_UNLOCK,
 GRANT_LOCK) = range(13)
INTERACTIVE_KINDS = {BOOT, TOUCH, BATTERY_LOW, TAMPER, PIN, PAD_CLOSED}
AJAR = 2
HORIZON_S = 120
LOG_ENTRIES, CACHE, SLOTS, PAGE = 64, 8, 16, 23
TRUSTED_MS = 5_000
DRIFT_PPM = 50
ANSWER_MS, AGAIN_MS, ANNOUNCE_MS = 20_000, 30_000, 5_000
PAGE_BYTES = 180
RIGHTS = {(b"s", GET): grants.STATUS, (b"b", GET): grants.STATUS, (b"l", POST): grants.UNLOCK | grants.LOCK,
          (b"g", GET): grants.LOG, (b"p", GET): grants.PINS, (b"p", POST): grants.PINS}


def make(random):
    """The factory: identity and Diffie-Hellman key, the lock's CWT, the owner code for the label."""
    identity, dh = cose.Key.draw(random), cose.Key.draw(random)
    return {"identity": identity.scalar, "dh": dh.scalar, "cwt": cose.lock_cwt(identity, dh), "code": random(16),
            "owner": b"", "contexts": [], "commands": [], "log": [], "end": 0, "cursor": 0, "pins": {}, "revision": 0,
            "bolt": LOCKED, "floor": 0, "epoch": 0, "revoked": b"", "uses": []}


class Lock:
    def __init__(self, store, random, save=lambda: None, firmware=0x01020003, **timers):
        self.store, self.random, self.save, self.firmware = store, random, save, firmware
        self.endpoint = framing.Endpoint(**timers)
        self.endpoint.taken, self.endpoint.failed = self._taken, self._undelivered
        self.sessions = Sessions(self, store, random, save)
        self.thumbprint = cose.thumbprint(self.sessions.identity.public)
        self.revocations = grants.Revocations(store, save, random)
        self.peers = Peers(self, store, random, save, self.revocations)
        self.events, self.in_flight, self.mtu = [], {}, 222
        self.time, self.battery, self.dropped, self.wrong_pins, self.pad_until = None, 87, 0, [], -math.inf
        self.told = []
        for entry in store["commands"]:
            if entry["outcome"] is None:
                # The power went while the motor ran: the sensor tells what became of it.
                entry["outcome"] = DONE if store["bolt"] == entry["op"] else FAILED
                self._log(CARRIED_OUT, entry["op"], entry["id"])
        self._say(BOOT, firmware, self._log(BOOT, firmware) if store["owner"] else None, 0)

    # The firmware's side ------------------------------------------------------------------------------------------

    def link_up(self, now):
        self.sessions.link_up(now)
        self._report(now)

    def handle_frame(self, frame, now):
        try:
            datagram = self.endpoint.handle(frame, now)
            if framing.kind_of(frame[0]) == framing.PLATFORM_EDHOC:
                self.sessions.alive(now)
            if datagram is None:
                return self._report(now)
            kind = framing.kind_of(datagram[0])
            if kind == framing.PLATFORM_EDHOC:
                self.sessions.edhoc(datagram[1:], now)
            elif kind == framing.PLATFORM_OSCORE:
                self.sessions.oscore(datagram[1:], now)
            elif kind in (framing.PEER_EDHOC, framing.PEER_OSCORE) and len(datagram) > 3:
                serve = self.peers.edhoc if kind == framing.PEER_EDHOC else self.peers.oscore
                serve(int.from_bytes(datagram[1:3], "big"), datagram[3:], now)
            elif kind == framing.SITE:
                self._site(datagram[1:], now)
            else:
                raise Refused("kind")
        except grants.Busy:
            self.endpoint.release(datagram)
        except Refused as reason:
            self.dropped += 1
            self.told.append(f"dropped {reason}")
        self._report(now)

    def _site(self, body, now):
        """Of what the site says, this lock takes the platform's list."""
        kind, at = cbor.item(body, 0)
        nonce, at = cbor.item(body, at)
        if kind != 2 or not isinstance(nonce, bytes) or len(nonce) not in (0, 8) or not self.store["owner"]:
            raise Refused("site message")
        wanted = self.revocations.take(nonce, body[at:], self.sessions.owner(), now)
        if wanted is not None:
            question = self.revocations.question(wanted, now)
            self.endpoint.send(framing.SITE, framing.TELEMETRY, question, order=2)

    def timeout(self, now):
        self.endpoint.timeout(now)
        for event in list(self.events):
            if event.asked and now >= event.asked.at + ANSWER_MS:
                taken = event.asked.taken
                self._again(event, now)
                if taken:
                    self.sessions.went_unanswered(now)
        self.sessions.timeout(now)
        self._report(now)

    def next_timeout(self):
        connected = self.sessions.current is not None
        events = [event.asked.at + ANSWER_MS if event.asked else event.not_before for event in self.events
                  if event.asked or connected]
        return min(self.endpoint.next_timeout(), self.sessions.next_timeout(), *events, math.inf)

    def poll_transmit(self, mtu, now):
        self.mtu = mtu
        return self.endpoint.poll(mtu, now)

    def touch(self, now):
        self._event(TOUCH, None, False, now)

    def heartbeat(self, now):
        self._event(HEARTBEAT, self.battery, False, now)

    def door(self, position, now):
        self._event(DOOR, position, True, now)

    def bolt_by_hand(self, bolt, now):
        self.store["bolt"] = bolt
        self._event(BOLT, bolt, True, now)

    def enter_pin(self, digits, now):
        """Whether the bolt moved."""
        if now < self.pad_until:
            return False
        entered, limits = digits.encode().ljust(10, b"\0"), self._known_time(now)
        for slot, pin in self.store["pins"].items():
            if pin.get("digits") != entered:
                continue
            if (pin["from"] or pin["until"]) and not self._inside(pin, limits):
                continue
            self._move(UNLOCK)
            self._event(PIN, 0x80 | pin["duress"] << 6 | slot, True, now)
            return True
        self.wrong_pins = [at for at in self.wrong_pins if now - at < 300_000] + [now]
        if len(self.wrong_pins) >= 5:
            self.wrong_pins, self.pad_until = [], now + 90_000
            self._event(PAD_CLOSED, None, True, now)
        return False

    @staticmethod
    def _inside(pin, known):
        if known is None:
            return False
        earliest, latest = known
        return earliest >= (pin["from"] or 0) and latest <= (pin["until"] or math.inf)

    # Events -------------------------------------------------------------------------------------------------------

    def established(self, now):
        """A new context: what waits goes out under it, and something must, for it confirms the context."""
        self.told.append("session")
        for event in self.events:
            event.asked, event.not_before = None, now
        if not self.events:
            self._say(BOOT, self.firmware, None, now)

    def _log(self, kind, value, command=None, now=None):
        entry = {0: self.store["end"], 1: kind, 2: self._time(now), 3: value, 4: command}
        if len(self.store["log"]) < LOG_ENTRIES:
            self.store["log"].append({key: item for key, item in entry.items() if item is not None})
        self.store["end"] += 1
        self.save()
        return self.store["end"] - 1

    def _event(self, kind, value, logged, now):
        self._say(kind, value, self._log(kind, value, None, now) if logged else None, now)
        self._report(now)

    def _say(self, kind, value, index, not_before):
        self.events = [*self.events, Event(kind, value, index, not_before)][-4:]

    def _report(self, now):
        session = self.sessions.current
        for event in list(self.events) if session else []:
            if event.asked or now < event.not_before:
                continue
            challenge = session.challenge(self.random, 4, now)
            body = {0: challenge, 1: event.kind, 2: event.index, 3: event.value, 4: self._time(now)}
            body = cbor.encode({key: item for key, item in body.items() if item is not None})
            klass, number = event.klass(), session.number()
            piv = oscore.minimal(number)
            if klass == framing.INTERACTIVE:
                body = self._pad(body, 15 + len(piv))
            message = Message(POST, [(URI_PATH, b"e")], body)
            elided = oscore.elide(session.context.request(number, message))
            if klass == framing.TELEMETRY:
                self.events.remove(event)
            else:
                event.asked = session.outstanding[piv[-1:]] = Asked(piv, now, event)
                self.in_flight[bytes([framing.header(framing.PLATFORM_OSCORE, klass)]) + elided] = event.asked
            self.endpoint.send(framing.PLATFORM_OSCORE, klass, elided, order=2)
            if number >= REKEY_AFTER:
                self.sessions.want(now)

    def _taken(self, datagram):
        asked = self.in_flight.pop(datagram, None)
        if asked:
            asked.taken = True

    def _undelivered(self, datagram):
        self.in_flight.pop(datagram, None)

    def _again(self, event, now):
        """Unanswered: later, with another challenge under another number. A touch means nothing any more then."""
        if event.kind in (TOUCH, HEARTBEAT):
            self.events.remove(event)
        event.asked, event.not_before = None, now + (AGAIN_MS << min(event.attempts, 7))
        event.attempts += 1

    def _pad(self, body, around):
        """`around` is every byte of the frame but the payload: header, elision, code, options, marker, tag."""
        for size in (32, 48):
            if around + len(body) <= size <= self.mtu:
                return body + bytes(size - around - len(body))
        return body

    def response(self, asked, answer, now):
        if asked.event in self.events:
            self.events.remove(asked.event)
        if answer.code != CHANGED or not answer.payload:
            return
        reply = cbor.payload(answer.payload)
        known_keys(reply, {0: u32, 1: u32})
        if 0 in reply:
            self._hold_from(reply[0])
        if 1 in reply:
            self._set_time(reply[1], asked.at, now)

    # Requests -----------------------------------------------------------------------------------------------------

    def request(self, session, request, piv, late, fresh_at, now):
        path = [value for number, value in request.pairs if number == URI_PATH]
        allowed = {b"s": {GET: self._status}, b"b": {GET: self._battery}, b"l": {POST: self._command},
                   b"g": {GET: self._log_page, POST: self._log_page}, b"t": {POST: self._time_set},
                   b"p": {GET: self._pin_list, POST: self._pin_change}}
        ask, peer = Ask(request, late, fresh_at, now, session.peer), session.peer
        if any(not 1 <= len(value) <= 40 for number, value in request.pairs if number == ECHO) or any(
                number & 1 and number not in (URI_PATH, 3, 7, 9) for number, _ in request.pairs):
            answer = Message(oscore.BAD_OPTION)
        elif len(path) != 1 or path[0] not in allowed:
            answer = Message(oscore.NOT_FOUND)
        elif peer and not self.peers.permits(peer, RIGHTS.get((path[0], request.code), 0), self._interval(now)):
            answer = Message(oscore.FORBIDDEN)
        elif request.code not in allowed[path[0]]:
            answer = Message(oscore.NOT_ALLOWED)
        else:
            try:
                answer = allowed[path[0]][request.code](ask)
            except Refused:
                answer = Message(oscore.BAD_REQUEST)
        if answer is None:
            self.sessions.demand_echo(session, piv, request.token, now)
        else:
            self.respond(session, piv, request.token, answer)

    def respond(self, session, piv, token, answer, own_number=False):
        number = session.number() if own_number else None
        around = 13 + len(oscore.options(answer.pairs)) + (0 if number is None else len(oscore.minimal(number)))
        peer = session.peer
        answer.payload = self._pad(answer.payload, around + (2 if peer else 0))
        body = oscore.elide(session.context.response(piv, token, answer, number))
        if peer:
            self.endpoint.send(framing.PEER_OSCORE, framing.INTERACTIVE, peer.address.to_bytes(2, "big") + body)
        else:
            self.endpoint.send(framing.PLATFORM_OSCORE, framing.INTERACTIVE, body)

    def _status(self, ask):
        return content({0: self.store["bolt"], 1: self.battery, 2: int(self._trusted(ask.now)), 3: self.firmware,
                        24: self.revocations.epoch})

    def _battery(self, ask):
        return content({0: self.battery})

    def _command(self, ask):
        body = ask.body({0: four, 1: op, 2: u32}, {0, 1})
        peer, right = ask.peer, grants.UNLOCK if body[1] == UNLOCK else grants.LOCK
        if peer and not self.peers.permits(peer, right, self._interval(ask.now)):
            return Message(oscore.FORBIDDEN)
        for entry in peer.commands if peer else self.store["commands"]:
            if entry["id"] == body[0]:
                if entry["op"] != body[1]:
                    raise Refused("another command under this id")
                return self._reply(body[0], entry["outcome"])
        if ask.late and ask.fresh_at is None:
            return None
        known, not_after = self._known_time(ask.now), body.get(2)
        if body[1] == UNLOCK and not_after is not None and known and not_after > known[0] + HORIZON_S:
            return self._reply(body[0], TOO_FAR)
        if ask.fresh_at is None:
            if known is None or not_after is None:
                return None
            if not_after < known[0]:
                return self._reply(body[0], EXPIRED)
            if not_after < known[1]:
                return None
        if peer:
            return self._command_by_grant(peer, body[0], body[1], ask.now)
        entry = {"id": body[0], "op": body[1], "outcome": None}
        self.store["commands"] = [*self.store["commands"], entry][-CACHE:]
        self.save()
        self._move(body[1])
        index = self._log(CARRIED_OUT, body[1], body[0], ask.now)
        self._say(CARRIED_OUT, body[1], index, ask.now + ANNOUNCE_MS)
        entry["outcome"] = DONE
        self.save()
        return self._reply(body[0], DONE)

    def _command_by_grant(self, peer, command, what, now):
        if not self.peers.use(peer, self._interval(now)):
            return Message(oscore.FORBIDDEN)
        self._move(what)
        peer.commands = [*peer.commands, {"id": command, "op": what, "outcome": DONE}][-COMMANDS:]
        kind = GRANT_UNLOCK if what == UNLOCK else GRANT_LOCK
        self._event(kind, int.from_bytes(peer.grant.origin[:4], "big"), True, now)
        return self._reply(command, DONE)

    def _reply(self, command, outcome):
        return Message(CHANGED, payload=cbor.encode({0: command, 1: outcome, 2: self.store["bolt"]}))

    def _move(self, op):
        self.store["bolt"] = UNLOCKED if op == UNLOCK else LOCKED
        self.told.append(f"bolt {self.store['bolt']}")

    def _log_page(self, ask):
        body = ask.body({0: u32, 1: u32}, set()) if ask.request.code == POST and ask.request.payload else {}
        if 0 in body:
            self._hold_from(body[0])
        entries = self.store["log"][:min(PAGE, body.get(1, PAGE))]
        room = max(56, min(PAGE_BYTES, self.mtu - 16))
        while len(page := cbor.encode({0: self.store["end"], 1: entries})) > room:
            entries = entries[:-1]
        return Message(CHANGED if ask.request.code == POST else CONTENT, payload=page)

    def _hold_from(self, cursor):
        if self.store["cursor"] < cursor <= self.store["end"]:
            self.store["cursor"] = cursor
            self.store["log"] = [entry for entry in self.store["log"] if entry[0] >= cursor]
            self.events = [event for event in self.events
                           if event.asked or event.index is None or event.index >= cursor]
            self.save()

    def _pin_list(self, ask):
        used = sorted((slot, pin["revision"]) for slot, pin in self.store["pins"].items() if pin["digits"])
        slots = b"".join(bytes([slot]) + revision.to_bytes(4, "big") for slot, revision in used)
        return content({0: SLOTS, 1: self.store["revision"], 2: slots})

    def _pin_change(self, ask):
        body = ask.body({0: u32, 1: u32, 2: ten, 3: u32, 4: u32, 5: u32}, {0, 1})
        slot, revision, digits = body[0], body[1], body.get(2)
        if slot >= SLOTS or not revision or (digits is None) != (3 not in body) or body.get(3, 0) > 1:
            raise Refused("PIN change")
        if digits is None and (4 in body or 5 in body):
            raise Refused("PIN change")
        bare = (digits or b"0").rstrip(b"\0")
        if digits and not (len(bare) >= 4 and bare.isdigit()):
            raise Refused("digits")
        if ask.fresh_at is None:
            return None
        held = self.store["pins"].get(slot, {"revision": 0})
        if held["revision"] == revision:
            return Message(CHANGED)
        others = [pin for at, pin in self.store["pins"].items() if at != slot]
        if revision <= self.store["revision"] or digits and any(pin["digits"] == digits for pin in others):
            return Message(oscore.CONFLICT)
        self.store["pins"][slot] = {"revision": revision, "digits": digits or b"", "duress": body.get(3, 0),
                                    "from": body.get(4, 0), "until": body.get(5, 0)}
        self.store["revision"] = revision
        self.save()
        return Message(CHANGED)

    # Time ---------------------------------------------------------------------------------------------------------

    def _time_set(self, ask):
        body = ask.body({0: u32}, {0})
        if ask.fresh_at is None:
            return None
        self._set_time(body[0], ask.fresh_at, ask.now)
        return Message(CHANGED)

    def _set_time(self, seconds, asked, now):
        """The platform read its clock somewhere between `asked` and `now`."""
        middle = seconds * 1000 + 500 + (now - asked) // 2
        if middle < self.store["floor"]:
            return
        self.time = (middle, now, 500 + (now - asked) // 2)
        self.store["floor"] = seconds * 1000
        self.save()

    def _interval(self, now, widest=math.inf):
        """The interval, in seconds, that the true time lies in."""
        if self.time is None:
            return None
        middle, at, uncertainty = self.time
        uncertainty += (now - at) * DRIFT_PPM // 1_000_000
        if uncertainty > widest:
            return None
        middle += now - at
        return (middle - uncertainty) // 1000, -(-(middle + uncertainty) // 1000)

    def _known_time(self, now):
        """The same; None where it is too wide to decide by itself."""
        return self._interval(now, TRUSTED_MS)

    def _trusted(self, now):
        return self._known_time(now) is not None

    def _time(self, now):
        if now is None or not self._trusted(now):
            return None
        return (self.time[0] + now - self.time[1]) // 1000


class Event:
    """One event on its way to the platform."""

    def __init__(self, kind, value, index, not_before):
        self.kind, self.value, self.index, self.not_before = kind, value, index, not_before
        self.asked, self.attempts = None, 0

    def klass(self):
        urgent = (DOOR, AJAR), (BOLT, JAMMED)
        if self.kind in INTERACTIVE_KINDS or (self.kind, self.value) in urgent:
            return framing.INTERACTIVE
        return framing.TELEMETRY if self.kind == HEARTBEAT else framing.LOG


class Ask:
    """A request with what is known about its freshness: when its challenge or Echo was given out, or None."""

    def __init__(self, request, late, fresh_at, now, peer=None):
        self.request, self.late, self.fresh_at, self.now, self.peer = request, late, fresh_at, now, peer

    def body(self, types, needed):
        body = cbor.payload(self.request.payload)
        known_keys(body, types)
        if needed - set(body):
            raise Refused("key missing")
        return body


def known_keys(body, types):
    for key, value in body.items():
        if not isinstance(key, int) or key < 0:
            raise Refused("key")
        if key in types:
            if not types[key](value):
                raise Refused("type")
        elif key < 24:
            raise Refused("unknown critical key")


def u32(value):
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 32


def op(value):
    return u32(value) and value in (LOCK, UNLOCK)


def four(value):
    return isinstance(value, bytes) and len(value) == 4


def ten(value):
    return isinstance(value, bytes) and len(value) == 10


def content(body):
    return Message(CONTENT, payload=cbor.encode(body))
