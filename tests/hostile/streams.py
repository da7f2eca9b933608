"""Files of torch.save before 1.6, cut and lied about at every place of interest."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from cases import GOLDEN, Case
from pickle_bytes import LINEAR, legacy, table, tensor

WORDS = "truncated|damaged|stream|pickle|storage|bytes follow|torch.save|no checkpoint|list of"


def cases() -> Iterator[Case]:
    good = (GOLDEN / "torch" / "activity_legacy.pt").read_bytes()
    ends = [k + 1 for k in range(len(good)) if good[k : k + 1] == b"." and good[k + 1 : k + 2] == b"\x80"]
    tail = len(good) - good[::-1].index(b"e", 500)  # storages of the last tensor
    for name, size in {
        "after_the_magic": ends[0],
        "inside_the_magic": ends[0] - 3,
        "after_the_protocol": ends[1],
        "after_the_system": ends[2],
        "inside_the_pickle": (ends[2] + ends[3]) // 2,
        "after_the_pickle": ends[3],
        "inside_the_keys": ends[3] + 20,
        "inside_a_storage": tail,
        "before_the_last_byte": len(good) - 1,
    }.items():
        yield Case(f"legacy_cut_{name}.pt", WORDS, lambda y, size=size: good[:size], head="relu,softmax")
    two = table({"a.weight": tensor((1, 2), (2, 1), 2), "b.weight": tensor((1, 1), (1, 1), 1, key="1")})
    count = struct.pack("<q", 2) + bytes(8)
    built = {
        "bytes_follow": legacy(LINEAR) + b"more",
        "storage_count_negative": legacy(LINEAR).replace(count, struct.pack("<q", -2) + bytes(8)),
        "storage_count_enormous": legacy(LINEAR).replace(count, struct.pack("<Q", 1 << 62) + bytes(8)),
        "storage_too_small": legacy(LINEAR, {"0": bytes(4)}),
        "storage_missing": legacy(two, {"0": bytes(8)}),
        "storage_nobody_names": legacy(LINEAR, {"0": bytes(8), "1": bytes(8)}),
        "keys_not_a_list": legacy(LINEAR).replace(b"](", b"}(", 1),
        "keys_twice": legacy(LINEAR).replace(b"](X\x01\0\0\x000e", b"](X\x01\0\0\x000X\x01\0\0\x000e"),
        "magic_alone": legacy(LINEAR)[:15],
        "protocol_1002": legacy(LINEAR).replace(b"\xe9\x03", b"\xea\x03", 1),
    }
    for name, data in built.items():
        yield Case(f"legacy_{name}.pt", WORDS, lambda y, data=data: data)
