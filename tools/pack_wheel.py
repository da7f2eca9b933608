"""Packs wheels smaller, where they lie: the same files, deflated by zopfli, which takes 3 % less than zlib.

python tools/pack_wheel.py dist/*.whl        # pip install zopflipy
"""

from __future__ import annotations

import argparse
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile


def pack(path: Path) -> None:
    import zopfli  # only who packs needs it

    smaller = path.with_suffix(".smaller")
    with ZipFile(path) as archive, zopfli.ZipFile(smaller, "w", compression=ZIP_DEFLATED) as packed:
        for entry in archive.infolist():
            packed.writestr(entry, archive.read(entry), compress_type=ZIP_DEFLATED)
    smaller.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheels", nargs="+", type=Path)
    for path in parser.parse_args().wheels:
        before = path.stat().st_size
        pack(path)
        print(f"{path.name}: {before:,} bytes, now {path.stat().st_size:,}")


if __name__ == "__main__":
    main()
