"""The C core as source files, which travel in the wheel for firmware to be made of."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from ..costs import Costs
from ..errors import ExportError

PACKAGE = Path(__file__).resolve().parent.parent
ARCHIVE, CLONE = PACKAGE / "src_c.tar.bz2", PACKAGE.parent / "src_c"
BASE = ("activations.c", "cells.c", "clocks.c", "model.c", "rows.c", "runner.c")
FLOATS = ("activations_f32.c", "tfl8.c")  # beside those of a model with floats at its ports
MOVERS = ("reverse", "crop", "pad", "repeat", "split", "group", "transpose")
SHARED = {  # beside a layer's own file, by a word of its name
    "conv1d": ["windows.c"],
    "pool1d": ["windows.c"],
    "reduce": ["reduce.c"],
    "combine": ["combine.c"],
    "tfl8": ["combine.c"],
    "lstm_tfl8": ["kernels_scalar.c"],
    **{name: ["windows.c"] for name in MOVERS},
}
OWN = {"elstm_build.h"}  # written for each model
INCLUDE = re.compile(r'^#include "(\w+\.h)"', re.MULTILINE)
LAYER = re.compile(r"^const elstm_layer elstm_layer_(\w+) = ", re.MULTILINE)


def core() -> dict[str, str]:
    """The texts of the C core's files, by name: those in the wheel, all a firmware may need, or those of the clone."""
    if not ARCHIVE.exists():
        return {path.name: path.read_text("utf-8") for path in CLONE.glob("*.[ch]")}
    with tarfile.open(ARCHIVE) as archive:
        files = ((member.name, archive.extractfile(member)) for member in archive)
        return {name: file.read().decode() for name, file in files if file is not None}


_files = cache(core)


@cache
def _layers() -> dict[str, frozenset[str]]:
    """The layers that each file defines."""
    return {name: frozenset(LAYER.findall(text)) for name, text in _files().items()}


@cache
def _included(name: str) -> frozenset[str]:
    return frozenset(INCLUDE.findall(_files()[name])) - OWN


def needed(kinds: Iterable[str], kernels: Iterable[str], floats: bool) -> dict[str, str]:
    """The texts of the core's files for layers of these kinds and these kernel sets, by name."""
    files = _files()
    kinds = set(kinds)
    names = {*BASE, *(FLOATS if floats else ()), *(f"kernels_{name}.c" for name in kernels)}
    names |= {file for word, files in SHARED.items() if any(word in kind for kind in kinds) for file in files}
    found: set[str] = set()
    for name, layers in _layers().items():
        own = kinds & layers
        if own:
            names.add(name)
            found |= own
    if found != kinds:
        raise ExportError(f"the C sources hold no layer {', '.join(sorted(kinds - found))}; reinstall edgelstm")
    texts: dict[str, str] = {}
    while names:
        name = names.pop()
        texts[name] = files[name]
        names |= _included(name) - texts.keys()
    return dict(sorted(texts.items()))


def code_bytes(kinds: Iterable[str], counted: Costs, number_type: str) -> int | None:
    """Bytes of flash of these files and of the compiler's library on a CPU, as they were counted; None where one was
    not: on Linux."""
    table = counted.code.get(number_type)
    if table is None:
        return None
    kinds = set(kinds)
    needed_files = needed(kinds, [counted.kernels[number_type]], number_type != "s8")
    files = [name for name in needed_files if name.endswith(".c")]
    files += ["ops.c", "kernels.c"]
    if any(kind.startswith("gru") for kind in kinds):
        files = [f"{name} gru" if f"{name} gru" in table else name for name in files]
    if any(name not in table for name in files):
        return None
    return sum(table[name] for name in files) + table["library"]
