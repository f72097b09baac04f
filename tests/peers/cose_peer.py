"""COSE_Sign1 by other people's code: pycose makes and verifies it, cryptography verifies it a second time, cbor2 reads it.

One JSON object a line on standard input, one answer a line on standard output. Bytes are {"b": hex}, maps {"m": [[key,
value], ...]}, and {"sha256": item} is the hash of an item's encoding, so that JSON can say what CBOR says.

{"do": "verify", "cose": hex, "aad": item or null, "key": hex (SEC1 uncompressed)}
    -> {"pycose": bool, "cryptography": bool, "payload": item, "protected": item, "deterministic": bool}
{"do": "sign", "payload": item, "aad": item or null, "kid": hex or null, "secret": hex}
    -> {"cose": hex}

aad is the external_aad before its encoding; null is an empty one.
"""

import hashlib
import json
import sys

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from pycose.algorithms import Es256
from pycose.headers import KID, Algorithm
from pycose.keys import EC2Key
from pycose.keys.curves import P256
from pycose.messages import Sign1Message


def item(value):
    """From JSON to what cbor2 encodes."""
    if isinstance(value, dict):
        if "b" in value:
            return bytes.fromhex(value["b"])
        if "sha256" in value:
            return hashlib.sha256(encode(item(value["sha256"]))).digest()
        return {item(key): item(of) for key, of in value["m"]}
    return [item(of) for of in value] if isinstance(value, list) else value


def tell(value):
    """The way back."""
    if isinstance(value, bytes):
        return {"b": value.hex()}
    if isinstance(value, dict):
        return {"m": [[tell(key), tell(of)] for key, of in value.items()]}
    return [tell(of) for of in value] if isinstance(value, (list, tuple)) else value


def encode(value):
    return cbor2.dumps(value, canonical=True)


def external_aad(request):
    return b"" if request["aad"] is None else encode(item(request["aad"]))


def by_pycose(array, aad, key):
    message = Sign1Message.from_cose_obj(list(array), allow_unknown_attributes=False)
    message.external_aad = aad
    message.key = EC2Key(crv=P256, x=key[1:33], y=key[33:])
    return message.verify_signature()


def by_cryptography(array, aad, key):
    protected, _, payload, signature = array
    signed = encode(["Signature1", protected, aad, payload])
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key)
    numbers = [int.from_bytes(half, "big") for half in (signature[:32], signature[32:])]
    try:
        public.verify(encode_dss_signature(*numbers), signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def verify(request):
    raw, key, aad = bytes.fromhex(request["cose"]), bytes.fromhex(request["key"]), external_aad(request)
    array = cbor2.loads(raw)
    protected, payload = cbor2.loads(array[0]), cbor2.loads(array[2])
    return {
        "pycose": by_pycose(array, aad, key),
        "cryptography": by_cryptography(array, aad, key),
        "payload": tell(payload),
        "protected": tell(protected),
        # Encoded anew in the deterministic order, all of it has the same bytes.
        "deterministic": encode(list(array)) == raw
        and encode(protected) == array[0]
        and encode(payload) == array[2],
    }


def sign(request):
    headers = {Algorithm: Es256}
    if request["kid"] is not None:
        headers[KID] = bytes.fromhex(request["kid"])
    secret = bytes.fromhex(request["secret"])
    public = ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1()).public_key().public_numbers()
    x, y = (number.to_bytes(32, "big") for number in (public.x, public.y))
    message = Sign1Message(phdr=headers, uhdr={}, payload=encode(item(request["payload"])))
    message.external_aad = external_aad(request)
    message.key = EC2Key(crv=P256, x=x, y=y, d=secret)
    return {"cose": message.encode(tag=False).hex()}


for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps({"verify": verify, "sign": sign}[asked["do"]](asked)), flush=True)
