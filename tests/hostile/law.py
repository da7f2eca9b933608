"""The law for files from strangers, and what watches that it is kept.

A file is read or refused: with one EdgeLstmError, of one printable line, within SECONDS and MEMORY; no code runs,
nothing is opened but the file itself (and a declared architecture), nothing is written. docs/security.md explains it.
"""

from __future__ import annotations

import codecs
import contextlib
import encodings
import os
import pkgutil
import resource
import sys
import time
import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelstm.errors import EdgeLstmError

for _module in pkgutil.iter_modules(encodings.__path__):  # Python loads one where a text first names it
    with contextlib.suppress(LookupError, ImportError):
        codecs.lookup(_module.name)

SECONDS = 5.0  # of processor time; the machine may be busy with other work
MEMORY = 500 << 20  # bytes beyond what the process held before
LENGTH = 600  # characters of a message, after the file's own path

_PREFIXES = (
    "ctypes.",
    "ensurepip.",
    "fcntl.",
    "ftplib.",
    "glob.",
    "http.",
    "imaplib.",
    "marshal.",
    "mmap.",
    "nntplib.",
    "os.",
    "pathlib.",
    "pickle.",
    "poplib.",
    "pty.",
    "shutil.",
    "signal.",
    "smtplib.",
    "socket.",
    "sqlite3.",
    "subprocess.",
    "syslog.",
    "telnetlib.",
    "tempfile.",
    "urllib.",
    "webbrowser.",
    "winreg.",
)
_EVENTS = frozenset(("exec", "import", "setopencodehook", "sys.addaudithook", "builtins.input", "cpython.run_file"))
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(slots=True)
class _Watch:
    allowed: Collection[str]
    offences: list[str]


_watch: _Watch | None = None
_hooked = False


def _hook(event: str, args: tuple[Any, ...]) -> None:
    watch = _watch
    if watch is None:
        return
    if event == "open":
        path, _, flags = (*args, None, None)[:3]
        if isinstance(path, int):
            return
        name = os.fsdecode(path)
        if (isinstance(flags, int) and flags & _WRITING) or name not in watch.allowed:
            watch.offences.append(f"opened {name!r} with flags {flags}")
    elif event in _EVENTS or event.startswith(_PREFIXES):
        watch.offences.append(f"{event} {str(args)[:200]}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of reading one file."""

    message: str | None  # of the error; None if the file was read
    offences: tuple[str, ...]  # against the law
    place: str  # type of an exception that must not escape, and where it was raised
    seconds: float
    memory: int


def judge(action: Callable[[], object], allowed: Collection[str], path: str | None = None) -> Verdict:
    """Runs an action that reads a file and says how it kept the law. `path` is cut from the message."""
    global _watch, _hooked
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked = True
    offences: list[str] = []
    message, place = None, ""
    before, start = _forget_peak(), time.process_time()
    _watch = _Watch(allowed, offences)
    try:
        action()
    except EdgeLstmError as error:
        message = str(error)
    except Exception as error:
        _watch = None
        place = _place(error)
    finally:
        _watch = None
    seconds, memory = time.process_time() - start, _peak() - before
    if place:
        offences.append(f"{place} escaped")
    if message is not None:
        offences += faults(message, path)
    if seconds > SECONDS:
        offences.append(f"took {seconds:.1f} s of processor time")
    if memory > MEMORY:
        offences.append(f"took {memory >> 20} MB")
    return Verdict(message, tuple(offences), place, seconds, memory)


def faults(message: str, path: str | None = None) -> list[str]:
    """What is wrong with an error's text."""
    found = []
    if not message or not message.isprintable():
        found.append(f"the message is not one printable line: {message[:300]!r}")
    length = len(message) - (len(repr(path)) if path is not None and repr(path) in message else 0)
    if length > LENGTH:
        found.append(f"the message has {length} characters: {message[:300]!r}...")
    return found


def _place(error: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "edgelstm" in Path(f.filename).parts]
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    return f"{type(error).__name__} at {where} ({str(error)[:120]!r})"


def _forget_peak() -> int:
    """Bytes held now; the kernel's record of the most ever held starts anew, where it can."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    return _status("VmRSS:")


def _peak() -> int:
    return _status("VmHWM:") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _status(name: str) -> int:
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) << 10 for line in file if line.startswith(name))
    except (OSError, StopIteration):
        return 0
