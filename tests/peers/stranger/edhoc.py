"""EDHOC (RFC 9528), both roles: method 3, cipher suite 2, message_4 always."""

import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from . import cbor
from .cbor import Refused
from .cose import Key, point

METHOD, SUITE = 3, 2
PADDING = 0


def sha256(data):
    return hashlib.sha256(data).digest()


def expand(prk, info, length):
    block, out, count = b"", b"", 1
    while len(out) < length:
        block = hmac.digest(prk, block + info + bytes([count]), "sha256")
        out, count = out + block, count + 1
    return out[:length]


def kdf(prk, label, context, length):
    return expand(prk, cbor.sequence(label, context, length), length)


def identifier(raw):
    """bstr_identifier (section 3.3.2)."""
    if len(raw) == 1 and (raw[0] < 0x18 or 0x20 <= raw[0] < 0x38):
        return raw
    return cbor.encode(raw)


def take_identifier(data, at):
    value, end = cbor.item(data, at)
    if isinstance(value, bytes):
        raw = value
    elif isinstance(value, int) and end == at + 1:
        raw = data[at:end]
    else:
        raise Refused("identifier")
    if identifier(raw) != data[at:end]:
        raise Refused("identifier in the other encoding")
    return raw, end


def take_ead(data, at, known):
    """EAD items to the end: the values of known labels. A critical one that is unknown ends the session."""
    found, count = {}, 0
    while at < len(data):
        label, at = cbor.item(data, at)
        value = None
        if at < len(data) and data[at] >> 5 == 2:
            value, at = cbor.item(data, at)
        count += 1
        if not isinstance(label, int) or isinstance(label, bool) or count > 4:
            raise Refused("EAD")
        if label in known and label not in found:
            found[label] = value
        elif label < 0:
            raise Refused("critical EAD")
    return found


def ead(items):
    return b"".join(cbor.encode(label) + (b"" if value is None else cbor.encode(value)) for label, value in items)


def encrypt0(th):
    return cbor.encode(["Encrypt0", b"", th])


class Session:
    """What both roles derive at the end."""

    def exporter(self, label, length):
        prk_exporter = kdf(kdf(self.prk_4e3m, 7, self.th_4, 32), 10, b"", 32)
        return kdf(prk_exporter, label, b"", length)

    def oscore(self):
        """Master Secret and Master Salt (appendix A.1)."""
        return self.exporter(0, 16), self.exporter(1, 8)


class Initiator(Session):
    """One session. Each step takes the message before and gives the next one; an exception ends it."""

    def __init__(self, static, c_i, ephemeral):
        self.static, self.c_i, self.ephemeral = static, c_i, ephemeral
        self.message_1 = cbor.sequence(METHOD, SUITE, ephemeral.public[1:]) + identifier(c_i)

    @classmethod
    def draw(cls, static, c_i, random):
        return cls(static, c_i, Key.draw(random))

    def read_2(self, message_2, resolve, known=frozenset()):
        """`resolve(kid or None, CWT bytes or None)` gives (CRED_R, x of the responder's static key)."""
        body = cbor.decode(message_2)
        if not isinstance(body, bytes) or len(body) <= 32:
            raise Refused("message_2")
        g_y, ciphertext = body[:32], body[32:]
        self.th_2 = sha256(cbor.sequence(g_y, sha256(self.message_1)))
        prk_2e = hmac.digest(self.th_2, self.ephemeral.agree(g_y), "sha256")
        keystream = kdf(prk_2e, 0, self.th_2, len(ciphertext))
        plaintext = bytes(a ^ b for a, b in zip(ciphertext, keystream))
        self.c_r, at = take_identifier(plaintext, 0)
        if self.c_r == self.c_i or len(self.c_r) > 7:
            raise Refused("C_R")
        id_cred_r, cred_r, static_x, at = self._credential(plaintext, at, resolve)
        mac_2, at = cbor.item(plaintext, at)
        ead_2 = plaintext[at:]
        take_ead(plaintext, at, {PADDING, *known})
        salt = kdf(prk_2e, 1, self.th_2, 32)
        self.prk_3e2m = hmac.digest(salt, self.ephemeral.agree(static_x), "sha256")
        context_2 = identifier(self.c_r) + id_cred_r + cbor.encode(self.th_2) + cred_r + ead_2
        if not isinstance(mac_2, bytes) or not hmac.compare_digest(mac_2, kdf(self.prk_3e2m, 2, context_2, 8)):
            raise Refused("MAC_2")
        self.th_3 = sha256(cbor.encode(self.th_2) + plaintext + cred_r)
        self.g_y = g_y

    @staticmethod
    def _credential(plaintext, at, resolve):
        value, end = cbor.item(plaintext, at, depth=6)
        if isinstance(value, dict):
            if set(value) != {13}:
                raise Refused("ID_CRED_R")
            id_cred, cwt = plaintext[at:end], plaintext[at + 2:end]
            return (id_cred, *resolve(None, cwt), end)
        kid, end = take_identifier(plaintext, at)
        return (cbor.encode({4: kid}), *resolve(kid, None), end)

    def write_3(self, id_cred_i, cred_i, items=()):
        """`id_cred_i` is a kid, or None for the CWT by value."""
        if id_cred_i is None:
            named = compact = b"\xa1\x0d" + cred_i
        else:
            named, compact = cbor.encode({4: id_cred_i}), identifier(id_cred_i)
        ead_3 = ead(items)
        salt = kdf(self.prk_3e2m, 5, self.th_3, 32)
        self.prk_4e3m = hmac.digest(salt, self.static.agree(self.g_y), "sha256")
        context_3 = named + cbor.encode(self.th_3) + cred_i + ead_3
        mac_3 = kdf(self.prk_4e3m, 6, context_3, 8)
        plaintext = compact + cbor.encode(mac_3) + ead_3
        key, iv = kdf(self.prk_3e2m, 3, self.th_3, 16), kdf(self.prk_3e2m, 4, self.th_3, 13)
        self.th_4 = sha256(cbor.encode(self.th_3) + plaintext + cred_i)
        return cbor.encode(AESCCM(key, tag_length=8).encrypt(iv, plaintext, encrypt0(self.th_3)))

    def read_4(self, message_4, known=frozenset()):
        """The values of the known EAD_4 items."""
        body = cbor.decode(message_4)
        if not isinstance(body, bytes):
            raise Refused("message_4")
        key, iv = kdf(self.prk_4e3m, 8, self.th_4, 16), kdf(self.prk_4e3m, 9, self.th_4, 13)
        try:
            plaintext = AESCCM(key, tag_length=8).decrypt(iv, body, encrypt0(self.th_4))
        except (InvalidTag, ValueError) as error:
            raise Refused("message_4") from error
        return take_ead(plaintext, 0, {PADDING, *known})


class Responder(Session):
    """Answers one message_1. An exception ends the session."""

    def __init__(self, static, c_r, c_i, ephemeral, g_x, message_1):
        self.static, self.c_r, self.c_i, self.ephemeral, self.g_x = static, c_r, c_i, ephemeral, g_x
        self.message_1 = message_1

    @classmethod
    def read_1(cls, message_1, static, random, taken):
        """`taken`: identifiers that C_R must not be."""
        method, at = cbor.item(message_1, 0)
        suite, at = cbor.item(message_1, at)
        g_x, at = cbor.item(message_1, at)
        c_i, at = take_identifier(message_1, at)
        if method != METHOD or suite != SUITE or not isinstance(g_x, bytes) or len(g_x) != 32 or len(c_i) > 7:
            raise Refused("message_1")
        point(b"\x02" + g_x)
        take_ead(message_1, at, {PADDING})
        c_r = next(value for value in iter(lambda: bytes([random(1)[0] % 24]), None)
                   if value not in taken and value != c_i)
        return cls(static, c_r, c_i, Key.draw(random), g_x, message_1)

    def write_2(self, kid, cred_r):
        g_y = self.ephemeral.public[1:]
        self.th_2 = sha256(cbor.sequence(g_y, sha256(self.message_1)))
        prk_2e = hmac.digest(self.th_2, self.ephemeral.agree(self.g_x), "sha256")
        salt = kdf(prk_2e, 1, self.th_2, 32)
        self.prk_3e2m = hmac.digest(salt, self.static.agree(self.g_x), "sha256")
        context_2 = identifier(self.c_r) + cbor.encode({4: kid}) + cbor.encode(self.th_2) + cred_r
        mac_2 = kdf(self.prk_3e2m, 2, context_2, 8)
        plaintext = identifier(self.c_r) + identifier(kid) + cbor.encode(mac_2)
        keystream = kdf(prk_2e, 0, self.th_2, len(plaintext))
        self.th_3 = sha256(cbor.encode(self.th_2) + plaintext + cred_r)
        return cbor.encode(g_y + bytes(a ^ b for a, b in zip(plaintext, keystream)))

    def read_3(self, message_3, resolve, known=frozenset()):
        """`resolve(kid or None, CWT bytes or None, EAD items)` gives (CRED_I, the initiator's static key, SEC1)."""
        body = cbor.decode(message_3)
        if not isinstance(body, bytes):
            raise Refused("message_3")
        key, iv = kdf(self.prk_3e2m, 3, self.th_3, 16), kdf(self.prk_3e2m, 4, self.th_3, 13)
        try:
            plaintext = AESCCM(key, tag_length=8).decrypt(iv, body, encrypt0(self.th_3))
        except (InvalidTag, ValueError) as error:
            raise Refused("message_3") from error
        value, end = cbor.item(plaintext, 0, depth=6)
        kid = cwt = None
        if isinstance(value, dict):
            if set(value) != {13}:
                raise Refused("ID_CRED_I")
            named, cwt = plaintext[:end], plaintext[2:end]
        else:
            kid, end = take_identifier(plaintext, 0)
            named = cbor.encode({4: kid})
        mac_3, at = cbor.item(plaintext, end)
        items = take_ead(plaintext, at, {PADDING, *known})
        cred_i, static = resolve(kid, cwt, items)
        salt = kdf(self.prk_3e2m, 5, self.th_3, 32)
        self.prk_4e3m = hmac.digest(salt, self.ephemeral.agree(static[1:]), "sha256")
        context_3 = named + cbor.encode(self.th_3) + cred_i + plaintext[at:]
        if not isinstance(mac_3, bytes) or not hmac.compare_digest(mac_3, kdf(self.prk_4e3m, 6, context_3, 8)):
            raise Refused("MAC_3")
        self.th_4 = sha256(cbor.encode(self.th_3) + plaintext + cred_i)

    def write_4(self):
        key, iv = kdf(self.prk_4e3m, 8, self.th_4, 16), kdf(self.prk_4e3m, 9, self.th_4, 13)
        return cbor.encode(AESCCM(key, tag_length=8).encrypt(iv, b"", encrypt0(self.th_4)))
