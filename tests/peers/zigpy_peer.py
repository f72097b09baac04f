"""zigpy at the serial port of a coordinator, by one of its radio libraries: zigpy-zboss 2.0.5 or bellows 1.2.1, whichever the
first argument names (zboss, bellows) and the environment holds.

One JSON object a line on standard input, one answer a line on standard output, in order; an answer is {"ok": ...} or
{"error": text}. EUIs are hex, most significant byte first; so are extended PAN ids.

{"do": "form", "path", "extended_pan", "pan", "channel", "key", "counter", "known": {"eui", "nwk", "key"}}
    -> writes the network with a device of before, as a restore of a backup does, and starts it; what was then read back
{"do": "connect_only", "path"}           -> true; whatever the dongle remembers
{"do": "resume", "path"}                 -> starts the network that the dongle remembers; what was read
{"do": "backup"}                         -> the network as zigpy writes it: Open Coordinator Backup
{"do": "restore", "backup"}              -> makes the dongle the coordinator of a backup and starts it; what was read back
{"do": "permit", "seconds"}              -> true
{"do": "permit_code", "eui", "code", "seconds"}  -> true; for the device with this install code (with its CRC)
{"do": "interviewed", "eui", "seconds"}  -> what the interview found
{"do": "read", "eui", "attributes"}      -> {attribute: value} of the Door Lock cluster
{"do": "report", "eui"}                  -> binds the Door Lock cluster and has its state reported
{"do": "command", "eui", "command"}      -> status of "lock_door" or "unlock_door", and the state that was reported then
{"do": "long", "eui", "length"}          -> a payload that needs several frames on the port; true when it was confirmed
{"do": "neighbours"}                     -> the coordinator's table: number of entries
{"do": "remove", "eui", "seconds"}       -> true, once the device has left
{"do": "stop"}                           -> true
"""

import asyncio
import json
import sys

import zigpy.backups
import zigpy.config
import zigpy.state
import zigpy.types as t
import zigpy.util
from zigpy.zcl import AttributeReportedEvent, AttributeUpdatedEvent

if sys.argv[1] == "bellows":
    from bellows.zigbee.application import ControllerApplication
else:
    from zigpy_zboss.zigbee.application import ControllerApplication

DOOR_LOCK = 0x0101
LOCK_STATE = 0


def address(text):
    return t.EUI64.deserialize(bytes.fromhex(text)[::-1])[0]


def text(who):
    return who.serialize()[::-1].hex()


class Listener:
    """What zigpy tells an application."""

    def __init__(self):
        self.ready = set()
        self.states = []

    def device_initialized(self, device):
        self.ready.add(text(device.ieee))

    def reported(self, event):
        if event.attribute_id == LOCK_STATE:
            self.states.append(int(event.value))


class Peer:
    def __init__(self):
        self.app = None
        self.listener = Listener()

    def lock(self, who):
        return self.app.get_device(ieee=address(who)).endpoints[1].in_clusters[DOOR_LOCK]

    async def until(self, what, seconds, ready):
        for _ in range(int(seconds * 50)):
            if ready():
                return
            await asyncio.sleep(0.02)
        raise TimeoutError(f"{what}: not within {seconds} s")

    async def connect(self, path):
        config = {
            zigpy.config.CONF_DEVICE: {zigpy.config.CONF_DEVICE_PATH: path},
            zigpy.config.CONF_DATABASE: None,
            zigpy.config.CONF_NWK_BACKUP_ENABLED: False,
            zigpy.config.CONF_TOPO_SCAN_ENABLED: False,
        }
        before, self.app = self.app, ControllerApplication(config)
        self.app.add_listener(self.listener)
        # What zigpy would read from its database.
        for device in [] if before is None else before.devices.values():
            device._application = self.app
            self.app.devices[device.ieee] = device
        await self.app.connect()

    async def start(self):
        self.app.state.network_info = zigpy.state.NetworkInfo()
        await self.app.load_network_info(load_devices=True)
        state = self.app.state.network_info
        found = {
            "extended_pan": text(state.extended_pan_id),
            "pan": int(state.pan_id),
            "channel": int(state.channel),
            "key": state.network_key.key.serialize().hex(),
            "counter": int(state.network_key.tx_counter),
            "addresses": {text(who): int(nwk) for who, nwk in state.nwk_addresses.items()},
            "keys": {text(k.partner_ieee): k.key.serialize().hex() for k in state.key_table},
            "coordinator": text(self.app.state.node_info.ieee),
        }
        await self.app.start_network()
        found["endpoints"] = sorted(e for e in self.app.devices[self.app.state.node_info.ieee].endpoints if e)
        return found

    async def form(self, path, extended_pan, pan, channel, key, counter, known):
        await self.connect(path)
        network = zigpy.state.NetworkInfo(
            extended_pan_id=address(extended_pan),
            pan_id=t.PanId(pan),
            channel=t.uint8_t(channel),
            channel_mask=t.Channels.from_channel_list([channel]),
            network_key=zigpy.state.Key(key=t.KeyData(bytes.fromhex(key)), tx_counter=counter, seq=0),
            tc_link_key=zigpy.state.Key(key=t.KeyData(b"ZigBeeAlliance09")),
            key_table=[zigpy.state.Key(key=t.KeyData(bytes.fromhex(known["key"])), partner_ieee=address(known["eui"]))],
            children=[address(known["eui"])],
            nwk_addresses={address(known["eui"]): t.NWK(known["nwk"])},
        )
        node = zigpy.state.NodeInfo(ieee=t.EUI64.UNKNOWN, nwk=t.NWK(0))
        await self.app.write_network_info(network_info=network, node_info=node)
        return await self.start()

    async def connect_only(self, path):
        await self.connect(path)
        return True

    async def resume(self, path):
        await self.connect(path)
        return await self.start()

    async def backup(self):
        await self.app.load_network_info(load_devices=True)
        taken = zigpy.backups.NetworkBackup(
            network_info=self.app.state.network_info, node_info=self.app.state.node_info
        )
        return taken.as_open_coordinator_json()

    async def restore(self, backup):
        given = zigpy.backups.NetworkBackup.from_open_coordinator_json(backup)
        await self.app.backups.restore_backup(given)
        return await self.start()

    async def permit(self, seconds):
        await self.app.permit(seconds)
        return True

    async def permit_code(self, eui, code, seconds):
        await self.app.permit_with_link_key(
            node=address(eui), link_key=zigpy.util.convert_install_code(bytes.fromhex(code)), time_s=seconds
        )
        return True

    async def interviewed(self, eui, seconds):
        await self.until(f"the interview of {eui}", seconds, lambda: eui in self.listener.ready)
        device = self.app.get_device(ieee=address(eui))
        return {
            "manufacturer": device.manufacturer,
            "model": device.model,
            "manufacturer_code": int(device.manufacturer_id),
            "end_device": device.node_desc.is_end_device,
            "endpoints": {
                number: [int(endpoint.device_type), sorted(endpoint.in_clusters), sorted(endpoint.out_clusters)]
                for number, endpoint in device.endpoints.items() if number
            },
        }

    async def read(self, eui, attributes):
        values, failed = await self.lock(eui).read_attributes(attributes)
        return {"values": {name: int(value) for name, value in values.items()}, "failed": sorted(failed)}

    async def report(self, eui):
        cluster = self.lock(eui)
        for event in (AttributeReportedEvent, AttributeUpdatedEvent):
            cluster.on_event(event.event_type, self.listener.reported)
        bound = await cluster.bind()
        configured = await cluster.configure_reporting("lock_state", 0, 3600, 0)
        return {"bound": int(bound[0]), "configured": [int(status) for status in configured.values()]}

    async def command(self, eui, command):
        self.listener.states.clear()
        answer = await getattr(self.lock(eui), command)()
        if int(answer.status) == 0:
            await self.until("the report", 5, lambda: self.listener.states)
        return {"status": int(answer.status), "states": self.listener.states}

    async def long(self, eui, length):
        device = self.app.get_device(ieee=address(eui))
        await self.app.request(
            device, profile=0x0104, cluster=0xFC7C, src_ep=1, dst_ep=1, sequence=77,
            data=bytes([0x15, 0xF1, 0xFF, 77, 0]) + bytes(length), expect_reply=False,
        )
        return True

    async def neighbours(self):
        coordinator = self.app.devices[self.app.state.node_info.ieee]
        status, neighbours = await coordinator.zdo.Mgmt_Lqi_req(0)
        return {"status": int(status), "entries": int(neighbours.Entries)}

    async def remove(self, eui, seconds):
        who = address(eui)
        await self.app.remove(who)
        await self.until("the leave", seconds, lambda: who not in self.app.devices)
        return True

    async def stop(self):
        self.app.devices.pop(self.app.state.node_info.ieee, None)
        await self.app.disconnect()
        return True


async def main():
    peer = Peer()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        question = json.loads(line)
        try:
            answer = {"ok": await getattr(peer, question.pop("do"))(**question)}
        except Exception as error:  # the test says what it wanted
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


asyncio.run(main())
