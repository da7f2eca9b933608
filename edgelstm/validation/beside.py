"""TFLite beside us: its variants of the model, and what in a .tflite file spoils its own answers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import converter, peers
from ..comparison import compare
from ..errors import CheckpointError, ExportError, MissingError, PeerError, QuantizeError
from ..exporters import tflite
from ..importers import tflite_settings
from ..model import Array, Model
from ..peer_process import Answers
from ..report import Converted
from .data import steps_of
from .references import Reference
from .variants import Arrays


def variants(
    model: Model,
    xs: list[Array],
    samples: Any,
    runtime: str | None,
    timeout: float,
    notes: list[str],
    left_out: str | None = None,
) -> dict[str, Arrays]:
    """The answers of the model's TFLite variants, as far as there are any. left_out: the kind that is the reference."""
    found: dict[str, Arrays] = {}
    calibrating = tuple(xs) if samples is None else samples
    with tempfile.TemporaryDirectory(prefix="edgelstm.") as folder:
        for kind in tflite.KINDS:
            if kind == left_out:
                continue
            path = Path(folder) / f"{kind}.tflite"
            try:
                tflite.write(model, path, kind, calibrating if kind == "int8" else None, steps=steps_of(xs))
                answers = peers.run_tflite(path, xs, runtime, timeout=timeout)
            except (MissingError, ExportError, PeerError, QuantizeError) as error:
                if runtime is not None and isinstance(error, MissingError):
                    raise
                notes.append(f"TFLite {'' if not found else kind + ' '}is not compared: {error}")
                return found
            found[f"TFLite {kind}"] = answers.ys
    notes.append(f"TFLite's rows come from {answers.peer}, on files written from the checkpoint's weights")
    if samples is None and left_out != "int8":
        notes.append("TFLite int8 took its ranges from the data itself, for want of samples")
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Official:
    """What came of TensorFlow's own converter."""

    answers: dict[str, Arrays] = field(default_factory=dict)  # by variant, "converter int8"
    peers: tuple[str, ...] = ()  # who gave them
    converted: tuple[Converted, ...] = ()
    spoilt: tuple[str, ...] = ()  # what in its files spoils their answers


def as_reference(made: Official, kind: str) -> Answers:
    """One file's answers as what others are compared with. PeerError where there are none."""
    name = f"converter {kind}"
    if name not in made.answers:
        raise PeerError(str(made.converted[0]))
    by = made.converted[0].by
    return Answers(made.answers[name], f"the {kind} file of {by}, in {made.peers[0]}", kind != "float")


def official(
    reference: Reference,
    xs: list[Array],
    samples: Any,
    runtime: str | None,
    *,
    trust: bool,
    timeout: float,
    kinds: Sequence[str],
    notes: list[str],
    truth: Arrays = (),
) -> Official:
    """Files of these kinds that TensorFlow's converter makes of a Keras checkpoint, and what they answer.

    truth: what they should, where somebody else knows.
    """
    found: dict[str, Arrays] = {}
    calibrating = windows(samples, xs)
    if samples is not None and calibrating is None and "int8" in kinds:
        notes.append(
            "the converter's int8 took its ranges from the data: the samples are shorter, and it fixes lengths"
        )
    made = converter.convert(
        reference.source, xs, kinds, samples=calibrating, architecture=reference.architecture, trust=trust,
        timeout=timeout,
    )  # fmt: skip
    told: list[Converted] = []
    spoilt: list[str] = []
    who: list[str] = []
    for kind in kinds:
        one = made[kind]
        outcome = one.failure if one.file is None else f"{len(one.file):,} bytes"
        if one.file is not None:
            try:
                answers = converter.run(one, xs, runtime, timeout=timeout)
                found[f"converter {kind}"] = answers.ys
                who.append(answers.peer)
                name = f"the {kind} file of {one.by}"
                spoilt += spoiled(one.file, name, answers.ys, partial(_mended, one, xs, runtime, timeout), notes, truth)
            except (MissingError, PeerError) as error:
                outcome += f", which no runtime here runs: {error}"
        told.append(Converted(one.by, kind, one.file is not None, outcome))
    return Official(found, tuple(who), tuple(told), tuple(spoilt))


def windows(samples: Any, xs: list[Array]) -> list[Array] | None:
    """Samples, as `quantize` takes them, in stretches of as many steps as the data have: all that follow each other, or
    the first of each sequence where an input has no steps. None where a sequence is shorter.
    """
    if samples is None:
        return None
    ports = samples if isinstance(samples, tuple) else (samples,)
    stretched = all(x.ndim == 3 and x.shape[1] == xs[0].shape[1] for x in xs)
    columns = []
    for port, x in zip(ports, xs, strict=True):
        size = x[0].size
        alone = isinstance(port, np.ndarray) and port.ndim < x.ndim and port.shape[-1] == x.shape[-1]
        rows = [port] if alone and x.ndim == 3 else port
        flat = [np.asarray(row, np.float32).reshape(-1) for row in rows]
        counts = [len(row) // size if stretched else min(1, len(row) // size) for row in flat]
        if not flat or 0 in counts:
            return None
        parts = [row[: count * size].reshape(count, *x.shape[1:]) for row, count in zip(flat, counts, strict=True)]
        columns.append(np.concatenate(parts))
    return columns if len({len(column) for column in columns}) == 1 else None


def _mended(one: converter.Conversion, xs: list[Array], runtime: str | None, timeout: float, file: bytes) -> Arrays:
    return converter.run(replace(one, file=file), xs, runtime, timeout=timeout).ys


def spoiled(
    data: bytes,
    name: str,
    ys: Arrays,
    answers: Callable[[bytes], Arrays],
    notes: list[str],
    truth: Arrays = (),
) -> list[str]:
    """What in a .tflite file spoils its own answers ys, in sentences; what could not be looked at becomes a note.

    answers: those of a changed file. truth: what the answers should be, where somebody else knows.
    """
    try:
        found = tflite_settings.read(data)
    except CheckpointError as error:
        notes.append(f"{name} was not looked into: {error}")
        return []
    said = []
    if any(one.cell_scale is not None and one.cell_scale < 2.0**-15 for one in found):
        said.append(
            f"{name} has an LSTM whose cell stays so small that TFLite skips its tanh (cell scale below 2^-15): "
            "its answers are wrong whatever they are compared with"
        )
    clips = [one.cell_clip for one in found if one.cell_clip > 0]
    if not clips:
        return said
    free = answers(tflite_settings.without_clip(data))
    change = max(compare(y, z).max_error for y, z in zip(ys, free, strict=True))
    bounds = " and ".join(f"{clip:g}" for clip in sorted(set(clips)))
    why = " (TFLite's converter adds that, Keras does not clip)" if 10 in clips else ""
    text = f"{name} clips its cells at {bounds}{why}, which "
    if not change:
        notes.append(f"{text}changes nothing on this data")
        return said
    if [y.shape for y in truth] != [y.shape for y in ys]:
        return [*said, f"{text}changes its answers by up to {change:.2g}"]
    off = max(compare(y, z).max_error for y, z in zip(truth, ys, strict=True))
    clipped, lifted = (min(compare(y, z).decibels for y, z in zip(truth, zs, strict=True)) for zs in (ys, free))
    return [
        *said,
        f"{text}changes its answers by up to {change:.2g}: error up to {off:.2g}, {clipped:.1f} dB; without the clip "
        f"{lifted:.1f} dB; export-tflite writes no clip",
    ]


def in_runtime(path: Path, xs: list[Array], runtime: str | None, timeout: float, file: bytes) -> Arrays:
    """The answers of other bytes than a file's in its place."""
    with tempfile.TemporaryDirectory(prefix="edgelstm.") as folder:
        other = Path(folder) / path.name
        other.write_bytes(file)
        if runtime is None and peers.runtimes():
            return peers.any_runtime(other, xs, timeout=timeout).ys
        return peers.run_tflite(other, xs, runtime, timeout=timeout).ys
