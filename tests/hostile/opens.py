"""What anybody opens or changes in a folder, libraries in C included: Linux tells by inotify."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

_MODIFY, _WRITTEN, _OPEN, _MOVED, _CREATE, _DELETE = 0x2, 0x8, 0x20, 0xC0, 0x100, 0x200
_IS_FOLDER = 0x40000000
_ALL = _MODIFY | _WRITTEN | _OPEN | _MOVED | _CREATE | _DELETE


class Watcher:
    """Watches folders, or single files; `seen` tells what happened since it was asked before."""

    def __init__(self, *places: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.handle = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.handle < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self.places: dict[int, Path] = {}
        for place in places:
            number = libc.inotify_add_watch(self.handle, os.fsencode(place), _ALL)
            if number < 0:
                raise OSError(ctypes.get_errno(), f"inotify_add_watch {place}")
            self.places[number] = place

    def seen(self) -> list[tuple[str, Path]]:
        """("opened" or "changed", path) of every event."""
        found = []
        while True:
            try:
                data = os.read(self.handle, 1 << 16)
            except BlockingIOError:
                return found
            at = 0
            while at < len(data):
                number, mask, _, size = struct.unpack_from("iIII", data, at)
                name = os.fsdecode(data[at + 16 : at + 16 + size].rstrip(b"\0"))
                at += 16 + size
                what = "opened" if mask & _OPEN else "changed"
                found.append((what, self.places[number] / name if name else self.places[number]))
