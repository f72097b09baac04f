"""PyPI's cc1101 on a chip at the other end of this program's pipes.

`spidev` is replaced by one that writes each transfer as a line of hex and reads the answer as one. The orders to the library are
the arguments; what it found goes out as one line that begins with '='.
"""

import json
import sys
import types


class SpiDev:
    max_speed_hz = 0
    mode = 0

    def open(self, bus, device):
        pass

    def close(self):
        pass

    def fileno(self):
        raise OSError("there is no device file")

    def xfer(self, values):
        print(bytes(values).hex(), flush=True)
        return list(bytes.fromhex(sys.stdin.readline()))


sys.modules["spidev"] = types.SimpleNamespace(SpiDev=SpiDev)

import cc1101  # noqa: E402

frequency, rate, payload = int(sys.argv[1]), float(sys.argv[2]), bytes.fromhex(sys.argv[3])
found = {}
try:
    with cc1101.CC1101() as chip:
        chip.set_base_frequency_hertz(frequency)
        chip.set_symbol_rate_baud(rate)
        chip.set_sync_word(b"\xc9\x56")
        chip._set_modulation_format(cc1101.ModulationFormat.GFSK)
        chip.set_sync_mode(cc1101.SyncMode.TRANSMIT_32_MATCH_30_BITS)
        chip.set_packet_length_mode(cc1101.PacketLengthMode.VARIABLE)
        chip.set_packet_length_bytes(61)
        chip.set_output_power([0xC0])
        found["frequency"] = chip.get_base_frequency_hertz()
        found["rate"] = chip.get_symbol_rate_baud()
        found["state"] = chip.get_main_radio_control_state_machine_state().name
        chip.transmit(payload)
        found["after"] = chip.get_main_radio_control_state_machine_state().name
except ValueError as error:
    found["refused"] = str(error)
print("=" + json.dumps(found), flush=True)
