"""zigpy 1.6.0 as a reader of ZCL frames.

One JSON object a line on standard input, one answer a line on standard output, in order; an answer is {"ok": ...} or
{"error": text}.

{"cluster", "bytes"} -> {"command", "fields", "sequence", "server", "quiet", "rest"}: what zigpy reads, as text, and the bytes that
it left over
"""

import json
import sys

import zigpy.zcl.clusters  # noqa: F401 - registers them
from zigpy.zcl import Cluster, foundation


def shown(value):
    """As text. zigpy cannot print a report's configuration without a change."""
    if isinstance(value, (list, tuple)):
        return [shown(item) for item in value]
    if isinstance(value, foundation.AttributeReportingConfig):
        names = ("attrid", "datatype", "min_interval", "max_interval", "reportable_change")
        return {name: int(getattr(value, name)) for name in names if hasattr(value, name)}
    return str(value)


def read(question):
    data = bytes.fromhex(question["bytes"])
    header, rest = foundation.ZCLHeader.deserialize(data)
    server = header.direction == foundation.Direction.Server_to_Client
    if header.frame_control.frame_type == foundation.FrameType.GLOBAL_COMMAND:
        command = foundation.GENERAL_COMMANDS[header.command_id]
    else:
        cluster = Cluster._registry[question["cluster"]]
        command = (cluster.client_commands if server else cluster.server_commands)[header.command_id]
    fields, rest = command.schema.deserialize(rest)
    return {
        "command": command.name,
        "fields": {name: shown(value) for name, value in fields.as_dict().items() if value is not None},
        "sequence": int(header.tsn),
        "server": server,
        "quiet": bool(header.frame_control.disable_default_response),
        "rest": rest.hex(),
    }


for line in sys.stdin:
    try:
        said = {"ok": read(json.loads(line))}
    except Exception as error:  # noqa: BLE001 - it is the answer
        said = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(said), flush=True)
