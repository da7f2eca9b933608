"""Whether an image answers as its checkpoint does: runs both on the same sequences, and TFLite beside them."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from . import arrays, importers, peers
from . import reference as float64
from .calibration import calibrate
from .comparison import DECIBELS, LIMIT, Row, above, compare, shown, within
from .curves import HEADROOM
from .errors import CheckpointError, ExportError, InputError, MissingError, PeerError, QuantizeError
from .exporters import tflite, tflite_settings
from .model import Array, Model
from .peer_process import TIMEOUT, Answers
from .quantization import quantize
from .random_inputs import fit
from .report import Report
from .runner import Runner, Source

SEQUENCES, STEPS = 16, 60  # of the random data

Arrays = tuple[Array, ...]


def validate(
    model: Source,
    reference: Any,
    data: Any = None,
    *,
    samples: Any = None,
    limit: float = LIMIT,
    decibels: float = DECIBELS,
    kernels: str | None = None,
    runtime: str | None = None,
    head: str | None = None,
    architecture: str | os.PathLike[str] | None = None,
    trust: bool = False,
    timeout: float = TIMEOUT,
) -> Report:
    """Compare a model with its reference, every sequence from a reset state.

    model: what a Runner takes. reference: a checkpoint's path (its framework runs it; where that is not installed, or
    fails, this package's float64 reference stands in and a note says so), a .tflite path, recorded answers (array,
    tuple of arrays, .npy, or .npz without `architecture`), a live torch module or a Model. `head` and `architecture` as
    `read` takes them. trust: whether a checkpoint that `read` refuses may run in its framework, and whatever code it
    holds with it. data: what `Runner.run` takes, or a file; scaled as the model was trained, since neither checkpoints
    nor this function apply an image's scalers. None: seeded slow random walks, within the samples' range, or that of an
    s8 image's calibration, or -1 ... 1.
    samples: as `quantize` takes them, or a file; they make an s8 model of a float one, and give TFLite's int8 its
    ranges, which else come from the data.
    Judged are f32, by `limit` times max(1, max|y|) on its largest error, and s8, by `decibels` of signal to error; f32
    too against a reference that computes in int8. TFLite's variants, where it can express the model, are shown.
    """
    notes: list[str] = []
    subject = Runner(model, kernels)
    against = _recognised(reference, subject, head, architecture, notes)
    floats = against.model or (model if isinstance(model, Model) else None)
    variants = {"s8" if subject.integer else "f32": subject}
    given = arrays.load(samples, subject.description.input_names) if _is_path(samples) else samples
    if given is not None and floats is None:
        raise InputError("samples need the float model: give its checkpoint as the reference")
    if subject.integer and floats is not None:
        variants = {"f32": Runner(floats, kernels), **variants}
    elif given is not None and floats is not None:
        variants["s8"] = Runner(quantize(floats, given), kernels)
    xs = _data(data, against, variants, floats, given, notes)
    expected, remedy = _expected(against, xs, runtime, trust, timeout, notes)
    rows: list[Row] = []
    for variant, runner in variants.items():
        answers = _tuple(runner.run(tuple(xs)))
        for output, y, found in _paired(subject, expected.ys, answers):
            difference = compare(y, found)
            if variant == "f32" and not expected.integer:
                rows.append(within(variant, output, difference, limit))
            else:
                rows.append(above(variant, output, difference, decibels))
    if floats is not None:
        for variant, answers in _tflite(floats, xs, given, runtime, timeout, notes).items():
            rows += [shown(variant, name, compare(y, z)) for name, y, z in _paired(subject, expected.ys, answers)]
    if against.kind == "tflite":
        _settings(against.source, expected, xs, runtime, timeout, notes)
    notes.append(f"f32 and s8 ran with {subject.kernels} kernels")
    return Report(
        subject=_subject(model, subject),
        reference=expected.peer,
        data=_named(data),
        sequences=len(xs[0]),
        steps=_steps(xs),
        rows=tuple(rows),
        notes=tuple(notes),
        independent=not remedy,
        remedy=remedy,
    )


def _subject(model: Source, subject: Runner) -> str:
    """What is validated, so that it can be known again."""
    name = Path(model).name if isinstance(model, str | os.PathLike) else "the model"
    described = subject.description
    return f"{name}, {described.number_type}, {described.size:,} bytes, checksum {described.checksum:08x}"


def _named(data: Any) -> str:
    """What the answers are made of."""
    if data is None:
        return "seeded random walks"
    return Path(data).name if _is_path(data) else "the data given"


# ---- the reference ----


@dataclass(frozen=True, slots=True, eq=False)
class _Reference:
    """What to compare with, before anything has run."""

    kind: str  # "model", "recorded", "module", "tflite" or "checkpoint"
    source: Any  # a Model, arrays, a torch module or a path
    model: Model | None = None  # as read, where it can be
    unread: str = ""  # why it could not be
    architecture: str | os.PathLike[str] | None = None


def _recognised(
    reference: Any, subject: Runner, head: str | None, architecture: str | os.PathLike[str] | None, notes: list[str]
) -> _Reference:
    found = _kind(reference, subject, architecture is not None)
    if found.kind not in ("checkpoint", "module"):
        if head is not None or architecture is not None:
            raise InputError("`head` and `architecture` describe a checkpoint; the reference is none")
    else:
        try:
            read = importers.read(found.source, head=head, architecture=architecture)
            assert isinstance(read, Model)  # .tflite files are a kind of their own
            notes.extend(read.notes)
            found = replace(found, model=read, architecture=architecture)
        except (CheckpointError, MissingError) as error:
            found = replace(found, unread=str(error), architecture=architecture)
    if found.model is not None:
        widths = tuple(found.model.width(name) for name in found.model.inputs)
        if widths != subject.input_widths:
            raise InputError(f"the reference takes inputs of {widths} values, the model of {subject.input_widths}")
    return found


def _kind(reference: Any, subject: Runner, described: bool) -> _Reference:
    """What a reference is. A .npz holds answers, or the matrices of a model that an architecture describes."""
    if isinstance(reference, Model):
        return _Reference("model", reference, reference)
    if isinstance(reference, np.ndarray | tuple | list):
        ys = reference if isinstance(reference, tuple) else (reference,)
        return _Reference("recorded", tuple(np.asarray(y) for y in ys))
    if peers.is_module(reference):
        return _Reference("module", reference)
    if not _is_path(reference):
        what = type(reference).__name__
        raise InputError(f"the reference is a {what}, expected a path, arrays, a torch module or a Model")
    path = Path(reference)
    if peers.is_tflite(path):
        return _Reference("tflite", path)
    if _is_recorded(path) and not (described and zipfile.is_zipfile(path)):
        try:
            return _Reference("recorded", _tuple(arrays.load(path, subject.description.output_names)))
        except InputError as error:
            if described or not zipfile.is_zipfile(path):
                raise
            raise InputError(f"{error}; if it holds a model's matrices, give its architecture too") from None
    return _Reference("checkpoint", path)


def _is_recorded(path: Path) -> bool:
    """Whether a file is NumPy's .npy or .npz."""
    with path.open("rb") as file:
        start = file.read(6)
    if start == b"\x93NUMPY":
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def _expected(
    against: _Reference, xs: list[Array], runtime: str | None, trust: bool, timeout: float, notes: list[str]
) -> tuple[Answers, str]:
    """The reference's answers; and where they are this package's own, what would give others, else ""."""
    match against.kind:
        case "model":
            return Answers(float64.run(against.source, xs), "the model in float64"), "give its checkpoint"
        case "recorded":
            return Answers(against.source, "recorded answers"), ""
        case "tflite":
            answers = peers.run_tflite(against.source, xs, runtime, timeout=timeout)
            return Answers(answers.ys, f"{against.source.name} in {answers.peer}", answers.integer), ""
        case "module":
            return peers.run_torch(against.source, xs), ""
    path = against.source
    try:
        answers = peers.run_checkpoint(path, xs, architecture=against.architecture, trust=trust, timeout=timeout)
    except (MissingError, PeerError) as error:
        if against.model is None:
            raise CheckpointError(f"{against.unread}; nor does its own framework run it: {error}") from None
        notes.append(f"the checkpoint did not run in its own framework: {error}")
        own = Answers(float64.run(against.model, xs), f"{path.name} in float64, by this package's own reference")
        return own, _remedy(error)
    if against.unread:
        notes.append(f"only the reference's own framework can read it: {against.unread}")
    return Answers(answers.ys, f"{path.name} in {answers.peer}", answers.integer), ""


def _remedy(error: MissingError | PeerError) -> str:
    """What would let another answer than this package: the pip command, if something was missing."""
    _, found, command = str(error).partition("pip install ")
    if isinstance(error, MissingError) and found:
        return f"run {found}{command}".replace("; ", " && ")
    return "give recorded answers, or the live module,"


def _settings(
    path: Path, expected: Answers, xs: list[Array], runtime: str | None, timeout: float, notes: list[str]
) -> None:
    """Notes on what in a .tflite file spoils its own answers."""
    data = path.read_bytes()
    try:
        found = tflite_settings.read(data)
    except MissingError as error:
        notes.append(f"{path.name} was not looked into: {error}")
        return
    if any(one.cell_scale is not None and one.cell_scale < 2.0**-15 for one in found):
        notes.append(
            f"{path.name} has an LSTM whose cell stays so small that TFLite skips its tanh (cell scale below 2^-15): "
            "its answers are wrong whatever they are compared with"
        )
    clips = [one.cell_clip for one in found if one.cell_clip > 0]
    if not clips:
        return
    with tempfile.TemporaryDirectory(prefix="edgelstm.") as folder:
        free = Path(folder) / path.name
        free.write_bytes(tflite_settings.without_clip(data))
        ys = peers.run_tflite(free, xs, runtime, timeout=timeout).ys
    change = max(compare(y, z).max_error for y, z in zip(expected.ys, ys, strict=True))
    bounds = " and ".join(f"{clip:g}" for clip in sorted(set(clips)))
    why = " (TFLite's converter adds that to Keras models)" if 10 in clips else ""
    effect = f"which changes its answers by up to {change:.2g}" if change else "which changes nothing on this data"
    notes.append(f"{path.name} clips its cells at {bounds}{why}, {effect}")


# ---- data ----


def _data(
    data: Any,
    against: _Reference,
    variants: dict[str, Runner],
    floats: Model | None,
    samples: Any,
    notes: list[str],
) -> list[Array]:
    """The sequences, float32 [N, T, width] per input, [N, width] of one that takes a single row."""
    subject = next(iter(variants.values()))
    if data is not None:
        return _given(data, subject)
    if against.kind == "recorded":
        raise InputError("recorded answers need the data they were recorded on")
    if samples is not None and floats is not None:
        ranges = list(calibrate(floats, samples).ranges.values())
        source = "the samples' range"
    elif "s8" in variants:
        ranges = [(-r, r) for r in (32767 * scale / HEADROOM for scale in variants["s8"].input_scales)]
        source = "the range the model was calibrated for"
    else:
        ranges, source = [(-1.0, 1.0)] * len(subject.input_widths), "-1 ... 1"
    steps = subject.meta.window or STEPS
    notes.append(f"the data are seeded random walks over {source}; data as in real use tells more")
    xs = random_walks(subject.input_widths, ranges, SEQUENCES, steps)
    return xs if floats is None else fit(floats, xs, np.random.default_rng(0))


def random_walks(
    widths: Sequence[int], ranges: Sequence[tuple[float, float]], sequences: int, steps: int, seed: int = 0
) -> list[Array]:
    """Slow random signals, float32 [sequences, steps, width] per input, that just fill the inputs' ranges."""
    random = np.random.default_rng(seed)
    xs = []
    for width, (low, high) in zip(widths, ranges, strict=True):
        noise = random.standard_normal((2, sequences, steps, width))
        walk = 0.25 * noise[0].cumsum(axis=1) + 0.3 * noise[1]
        span = walk.max() - walk.min() or 1.0
        xs.append((low + (walk - walk.min()) * ((high - low) / span)).astype(np.float32))
    return xs


def _given(data: Any, subject: Runner) -> list[Array]:
    """One array per input, from arrays or a file."""
    if _is_path(data):
        data = arrays.load(data, subject.description.input_names)
    return subject.sequences(data)


def _steps(xs: Sequence[Array]) -> int:
    """How many steps the sequences have, the longest of them."""
    return max((x.shape[1] for x in xs if x.ndim == 3), default=1)


def _is_path(value: Any) -> bool:
    return isinstance(value, str | os.PathLike)


def _tuple(values: Any) -> Arrays:
    return values if isinstance(values, tuple) else (values,)


def _paired(subject: Runner, expected: Arrays, found: Arrays) -> list[tuple[str, Array, Array]]:
    """Name, expected and found answers of each output. InputError if they are not the same outputs."""
    names = subject.description.output_names
    if not len(names) == len(expected) == len(found):
        raise InputError(f"the reference has {len(expected)} outputs, the model {len(names)}: {', '.join(names)}")
    pairs = []
    for name, y, z in zip(names, expected, found, strict=True):
        # Answers to one sequence may have been recorded without an axis of sequences.
        y = y[None] if y.shape == z.shape[1:] and len(z) == 1 else y
        if y.shape != z.shape:
            raise InputError(f"output {name}: the reference gives shape {y.shape}, the model {z.shape}")
        pairs.append((name, y, z))
    return pairs


# ---- TFLite ----


def _tflite(
    model: Model, xs: list[Array], samples: Any, runtime: str | None, timeout: float, notes: list[str]
) -> dict[str, Arrays]:
    """The answers of the model's TFLite variants, as far as there are any."""
    found: dict[str, Arrays] = {}
    calibrating = tuple(xs) if samples is None else samples
    with tempfile.TemporaryDirectory(prefix="edgelstm.") as folder:
        for kind in tflite.KINDS:
            path = Path(folder) / f"{kind}.tflite"
            try:
                tflite.write(model, path, kind, calibrating if kind == "int8" else None, steps=_steps(xs))
                answers = peers.run_tflite(path, xs, runtime, timeout=timeout)
            except (MissingError, ExportError, PeerError, QuantizeError) as error:
                if runtime is not None and isinstance(error, MissingError):
                    raise
                notes.append(f"TFLite {'' if not found else kind + ' '}is not compared: {error}")
                return found
            found[f"TFLite {kind}"] = answers.ys
    notes.append(f"TFLite's rows come from {answers.peer}, on files written from the checkpoint's weights")
    if samples is None:
        notes.append("TFLite int8 took its ranges from the data itself, for want of samples")
    return found
