"""Which of the ways that TFLite's runtimes have of rounding an int8 image has, and which the runtimes at hand have."""

from __future__ import annotations

import platform
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from .. import peers
from ..description import SECTIONS, describe
from ..errors import EdgeLstmError, ModelError
from ..image import pack
from ..model import Array
from ..report import Arithmetic
from ..runner import Runner
from ..tfl8 import FACTORS
from ..tfl8_model import ARITHMETIC, SETTINGS, Tfl8Model, arithmetic, variant
from .variants import Arrays, Variant

MICRO = ("tflite-micro", "reference")
_DEFAULT = ARITHMETIC["tflite-runtime", "reference", "x86_64"]


def ways(model: Tfl8Model) -> list[dict[str, str]]:
    """All ways that runtimes have, as far as they are different ones for the layers of this model."""
    own = arithmetic(model)
    found = [{k: way[k] for k in SETTINGS if k in own} for way in ARITHMETIC.values()]
    return [way for k, way in enumerate(found) if way not in found[:k]]


def own_way(image: bytes, model: Tfl8Model) -> dict[str, str] | None:
    """The way with which the model becomes this image; None if it does with none, for it was made of another file."""
    stored = {name: value for layer in describe(image).layers for name, value in layer.arithmetic}
    weights = _arithmetic_of(image)
    for factors in FACTORS:  # which alone an image does not store
        way = {name: stored.get(name, factors) for name in arithmetic(model)}
        if _arithmetic_of(_packed(model, way)) == weights:
            return way
    return None


def _packed(model: Tfl8Model, way: dict[str, str]) -> bytes:
    try:
        return pack(variant(model, **way))
    except ModelError:  # TFLite Micro cannot run all of them
        return b""


def _arithmetic_of(image: bytes) -> bytes:
    """The sections of an image that make its answers: tensors, ops and weights."""
    if not image:
        return b""
    spans = {name: struct.unpack_from("<II", image, 64 + 8 * k) for k, name in enumerate(SECTIONS)}
    return b"".join(image[at : at + size] for at, size in (spans[name] for name in ("tensors", "ops", "weights")))


def told(way: dict[str, str]) -> str:
    """A way of rounding in words, "rounding double, ties away"."""
    return ", ".join(f"{name} {value}" for name, value in way.items())


def measured(
    subject: Variant,
    found: Arrays,
    path: Path,
    model: Tfl8Model,
    xs: list[Array],
    runtime: str | None,
    timeout: float,
    notes: list[str],
    progress: Callable[[float], object],
) -> tuple[Arithmetic, ...]:
    """Every runtime at hand, or the one given, with each of its sets of kernels, on the .tflite that an image was made
    of. found: the image's own answers."""
    way = own_way(subject.runner.image, model)
    if way is None:
        notes.append(
            f"the image is not {path.name} in any way that runtimes have of rounding: it was made of another file; "
            "convert again"
        )
    image = told(way) if way is not None else "unknown"
    answers: dict[str, Arrays] = {}
    rows = []
    packages = [runtime] if runtime is not None else peers.runtimes()
    pairs = [(package, resolver) for package in packages for resolver in peers.RESOLVERS]
    if runtime is None and peers.has_micro():
        pairs.append(MICRO)
    for done, (package, resolver) in enumerate(pairs):
        progress(done / len(pairs))
        try:
            if (package, resolver) == MICRO:
                expected = peers.run_micro(path, xs, timeout=timeout)
            else:
                expected = peers.run_tflite(path, xs, package, resolver=resolver, timeout=timeout)
        except EdgeLstmError as error:
            notes.append(f"{package} with its {resolver} kernels is not compared: {error}")
            continue
        likely = ARITHMETIC.get((package, resolver, platform.machine()), {})
        order = sorted(ways(model), key=lambda one: one != {k: (_DEFAULT | likely)[k] for k in one})
        exact = ""
        for one in order:
            key = told(one)
            if key not in answers and (packed := _packed(model, one)):
                answers[key] = Variant("tfl8", Runner(packed, subject.runner.kernels)).answers(xs)
            if key in answers and not _differing(answers[key], expected.ys)[0]:
                exact = key or "any"
                break
        wrong, of = _differing(found, expected.ys)
        off = max((float(np.abs(y - z).max()) for y, z in zip(found, expected.ys, strict=False)), default=0.0)
        machine, same = platform.machine(), way is not None
        rows.append(Arithmetic(expected.peer, resolver, machine, image, wrong, of, exact, off, same))
    return tuple(rows)


def judging(rows: Sequence[Arithmetic], peer: str) -> list[Arithmetic]:
    """The row by which an image is judged: that of the runtime that answered, or of TFLite Micro if the image has its
    arithmetic; none where neither ran."""
    micro = [row for row in rows if row.runtime.startswith(MICRO[0]) and "flavour micro" in row.image]
    return micro or [row for row in rows if row.runtime in peer and row.resolver == "default"]


def _differing(found: Arrays, expected: Arrays) -> tuple[int, int]:
    """How many values are others, of how many. As reals of one scale they differ where the integers do."""
    total = sum(y.size for y in expected)
    if [y.shape for y in found] != [y.shape for y in expected]:
        return total, total
    return sum(int((y != z).sum()) for y, z in zip(found, expected, strict=True)), total
