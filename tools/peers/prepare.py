"""Makes the files of some cases with one library, where they are not there: python -m peers.prepare MODULE FOLDER..."""

from __future__ import annotations

import hashlib
import importlib
import sys
from pathlib import Path

import edgelstm


def main() -> None:
    name, *folders = sys.argv[1:]
    digest = sources(name)
    for folder in map(Path, folders):
        made = folder / f"{name}.made"
        if made.exists() and made.read_text("utf-8") == digest:
            continue
        importlib.import_module(f"peers.{name}").make(folder)
        made.write_text(digest, "utf-8")


def sources(name: str) -> str:
    """A digest of all source that decides what the files hold, other packages left out."""
    here = [Path(__file__).with_name(f"{module}.py") for module in (name, "nets", "cases", "numpy_steps")]
    ours = sorted(Path(edgelstm.__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in [*here, *ours])).hexdigest()


if __name__ == "__main__":
    main()
