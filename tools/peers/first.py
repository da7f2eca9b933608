"""One step of a peer's first form, for footprint.py: python -m peers.first PEER FOLDER."""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from pathlib import Path

import numpy as np

from . import find, nets


def main() -> None:
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not stand before the answer
    peer, folder = sys.argv[1], Path(sys.argv[2])
    module = importlib.import_module(f"peers.{find(peer).module}")
    form = module.FORMS[0].name
    steps = module.load(peer, folder, form, nets.STREAM)
    y = steps.step(np.zeros(steps.shape, np.float32)).item(0)
    # of this program alone; getrusage would count the one that started it
    peak = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]
    print(json.dumps({"form": form, "memory": int(peak) * 1024 / 1e6, "y": y}), file=pipe, flush=True)


if __name__ == "__main__":
    main()
