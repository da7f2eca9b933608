"""Writes docs/images/validation.png: the validation report of the demo's model on its recording, in a real browser.

Needs the frameworks of the parity suite and a Chromium.  python tools/make_report_picture.py [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from edgelstm import importers, meta_file, recording
from edgelstm.demo import CHECKPOINT, META

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from browser import Browser, installed  # noqa: E402

TARGET = ROOT / "docs" / "images" / "validation.png"
WIDTH, HEIGHT = 1000, 1060  # CSS pixels: what stands at the head of the page
WINDOWS, SAMPLES = 100, 64


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--keep", type=Path, help="a folder for the report and what it is made of")
    keep = options.parse_args().keep
    program = installed()
    if program is None:
        print("no Chromium is installed")
        return 1
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        page = report(folder)
        with Browser(program) as browser:
            browser.open(page, WIDTH, HEIGHT)
            TARGET.write_bytes(browser.picture(whole=False))
    print(f"{TARGET.relative_to(ROOT)}: {TARGET.stat().st_size:,} bytes")
    return 0


def report(folder: Path) -> Path:
    """The page that the command line writes, on forecasts of the recording's next value."""
    data = recording.load()
    model = meta_file.describe(importers.read(CHECKPOINT), META)
    window = model.meta.window
    fitted = np.linspace(data.fit.start + window, data.fit.stop - 1, SAMPLES).astype(int)
    scored = np.flatnonzero(data.scored)
    judged = scored[scored >= window][:: len(scored) // WINDOWS][:WINDOWS]
    rows = np.lib.stride_tricks.sliding_window_view(data.values, window)[..., None]
    np.save(folder / "samples.npy", rows[fitted - window].astype(np.float32))
    np.save(folder / "windows.npy", rows[judged - window].astype(np.float32))
    np.save(folder / "next.npy", data.values[judged, None].astype(np.float32))
    (folder / CHECKPOINT.name).write_bytes(CHECKPOINT.read_bytes())
    (folder / META.name).write_bytes(META.read_bytes())
    run = [sys.executable, "-c", "from edgelstm.cli import main; main(prog_name='edgelstm')"]
    commands = (
        f"convert {CHECKPOINT.name} -o machine_temp.elstm --int8 --samples samples.npy --raw --meta {META.name}",
        f"validate machine_temp.elstm --reference {CHECKPOINT.name} --data windows.npy --labels next.npy --raw "
        "--converter --html report.html",
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for command in commands:
        subprocess.run([*run, *command.split()], cwd=folder, env=environment, check=True)
    return folder / "report.html"


if __name__ == "__main__":
    sys.exit(main())
