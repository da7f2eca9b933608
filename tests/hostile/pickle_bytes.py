"""Pickles and files of torch.save, byte by byte."""

from __future__ import annotations

import struct

from cases import zipped

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


def text(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def whole(value: int) -> bytes:
    raw = value.to_bytes(12, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(whole, values)) + b"t"


def storage(key: str, count: int, kind: str = "Float") -> bytes:
    named = f"ctorch\n{kind}Storage\n".encode()
    return b"(" + text("storage") + named + text(key) + text("cpu") + whole(count) + b"tQ"


def tensor(
    shape: tuple[int, ...], strides: tuple[int, ...], count: int, key: str = "0", offset: int = 0, kind: str = "Float"
) -> bytes:
    view = whole(offset) + numbers(shape) + numbers(strides) + b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage(key, count, kind) + view + b"tR"


def table(entries: dict[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in entries.items()) + b"u"


LINEAR = table({"weight": tensor((1, 2), (2, 1), 2)})
"""A state dict of one small tensor over storage 0."""


def archive(body: bytes, storages: dict[str, bytes] | None = None, **records: bytes) -> bytes:
    """The zip archive of torch.save, around the opcodes of a pickle."""
    found = {"net/data.pkl": b"\x80\x02" + body + b"."}
    found |= {f"net/data/{key}": content for key, content in (storages or {"0": bytes(8)}).items()}
    return zipped(found | {f"net/{name}": content for name, content in records.items()})


def legacy(body: bytes, storages: dict[str, bytes] | None = None, size: int = 4) -> bytes:
    """The stream of pickles before it; each storage as (count, bytes)."""
    blocks = storages if storages is not None else {"0": bytes(8)}
    system = table({"protocol_version": whole(PROTOCOL), "little_endian": b"\x88"})
    keys = b"](" + b"".join(map(text, blocks)) + b"e"
    parts = (
        whole(MAGIC).replace(b"\x8a\x0c", b"\x8a\x0a").replace(b"\0\0", b"", 1),
        whole(PROTOCOL),
        system,
        body,
        keys,
    )
    data = b"".join(b"\x80\x02" + part + b"." for part in parts)
    return data + b"".join(struct.pack("<q", len(block) // size) + block for block in blocks.values())
