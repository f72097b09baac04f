"""P-256 keys, the two CWTs of activation (RFC 8392, COSE_Sign1 with ES256), the owner code and its proof."""

import hashlib
import hmac

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from . import cbor
from .cbor import Refused

LOCK_PROOF, PLATFORM_PROOF = -65537, -65538
BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Key:
    """A private key."""

    def __init__(self, scalar):
        self.scalar = scalar
        self.private = ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1())
        self.public = compressed(self.private.public_key())

    @classmethod
    def draw(cls, random):
        return cls((1 + int.from_bytes(random(32), "big") % (2**256 - 2**225)).to_bytes(32, "big"))

    def agree(self, x):
        return self.private.exchange(ec.ECDH(), point(b"\x02" + x))

    def sign(self, message):
        r, s = utils.decode_dss_signature(
            self.private.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True)))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def compressed(public):
    return public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


def point(sec1):
    try:
        if len(sec1) != 33 or not any(sec1[1:]):
            raise ValueError
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sec1)
    except ValueError as error:
        raise Refused("not a point that may be used") from error


def thumbprint(sec1):
    """RFC 9679, with y in full."""
    numbers = point(sec1).public_numbers()
    full = {1: 2, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
    return hashlib.sha256(cbor.encode(full)).digest()


def cose_key(sec1):
    return {1: 2, -1: 1, -2: sec1[1:], -3: sec1[0] == 3}


def from_cose_key(value):
    if not isinstance(value, dict) or set(value) != {1, -1, -2, -3} or value[1] != 2 or value[-1] != 1:
        raise Refused("COSE_Key")
    if not isinstance(value[-2], bytes) or not isinstance(value[-3], bool):
        raise Refused("COSE_Key")
    sec1 = (b"\x03" if value[-3] else b"\x02") + value[-2]
    point(sec1)
    return sec1


def to_be_signed(protected, body, external_aad=b""):
    return cbor.encode(["Signature1", protected, external_aad, body])


def verify(sec1, message, signature):
    if len(signature) != 64:
        raise Refused("signature")
    der = utils.encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    try:
        point(sec1).verify(der, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise Refused("signature") from error


def lock_cwt(identity, dh):
    protected = cbor.encode({1: -7, 4: identity.public})
    claims = cbor.encode({8: {1: cose_key(dh.public)}})
    return cbor.encode([protected, {}, claims, identity.sign(to_be_signed(protected, claims))])


class PlatformCwt:
    """The platform's credential, verified: owner root, both keys, version."""

    def __init__(self, data):
        self.data = data
        sign1 = cbor.decode(data)
        if not isinstance(sign1, list) or len(sign1) != 4 or sign1[1] != {}:
            raise Refused("COSE_Sign1")
        protected, _, body, signature = sign1
        if not all(isinstance(part, bytes) for part in (protected, body, signature)) or len(signature) != 64:
            raise Refused("COSE_Sign1")
        header, claims = cbor.decode(protected), cbor.decode(body)
        if not isinstance(header, dict) or set(header) != {1, 4} or header[1] != -7:
            raise Refused("header")
        if not isinstance(claims, dict) or set(claims) != {8, -65537, -65538}:
            raise Refused("claims")
        cnf, self.signing, self.version = claims[8], claims[-65537], claims[-65538]
        if not isinstance(cnf, dict) or set(cnf) != {1} or not isinstance(self.version, int):
            raise Refused("claims")
        if not 0 <= self.version < 2**32:
            raise Refused("version")
        self.root, self.dh = header[4], from_cose_key(cnf[1])
        if not isinstance(self.root, bytes) or not isinstance(self.signing, bytes):
            raise Refused("claims")
        point(self.signing)
        verify(self.root, to_be_signed(protected, body), signature)

    def keys(self):
        return self.dh, self.signing


def code_text(code):
    check = int.from_bytes(hashlib.sha256(b"cardea owner code" + code).digest()[:2], "big") >> 4
    bits = int.from_bytes(code, "big") << 12 | check
    text = "".join(BASE32[bits >> 5 * place & 31] for place in reversed(range(28)))
    return "-".join(text[at:at + 4] for at in range(0, 28, 4))


def code_of(text):
    """The code on a label, its check digits checked."""
    plain = text.upper().replace("O", "0").replace("I", "1").replace("L", "1").replace("-", "").replace(" ", "")
    if len(plain) != 28 or any(digit not in BASE32 for digit in plain):
        raise Refused("owner code")
    bits = 0
    for digit in plain:
        bits = bits << 5 | BASE32.index(digit)
    code = (bits >> 12).to_bytes(16, "big")
    if code_text(code).replace("-", "") != plain:
        raise Refused("check digits")
    return code


def proof(code, label, th, cred):
    return hmac.digest(code, cbor.encode([label, th, cred]), "sha256")[:16]
