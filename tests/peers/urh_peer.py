"""What Universal Radio Hacker makes of bytes on the air: its data whitening and its CRC of the CC1101, nothing of ours.

Reads a JSON list on stdin, answers with one. A question has `air` (hex, from the preamble on), `sync` (hex) and may have

  `native`      the chip's own way, which is URH's: everything behind the sync word is whitened, LEN and CRC included.
                Without it our way: LEN plain, the keystream begins behind it, the CRC is over what was on the air and plain.
                URH begins its keystream behind whatever it is told to take for the sync word; so it is told that LEN is part of it.
  `polynomial`  another one for the whitening, hex as URH has it
  `start`       false: the CRC begins with zeros
  `crc`         another name of URH's for the CRC's polynomial

The answer: `plain` (hex, what LEN counts) and `crc` (whether it is right), or `error` in URH's words.
With `encode` (hex of LEN and frame) URH makes the native bits itself instead: answer `air`.
"""

import json
import sys
import types


class Anything:
    """URH's two modules import a window system and draw nothing."""

    def __getattr__(self, name):
        return Anything()

    def __call__(self, *arguments, **named):
        return Anything()

    def __fspath__(self):
        return "/nowhere/settings"


for part in ("PyQt6", "PyQt6.QtCore", "PyQt6.QtGui", "PyQt6.QtWidgets"):
    module = types.ModuleType(part)
    module.__getattr__ = lambda name: Anything()
    sys.modules[part] = module

from urh import settings  # noqa: E402
from urh.signalprocessing.Encoding import Encoding  # noqa: E402
from urh.util.GenericCRC import GenericCRC  # noqa: E402

PN9 = "0x21"  # x^9 + x^5 + 1 as URH's own preset for the CC1101 has it


def bits(data):
    return [byte >> (7 - at) & 1 for byte in data for at in range(8)]


def data_of(found):
    return bytes(sum(bit << (7 - at) for at, bit in enumerate(found[i : i + 8])) for i in range(0, len(found) - 7, 8))


def whitening(sync, polynomial, overwrite_crc):
    return Encoding(["CC1101", settings.DECODING_DATAWHITENING, f"0x{sync.hex()};{polynomial};{int(overwrite_crc)}"])


def unwhiten(sync, polynomial, air):
    """What is behind the sync word, and in URH's words why not."""
    # URH drops the last bit if it is like the one before it, so two more are put behind that are not.
    found, _, state = whitening(sync, polynomial, False).code(True, bits(air) + [0, 1])
    behind = 8 * (air.find(sync) + len(sync))
    return data_of(found[behind:]), None if state == Encoding.ErrorState.SUCCESS else state


def answer(question):
    sync = bytes.fromhex(question["sync"])
    if "encode" in question:
        # Two bytes for the CRC, which URH fills in.
        made, _, _ = whitening(sync, PN9, True).code(False, bits(sync + bytes.fromhex(question["encode"]) + bytes(2)))
        return {"air": data_of(made).hex()}
    air, polynomial = bytes.fromhex(question["air"]), question.get("polynomial", PN9)
    at = air.find(sync) + len(sync)
    if question.get("native"):
        behind, error = unwhiten(sync, polynomial, air)
        length = behind[0] if behind else 0
        covered, crc = behind[: 1 + length], behind[1 + length : 3 + length]
        plain = covered[1:]
    else:
        length = air[at]
        covered, crc = air[at : at + 1 + length], air[at + 1 + length : at + 3 + length]
        plain, error = unwhiten(sync + covered[:1], polynomial, air[: at + 1 + length])
    if error or len(covered) != 1 + length or len(crc) != 2:
        return {"error": error or "cut off"}
    check = GenericCRC(question.get("crc", "16_standard"), start_value=question.get("start", True))
    return {"plain": plain.hex(), "crc": list(check.crc(bits(covered))) == bits(crc)}


print(json.dumps([answer(question) for question in json.load(sys.stdin)]))
