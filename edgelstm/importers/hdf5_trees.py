"""The structure of an HDF5 object, checked in the file's bytes before the library is let at it.

The library trusts a damaged file that a tree is one and that a list ends: it recurses until the process dies, fills
the memory, or lets a packed block inflate as far as it likes (seen with 1.14.6). It also loads code where a file asks
for a filter it does not have. Layout: the HDF5 File Format Specification, version 3, chapters III.A (trees), III.D
(local heaps) and IV.A (messages of an object).
"""

from __future__ import annotations

from ..errors import CheckpointError

LINK_INFO, DATATYPE, LAYOUT, FILTERS, SYMBOL_TABLE = 0x02, 0x03, 0x08, 0x0B, 0x11  # message types
SHARED = 2  # flag of a message that stands elsewhere
PLAIN = (0, 1, 2, 3, 4, 5)  # classes of types without types inside: numbers, times, texts, bits, opaque
DEFLATE, SHUFFLE, CHECKSUM = 1, 2, 3  # the filters that are read
UNDEFINED = (1 << 64) - 1
MAX_NODES = 1 << 17  # of all trees in a file
MAX_NODE = 4096  # bytes of a node of the later kind of tree
_CACHED, _CHUNKED, _SECOND_TREE = 1, 2, 5


class Structure:
    """Checks the messages of one file's objects; counts, so that no file keeps it busy."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.nodes: set[int] = set()
        self.roots: set[tuple[int, int, int]] = set()
        self.heaps: set[int] = set()

    def root(self) -> int:
        """The address of the root's header, by the file's first block."""
        if self._number(8, 1) < 2:  # version; the later ones are the library's latest
            entry = 56 if self._number(8, 1) == 0 else 60
            base, driver, address = self._number(entry - 32, 8), self._number(entry - 8, 8), self._number(entry + 8, 8)
            if self._number(entry + 16, 4) == _CACHED:  # where the root's tree is, once more
                self.check(SYMBOL_TABLE, 0, entry + 24, 16)
        else:
            base, driver, address = (self._number(place, 8) for place in (12, 20, 36))
        if base != 0 or driver != UNDEFINED:
            raise _refused("starts in a way no Keras writes")
        return address

    def check(self, kind: int, flags: int, start: int, size: int) -> None:
        """CheckpointError for a message that the library would follow to harm; `start`: where its content stands."""
        if kind in (DATATYPE, LAYOUT, FILTERS, SYMBOL_TABLE) and flags & SHARED:
            raise _refused("holds a named type, which no Keras writes")
        if kind == LINK_INFO:
            marks = self._number(start + 1, 1)
            place = start + 2 + (8 if marks & 1 else 0)
            if self._number(place, 8) != UNDEFINED:  # a heap of links, found by name and perhaps by order
                for index in range(2 if marks & 2 else 1):
                    self._second_tree(self._number(place + 8 + 8 * index, 8))
        elif kind == SYMBOL_TABLE:
            self._heap(self._number(start + 8, 8))
            self._tree(self._number(start, 8), 0, 8)
        elif kind == DATATYPE and self._number(start, 1) & 15 not in PLAIN:
            raise _refused("holds a tensor that does not hold plain numbers")
        elif kind == LAYOUT:
            self._layout(start)
        elif kind == FILTERS:
            self._filters(start, size)

    def _bytes(self, start: int, size: int) -> bytes:
        if start < 0 or start + size > len(self.data):
            raise _damaged()
        return self.data[start : start + size]

    def _number(self, start: int, size: int) -> int:
        return int.from_bytes(self._bytes(start, size), "little")

    def _layout(self, start: int) -> None:
        """Where a tensor's values lie; those in chunks lie in a tree."""
        version = self._number(start, 1)
        if version in (1, 2):
            rank, kind, address = self._number(start + 1, 1), self._number(start + 2, 1), start + 8
        elif version == 3:
            kind, rank, address = self._number(start + 1, 1), self._number(start + 2, 1), start + 3
        else:  # the library's latest, whose trees have another form
            if self._number(start + 1, 1) == _CHUNKED:
                rank, width = self._number(start + 3, 1), self._number(start + 4, 1)
                if self._number(start + 5 + rank * width, 1) == _SECOND_TREE:
                    raise _refused("keeps a tensor in a way no Keras does")
            return
        if kind == _CHUNKED and (root := self._number(address, 8)) != UNDEFINED:
            self._tree(root, 1, 8 + 8 * rank)

    def _tree(self, root: int, kind: int, key: int) -> None:
        """Walks a tree of groups (kind 0) or chunks (1), whose keys have so many bytes."""
        if (root, kind, key) in self.roots:
            return
        self.roots.add((root, kind, key))
        level = self._number(root + 5, 1)
        pending = [(root, level)]
        while pending:
            node, level = pending.pop()
            if node in self.nodes or len(self.nodes) > MAX_NODES:
                raise _damaged()
            self.nodes.add(node)
            if self._bytes(node, 6) != b"TREE" + bytes((kind, level)):
                raise _damaged()
            step = key + 8
            count = self._number(node + 6, 2)
            self._bytes(node + 24, count * step + key)
            for place in range(node + 24 + key, node + 24 + count * step + 1, step):
                child = self._number(place, 8)
                if level:
                    pending.append((child, level - 1))
                elif kind == 0 and self._bytes(child, 5) != b"SNOD\x01":
                    raise _damaged()

    def _second_tree(self, address: int) -> None:
        """A tree of the later kind is left to the library where it is too flat to loop: a thousand links or so."""
        if self._bytes(address, 4) != b"BTHD":
            raise _damaged()
        if self._number(address + 6, 4) > MAX_NODE or self._number(address + 12, 2) > 1:
            raise _refused("keeps the members of a group in a way no Keras does")

    def _heap(self, address: int) -> None:
        """Walks the list of free places in a heap of names."""
        if address in self.heaps:
            return
        self.heaps.add(address)
        if self._bytes(address, 4) != b"HEAP":
            raise _damaged()
        size, place, start = (self._number(address + 8 * n, 8) for n in (1, 2, 3))
        self._bytes(start, size)
        seen = 0
        while place not in (1, UNDEFINED):  # 1 ends the list
            seen += 1
            if place + 16 > size or seen > size // 16:
                raise _damaged()
            place = self._number(start + place, 8)

    def _filters(self, start: int, size: int) -> None:
        """Only one deflate, and none that would have to be loaded."""
        version, count = self._number(start, 1), self._number(start + 1, 1)
        place, found = start + (8 if version == 1 else 2), []
        for _ in range(count):
            number = self._number(place, 2)
            named = version == 1 or number >= 256
            name = self._number(place + 2, 2) if named else 0
            values = self._number(place + (6 if named else 4), 2)
            place += (8 if named else 6) + (-(-name // 8) * 8 if version == 1 else name)
            place += 4 * (values + (values % 2 if version == 1 else 0))
            found.append(number)
        if place > start + size or len(set(found)) != count or not set(found) <= {DEFLATE, SHUFFLE, CHECKSUM}:
            raise _refused("packs a tensor with filters that are not read; only gzip, shuffle and fletcher32 are")


def _damaged() -> CheckpointError:
    return CheckpointError("the HDF5 file is damaged in its structure; copy or save it again")


def _refused(what: str) -> CheckpointError:
    return CheckpointError(f"the HDF5 file {what}; refused")
