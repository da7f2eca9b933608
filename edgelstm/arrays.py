"""Arrays in files: .npy for one, .npz by name for several. Nothing in them is ever unpickled."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError
from .files import write_whole


def load(path: str | os.PathLike[str], names: tuple[str, ...]) -> Any:
    """One array for one name, else a tuple of arrays in the names' order from a .npz.

    InputError if the file cannot be read, holds objects, or lacks a name.
    """
    file = Path(path)
    try:
        loaded = np.load(file, allow_pickle=False)
        if not isinstance(loaded, np.ndarray):
            with loaded:
                return _named(file, loaded, names)
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, KeyError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(f"{file}: not an array that can be read: {reason}") from None
    if len(names) != 1:
        raise InputError(f"{file}: one array, but the model has {len(names)}: {', '.join(names)}; give a .npz")
    return loaded


def _named(file: Path, archive: Any, names: tuple[str, ...]) -> Any:
    found = list(archive.files)
    if len(names) == 1 and len(found) == 1:
        return archive[found[0]]
    if missing := [name for name in names if name not in found]:
        raise InputError(f"{file}: no array {missing[0]!r}; it holds {', '.join(found) or 'none'}")
    arrays = tuple(archive[name] for name in names)
    return arrays[0] if len(names) == 1 else arrays


def names(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The names of a .npz's arrays; none of any other file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(name.removesuffix(".npy") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError):
        return ()


def save(path: str | os.PathLike[str], values: Any, names: tuple[str, ...]) -> None:
    """One array as .npy, a tuple as .npz under the names. InputError if the file cannot be written."""
    file = io.BytesIO()
    if len(names) == 1:
        np.save(file, values, allow_pickle=False)
    else:
        np.savez(file, **dict(zip(names, values, strict=True)))
    write_whole(path, file.getbuffer())
