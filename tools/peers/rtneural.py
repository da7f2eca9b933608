"""RTNeural's layer for sizes known to the compiler, called in C++; its tree is named by RTNEURAL."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import numpy as np
from bench_step import rtneural_libraries

from . import nets

FORMS = tuple(nets.Form(f"float {backend}", False, (nets.CALL,)) for backend in ("xsimd", "eigen"))
VARIABLE = "RTNEURAL"


def version(tree: Path) -> str:
    """Its CMakeLists.txt's, and the commit where git knows it."""
    found = re.search(r"project\(RTNeural VERSION ([\d.]+)", (tree / "CMakeLists.txt").read_text("utf-8"))
    said = subprocess.run(["git", "-C", str(tree), "log", "-1", "--format=%h"], capture_output=True, text=True)
    commit = f" ({said.stdout.strip()})" if (tree / ".git").exists() and said.returncode == 0 else ""
    return (found[1] if found else "of unknown version") + commit


def load(peer: str, folder: Path, form: str, mode: str) -> nets.Call:
    if VARIABLE not in os.environ:
        raise RuntimeError("no --rtneural was given")
    library = rtneural_libraries(Path(os.environ[VARIABLE]))[form.split()[1]]
    net, x = nets.read(folder), np.load(folder / "x.npy")
    layer = net.layers[0]
    handle = library.rtneural_open(layer.inputs, layer.units, *(a.ctypes.data for a in layer), x.ctypes.data)
    if not handle or len(net.layers) > 1:
        raise RuntimeError("tools/bench_rtneural.cpp has no such net")
    shape = len(x), layer.units

    def answers(xs: np.ndarray) -> np.ndarray:
        return np.ctypeslib.as_array(library.rtneural_answers(handle), shape).copy()

    return nets.Call(answers, lambda steps: library.rtneural_steps(handle, steps))
