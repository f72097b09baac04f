"""Framing: datagrams cut into frames, receipts, repeats. Times are milliseconds that the caller hands in."""

import hashlib
import math
import zlib

from .cbor import Refused

PLATFORM_EDHOC, PLATFORM_OSCORE, PEER_EDHOC, PEER_OSCORE, SITE, RECEIPT = range(6)
INTERACTIVE, LOG, TELEMETRY, BULK = range(4)
MORE = 0x04
LARGEST = 1024
REMEMBERED = 8


def header(kind, klass):
    return kind << 3 | klass


def kind_of(byte):
    return byte >> 3 & 7


def digest(datagram):
    return hashlib.sha256(datagram).digest()


def wants_receipt(datagram):
    return datagram[0] & 3 in (INTERACTIVE, LOG)


class Outgoing:
    """The one datagram that is outstanding."""

    def __init__(self, datagram, mtu, tag):
        self.datagram, self.rounds, self.deadline, self.probed = datagram, 0, None, False
        self.size, self.tag = mtu, tag
        self.fragmented = len(datagram) > mtu
        if not self.fragmented:
            self.waiting = [0]
            return
        stream = datagram[1:] + zlib.crc32(datagram).to_bytes(4, "little")
        part = mtu - 3
        self.parts = [stream[at:at + part] for at in range(0, len(stream), part)]
        if part < 1 or len(self.parts) > 64:
            raise Refused("more than 64 fragments")
        self.known = 0
        self.waiting = list(range(len(self.parts)))

    def take(self):
        index = self.waiting.pop(0)
        if not self.fragmented:
            return self.datagram
        field = self.tag << 12 | index << 6 | len(self.parts) - 1
        return bytes([self.datagram[0] | MORE]) + field.to_bytes(2, "big") + self.parts[index]

    def missing(self):
        return [index for index in range(len(self.parts)) if not self.known >> index & 1]


class Incoming:
    """The one datagram in reassembly, or complete and remembered for its fragments' sake."""

    def __init__(self, byte, tag, last, now):
        self.byte, self.tag, self.last, self.parts, self.complete = byte, tag, last, {}, False
        self.touched, self.quiet = now, 0

    def fits(self, byte, last, index, part):
        if byte != self.byte or last != self.last or self.parts.get(index, part) != part:
            return False
        lengths = {len(held) for at, held in self.parts.items() if at != last}
        if index != last:
            return (not lengths or len(part) in lengths) and len(self.parts.get(last, b"")) <= len(part)
        return not lengths or len(part) <= max(lengths)

    def bitmap(self):
        bits = sum(1 << index for index in self.parts)
        return bits.to_bytes(self.last // 8 + 1, "little")


class Endpoint:
    """A lock's end. `failed` is called with the datagram that was given up, `taken` with one in custody."""

    def __init__(self, retry_ms=10_000, max_attempts=5, remember_ms=120_000):
        self.retry_ms, self.max_attempts, self.remember_ms = retry_ms, max_attempts, remember_ms
        self.queue, self.receipts, self.outgoing, self.incoming = [], [], None, None
        self.tag, self.delivered = 0, []
        self.failed = self.taken = lambda datagram: None
        self.dropped = 0

    def send(self, kind, klass, body, order=0):
        """Queues a datagram; of those that wait, a lower `order` goes first."""
        self.queue.append((order, bytes([header(kind, klass)]) + body))
        self.queue.sort(key=lambda waiting: waiting[0])

    # Sending ------------------------------------------------------------------------------------------------------

    def poll(self, mtu, now):
        """The next frame, or None."""
        if self.outgoing is None and self.queue:
            self._start(self.queue.pop(0)[1], mtu)
        out = self.outgoing
        first = out and not out.fragmented and out.deadline is None and out.datagram[0] & 3 == INTERACTIVE
        if self.receipts and not first:
            return self.receipts.pop(0)
        if out is None or not out.waiting:
            return None
        if out.fragmented and mtu < out.size:
            self._start(out.datagram, mtu)
            out = self.outgoing
        frame = out.take()
        out.deadline = now + self.retry_ms
        if not out.fragmented and not wants_receipt(out.datagram):
            self._end(True)
        return frame

    def _start(self, datagram, mtu):
        try:
            self.outgoing = Outgoing(datagram, mtu, self.tag)
        except Refused:
            self.outgoing = None
            self.failed(datagram)
            return
        if self.outgoing.fragmented:
            self.tag = self.tag + 1 & 15

    def _end(self, well):
        datagram, self.outgoing = self.outgoing.datagram, None
        (self.taken if well else self.failed)(datagram)

    def timeout(self, now):
        out, into = self.outgoing, self.incoming
        if out and not out.waiting and out.deadline is not None and now >= out.deadline:
            out.rounds += 1
            if out.rounds >= self.max_attempts:
                self._end(False)
            elif out.fragmented:
                out.waiting, out.probed = out.missing()[-1:], True
            else:
                out.waiting = [0]
        if into and not into.complete and now >= into.touched + self.retry_ms and into.quiet < 3:
            into.touched, into.quiet = now, into.quiet + 1
            self._bitmap(into)

    def next_timeout(self):
        times = []
        if self.outgoing and not self.outgoing.waiting and self.outgoing.deadline is not None:
            times.append(self.outgoing.deadline)
        if self.incoming and not self.incoming.complete and self.incoming.quiet < 3:
            times.append(self.incoming.touched + self.retry_ms)
        return min(times, default=math.inf)

    # Receiving ----------------------------------------------------------------------------------------------------

    def handle(self, frame, now):
        """A datagram that is complete and new, or None."""
        if len(frame) < 2 or frame[0] >> 6 or kind_of(frame[0]) > RECEIPT:
            self.dropped += 1
            return None
        if kind_of(frame[0]) == RECEIPT:
            self._receipt(frame)
            return None
        if frame[0] & MORE:
            return self._fragment(frame, now)
        return self._deliver(frame, now, digest(frame)[:2])

    def _deliver(self, datagram, now, short):
        if short and wants_receipt(datagram):
            self._answer(bytes([header(RECEIPT, datagram[0] & 3)]) + short)
        self.delivered = [(at, seen) for at, seen in self.delivered if now - at < self.remember_ms]
        if any(seen == datagram for _, seen in self.delivered):
            return None
        self.delivered = [*self.delivered, (now, datagram)][-REMEMBERED:]
        return datagram

    def release(self, datagram):
        """It could not be kept: no receipt, and no repeat when it comes again."""
        self.delivered = [(at, seen) for at, seen in self.delivered if seen != datagram]
        short, into = bytes([header(RECEIPT, datagram[0] & 3)]) + digest(datagram)[:2], self.incoming
        own = [short]
        if into and into.complete:
            own.append(bytes([header(RECEIPT, into.byte & 3) | MORE, into.tag]) + into.bitmap())
            self.incoming = None
        self.receipts = [waiting for waiting in self.receipts if waiting not in own]

    def _answer(self, receipt):
        if receipt not in self.receipts:
            self.receipts.append(receipt)

    def _bitmap(self, into, bits=None):
        bits = into.bitmap() if bits is None else bits
        start = bytes([header(RECEIPT, into.byte & 3) | MORE, into.tag])
        self.receipts = [waiting for waiting in self.receipts if not waiting.startswith(start)]
        self._answer(start + bits)

    def _fragment(self, frame, now):
        if len(frame) < 4:
            self.dropped += 1
            return None
        field, part, into = int.from_bytes(frame[1:3], "big"), frame[3:], self.incoming
        tag, index, last = field >> 12, field >> 6 & 63, field & 63
        if not last or index > last:
            self.dropped += 1
            return None
        if into and not into.complete and 1 <= (into.tag - tag & 15) <= 7 and now < into.touched + self.retry_ms:
            return None
        if not into or into.tag != tag or not into.fits(frame[0], last, index, part):
            into = self.incoming = Incoming(frame[0], tag, last, now)
        if into.complete:
            self._bitmap(into)
            return None
        into.touched, again = now, index in into.parts
        into.parts[index] = part
        into.quiet = into.quiet if again else 0
        if sum(map(len, into.parts.values())) > LARGEST + 3:
            self.incoming = None
            return None
        if len(into.parts) <= last:
            if again or all(above in into.parts for above in range(index, last + 1)):
                self._bitmap(into)
            return None
        stream = b"".join(into.parts[at] for at in range(last + 1))
        datagram = bytes([into.byte & ~MORE]) + stream[:-4]
        if len(stream) < 5 or zlib.crc32(datagram).to_bytes(4, "little") != stream[-4:]:
            self._bitmap(into, bytes(last // 8 + 1))
            self.incoming = None
            return None
        into.complete = True
        self._bitmap(into)
        return self._deliver(datagram, now, None)

    def _receipt(self, frame):
        out = self.outgoing
        if out is None or out.deadline is None:
            return
        if not frame[0] & MORE:
            if not out.fragmented and frame[1:] == digest(out.datagram)[:2]:
                self._end(True)
            return
        if not out.fragmented or frame[1] != out.tag or len(frame) != 2 + (len(out.parts) + 7) // 8:
            return
        bits = int.from_bytes(frame[2:], "little")
        if bits >> len(out.parts):
            return
        if bits == (1 << len(out.parts)) - 1:
            self._end(True)
        elif bits & ~out.known or out.probed:
            if bits & ~out.known:
                out.rounds = 0
            out.known, out.probed = bits, False
            out.waiting = out.missing()
