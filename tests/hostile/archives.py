"""Zip archives whose directory lies, that explode, or whose members have names of their own making."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator

from cases import GOLDEN, Case, members, zipped
from pickle_bytes import LINEAR, archive, table, tensor

DIRECTORY, LOCAL, END = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"
TORCH = archive(LINEAR)
KERAS = (GOLDEN / "keras" / "keras315_stack.keras").read_bytes()
WORDS = "archive|zip|truncated|refused|claims|twice|member|lacks|several|no layer|not written|holds"


def entries(data: bytes, start: bytes) -> list[int]:
    """Where the directory's entries (or the members' own headers) begin."""
    found, at = [], data.find(start)
    while at >= 0:
        found.append(at)
        at = data.find(start, at + 4)
    return found


def patched(data: bytes, start: bytes, which: int, offset: int, layout: str, value: int) -> bytes:
    """One field of one entry gets another value."""
    changed = bytearray(data)
    struct.pack_into(layout, changed, entries(data, start)[which] + offset, value)
    return bytes(changed)


def renamed(data: bytes, old: bytes, new: bytes) -> bytes:
    """A member's name in its header and in the directory; both of one length."""
    assert len(old) == len(new) and data.count(old) >= 2
    return data.replace(old, new)


def lying(kind: str, data: bytes, last: int) -> dict[str, bytes]:
    """The directory's sizes, offsets, flags, methods and counts; `last` is a member that is needed."""
    end = data.rindex(END)

    def ended(offset: int, layout: str, value: int) -> bytes:
        changed = bytearray(data)
        struct.pack_into(layout, changed, end + offset, value)
        return bytes(changed)

    return {
        f"{kind}_size_of_two_gigabytes": patched(data, DIRECTORY, last, 24, "<I", 0x7FFFFFFF),
        f"{kind}_sizes_of_four_gigabytes": patched(
            patched(data, DIRECTORY, last, 24, "<I", 0xFFFFFFFE), DIRECTORY, last, 20, "<I", 0xFFFFFFFE
        ),
        f"{kind}_size_of_one": patched(data, DIRECTORY, last, 24, "<I", 1),
        f"{kind}_sizes_of_zero": patched(patched(data, DIRECTORY, last, 24, "<I", 0), DIRECTORY, last, 20, "<I", 0),
        f"{kind}_zip64_without_its_field": patched(data, DIRECTORY, last, 24, "<I", 0xFFFFFFFF),
        f"{kind}_offset_into_the_directory": patched(data, DIRECTORY, last, 42, "<I", data.index(DIRECTORY)),
        f"{kind}_offset_of_another_member": patched(
            data, DIRECTORY, last, 42, "<I", 0 if last else entries(data, LOCAL)[1]
        ),
        f"{kind}_offset_past_the_end": patched(data, DIRECTORY, last, 42, "<I", len(data) + 100),
        f"{kind}_encrypted": patched(data, DIRECTORY, last, 8, "<H", 1),
        f"{kind}_strongly_encrypted": patched(data, DIRECTORY, last, 8, "<H", 0x41),
        f"{kind}_patched_data": patched(data, DIRECTORY, last, 8, "<H", 0x20),
        f"{kind}_unknown_method": patched(data, DIRECTORY, last, 10, "<H", 77),
        f"{kind}_deflated_says_the_directory": patched(data, DIRECTORY, last, 10, "<H", 8),
        f"{kind}_lzma_says_the_directory": patched(data, DIRECTORY, last, 10, "<H", 14),
        f"{kind}_bzip2_says_the_directory": patched(data, DIRECTORY, last, 10, "<H", 12),
        f"{kind}_checksum_wrong": patched(data, DIRECTORY, last, 16, "<I", 0xDEADBEEF),
        f"{kind}_version_255": patched(data, DIRECTORY, last, 6, "<H", 255),
        f"{kind}_name_length_of_65535": patched(data, DIRECTORY, 0, 28, "<H", 65535),
        f"{kind}_extra_length_of_65535": patched(data, DIRECTORY, 0, 30, "<H", 65535),
        f"{kind}_comment_length_of_65535": patched(data, DIRECTORY, 0, 32, "<H", 65535),
        f"{kind}_65535_entries": ended(10, "<H", 65535),
        f"{kind}_directory_of_four_gigabytes": ended(12, "<I", 0xFFFFFFF0),
        f"{kind}_directory_past_the_end": ended(16, "<I", len(data) + 1000),
        f"{kind}_directory_at_zero": ended(16, "<I", 0),
        f"{kind}_end_missing": data[:end],
        f"{kind}_half": data[: len(data) // 2],
    }


def torch_names() -> dict[str, bytes]:
    good = members(TORCH)
    body, block = good["net/data.pkl"], good["net/data/0"]
    return {
        "torch_name_climbs": zipped({"../net/data.pkl": body, "../net/data/0": block}),
        "torch_name_absolute": zipped({"/net/data.pkl": body, "/etc/passwd": block}),
        "torch_name_of_windows": zipped({"C:\\net/data.pkl": body, "C:\\net/data/..\\..\\0": block}),
        "torch_name_with_nul": renamed(TORCH, b"net/data/0", b"net/data\0\0"),
        "torch_name_with_escapes": renamed(TORCH, b"net/data/0", b"net/\x1b[31m0"),
        "torch_name_not_utf8": patched(
            renamed(TORCH, b"net/data/0", b"net/\xff\xfe\xfd\xfc\xfb0"), DIRECTORY, 1, 8, "<H", 0x800
        ),
        "torch_name_of_65000_characters": zipped({"n" * 65000 + "/data.pkl": body, "n" * 65000 + "/x": block}),
        "torch_two_tops": zipped({"a/data.pkl": body, "b/data/0": block}),
        "torch_no_pickle": zipped({"net/data/0": block, "net/x/data.pkl": body}),
        "torch_pickle_at_the_top": zipped({"data.pkl": body, "data/0": block}),
        "torch_code_beside": zipped({**good, "net/constants.pkl": b"", "net/code/__torch__.py": b"import os"}),
        "torch_big_endian": zipped({**good, "net/byteorder": b"big"}),
    }


def twice(data: bytes, name: str, content: bytes) -> bytes:
    """The archive with a second member of one name, as no library writes it."""
    other = name[:-1] + "~"
    return zipped({**members(data), other: content}).replace(other.encode(), name.encode())


def overlapping(data: bytes) -> bytes:
    """A member that begins inside another, with a header of its own there."""
    found = members(data)
    inner = zipped({"net/data/1": bytes(8)})
    inner = inner[: inner.index(DIRECTORY)]
    whole = zipped({"net/data/0": inner, "net/data/1": bytes(8), "net/data.pkl": found["net/data.pkl"]})
    return patched(whole, DIRECTORY, 1, 42, "<I", whole.index(inner[:8], 4))


def bomb(name: str, content: bytes, others: dict[str, bytes], claimed: int | None = None) -> bytes:
    """A member deflated a thousandfold; its size as it is, or as claimed."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for other, value in others.items():
            file.writestr(other, value)
        file.writestr(name, content)
    data = out.getvalue()
    if claimed is None:
        return data
    for start, offset in ((DIRECTORY, 24), (LOCAL, 22)):
        data = patched(data, start, len(others), offset, "<I", claimed)
    return data


def nested_bomb() -> bytes:
    """A hundred members that share the one deflated block of 10 MB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(10 << 20)) + packer.flush()
    crc = zlib.crc32(bytes(10 << 20))
    head = struct.pack("<4s5H3I2H", LOCAL, 20, 0, 8, 0, 0, crc, len(block), 10 << 20, 6, 0) + b"net/d0"
    data, directory = head + block, b""
    for k in range(100):
        name = f"net/d{k}".encode()
        sizes = (crc, len(block), 10 << 20, len(name))
        directory += struct.pack("<4s6H3I5H2I", DIRECTORY, 20, 20, 0, 8, 0, 0, *sizes, 0, 0, 0, 0, 0, 0) + name
    pickled = zipped({"net/data.pkl": members(TORCH)["net/data.pkl"]})
    entry = pickled[pickled.index(DIRECTORY) : pickled.rindex(END)]
    entry = entry[:42] + struct.pack("<I", len(data)) + entry[46:]
    data += pickled[: pickled.index(DIRECTORY)]
    return data + directory + entry + struct.pack("<4s4H2IH", END, 0, 0, 101, 101, len(directory + entry), len(data), 0)


def cases() -> Iterator[Case]:
    last = len(entries(KERAS, DIRECTORY)) - 1
    for kind, suffix, files in (
        ("torch", "pt", lying("torch", TORCH, 1)),
        ("keras", "keras", lying("keras", KERAS, last)),
    ):
        for name, data in files.items():
            words = None if name.endswith("65535_entries") else f"{WORDS}|{kind}"
            yield Case(f"zip_{name}.{suffix}", words, lambda y, data=data: data)
    for name, data in torch_names().items():
        yield Case(f"zip_{name}.pt", f"{WORDS}|big-endian|code|no checkpoint", lambda y, data=data: data)
    keras = members(KERAS)
    zeros = bytes(64 << 20)
    config, weights = "config.json", "model.weights.h5"
    left = {name: content for name, content in keras.items() if name != config}
    extra = {"evil.py": b"import os", "assets/../../evil": b"x"}
    built: dict[str, tuple[str, Callable[[], bytes]]] = {
        "torch_overlapping": (
            "pt",
            lambda: overlapping(archive(table({"weight": tensor((1, 2), (2, 1), 2, key="1")}))),
        ),
        "torch_hundred_thousand_members": (
            "pt",
            lambda: zipped(members(TORCH) | {f"net/m{k}": b"" for k in range(100_000)}),
        ),
        "torch_twice": ("pt", lambda: twice(TORCH, "net/data/0", bytes(8))),
        "torch_pickle_twice": ("pt", lambda: twice(TORCH, "net/data.pkl", b"cos\nsystem\n.")),
        "torch_bomb_of_storage": (
            "pt",
            lambda: bomb("net/data/0", zeros, {"net/data.pkl": members(TORCH)["net/data.pkl"]}),
        ),
        "torch_bomb_of_pickle": ("pt", lambda: bomb("net/data.pkl", b"\x80\x02" + zeros, {"net/data/0": bytes(8)})),
        "torch_bomb_of_shared_blocks": ("pt", nested_bomb),
        "keras_bomb_of_config": ("keras", lambda: bomb(config, b" " * (64 << 20), left)),
        "keras_bomb_of_config_that_lies": ("keras", lambda: bomb(config, b" " * (64 << 20), left, 100)),
        "keras_bomb_of_weights": ("keras", lambda: bomb(weights, keras[weights] + zeros, {config: keras[config]})),
        "keras_bomb_of_weights_that_lies": (
            "keras",
            lambda: bomb(weights, keras[weights] + zeros, {config: keras[config]}, len(keras[weights])),
        ),
        "keras_config_twice": ("keras", lambda: twice(KERAS, config, b"{}")),
        "keras_weights_twice": ("keras", lambda: twice(KERAS, weights, b"")),
        "keras_without_weights": ("keras", lambda: zipped({config: keras[config]})),
        "keras_weights_are_text": ("keras", lambda: zipped({**keras, weights: b"not HDF5" * 100})),
        "keras_weights_are_a_pickle": ("keras", lambda: zipped({**keras, weights: b"cos\nsystem\n(S'true'\ntR."})),
        "keras_with_code": ("keras", lambda: zipped(keras | extra)),
        "keras_name_climbs": ("keras", lambda: zipped({**keras, "../../model.weights.h5": b"x"})),
        "keras_name_absolute": ("keras", lambda: zipped({**keras, "/etc/cron.d/x": b"x"})),
        "keras_name_with_escapes": ("keras", lambda: zipped({**keras, "\x1b[2J\x07\u202e" + "x" * 5000: b"x"})),
        "keras_many_names": ("keras", lambda: zipped(keras | {f"{k:0200}": b"" for k in range(20_000)})),
        "empty": ("keras", lambda: zipped({})),
        "end_only": ("zip", lambda: b"PK\x05\x06" + bytes(18)),
        "start_only": ("zip", lambda: b"PK\x03\x04" + bytes(200)),
    }
    for name, (suffix, make) in built.items():
        yield Case(f"zip_{name}.{suffix}", f"{WORDS}|HDF5|no checkpoint|compressed", lambda y, make=make: make())
