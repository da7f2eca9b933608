"""What a hostile file is: its bytes, the door it comes by, and the words its error must hold."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

GOLDEN = Path(__file__).parents[1] / "golden"


@dataclass(frozen=True, slots=True)
class Yard:
    """The places hostile files aim at."""

    files: Path  # where they lie
    secrets: Path  # what they must not open: secret.bin, other.h5, weights.bin, and a pipe that blocks whoever opens it
    ran: Path  # what code would create

    @classmethod
    def of(cls, folder: Path) -> Yard:
        return cls(folder / "files", folder / "secrets", folder / "ran")


@dataclass(frozen=True, slots=True)
class Case:
    """A hostile file and what must be said of it."""

    name: str  # also the file's, with its suffix
    words: str | None  # a regular expression that the error must hold; None if the file may be read, to no harm
    make: Callable[[Yard], bytes]
    weights: Path | None = None  # then the file is an architecture, and this its checkpoint
    door: str = "read"  # or "convert", which also packs the model; "image", "meta", "samples"
    head: str | None = None  # for state dicts
    slow: bool = False  # takes seconds to make or to refuse


def zipped(members: Mapping[str, bytes], kind: int = zipfile.ZIP_STORED) -> bytes:
    """An honest archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", kind) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return out.getvalue()


def members(data: bytes) -> dict[str, bytes]:
    """An archive's members."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {name: file.read(name) for name in file.namelist()}
