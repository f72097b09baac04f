"""CoAP (RFC 7252) as far as it is used, OSCORE (RFC 8613) with AES-CCM-16-64-128, and elision."""

import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from . import cbor
from .cbor import Refused
from .edhoc import expand

GET, POST = 0x01, 0x02
CHANGED, CONTENT = 0x44, 0x45
BAD_REQUEST, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, NOT_ALLOWED, CONFLICT = 0x80, 0x81, 0x83, 0x84, 0x85, 0x89
BAD_OPTION = 0x82
OSCORE, URI_PATH, ECHO = 9, 11, 252
NON = 1


def options(pairs):
    out, before = b"", 0

    def nibble(value):
        if value < 13:
            return value, b""
        return (13, bytes([value - 13])) if value < 269 else (14, (value - 269).to_bytes(2, "big"))

    for number, value in pairs:
        (delta, more), (length, longer) = nibble(number - before), nibble(len(value))
        out, before = out + bytes([delta << 4 | length]) + more + longer + value, number
    return out


def take_options(data, at):
    """Options and payload; None where there is no payload marker."""
    pairs, number = [], 0
    while at < len(data):
        if data[at] == 0xFF:
            if at + 1 == len(data):
                raise Refused("marker without payload")
            return pairs, data[at + 1:]
        parts, at = [data[at] >> 4, data[at] & 15], at + 1
        for place, value in enumerate(parts):
            size = {13: 1, 14: 2}.get(value, 0)
            if value == 15 or at + size > len(data):
                raise Refused("option")
            if size:
                parts[place], at = int.from_bytes(data[at:at + size], "big") + (13, 269)[size - 1], at + size
        number, end = number + parts[0], at + parts[1]
        if end > len(data):
            raise Refused("option")
        pairs.append((number, data[at:end]))
        at = end
    return pairs, b""


class Message:
    """A CoAP message; `fields` are type, code, message id, token."""

    def __init__(self, code, pairs=(), payload=b"", token=b"", mid=0, kind=NON):
        self.code, self.pairs, self.payload = code, list(pairs), payload
        self.token, self.mid, self.kind = token, mid, kind

    def encode(self):
        out = bytes([0x40 | self.kind << 4 | len(self.token), self.code]) + self.mid.to_bytes(2, "big") + self.token
        return out + options(self.pairs) + (b"\xff" + self.payload if self.payload else b"")

    @classmethod
    def decode(cls, data):
        if len(data) < 4 or data[0] >> 6 != 1 or data[0] & 15 > 8 or len(data) < 4 + (data[0] & 15):
            raise Refused("CoAP header")
        end = 4 + (data[0] & 15)
        pairs, payload = take_options(data, end)
        return cls(data[1], pairs, payload, data[4:end], int.from_bytes(data[2:4], "big"), data[0] >> 4 & 3)

    def all(self, number):
        return [value for found, value in self.pairs if found == number]


class Option:
    """The value of the OSCORE option."""

    def __init__(self, piv=b"", kid=None, kid_context=None):
        self.piv, self.kid, self.kid_context = piv, kid, kid_context

    def encode(self):
        flags = len(self.piv) | (self.kid is not None) << 3 | (self.kid_context is not None) << 4
        if not flags:
            return b""
        context = b"" if self.kid_context is None else bytes([len(self.kid_context)]) + self.kid_context
        return bytes([flags]) + self.piv + context + (self.kid or b"")

    @classmethod
    def decode(cls, data):
        if not data:
            return cls()
        n, at = data[0] & 7, 1 + (data[0] & 7)
        if n > 5 or data[0] & 0xE0 or at > len(data):
            raise Refused("OSCORE option")
        piv, kid_context = data[1:at], None
        if len(piv) > 1 and piv[0] == 0:
            raise Refused("Partial IV with leading zeros")
        if data[0] & 0x10:
            if at >= len(data) or at + 1 + data[at] > len(data):
                raise Refused("OSCORE option")
            kid_context, at = data[at + 1:at + 1 + data[at]], at + 1 + data[at]
        if not data[0] & 8 and at != len(data):
            raise Refused("OSCORE option")
        return cls(piv, data[at:] if data[0] & 8 else None, kid_context)


def elide(data):
    """The body of a datagram of kind OSCORE."""
    message = Message.decode(data)
    if message.code in (POST, CHANGED) and len(message.all(OSCORE)) == 1:
        option = message.all(OSCORE)[0]
        body = (option or b"\x00")[:1]
        body = bytes([body[0] | (0x80 if message.code == CHANGED else 0)]) + option[1:]
        body += (message.token if message.code == CHANGED else b"") + message.payload
        try:
            if restore(body) == data:
                return body
        except Refused:
            pass
    return b"\x40" + data


def restore(body):
    if not body:
        raise Refused("empty")
    flags, response = body[0], body[0] & 0x80
    if flags & 0x40:
        if flags != 0x40:
            raise Refused("verbatim with other bits")
        return body[1:]
    n, at = flags & 7, 1 + (flags & 7)
    if flags & 0x20 or n > 5:
        raise Refused("flags")
    piv = body[1:at]
    if flags & 0x10:
        at += 1 + body[at] if at < len(body) else 1
    at += 1 if flags & 8 else 0
    option = bytes([flags & 0x1F]) + body[1:at] if flags & 0x1F else b""
    if response:
        token, at = body[at:at + 1], at + 1
    else:
        token = piv[-1:]
    if len(token) != 1 or at >= len(body):
        raise Refused("cut off")
    mid = int.from_bytes(piv, "big") & 0xFFFF
    return Message(CHANGED if response else POST, [(OSCORE, option)], body[at:], token, mid).encode()


class Context:
    """Both directions of one security context. Windows and durable numbers are the owner's business."""

    def __init__(self, secret, salt, sender, recipient):
        self.sender, self.recipient = sender, recipient
        prk = hmac.digest(salt or bytes(32), secret, "sha256")

        def derive(who, what, length):
            return expand(prk, cbor.encode([who, None, 10, what, length]), length)

        self.sender_key = AESCCM(derive(sender, "Key", 16), tag_length=8)
        self.recipient_key = AESCCM(derive(recipient, "Key", 16), tag_length=8)
        self.iv = derive(b"", "IV", 13)

    def nonce(self, who, piv):
        plain = bytes([len(who)]) + who.rjust(7, b"\0") + piv.rjust(5, b"\0")
        return bytes(a ^ b for a, b in zip(plain, self.iv))

    @staticmethod
    def aad(request_kid, request_piv):
        external = cbor.encode([1, [10], request_kid, request_piv, b""])
        return cbor.encode(["Encrypt0", b"", external])

    @staticmethod
    def _plaintext(message):
        return bytes([message.code]) + options(message.pairs) + (b"\xff" + message.payload if message.payload else b"")

    @staticmethod
    def _inner(key, nonce, ciphertext, aad, outer):
        try:
            plaintext = key.decrypt(nonce, ciphertext, aad)
        except (InvalidTag, ValueError) as error:
            raise WrongTag("tag") from error
        if not plaintext:
            raise Refused("no code")
        pairs, payload = take_options(plaintext, 1)
        if any(number == OSCORE for number, _ in pairs):
            raise Refused("OSCORE inside OSCORE")
        return Message(plaintext[0], pairs, payload, outer.token, outer.mid)

    def request(self, number, message):
        piv = minimal(number)
        text = self.sender_key.encrypt(
            self.nonce(self.sender, piv), self._plaintext(message), self.aad(self.sender, piv))
        option = Option(piv, self.sender).encode()
        return Message(POST, [(OSCORE, option)], text, piv[-1:], number & 0xFFFF).encode()

    def open_request(self, outer, option):
        return self._inner(self.recipient_key, self.nonce(self.recipient, option.piv), outer.payload,
                           self.aad(option.kid, option.piv), outer)

    def response(self, request_piv, token, message, number=None):
        """With `number` the response takes a nonce of its own, else that of the request."""
        piv = b"" if number is None else minimal(number)
        nonce = self.nonce(self.recipient, request_piv) if number is None else self.nonce(self.sender, piv)
        text = self.sender_key.encrypt(nonce, self._plaintext(message), self.aad(self.recipient, request_piv))
        return Message(CHANGED, [(OSCORE, Option(piv).encode())], text, token, (number or 0) & 0xFFFF).encode()

    def open_response(self, outer, option, request_piv):
        nonce = self.nonce(self.recipient, option.piv) if option.piv else self.nonce(self.sender, request_piv)
        return self._inner(self.recipient_key, nonce, outer.payload, self.aad(self.sender, request_piv), outer)


class WrongTag(Refused):
    """Not made with these keys."""


def minimal(number):
    return number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big")


class Window:
    """The replay window: which of the last 32 numbers came."""

    def __init__(self, highest=-1, seen=0):
        self.highest, self.seen = highest, seen

    def is_new(self, number):
        if number > self.highest:
            return True
        age = self.highest - number
        return age < 32 and not self.seen >> age & 1

    def note(self, number):
        if number > self.highest:
            self.seen = (self.seen << min(number - self.highest, 32) | 1) & 0xFFFFFFFF
            self.highest = number
        else:
            self.seen |= 1 << self.highest - number
