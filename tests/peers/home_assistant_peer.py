"""Home Assistant 2025.1.4's own validators and templates, and a JSON Schema of its documentation.

One JSON object a line on standard input, one answer a line on standard output, in order; an answer is {"ok": ...} or
{"error": text}.

{"do": "validate", "component", "config"}          -> what its validator of discovery messages makes of it: the keys
{"do": "documented", "config"}                     -> true: the JSON Schema beside this file takes it
{"do": "render", "template", "value"}              -> what a command template writes for a value
{"do": "state", "template", "payload"}             -> what a value template makes of a message
"""

import asyncio
import json
import pathlib
import sys

import jsonschema
from homeassistant.components.mqtt import binary_sensor, lock, sensor
from homeassistant.core import HomeAssistant
from homeassistant.helpers import template

VALIDATORS = {
    "lock": lock.DISCOVERY_SCHEMA,
    "sensor": sensor.DISCOVERY_SCHEMA,
    "binary_sensor": binary_sensor.DISCOVERY_SCHEMA,
}
DOCUMENTED = json.loads(pathlib.Path(__file__).with_name("home_assistant.schema.json").read_text())


def answer(hass, question):
    match question["do"]:
        case "validate":
            valid = VALIDATORS[question["component"]](question["config"])
            return sorted(str(key) for key in valid)
        case "documented":
            jsonschema.Draft202012Validator(DOCUMENTED).validate(question["config"])
            return True
        case "render":
            written = template.Template(question["template"], hass)
            return written.async_render({"value": question["value"]}, parse_result=False)
        case "state":
            read = template.Template(question["template"], hass)
            return read.async_render_with_possible_json_value(question["payload"], error_value=None)
    raise ValueError(question["do"])


async def main():
    hass = HomeAssistant("/nonexistent")
    for line in sys.stdin:
        try:
            said = {"ok": answer(hass, json.loads(line))}
        except Exception as error:  # noqa: BLE001 - it is the answer
            said = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(said), flush=True)


asyncio.run(main())
