"""What tests/c/test_answers wrote against tests/golden/answers.json: integers by their hash, floats within their bound.

answers.json holds, of every golden image, the SHA-256 of its bytes and the answers that the NumPy references give:
of s8 and tfl8 models the SHA-256 of all answers, one output after the other, of f32 models some rows in float64; and
whether it has single steps, whose answers are the same.
`make golden` writes it; this module reads it with Python's own modules alone.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from pathlib import Path
from typing import Any

ANSWERS = Path(__file__).parent / "golden" / "answers.json"
BOUND = 2e-6
"""Of f32 answers, times max(1, max|y|): docs/numerics.md."""


class Mismatch(Exception):
    """Answers that are not the committed ones; names image, kernel set and way."""


def expected() -> dict[str, dict[str, Any]]:
    """Of every golden image {"image", "answers", "steps"}: of an f32 image its answers are a list, an output each."""
    images: dict[str, dict[str, Any]] = json.loads(ANSWERS.read_text())
    return images


def kept_rows(rows: int) -> list[int]:
    """Rows of an output whose float64 values are committed: every 16th and the last."""
    return sorted({*range(0, rows, 16), rows - 1})


Records = dict[tuple[str, str, str], list[tuple[int, int, bytes]]]
"""By image, set and way: rows, width and bytes of each output."""


def _records(output: bytes) -> tuple[list[str], Records]:
    """The build's sets, and what they answer."""
    first, _, output = output.partition(b"\n")
    title, *sets = first.decode().split() or [""]
    if title != "sets" or not sets:
        raise Mismatch("the build does not say which kernel sets it has")
    found: Records = {}
    at = 0
    while at < len(output):
        end = output.index(b"\n", at)
        name, kernels, way, _, rows, width, size = output[at:end].decode().split()
        at = end + 1 + int(size)
        found.setdefault((name, kernels, way), []).append((int(rows), int(width), output[end + 1 : at]))
    return sets, found


def _float_error(outputs: list[tuple[int, int, bytes]], wanted: list[list[float]]) -> float:
    """The largest error over max(1, max|y|) of any output."""
    worst = 0.0
    for (rows, width, data), values in zip(outputs, wanted, strict=True):
        floats = array("f", data)
        kept = [floats[row * width + k] for row in kept_rows(rows) for k in range(width)]
        size = max(1.0, *map(abs, values))
        errors = [abs(found - value) / size for found, value in zip(kept, values, strict=True)]
        if any(not error <= BOUND for error in errors):  # NaN is no answer
            return float("inf")
        worst = max(worst, *errors)
    return worst


def check(output: bytes, images: set[str]) -> str:
    """What was compared of these images, and the largest error of floats; Mismatch names the first answers that are not
    the committed ones."""
    committed, (sets, found) = expected(), _records(output)
    wanted_ways = {
        (name, kernels, way)
        for name in images
        for kernels in sets
        for way in (("run", "steps") if committed[name]["steps"] else ("run",))
    }
    absent = sorted(wanted_ways - found.keys())
    if absent:
        name, kernels, way = absent[0]
        raise Mismatch(f"no answers of {len(absent)} ways, the first {way} of image {name}, {kernels}")
    if len(found) > len(wanted_ways):
        raise Mismatch(f"answers that nobody asked for: {sorted(found.keys() - wanted_ways)[0]}")
    integers, worst, at = 0, 0.0, ""
    for (name, kernels, way), outputs in found.items():
        wanted, where = committed[name]["answers"], f"{way} of image {name}, {kernels}"
        if isinstance(wanted, list):
            error = _float_error(outputs, wanted)
            if error > BOUND:
                raise Mismatch(f"{where}: floats beyond {BOUND:g} of the committed answers")
            if error >= worst:
                worst, at = error, where
        else:
            integers += 1
            digest = hashlib.sha256(b"".join(data for _, _, data in outputs)).hexdigest()
            if digest != wanted:
                raise Mismatch(f"{where}: hash {digest[:16]}..., committed {wanted[:16]}...")
    said = f"{len(images)} images on {' '.join(sets)}: {integers} hashes of s8 and tfl8 answers as committed"
    return f"{said}; f32 off by at most {worst:.1e} ({at})" if at else said
