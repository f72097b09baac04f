"""The stranger's pieces against the vectors of other programs in tests/vectors."""

import json
import re
from pathlib import Path

from . import cbor, cose, framing, oscore
from .cbor import Refused
from .edhoc import Initiator, Responder, identifier, take_identifier
from .oscore import Context, Message, Option

HEX = bytes.fromhex


def edhoc_session(trace):
    sides = trace["initiator"], trace["responder"]
    session = Initiator(cose.Key(HEX(sides[0]["sk"])), HEX(trace["c_i"]), cose.Key(HEX(trace["x"])))
    session.message_1 = HEX(trace["messages"]["message_1"])  # SUITES_I is more than suite 2 in some
    kid = cbor.decode(HEX(sides[1]["id_cred"]))[4]

    def resolve(named, cwt):
        if cwt is not None or named != kid:
            raise Refused("unknown")
        return HEX(sides[1]["cred"]), HEX(sides[1]["public_key_x"])

    return session, resolve


def items(pairs):
    return [(-pair["label"] if pair["critical"] else pair["label"],
             None if pair["value"] is None else HEX(pair["value"])) for pair in pairs]


def known(pairs):
    return {label for label, _ in items(pairs)}


def fits(trace):
    both = (trace["initiator"], trace["responder"])
    return trace["suite"] == 2 and trace["method"] == 3 and all(side["id_cred"].startswith("a104") for side in both)


def edhoc(directory):
    data = json.loads((directory / "edhoc-libedhoc.json").read_text())
    count = 0
    for trace in data["transcripts_libedhoc"] + data["transcripts_pyca"]:
        if not fits(trace):
            continue
        session, resolve = edhoc_session(trace)
        if cbor.item(session.message_1, 1)[0] == 2 and not trace["ead_1"]:
            assert Initiator(session.static, session.c_i, session.ephemeral).message_1 == session.message_1
        session.read_2(HEX(trace["messages"]["message_2"]), resolve, known(trace["ead_2"]))
        side = trace["initiator"]
        kid = cbor.decode(HEX(side["id_cred"]))[4]
        message_3 = session.write_3(kid, HEX(side["cred"]), items(trace["ead_3"]))
        assert message_3.hex() == trace["messages"]["message_3"], trace["name"]
        if "message_4" in trace["messages"]:
            session.read_4(HEX(trace["messages"]["message_4"]), known(trace["ead_4"]))
        secret, salt = session.oscore()
        assert secret.hex() == trace["oscore"]["master_secret"] and salt.hex() == trace["oscore"]["master_salt"]
        count += 1
    assert count >= 5, count
    return count


def edhoc_responder(directory):
    """The same transcripts from the other side, where they are of the shape that a lock says."""
    data = json.loads((directory / "edhoc-libedhoc.json").read_text())
    count = 0
    for trace in data["transcripts_libedhoc"] + data["transcripts_pyca"]:
        plain = not any(trace[f"ead_{n}"] for n in (1, 2, 4)) and "message_4" in trace["messages"]
        if not fits(trace) or not plain or HEX(trace["messages"]["message_1"])[1] != 2:
            continue
        own, other, said = trace["responder"], trace["initiator"], trace["messages"]
        message_1, ephemeral = HEX(said["message_1"]), cose.Key(HEX(trace["y"]))
        c_i, _ = take_identifier(message_1, 36)
        session = Responder(cose.Key(HEX(own["sk"])), HEX(trace["c_r"]), c_i, ephemeral, message_1[4:36], message_1)
        kid = cbor.decode(HEX(own["id_cred"]))[4]
        assert session.write_2(kid, HEX(own["cred"])).hex() == said["message_2"], trace["name"]
        key = b"\x02" + HEX(other["public_key_x"])
        session.read_3(HEX(said["message_3"]), lambda kid, cwt, items: (HEX(other["cred"]), key), known(trace["ead_3"]))
        assert session.write_4().hex() == said["message_4"], trace["name"]
        secret, salt = session.oscore()
        assert secret.hex() == trace["oscore"]["master_secret"] and salt.hex() == trace["oscore"]["master_salt"]
        count += 1
    assert count >= 2, count
    return count


def edhoc_negative(directory):
    traces = json.loads((directory / "edhoc-libedhoc.json").read_text())
    traces = {t["name"]: t for t in traces["transcripts_libedhoc"] + traces["transcripts_pyca"]}
    count = 0
    for case in json.loads((directory / "negative.json").read_text())["edhoc"]:
        trace = traces.get(case["base"])
        if trace is None or not fits(trace) or case["receiver"] != "initiator" or case["reject"] == "NO":
            continue
        if case["target"] not in ("message_2", "message_4"):
            continue
        session, resolve = edhoc_session(trace)
        try:
            if case["target"] == "message_4":
                session.read_2(HEX(trace["messages"]["message_2"]), resolve)
                kid = cbor.decode(HEX(trace["initiator"]["id_cred"]))[4]
                session.write_3(kid, HEX(trace["initiator"]["cred"]), items(trace["ead_3"]))
                session.read_4(HEX(case["input"]))
            else:
                session.read_2(HEX(case["input"]), resolve)
        except Refused:
            count += 1
            continue
        raise AssertionError(case["id"])
    assert count >= 10, count
    return count


def contexts(case):
    secret, salt = HEX(case["master_secret"]), HEX(case["master_salt"])
    client, server = HEX(case["client_id"]), HEX(case["server_id"])
    return Context(secret, salt, client, server), Context(secret, salt, server, client)


def oscore_exchanges(directory):
    data = json.loads((directory / "oscore-aiocoap.json").read_text())["exchanges"]
    count = 0
    for case in data:
        if case["aead_algorithm"] != 10 or case["id_context"] is not None or "observe" in case["name"] or (
                "host" in case["name"]):
            continue
        client, server = contexts(case)
        raw = HEX(case["request"]["protected"])
        outer, wanted = Message.decode(raw), Message.decode(HEX(case["request"]["unprotected"]))
        option = Option.decode(outer.all(oscore.OSCORE)[0])
        inner = server.open_request(outer, option)
        assert (inner.code, inner.pairs, inner.payload) == (wanted.code, wanted.pairs, wanted.payload), case["name"]
        again = Message.decode(client.request(case["request"]["sender_sequence_number"], inner))
        assert (again.pairs, again.payload) == (outer.pairs, outer.payload), case["name"]
        assert oscore.restore(oscore.elide(raw)) == raw
        for answer in case["responses"]:
            raw = HEX(answer["protected"])
            reply = Message.decode(raw)
            piv = Option.decode(reply.all(oscore.OSCORE)[0])
            got = client.open_response(reply, piv, option.piv)
            wanted = Message.decode(HEX(answer["unprotected"]))
            assert (got.code, got.pairs, got.payload) == (wanted.code, wanted.pairs, wanted.payload)
            assert oscore.restore(oscore.elide(raw)) == raw
            count += 1
        count += 1
    assert count >= 20, count
    return count


def oscore_negative(directory):
    cases = {case["name"]: case for case in json.loads((directory / "oscore-aiocoap.json").read_text())["exchanges"]}
    count = 0
    for case in json.loads((directory / "negative.json").read_text())["oscore"]:
        base = cases.get(case["base"])
        if not base or base["aead_algorithm"] != 10 or case["target"] != "request" or case["reject"] not in ("MUST",):
            continue
        if case["expected_class"] in ("replay", "unprotected"):
            continue
        _, server = contexts(base)
        try:
            outer = Message.decode(HEX(case["input"]))
            found = outer.all(oscore.OSCORE)
            option = Option.decode(found[0])
            if len(found) != 1 or option.kid != server.recipient or not option.piv or option.kid_context:
                raise Refused("context")
            server.open_request(outer, option)
        except (Refused, IndexError):
            count += 1
            continue
        raise AssertionError(case["id"])
    assert count >= 10, count
    return count


def documents():
    """The worked examples of docs/protocol.md."""
    sender = framing.Endpoint()
    datagram = b"\x21123456789"
    sender.send(framing.SITE, framing.LOG, datagram[1:])
    frames = [sender.poll(8, 0).hex() for _ in range(3)]
    assert frames == ["2500023132333435", "2500423637383910", "2500822de86e"], frames
    receiver, got = framing.Endpoint(), None
    for frame in reversed(frames):
        got = receiver.handle(HEX(frame), 0)
    assert got == datagram and receiver.poll(8, 0).hex() == "2d0007"
    coap, elided = HEX("510201232394" "0a01234a" "ff0102030405060708"), HEX("0a01234a0102030405060708")
    assert oscore.elide(coap) == elided and oscore.restore(elided) == coap
    coap, elided = HEX("514400002390ff0102030405060708"), HEX("80230102030405060708")
    assert oscore.elide(coap) == elided and oscore.restore(elided) == coap
    platform = Context(b"\x07" * 16, b"\x01" * 8, b"\x0c", b"\x05")
    payload = cbor.encode({0: HEX("01020304"), 1: 1})
    request = Message(oscore.POST, [(oscore.URI_PATH, b"l"), (oscore.ECHO, HEX("09080706"))], payload)
    wire = bytes([framing.header(framing.PLATFORM_OSCORE, 0)]) + oscore.elide(platform.request(0x123, request))
    assert wire.hex() == "080a01230c0de72503b83cdc726b9b86f89ffbcef69304044b30cc2c9459d943", wire.hex()
    return 6


def transcript(directory):
    """activation.json from its keys alone, the lock's side; what the platform said is only read."""
    data = json.loads((directory / "activation.json").read_text())
    said = [(row["from"], HEX(row["datagram"]), HEX(row.get("inner", ""))) for row in data["datagrams"]]
    lock, agreed = data["lock"], data["edhoc"]
    identity, dh = cose.Key(HEX(lock["identity"])), cose.Key(HEX(lock["dh"]))
    cwt = cose.lock_cwt(identity, dh)
    assert cwt.hex() == lock["cwt"] and cose.thumbprint(identity.public).hex() == lock["thumbprint"]
    platform = cose.PlatformCwt(HEX(data["platform"]["cwt"]))
    assert cose.thumbprint(platform.root).hex() == data["platform"]["root_thumbprint"]
    code = cose.code_of(lock["owner_code"])

    session = Initiator(dh, HEX(agreed["c_i"]), cose.Key(HEX(agreed["x"])))
    assert said[0][1] == b"\x00\xf5" + session.message_1
    session.read_2(said[1][1][2:], lambda kid, value: (value, cose.PlatformCwt(value).dh[1:]))
    proof = cose.proof(code, cose.LOCK_PROOF, session.th_3, cwt)
    assert said[2][1] == b"\x00" + identifier(session.c_r) + session.write_3(None, cwt, [(cose.LOCK_PROOF, proof)])
    items = session.read_4(said[3][1][2:], {cose.PLATFORM_PROOF})
    assert items == {cose.PLATFORM_PROOF: cose.proof(code, cose.PLATFORM_PROOF, session.th_4, platform.data)}
    secret, salt = session.oscore()
    assert [secret.hex(), salt.hex()] == [data["oscore"]["master_secret"], data["oscore"]["master_salt"]]

    ends = {"lock": Context(secret, salt, session.c_r, session.c_i),
            "platform": Context(secret, salt, session.c_i, session.c_r)}
    asked = {}
    for sender, datagram, inner in said[4:]:
        inner, body = Message.decode(inner), datagram[1:]
        number = int.from_bytes(body[1:1 + (body[0] & 7)], "big") if body[0] & 7 else None
        if inner.code < 0x20:
            wire = ends[sender].request(number, inner)
            asked[sender, inner.token] = oscore.minimal(number)
        else:
            piv = asked["platform" if sender == "lock" else "lock", inner.token]
            wire = ends[sender].response(piv, inner.token, inner, number)
        assert oscore.elide(wire) == body, datagram.hex()

    # Its frames, joined again, are its datagrams.
    ends, joined = {"lock": framing.Endpoint(), "gateway": framing.Endpoint()}, []
    for sender, frame in (row.split() for row in data["frames"]):
        whole = ends[sender].handle(HEX(frame), 0)
        joined += [whole] if whole else []
    assert sorted(joined) == sorted(datagram for _, datagram, _ in said)

    # What docs/protocol.md shows of it are beginnings of these frames, in their order.
    text = (directory.parents[1] / "docs/protocol.md").read_text().split("### A whole activation")[1]
    shown = re.findall(r"^(lock|gateway) +((?:[0-9a-f]+ )*[0-9a-f]+)(?:…| {2})", text, re.MULTILINE)
    frames = iter(data["frames"])
    for sender, start in shown:
        start = start.replace(" ", "")
        assert any(row.split()[0] == sender and row.split()[1].startswith(start) for row in frames), start
    assert len(shown) > 15
    return len(said)


def main():
    directory = Path(__file__).parents[2] / "vectors"
    for name, check in (("edhoc", edhoc), ("edhoc responder", edhoc_responder), ("edhoc negative", edhoc_negative),
                        ("oscore", oscore_exchanges), ("oscore negative", oscore_negative),
                        ("documents", lambda _: documents()), ("transcript", transcript)):
        print(f"{name}: {check(directory)}")
