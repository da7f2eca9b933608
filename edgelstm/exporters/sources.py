"""The C core as source files, which travel in the wheel for firmware to be made of."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent


def core() -> Path:
    """The folder of the C core: the one in the wheel, with the files a firmware may need, or the clone's own."""
    installed = PACKAGE / "src_c"
    return installed if installed.is_dir() else PACKAGE.parent / "src_c"
