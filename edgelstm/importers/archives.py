"""The directory of a zip archive from a stranger, read within bounds and refused where it cannot be true."""

from __future__ import annotations

import zipfile
from pathlib import Path

from ..errors import CheckpointError

MAX_MEMBERS = 65536
_ENTRY = b"PK\x01\x02"  # starts every entry of the directory
_HEADER = 30  # bytes before a member's name and data, at least
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BLOCK = 1 << 20


def names(path: Path) -> list[str]:
    """The members' names. CheckpointError if the archive is damaged, or a member lies nowhere or inside another."""
    if _entries(path) > MAX_MEMBERS:  # zipfile makes an object of each, wanted or not
        raise CheckpointError(f"the zip archive holds more than {MAX_MEMBERS} members, as no checkpoint does; refused")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            end = archive.start_dir
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RecursionError):
        raise CheckpointError("the zip archive is damaged or truncated; copy or save it again") from None
    for member in members:
        if member.compress_type not in _METHODS or member.flag_bits & 1:
            raise CheckpointError("the zip archive is encrypted or packed as no framework does; save the model again")
    for member in sorted(members, key=lambda member: member.header_offset, reverse=True):
        if member.header_offset + _HEADER + member.compress_size > end:
            raise CheckpointError("the zip archive's members overlap; it is damaged, or made to deceive")
        end = member.header_offset
    return [member.filename for member in members]


def _entries(path: Path) -> int:
    """How many entries a directory in the file can have at most."""
    count, tail = 0, b""
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            count += (tail + block).count(_ENTRY)
            tail = block[-(len(_ENTRY) - 1) :]
    return count
