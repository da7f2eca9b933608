"""Writes hostile files into FOLDER/files, and beside it what they would like to open.

PYTHONPATH=. python tests/hostile/make.py FOLDER [NAME...]
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import h5py
import numpy as np
from cases import Yard
from catalogue import CASES
from onnx_files import lstm
from tflite_files import good


def main() -> int:
    folder, *names = sys.argv[1:]
    yard = Yard.of(Path(folder))
    (yard.secrets / "plugins").mkdir(parents=True)
    yard.files.mkdir()
    (yard.secrets / "plugins" / "libevil.so").write_bytes(bytes(100))
    (yard.secrets / "secret.bin").write_bytes(bytes(4096))
    os.mkfifo(yard.secrets / "pipe")
    (yard.secrets / "good.onnx").write_bytes(lstm().SerializeToString())
    (yard.secrets / "good.tflite").write_bytes(good())
    np.savez(yard.secrets / "good.npz", a=np.ones((2, 2)))
    with h5py.File(yard.secrets / "other.h5", "w") as file:
        file["d"] = np.ones((8, 8), np.float32)
    for name in names or CASES:
        (yard.files / name).write_bytes(CASES[name].make(yard))
    return 0


if __name__ == "__main__":
    sys.exit(main())
