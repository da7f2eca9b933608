"""Files written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import InputError


def write_whole(path: str | os.PathLike[str], data: bytes | memoryview) -> None:
    """Write a file under another name beside its place, then put it there; a link's target is replaced, not the link.

    InputError if that is not possible, or if the path is a directory, a device or a pipe.
    """
    target, beside = _places(path)
    try:
        with beside.open("xb") as file:
            try:
                file.write(data)
                file.close()  # a full disk may show only now
                os.replace(beside, target)
            except BaseException:
                beside.unlink()
                raise
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def check_place(path: str | os.PathLike[str]) -> None:
    """InputError if `write_whole` could put no file there, told before the work whose result it is to hold."""
    _, beside = _places(path)
    try:
        beside.open("xb").close()
        beside.unlink()
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def _places(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Where a file goes in the end, and a name beside that to write it under."""
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise InputError(f"{path}: cannot be written: not a regular file")
    return target, target.with_name(f".{target.name}.{os.urandom(4).hex()}")
