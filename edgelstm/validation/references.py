"""What a model is compared with, and who answers for it."""

from __future__ import annotations

import os
import tempfile
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import arrays, importers, peers
from .. import reference as float64
from ..errors import CheckpointError, InputError, MissingError, PeerError
from ..exporters import tflite
from ..model import Array, Model
from ..peer_process import Answers
from ..runner import Runner
from ..tfl8_model import Tfl8Model
from ..timing import numbers_made
from .data import is_path, steps_of
from .variants import Arrays

MOST = 1 << 22  # numbers that the float64 reference holds at once
BY = ("framework", "tflite", "converter")
"""Who may be asked to answer for a checkpoint; see `validate`."""


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What to compare with, before anything has run."""

    kind: str  # "model", "recorded", "module", "tflite" or "checkpoint"
    source: Any  # a Model, arrays, a torch module or a path
    model: Model | None = None  # as read, where it can be and is a float model
    integers: Tfl8Model | None = None  # of a full-int8 .tflite
    unread: str = ""  # why it could not be
    architecture: str | os.PathLike[str] | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """How to answer: who, and what that needs."""

    by: str | None  # of BY
    kind: str  # of TFLite files
    samples: Any  # for their int8 ranges
    runtime: str | None
    trust: bool
    timeout: float


def recognised(
    reference: Any, subject: Runner, head: str | None, architecture: str | os.PathLike[str] | None, notes: list[str]
) -> Reference:
    """What a reference is, read as a model where that is possible. InputError where its inputs are not the model's."""
    found = _kind(reference, subject, architecture is not None)
    if found.kind not in ("checkpoint", "module"):
        if head is not None or architecture is not None:
            raise InputError("`head` and `architecture` describe a checkpoint; the reference is none")
        if found.kind == "tflite":
            found = _of_tflite(found)
            if found.unread:
                notes.append(f"layers are not compared, since the file cannot be read here: {found.unread}")
    else:
        try:
            read = importers.read(found.source, head=head, architecture=architecture)
            assert isinstance(read, Model)  # .tflite files are a kind of their own
            notes.extend(read.notes)
            found = replace(found, model=read, architecture=architecture)
        except (CheckpointError, MissingError) as error:
            found = replace(found, unread=str(error), architecture=architecture)
    model = found.model or found.integers
    if model is not None:
        widths = tuple(model.width(name) for name in model.inputs)
        if widths != subject.input_widths:
            raise InputError(f"the reference takes inputs of {widths} values, the model of {subject.input_widths}")
    return found


def _of_tflite(found: Reference) -> Reference:
    try:
        read = importers.read(found.source)
    except CheckpointError as error:  # its answers count all the same
        return replace(found, unread=str(error))
    return replace(found, integers=read) if isinstance(read, Tfl8Model) else replace(found, model=read)


def _kind(reference: Any, subject: Runner, described: bool) -> Reference:
    """What a reference is. A .npz holds answers, or the matrices of a model that an architecture describes."""
    if isinstance(reference, Model):
        return Reference("model", reference, reference)
    if isinstance(reference, np.ndarray | tuple | list):
        ys = reference if isinstance(reference, tuple) else (reference,)
        return Reference("recorded", tuple(np.asarray(y) for y in ys))
    if peers.is_module(reference):
        return Reference("module", reference)
    if not is_path(reference):
        what = type(reference).__name__
        raise InputError(f"the reference is a {what}, expected a path, arrays, a torch module or a Model")
    path = Path(reference)
    if peers.is_tflite(path):
        return Reference("tflite", path)
    if _is_recorded(path) and not (described and zipfile.is_zipfile(path)):
        try:
            loaded = arrays.load(path, subject.description.output_names)
        except InputError as error:
            if described or not zipfile.is_zipfile(path):
                raise
            raise InputError(f"{error}; if it holds a model's matrices, give its architecture too") from None
        return Reference("recorded", loaded if isinstance(loaded, tuple) else (loaded,))
    return Reference("checkpoint", path)


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


# ---- answers ----


def answered(against: Reference, xs: list[Array], asked: Asked, notes: list[str]) -> tuple[Answers, str]:
    """The reference's answers; and where they are this package's own, what would give others, else ""."""
    if asked.by is not None and against.kind not in ("checkpoint", "module", "model"):
        raise InputError("`by` chooses who answers for a checkpoint, and the reference is none; leave it out")
    if asked.by == "tflite":
        return _by_tflite(against, xs, asked), ""
    match against.kind:
        case "model":
            if asked.by == "framework":
                raise InputError("the reference is a Model, which no framework runs; give its checkpoint")
            return Answers(in_float64(against.source, xs), "the model in float64"), "give its checkpoint"
        case "recorded":
            return Answers(against.source, "recorded answers"), ""
        case "tflite":
            answers = _in_runtime(against.source, xs, asked)
            return Answers(answers.ys, f"{against.source.name} in {answers.peer}", answers.integer), ""
        case "module":
            return peers.run_torch(against.source, xs), ""
    path = against.source
    try:
        answers = peers.run_checkpoint(
            path, xs, architecture=against.architecture, trust=asked.trust, timeout=asked.timeout
        )
    except (MissingError, PeerError) as error:
        if against.model is None:
            raise CheckpointError(f"{against.unread}; nor does its own framework run it: {error}") from None
        if asked.by == "framework":
            raise
        notes.append(f"the checkpoint did not run in its own framework: {error}")
        own = Answers(in_float64(against.model, xs), f"{path.name} in float64, by this package's own reference")
        return own, _remedy(error)
    if against.unread:
        notes.append(f"only the reference's own framework can read it: {against.unread}")
    return Answers(answers.ys, f"{path.name} in {answers.peer}", answers.integer), ""


def in_float64(model: Model, xs: list[Array]) -> Arrays:
    """Our own reference's answers, as many sequences at once as memory is no matter for."""
    size = max(1, MOST // numbers_made(model, steps_of(xs)))
    parts = [float64.run(model, [x[first : first + size] for x in xs]) for first in range(0, len(xs[0]), size)]
    return tuple(np.concatenate(ys) for ys in zip(*parts, strict=True))


def _in_runtime(path: Path, xs: list[Array], asked: Asked) -> Answers:
    """A .tflite file in the runtime chosen, or the first that knows its operators."""
    if asked.runtime is None and peers.runtimes():
        return peers.any_runtime(path, xs, timeout=asked.timeout)
    return peers.run_tflite(path, xs, asked.runtime, timeout=asked.timeout)


def _by_tflite(against: Reference, xs: list[Array], asked: Asked) -> Answers:
    """What a .tflite file that our exporter writes of a model answers."""
    if against.model is None:
        raise CheckpointError(f"no .tflite can be written of what cannot be read: {against.unread}")
    with tempfile.TemporaryDirectory(prefix="edgelstm.") as folder:
        path = Path(folder) / "reference.tflite"
        samples = (tuple(xs) if asked.samples is None else asked.samples) if asked.kind == "int8" else None
        tflite.write(against.model, path, asked.kind, samples, steps=steps_of(xs))
        answers = _in_runtime(path, xs, asked)
    return replace(answers, peer=f"a .tflite of {asked.kind} numbers written of it, in {answers.peer}")


def _remedy(error: MissingError | PeerError) -> str:
    """What would let another answer than this package: the pip command, if something was missing."""
    _, found, command = str(error).partition("pip install ")
    if isinstance(error, MissingError) and found:
        return f"run {found}{command}".replace("; ", " && ")
    return "give recorded answers, or the live module,"


def paired(names: tuple[str, ...], expected: Arrays, found: Arrays) -> list[tuple[str, Array, Array]]:
    """Name, expected and found answers of each output. InputError if they are not the same outputs."""
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
