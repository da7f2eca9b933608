"""Texts in the attributes of an HDF5 object, read from the file's bytes.

The HDF5 library trusts the lengths that a damaged file states for its texts, and then crashes or never returns
(seen with 1.14.6), so it is not asked for them. Layout: the HDF5 File Format Specification, version 3, chapters
IV.A (object headers) and III.E (global heap).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..errors import CheckpointError
from .hdf5_trees import Structure

ATTRIBUTE, CONTINUATION, ATTRIBUTE_INFO = 0x0C, 0x10, 0x15  # message types
TEXT, VARIABLE = 3, 9  # classes of number types: text of one length, and of any length
UNDEFINED = (1 << 64) - 1
MAX_CHUNKS = 64  # pieces of one object's header
MAX_MESSAGES = 1 << 20  # in all headers of a file
MAX_TEXTS = 65536  # in one attribute
MAX_CHARACTERS = 1 << 28  # bytes of all texts read from a file; many entries may point at one long text

Texts = str | list[str]


@dataclass(slots=True)
class Reader:
    """Reads attributes out of one file's bytes, and counts, so that no file keeps it busy or fills the memory."""

    data: bytes
    given: int = 0
    messages: int = 0
    heaps: dict[int, dict[int, tuple[int, int]]] = field(default_factory=dict)  # address -> entry -> (start, size)
    structure: Structure = field(init=False)

    def __post_init__(self) -> None:
        self.structure = Structure(self.data)

    def attributes(self, address: int, wanted: frozenset[str]) -> dict[str, Texts]:
        """The wanted texts of the object whose header is at `address`; names may end in a number.

        CheckpointError if the library should not be let at the object.
        """
        found: dict[str, Texts] = {}
        for kind, flags, start, size in self._messages(address):
            self.structure.check(kind, flags, start, size)
            if kind == ATTRIBUTE_INFO:
                ordered = self._bytes(start, 2)[1] & 1
                if self._number(start + 2 + (2 if ordered else 0), 8) != UNDEFINED:
                    raise damaged("keeps attributes in a way no Keras does")
            elif kind == ATTRIBUTE:
                self._attribute(start, start + size, wanted, found)
        return found

    def _bytes(self, start: int, size: int) -> bytes:
        if start < 0 or size < 0 or start + size > len(self.data):
            raise damaged("is damaged or truncated in its attributes")
        return self.data[start : start + size]

    def _number(self, start: int, size: int) -> int:
        return int.from_bytes(self._bytes(start, size), "little")

    def _messages(self, address: int) -> Iterator[tuple[int, int, int, int]]:
        """(type, flags, start, size) of every message in an object's header, first version or second."""
        second = self._bytes(address, 4) == b"OHDR"
        if second:
            flags = self._number(address + 5, 1)
            start = address + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
            width = 1 << (flags & 3)
            chunks = [(start + width, self._number(start, width))]
            head = 6 if flags & 4 else 4
        else:
            chunks, head = [(address + 16, self._number(address + 8, 4))], 8
        for number, (start, size) in enumerate(chunks):
            if number >= MAX_CHUNKS:
                raise damaged("is damaged in its attributes")
            self._bytes(start, size)
            place, end = start, start + size
            while place + head <= end:
                kind = self._number(place, 1 if second else 2)
                length = self._number(place + (1 if second else 2), 2)
                marks = self._number(place + (3 if second else 4), 1)
                place += head
                self.messages += 1
                if place + length > end or self.messages > MAX_MESSAGES:
                    raise damaged("is damaged in its attributes")
                if kind == CONTINUATION:
                    more, size_of_more = self._number(place, 8), self._number(place + 8, 8)
                    # second version: a signature before the messages, a checksum after them
                    chunks.append((more + 4, size_of_more - 8) if second else (more, size_of_more))
                yield kind, marks, place, length
                place += length

    def _attribute(self, place: int, end: int, wanted: frozenset[str], found: dict[str, Texts]) -> None:
        version, flags = self._bytes(place, 2)
        name_size, type_size, space_size = struct.unpack("<3H", self._bytes(place + 2, 6))
        place += 9 if version == 3 else 8
        step = 8 if version == 1 else 1  # the first version pads every part to eight bytes
        name = self._bytes(place, name_size).split(b"\0")[0].decode("utf-8", "replace")
        if name.rstrip("0123456789") not in wanted:
            return
        if version not in (1, 2, 3) or (version > 1 and flags & 3) or type_size < 8 or space_size < 4:
            raise damaged(f"keeps the attribute {name!r} in a way no Keras does")
        place += -(-name_size // step) * step
        kind, bits, width = self._number(place, 1) & 15, self._number(place + 1, 1) & 15, self._number(place + 4, 4)
        place += -(-type_size // step) * step
        shape = self._shape(place, space_size, name)
        place += -(-space_size // step) * step
        count = 1
        for dimension in shape or ():
            count = min(count * dimension, MAX_TEXTS + 1)
        if shape is not None and count == 0:
            found[name] = []
            return
        if not (kind == TEXT or (kind == VARIABLE and bits == 1)):
            raise damaged(f"holds no text in the attribute {name!r}; it is not a Keras file")
        each = width if kind == TEXT else 16
        if count > MAX_TEXTS or place + count * each > end:
            raise damaged(f"holds too many texts in the attribute {name!r}, or is damaged there")
        pieces = (self._bytes(place + n * each, each) for n in range(count))
        texts = [self._text(piece if kind == TEXT else self._from_heap(piece), name) for piece in pieces]
        found[name] = texts[0] if shape is None else texts

    def _shape(self, place: int, size: int, name: str) -> tuple[int, ...] | None:
        """The dimensions of an attribute; None for a single value."""
        version, rank, _, kind = self._bytes(place, 4)
        if version not in (1, 2) or size < (8 if version == 1 else 4) + 8 * rank:
            raise damaged(f"is damaged in the attribute {name!r}")
        if version == 2 and kind == 2:
            return (0,)
        start = place + (8 if version == 1 else 4)
        return tuple(self._number(start + 8 * n, 8) for n in range(rank)) if rank else None

    def _from_heap(self, piece: bytes) -> bytes:
        """A text of any length: (bytes, address of its heap, entry there)."""
        length, address, entry = struct.unpack("<IQI", piece)
        if length == 0:
            return b""
        if address not in self.heaps:
            self.heaps[address] = dict(self._entries(address))
        start, size = self.heaps[address].get(entry, (0, 0))
        if length > size:
            raise damaged("is damaged in its texts")
        return self._bytes(start, length)

    def _entries(self, address: int) -> Iterator[tuple[int, tuple[int, int]]]:
        if self._bytes(address, 5) != b"GCOL\x01":
            raise damaged("is damaged in its texts")
        place, end = address + 16, address + self._number(address + 8, 8)
        self._bytes(address, end - address)
        while place + 16 <= end:
            entry, size = struct.unpack("<H6xQ", self._bytes(place, 16))
            if entry == 0:  # the free space at the end
                return
            if place + 16 + size > end:
                raise damaged("is damaged in its texts")
            yield entry, (place + 16, size)
            place += 16 + (size + 7) // 8 * 8

    def _text(self, value: bytes, name: str) -> str:
        self.given += len(value)
        if self.given > MAX_CHARACTERS:
            raise damaged("holds too many texts; it is not a Keras file")
        try:
            return value.rstrip(b"\0").decode()
        except UnicodeDecodeError:
            raise damaged(f"holds no UTF-8 text in the attribute {name!r}") from None


def damaged(what: str) -> CheckpointError:
    return CheckpointError(f"the HDF5 file {what}; copy or save it again")
