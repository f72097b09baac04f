"""Deterministic CBOR (RFC 8949 section 4.2.1), as far as the protocol needs it; the decoder refuses the rest."""


class Refused(Exception):
    """Bytes that the rules do not let pass."""


def head(major, number):
    if number < 24:
        return bytes([major << 5 | number])
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 1 << 8 * size:
            return bytes([major << 5 | info]) + number.to_bytes(size, "big")
    raise Refused("number beyond 64 bits")


def encode(value):
    if value is None or isinstance(value, bool):
        return {False: b"\xf4", True: b"\xf5", None: b"\xf6"}[value]
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, (list, tuple)):
        return head(4, len(value)) + b"".join(map(encode, value))
    if isinstance(value, dict):
        pairs = sorted((encode(key), encode(item)) for key, item in value.items())
        return head(5, len(pairs)) + b"".join(key + item for key, item in pairs)
    raise TypeError(type(value))


def sequence(*values):
    return b"".join(map(encode, values))


def item(data, at=0, depth=4, sorted_maps=True):
    """One item: its value and where it ends."""
    if at >= len(data) or not depth:
        raise Refused("cut off, or too deep")
    major, info, at = data[at] >> 5, data[at] & 31, at + 1
    if major == 7:
        if info not in (20, 21, 22):
            raise Refused("float, or unknown simple value")
        return (False, True, None)[info - 20], at
    number = info
    if info >= 24:
        size = {24: 1, 25: 2, 26: 4, 27: 8}.get(info)
        if size is None or at + size > len(data):
            raise Refused("indefinite length, or cut off")
        number, at = int.from_bytes(data[at:at + size], "big"), at + size
        if number < 24 or number < 1 << 4 * size and size > 1:
            raise Refused("head longer than needed")
    if major < 2:
        return (number if major == 0 else -1 - number), at
    if major < 4:
        if at + number > len(data):
            raise Refused("cut off")
        raw = data[at:at + number]
        try:
            return (raw if major == 2 else raw.decode()), at + number
        except UnicodeDecodeError as error:
            raise Refused("not UTF-8") from error
    if major == 4:
        items = []
        for _ in range(number):
            value, at = item(data, at, depth - 1, sorted_maps)
            items.append(value)
        return items, at
    if major == 6:
        raise Refused("tag")
    pairs, before = {}, b""
    for _ in range(number):
        start = at
        key, at = item(data, at, depth - 1, sorted_maps)
        if not isinstance(key, (int, str, bytes)) or isinstance(key, bool) or key in pairs:
            raise Refused("map key twice, or of another type")
        if sorted_maps and data[start:at] <= before:
            raise Refused("map is not sorted")
        before = data[start:at]
        pairs[key], at = item(data, at, depth - 1, sorted_maps)
    return pairs, at


def decode(data, **rules):
    value, end = item(data, **rules)
    if end != len(data):
        raise Refused("trailing bytes")
    return value


def payload(data):
    """A resource's payload: one map, then zeros as padding."""
    value, end = item(data)
    if not isinstance(value, dict) or any(data[end:]):
        raise Refused("not a map and zeros")
    return value
