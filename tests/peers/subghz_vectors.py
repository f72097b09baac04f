"""Prints tests/vectors/subghz-link.json: frames of docs/433-link.md, made from that document alone.

The CRC is crcmod's, HMAC-SHA-256 the standard library's; whitening is a shift register written bit by bit.
"""

import hashlib
import hmac
import json
import random

import crcmod

CMS = crcmod.mkCrcFun(0x18005, initCrc=0xFFFF, rev=False, xorOut=0)
assert CMS(b"123456789") == 0xAEE7

KINDS = ["data", "ack", "wake", "beacon", "join", "accept", "hello", "floor"]


def keystream(length):
    """x^9 + x^5 + 1 from all ones; each byte takes eight bits, the first one lowest."""
    bits = [1] * 9  # bits[0] leaves first
    out = bytearray()
    for _ in range(length):
        byte = sum(bits[i] << i for i in range(8))
        out.append(byte)
        for _ in range(8):
            bits = bits[1:] + [bits[0] ^ bits[5]]
    return bytes(out)


assert keystream(16).hex() == "ffe11d9aed853324ea7ad2397097570a"


def mac(key, *parts):
    return hmac.new(key, b"".join(parts), hashlib.sha256).digest()


def frame(key, counter, address, network, kind, up, ack, pending, body):
    fc = KINDS.index(kind) << 3 | up << 2 | ack << 1 | pending
    plain = bytes([address, network, fc]) + (counter & 0xFFFF).to_bytes(2, "big") + body
    plain += mac(key, counter.to_bytes(4, "big"), plain)[:8]
    air = bytes([len(plain)]) + bytes(a ^ b for a, b in zip(plain, keystream(len(plain))))
    return air + CMS(air).to_bytes(2, "big")


def main():
    rng = random.Random(433)
    some = lambda n: bytes(rng.randrange(256) for _ in range(n))
    secret, lock, node_nonce, gateway_nonce, network_key = some(16), some(8), 3, 4096, some(16)
    nonces = node_nonce.to_bytes(4, "big") + gateway_nonce.to_bytes(4, "big")
    keys = {
        "join": mac(secret, b"cardea 433 join")[:16],
        "up": mac(secret, b"cardea 433 up", lock, nonces)[:16],
        "down": mac(secret, b"cardea 433 down", lock, nonces)[:16],
    }
    pad = mac(secret, b"cardea 433 wrap", lock, nonces)[:16]
    wrapped = bytes(a ^ b for a, b in zip(pad, network_key))
    bodies = {
        "ack": (-70 & 0xFF).to_bytes(1, "big") + bytes([200]),
        "unknown": bytes([127, 0]),
        "wake": (500).to_bytes(2, "big") + bytes([2]),
        "beacon": (4097).to_bytes(4, "big") + bytes([0, 0x3F]) + (20).to_bytes(2, "big") + bytes([10, 1]),
        "join": lock + node_nonce.to_bytes(4, "big"),
        "accept": lock + nonces + bytes([5, 0x3F]) + wrapped,
        "hello": (512).to_bytes(4, "big") + (500).to_bytes(2, "big") + (100).to_bytes(2, "big"),
        "floor": (512).to_bytes(4, "big"),
    }
    frames = []

    def add(name, key, counter, address, kind, up, ack, pending, body):
        air = frame(key, counter, address, 0x42, kind, up, ack, pending, body)
        frames.append({"name": name, "key": key.hex(), "counter": counter, "address": address, "network": 0x42,
                       "kind": KINDS.index(kind), "up": up, "ack": ack, "pending": pending, "body": body.hex(), "air": air.hex()})

    add("a lock asks to join", keys["join"], node_nonce, 0xFE, "join", True, True, False, bodies["join"])
    add("it is let in", keys["join"], node_nonce, 0xFE, "accept", False, False, False, bodies["accept"])
    add("it proves its keys", keys["up"], 0, 5, "hello", True, True, False, bodies["hello"])
    add("it is heard", keys["down"], 0, 5, "ack", False, False, False, bodies["ack"])
    add("a beacon", network_key, 4097, 0, "beacon", False, False, False, bodies["beacon"])
    add("a strobe", keys["down"], 65537, 5, "wake", False, False, False, bodies["wake"])
    add("the longest frame down", keys["down"], 65538, 5, "data", False, True, False, some(48))
    add("it is heard", keys["up"], 65538, 5, "ack", True, False, True, bodies["ack"])
    add("an empty frame", keys["up"], 1, 5, "data", True, True, False, b"")
    add("a counter that is too low", keys["down"], 1, 5, "floor", False, False, False, bodies["floor"])
    for index in range(40):
        kind = "data"
        add(f"random {index}", some(16), rng.randrange(1 << 32), rng.randrange(1, 254), kind,
            bool(rng.randrange(2)), bool(rng.randrange(2)), bool(rng.randrange(2)), some(rng.randrange(49)))
    add("it is heard by one who cannot say how well", keys["up"], 65538, 5, "ack", True, False, False, bodies["unknown"])
    print(json.dumps({
        "_about": "Frames of docs/433-link.md by tests/peers/subghz_vectors.py: CRC by crcmod 1.7, HMAC by Python, whitening written for it.",
        "secret": secret.hex(), "lock": lock.hex(), "node_nonce": node_nonce, "gateway_nonce": gateway_nonce,
        "network_key": network_key.hex(), "wrapped": wrapped.hex(), "keys": {n: k.hex() for n, k in keys.items()},
        "frames": frames,
    }, indent=1))


main()
