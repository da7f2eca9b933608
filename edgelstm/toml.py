"""TOML files that people write: read within bounds, every key taken once, none left over."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from .errors import InputError

_SIZE_LIMIT = 1 << 20  # bytes
_DOTS_LIMIT = 200  # of dotted keys in a line; tomllib takes time and memory by the square of a key's parts
_DOT = re.compile(r"(?<!\d)\.|\.(?!\d)|\.(?=\d+\.)")  # a dot that is not a number's
_NUMBER_LIMIT = 1 << 40
_WANTED: dict[Any, str] = {str: "text", int: "a whole number of usual size", list: "a list", dict: "a table"}
_WANTED |= {bool: "true or false", (str, list): "a name or a list of names"}


def load(path: Path) -> dict[str, Any]:
    """The file's tables. InputError if it cannot be read or is not TOML."""
    try:
        if path.stat().st_size > _SIZE_LIMIT:
            raise InputError(f"larger than {_SIZE_LIMIT} bytes")
        text = path.read_text("utf-8")
        if any(len(_DOT.findall(line)) > _DOTS_LIMIT for line in text.split("\n")):
            raise InputError(f"not valid here: a line of more than {_DOTS_LIMIT} dotted names")
        return tomllib.loads(text)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, or a number of thousands of digits
        if isinstance(error, InputError):
            raise
        raise InputError(f"not valid TOML: {error}") from None


def take(table: dict[str, Any], key: str, kind: Any, where: str, required: bool = False) -> Any:
    """The value of a key, removed from the table; None if it is absent and not required."""
    if key not in table:
        if required:
            raise InputError(f"{where} lacks {key}")
        return None
    value = table.pop(key)
    too_large = isinstance(value, int) and abs(value) > _NUMBER_LIMIT
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool) or too_large:
        raise InputError(f"{where}: {key} is not {_WANTED.get(kind, 'a number')}")
    return value


def nothing_left(table: dict[str, Any], where: str) -> None:
    """InputError if a key was not taken."""
    if table:
        raise InputError(f"{where}: unknown key {next(iter(table))!r}")
