"""Changes to inputs that keep their containers whole, so that what lies inside is reached.

Every function takes the bytes, a random generator and `raw`, which changes bytes blindly, as libFuzzer does.
"""

from __future__ import annotations

import copy
import io
import json
import pickletools
import struct
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

Raw = Callable[[bytes], bytes]

NUMBERS = (
    0,
    1,
    2,
    3,
    -1,
    4,
    7,
    8,
    64,
    255,
    256,
    1 << 15,
    (1 << 16) - 1,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 40,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    2,
    3,
    -1,
    8,
    1 << 31,
    1 << 40,
    10**30,
    0.5,
    -0.0,
    1e300,
    float("nan"),
    float("inf"),
    "",
    "lstm",
    "a" * 300,
    "\x1b[31m",
    "\u202e",
    "../x",
    [],
    {},
    [[]],
    [None, 4],
    [None, None, 3],
)


def overwrite(data: bytes, random: Random, raw: Raw) -> bytes:
    """Up to six places get other numbers; the length stays, so that offsets still meet something."""
    if len(data) < 16:
        return raw(data)
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        width = random.choice((1, 1, 2, 4, 8))
        at = random.randrange(len(data) - width)
        if random.random() < 0.3:
            changed[at] ^= 1 << random.randrange(8)
        elif random.random() < 0.2:
            source = random.randrange(len(data) - width)
            changed[at : at + width] = changed[source : source + width]
        else:
            number = random.choice(NUMBERS) + random.choice((0, 0, -1, 1)) if random.random() < 0.7 else at
            changed[at : at + width] = (number % (1 << (8 * width))).to_bytes(width, "little")
    return bytes(changed)


def overwrite_or_raw(data: bytes, random: Random, raw: Raw) -> bytes:
    return overwrite(data, random, raw) if random.random() < 0.7 else raw(data)


def words(data: bytes, random: Random, raw: Raw) -> bytes:
    """Numbers of four bytes at bounds of four, as FlatBuffers have them: other numbers, others of the file, offsets."""
    if len(data) < 64 or random.random() < 0.1:
        return overwrite_or_raw(data, random, raw)
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        at, other = (4 * random.randrange(len(data) // 4) for _ in range(2))
        number = int.from_bytes(changed[at : at + 4], "little")
        match random.randrange(5):
            case 0:
                number += random.choice((-8, -4, -1, 1, 4, 8))
            case 1:
                number = int.from_bytes(changed[other : other + 4], "little")
            case 2:
                number = other - at
            case _:
                number = random.choice(NUMBERS)
        changed[at : at + 4] = (number % (1 << 32)).to_bytes(4, "little")
    return bytes(changed)


# JSON


def json_text(data: bytes, random: Random, raw: Raw) -> bytes:
    """Nodes of the tree are replaced, moved, copied or left out; now and then the text itself is changed."""
    if random.random() < 0.1:
        return raw(data)
    try:
        tree = json.loads(data)
        for _ in range(random.choice((1, 1, 2, 4))):
            tree = _changed_tree(tree, random)
        return json.dumps(tree).encode()
    except (ValueError, RecursionError):
        return raw(data)


def _changed_tree(tree: Any, random: Random) -> Any:
    nodes = list(_nodes(tree))
    if not nodes:
        return random.choice(VALUES)
    inside, key = random.choice(nodes)
    other, other_key = random.choice(nodes)
    match random.randrange(8):
        case 0:
            del inside[key]
        case 1:
            inside[key] = copy.deepcopy(other[other_key])
        case 2 if isinstance(inside, list):
            inside.insert(key, copy.deepcopy(other[other_key]))
        case 3 if isinstance(inside, dict):
            inside[random.choice((other_key if isinstance(other_key, str) else "x", key + "_"))] = inside.pop(key)
        case 4:
            inside[key] = (
                [inside[key]] if random.random() < 0.5 else {"class_name": "Sequential", "config": inside[key]}
            )
        case 5 if isinstance(inside[key], int | float) and not isinstance(inside[key], bool):
            inside[key] = inside[key] + random.choice((-1, 1)) if random.random() < 0.5 else -inside[key]
        case _:
            inside[key] = copy.deepcopy(random.choice(VALUES))
    return tree


def _nodes(tree: Any) -> Any:
    pending = [tree]
    while pending:
        node = pending.pop()
        for key in list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            yield node, key
            pending.append(node[key])


HEADERS = (
    ("<f4", ("<f8", "|O", "|V9", "<c8", ">f4", "<i4", "|b1", "x" * 60)),
    ("<f8", ("<f4", "<f2", "<U5", "|S4", "<M8[s]", ">f8")),
    ("False", ("True", "None", "0", "[]")),
    ("(", ("(0, ", "(-1, ", "(1 << 60, ", "(99999999999999, ", "((", "[", "(1, " * 40)),
    (")", ("", "))", ", 1)", "]")),
    ("shape", ("descr", "shapes", "")),
)
"""What stands in the head of a NumPy array, and what may stand there instead."""

# pickles

OPCODES = (
    b"N",
    b"\x88",
    b"]",
    b"}",
    b")",
    b"(",
    b"0",
    b"1",
    b"2",
    b"t",
    b"l",
    b"d",
    b"a",
    b"e",
    b"s",
    b"u",
    b"R",
    b"\x81",
    b"\x92",
    b"b",
    b"Q",
    b"\x93",
    b"\x94",
    b"h\x00",
    b"q\x00",
    b"K\x00",
    b"J\xff\xff\xff\xff",
    b"M\x10\x00",
    b"G\x7f\xf0" + bytes(6),
    b"X\x01\x00\x00\x00a",
    b"\x8a\x01\x05",
    b"\x85",
    b"\x86",
    b"\x87",
    b"\x8f",
    b"\x90",
    b"\x91",
    b"cos\nsystem\n",
    b"ctorch\nSize\n",
    b"ccollections\nOrderedDict\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch\nFloatStorage\n",
    b"ctorch._tensor\n_rebuild_from_type_v2\n",
    b"c_codecs\nencode\n",
    b"cnumpy\ndtype\n",
    b"\x82\x01",
    b"Px\n",
    b"I7\n",
)


def pickled(data: bytes, random: Random, raw: Raw) -> bytes:
    """Whole opcodes are left out, copied, swapped, put in or changed in their arguments."""
    if random.random() < 0.15:
        return raw(data)
    pieces = []
    at = 0
    try:
        for _, _, place in pickletools.genops(data):
            if place > at:
                pieces.append(data[at:place])
            at = place
    except Exception:  # it answers damage with whatever its parts raise
        pass
    pieces.append(data[at:])
    for _ in range(random.choice((1, 1, 2, 4))):
        k, other = random.randrange(len(pieces)), random.randrange(len(pieces))
        match random.randrange(6):
            case 0:
                pieces[k] = b""
            case 1:
                pieces.insert(k, pieces[other])
            case 2:
                pieces[k], pieces[other] = pieces[other], pieces[k]
            case 3:
                pieces.insert(k, random.choice(OPCODES))
            case 4:
                low, high = sorted((k, other))
                pieces[high:high] = pieces[low:high][:40]
            case _:
                pieces[k] = pieces[k][:1] + raw(pieces[k][1:]) if len(pieces[k]) > 1 else random.choice(OPCODES)
    return b"".join(pieces)


# zip archives


def archive(data: bytes, random: Random, raw: Raw, members: dict[str, Any]) -> bytes:
    """A member is changed by the function for its name's end and the archive built anew, its checksums right."""
    if random.random() < 0.1:
        return overwrite_or_raw(data, random, raw)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            found = [(info.filename, file.read(info), info.compress_type) for info in file.infolist()]
    except Exception:  # a damaged archive raises what its parts raise
        return raw(data)
    if not found:
        return raw(data)
    k = random.randrange(len(found))
    name, content, kind = found[k]
    chance = random.random()
    if chance < 0.04:
        del found[k]
    elif chance < 0.08:
        found.append((random.choice(found)[0] if random.random() < 0.5 else name + "x", content, kind))
    elif chance < 0.1:
        found[k] = (name, content, random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)))
    else:
        change = next((change for end, change in members.items() if name.endswith(end)), overwrite_or_raw)
        found[k] = (name, change(content, random, raw), kind)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, content, kind in found:
            info = zipfile.ZipInfo(name)
            info.compress_type = kind
            file.writestr(info, content)
    return out.getvalue()


def array(data: bytes, random: Random, raw: Raw) -> bytes:
    """The text at the head of a NumPy array is changed, or its numbers."""
    if random.random() < 0.3:
        return overwrite_or_raw(data, random, raw)
    size = 10 + int.from_bytes(data[8:10], "little")
    text = data[10:size].decode("latin-1")
    for old, values in HEADERS:
        if old in text and random.random() < 0.5:
            text = text.replace(old, random.choice(values), 1)
    head = text.encode("latin-1") if random.random() < 0.8 else raw(data[10:size])
    return data[:8] + (len(head) % (1 << 16)).to_bytes(2, "little") + head + data[size:]


# safetensors


def safetensors(data: bytes, random: Random, raw: Raw) -> bytes:
    """The header is changed as JSON and its length mended."""
    if random.random() < 0.15 or len(data) < 10:
        return overwrite_or_raw(data, random, raw)
    size = int.from_bytes(data[:8], "little")
    header = json_text(data[8 : 8 + size], random, raw)
    return struct.pack("<Q", len(header)) + header + data[8 + size :]


# protocol buffers (ONNX)


def protobuf(data: bytes, random: Random, raw: Raw) -> bytes:
    """Fields at any depth are left out, copied, moved or changed, and all lengths around them mended."""
    if random.random() < 0.1:
        return raw(data)
    fields = _fields(data)
    if not fields:
        return raw(data)
    for _ in range(random.choice((1, 1, 2, 3))):
        _change_field(fields, random, raw, 0)
    return _joined(fields)


def _change_field(fields: list[list[Any]], random: Random, raw: Raw, depth: int) -> None:
    if not fields:
        return
    k = random.randrange(len(fields))
    tag, value = fields[k]
    inner = _fields(value) if isinstance(value, bytes) and len(value) > 2 and depth < 8 else None
    if inner and random.random() < 0.8:
        _change_field(inner, random, raw, depth + 1)
        fields[k] = [tag, _joined(inner)]
        return
    match random.randrange(6):
        case 0:
            del fields[k]
        case 1:
            fields.insert(k, list(random.choice(fields)))
        case 2:
            fields[k] = [tag, random.choice(fields)[1] if isinstance(value, bytes) else value]
        case _ if isinstance(value, bytes):
            fields[k] = [tag, raw(value)]
        case _:
            fields[k] = [tag, random.choice(NUMBERS) % (1 << 64)]


def _fields(data: bytes) -> list[list[Any]] | None:
    """[(tag, number or bytes)], or None if the bytes are no message."""
    fields: list[list[Any]] = []
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if at < 0 or tag >> 3 == 0 or kind not in (0, 1, 2, 5):
            return None
        if kind == 0:
            value: Any
            value, at = _varint(data, at)
            if at < 0:
                return None
        else:
            size = {1: 8, 5: 4}.get(kind, 0)
            if kind == 2:
                size, at = _varint(data, at)
            if at < 0 or at + size > len(data):
                return None
            value, at = data[at : at + size], at + size
        fields.append([tag, value])
    return fields


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return value, at
        shift += 7
    return 0, -1


def _joined(fields: list[list[Any]]) -> bytes:
    out = bytearray()
    for tag, value in fields:
        out += _as_varint(tag)
        if isinstance(value, int):
            out += _as_varint(value)
        else:
            if tag & 7 == 2:
                out += _as_varint(len(value))
            out += value if tag & 7 == 2 else value.ljust({1: 8, 5: 4}[tag & 7], b"\0")[: {1: 8, 5: 4}[tag & 7]]
    return bytes(out)


def _as_varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


# lines of text (TOML)


def lines(data: bytes, random: Random, raw: Raw) -> bytes:
    """Lines are left out, copied, swapped, or get another value."""
    if random.random() < 0.4:
        return raw(data)
    found = data.split(b"\n")
    k, other = random.randrange(len(found)), random.randrange(len(found))
    match random.randrange(4):
        case 0:
            del found[k]
        case 1:
            found.insert(k, found[other])
        case 2:
            found[k], found[other] = found[other], found[k]
        case _:
            key = found[k].partition(b"=")[0]
            value = random.choice(VALUES)
            text = (
                json.dumps(value)
                if isinstance(value, str | int | float | bool)
                else random.choice(("[]", "{}", "[[1]]"))
            )
            found[k] = key + b"= " + text.encode()
    return b"\n".join(found)
