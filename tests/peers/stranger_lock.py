"""The stranger's lock as a program: one line in, its answers out, "sleep" as the last of them.

    in    MS VERB [ARGUMENT]        MS is the lock's own timer in milliseconds since boot
          frame HEX | link MTU | timer | touch | heartbeat | door 0..2 | bolt 0..3 | pin DIGITS | loss | inside
    out   frame HEX | tell WORDS | sleep MS (when to call the timer, or "never")

The flash is a file; `loss` forgets everything that is not in it, as a power cut does. `inside` tells what no lock would:
its newest context and what it holds.
"""

import argparse
import hashlib
import math
import os
import sys

from stranger import cbor, cose, lock


def drawn_from(seed):
    """Numbers that only look random, so that a transcript can be made again. For tests alone."""
    count = 0

    def random(size):
        nonlocal count
        out = b""
        while len(out) < size:
            out += hashlib.sha256(seed + count.to_bytes(8, "big")).digest()
            count += 1
        return out[:size]

    return random


class Program:
    def __init__(self, flash, random):
        self.flash, self.random, self.mtu = flash, random, 222
        if os.path.exists(flash):
            with open(flash, "rb") as file:
                self.store = cbor.decode(file.read(), depth=8)
        else:
            self.store = lock.make(random)
            self.save()
        self.boot()

    def save(self):
        with open(self.flash + ".new", "wb") as file:
            file.write(cbor.encode(self.store))
            file.flush()
            os.fsync(file.fileno())
        os.replace(self.flash + ".new", self.flash)

    def boot(self):
        self.lock = lock.Lock(self.store, self.random, self.save)

    def label(self):
        thumbprint = cose.thumbprint(self.lock.sessions.identity.public).hex()
        return f"tell label {thumbprint} {cose.code_text(self.store['code']) if self.store['code'] else '-'}"

    def inside(self):
        store = self.store
        for held in store["contexts"][:1]:
            parts = (held[name].hex() for name in ("secret", "salt", "sender", "recipient"))
            yield f"tell context {' '.join(parts)}"
        done = self.lock.sessions.done
        if done is not None:
            parts = done.ephemeral.scalar, done.c_i, done.c_r, done.th_2, done.th_3, done.th_4
            yield f"tell edhoc {' '.join(part.hex() for part in parts)}"
        keys = (store[name].hex() for name in ("identity", "dh", "cwt"))
        yield f"tell keys {' '.join(keys)}"
        owner = cose.thumbprint(self.lock.sessions.owner().root).hex() if store["owner"] else "-"
        yield f"tell owner {owner} {'code' if store['code'] else '-'} {len(store['contexts'])}"
        yield f"tell log {store['cursor']} {store['end']} {len(store['log'])}"
        yield f"tell echoes {self.lock.sessions.echoes}"

    def handle(self, line):
        now, verb, *rest = line.split()
        now, device = int(now), self.lock
        if verb == "frame":
            device.handle_frame(bytes.fromhex(rest[0]), now)
        elif verb == "link":
            self.mtu = int(rest[0])
            device.link_up(now)
        elif verb == "timer":
            device.timeout(now)
        elif verb == "touch":
            device.touch(now)
        elif verb == "heartbeat":
            device.heartbeat(now)
        elif verb == "door":
            device.door(int(rest[0]), now)
        elif verb == "bolt":
            device.bolt_by_hand(int(rest[0]), now)
        elif verb == "pin":
            device.enter_pin(rest[0], now)
        elif verb == "loss":
            with open(self.flash, "rb") as file:
                self.store = cbor.decode(file.read(), depth=8)
            self.boot()
            device = self.lock
        elif verb == "inside":
            yield from self.inside()
        else:
            raise ValueError(verb)
        while (frame := device.poll_transmit(self.mtu, now)) is not None:
            yield f"frame {frame.hex()}"
        told, device.told = device.told, []
        yield from (f"tell {words}" for words in told)
        due = device.next_timeout()
        yield "sleep never" if due == math.inf else f"sleep {max(0, int(due))}"


def main():
    options = argparse.ArgumentParser()
    options.add_argument("flash")
    options.add_argument("--seed", type=bytes.fromhex)
    options = options.parse_args()
    program = Program(options.flash, drawn_from(options.seed) if options.seed else os.urandom)
    print(program.label(), flush=True)
    for line in sys.stdin:
        for answer in program.handle(line):
            print(answer)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
