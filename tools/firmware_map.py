"""What a linked program is made of: each piece of code and constants, its place, its size and the file it came from."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from test_firmware import checked

PIECE = re.compile(r"^ (\.(?:text|rodata|data|ARM\.ex)\S*)\s+0x([0-9a-f]+)\s+0x([0-9a-f]+) (.+)$")
RELOCATION = re.compile(r"^[0-9a-f]+ \S+ +(\.rodata\S*)$")
OWN = "count.elf"  # how the objects of what was linked with tools/count_firmware.c begin
HARNESS = ("count_firmware.c", "startup.c", "riscv.c")


@dataclass(frozen=True, slots=True)
class Piece:
    section: str
    address: int
    size: int
    object: Path

    @property
    def source(self) -> str:
        """The file of the core it came from, or "" of a library."""
        name = self.object.name.removeprefix(f"{OWN}-").removesuffix(".o")
        return f"{name}.c" if self.object.name.startswith(f"{OWN}-") else ""


def pieces(map_file: Path) -> list[Piece]:
    """All that was linked and takes room, by address."""
    text = map_file.read_text().split("Linker script and memory map", 1)[1]
    text = re.sub(r"^( \.\S+)\n +", r"\1 ", text, flags=re.MULTILINE)  # long names stand alone on their line
    found = []
    for line in text.splitlines():
        match = PIECE.match(line)
        if match and int(match[2], 16) and int(match[3], 16):
            found.append(Piece(match[1], int(match[2], 16), int(match[3], 16), Path(match[4])))
    return sorted(found, key=lambda piece: piece.address)


def by_source(linked: Iterable[Piece]) -> dict[str, int]:
    """Bytes of each file; of the libraries under ""."""
    sizes: dict[str, int] = {}
    for piece in linked:
        if piece.source in HARNESS:
            continue
        sizes[piece.source] = sizes.get(piece.source, 0) + piece.size
    return sizes


def ran(linked: list[Piece], addresses: Iterable[int], objdump: str, also: Iterable[str] = ()) -> dict[str, int]:
    """Bytes of the functions that have code at these addresses, of the constants they name, and of other sections, each
    by file and section."""
    starts = [piece.address for piece in linked]
    functions = {linked[bisect_right(starts, address & ~1) - 1] for address in addresses}
    found = {piece for piece in functions if piece.source not in HARNESS}
    for path in {piece.object for piece in found if piece.source}:
        own = {piece.section for piece in functions if piece.object == path}
        named = {name for section, name in _constants(path, objdump) if section in own}
        found |= {piece for piece in linked if piece.object == path and piece.section in named}
    found |= {piece for piece in linked if piece.section in also}
    return {f"{p.source or p.object.name} {p.section}": p.size for p in sorted(found, key=lambda p: p.address)}


def _constants(path: Path, objdump: str) -> Iterator[tuple[str, str]]:
    """(section, section of constants that it names) of an object."""
    section = ""
    for line in checked([objdump, "-r", path]).splitlines():
        if line.startswith("RELOCATION RECORDS FOR"):
            section = line.split("[")[1].split("]")[0]
        elif match := RELOCATION.match(line):
            yield section, re.sub(r"[+-]0x[0-9a-f]+$", "", match[1])
