"""Whether a converted model answers as the framework that wrote its checkpoint: both run on a few random sequences."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from . import peers, reference, reference_tfl8
from .comparison import LIMIT, compare
from .errors import CheckpointError, EdgeLstmError, MissingError, PeerError
from .exporters.tflite_twin import floats
from .model import Array, Model
from .peer_process import TIMEOUT, Answers
from .random_inputs import draw, roles
from .runner import Runner
from .tfl8 import Tfl8Embedding, Tfl8Tensor
from .tfl8_model import ARITHMETIC, Tfl8Model, arithmetic, computed_by, variant
from .timing import MOST_NUMBERS, numbers_made

SEQUENCES, STEPS = 3, 24
LEAST_SNR = 30.0  # dB, of the same net with int8 weights and without; random nets of 8 to 256 units have 39 to 48
STEADY, ROUNDINGS, MOST = 1e-6, 10, 1e-3
"""A model that float32 moves by more than STEADY, as a part of max(1, max|y|), may be off by ROUNDINGS times as much:
rounding grows where gates have no bounds, and Keras was seen four times as far from float64 as float32 is in NumPy.
MOST: what is allowed at all."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What came of it: the peer's name and the largest error, or why nothing else could answer, and what would."""

    peer: str = ""  # "keras 3.15.1"; "" where the conversion is unverified
    error: float = 0.0  # largest, as a part of max(1, max|y|)
    reason: str = ""
    remedy: str = ""  # what to do, "pip install tensorflow"
    left_out: bool = False  # the peer gave a state beside its answers, which the model leaves out
    as_floats: bool = False  # the peer ran the file with its int8 weights as the floats they stand for
    exact: str = ""  # of full-int8 .tflite: every byte is the peer's, and how that computes where runtimes differ
    beside: str = ""  # how the model computes where not as the peer does, and whose that is
    rounding: float = 0.0  # how far float32 moves the answers of the model's equations, where that is too far

    def __str__(self) -> str:
        if self.exact:
            said = f"all answers to {SEQUENCES} random sequences are {self.peer}'s, byte for byte ({self.exact})"
            return f"proven: {said}{self.beside}"
        if self.peer:
            said = f"proven: {self.peer} answers alike on {SEQUENCES} random sequences (largest error {self.error:.1e})"
            said += "; it took the int8 weights as the floats they stand for" if self.as_floats else ""
            if self.rounding:
                said += f"; this model is unsteady: float32 alone moves its answers by {self.rounding:.1e}"
            return said + ("; the state it returns beside them is no part of the model" if self.left_out else "")
        return f"unverified: {self.reason}; to verify: {self.remedy}"


def prove(
    model: Model | Tfl8Model,
    checkpoint: Any,
    *,
    architecture: str | os.PathLike[str] | None = None,
    trust: bool = False,
    image: str | os.PathLike[str] = "MODEL.elstm",
    timeout: float = TIMEOUT,
) -> Proof:
    """Runs a float model beside the checkpoint it was read from, a file or a live torch.nn.Module.

    CheckpointError where they disagree by more than 5e-6 times max(1, max|y|). No file runs code unless it is
    of a kind that is a program and `trust` says so; `image` is the file that what to do names.
    """
    module = peers.is_module(checkpoint)
    if isinstance(model, Tfl8Model):
        return _integers(model, Path(checkpoint), image, timeout)
    try:
        fixed = {} if module else peers.fixed_steps(Path(checkpoint), model, architecture)
        steps = model.meta.window or STEPS
        if SEQUENCES * numbers_made(model, max(steps, *fixed.values(), 1)) > MOST_NUMBERS:
            return Proof(reason=f"{SEQUENCES} runs over {steps} steps would fill the memory", remedy=_recorded(image))
        xs = draw(model, SEQUENCES, steps, np.random.default_rng(0), fixed)
        found = Runner(model).run(tuple(xs))
        ys = found if isinstance(found, tuple) else (found,)
        if module or peers.program(Path(checkpoint)):
            return _proven_by_torch(model, checkpoint, xs, ys, trust, timeout)
        answers = peers.run_checkpoint(Path(checkpoint), xs, architecture=architecture, timeout=timeout)
    except MissingError as error:
        reason, pip, command = str(error).partition("pip install ")
        remedy = f"{pip}{command}".replace("; ", " && ") + ", and convert again" if pip else _recorded(image)
        return Proof(reason=reason.rstrip(": "), remedy=remedy)
    except _Disagrees:
        raise
    except EdgeLstmError as error:
        return Proof(reason=str(error), remedy=_recorded(image))
    if answers.integer:
        return _rounded(model, Path(checkpoint), xs, answers, ys, image, timeout)
    return _proven(answers, ys, model, xs)


def _integers(model: Tfl8Model, checkpoint: Path, image: str | os.PathLike[str], timeout: float) -> Proof:
    """A full-int8 .tflite file beside a runtime: every answer is the same number in one way that runtimes have of
    rounding, or the file is refused."""
    random, steps = np.random.default_rng(0), model.meta.window or STEPS
    given: list[Array] = []
    for tensor in map(model.tensor, model.inputs):
        shape = (SEQUENCES, tensor.width) if tensor.single else (SEQUENCES, steps, tensor.width)
        if tensor.type == "f32":
            given.append(random.uniform(-1.5, 1.5, shape).astype(np.float32))
        else:
            words = [la.vocabulary for la in model.layers if isinstance(la, Tfl8Embedding) and tensor.name in la.reads]
            low, high = (0, min(words)) if words else (-128, 128)
            given.append(random.integers(low, high, shape))
    real = [_real(x, model.tensor(name)) for x, name in zip(given, model.inputs, strict=True)]
    own = arithmetic(model)
    able = computed_by(own)
    here = [(package, resolver) for package in peers.runtimes() for resolver in peers.RESOLVERS]
    # those that compute as the model does come first
    here.sort(key=lambda way: (*way, platform.machine()) not in able)
    alike: Proof | None = None
    fewest, refused = 0, None
    for package, resolver in here:
        try:
            answers = peers.run_tflite(checkpoint, real, package, resolver=resolver, timeout=timeout)
        except EdgeLstmError as error:  # a runtime that does not know an operator's version; the other may
            refused = refused or error
            continue
        way = (package, resolver, platform.machine())
        if not (wrong := _differing(model, given, answers)):
            if way in able:
                return Proof(answers.peer, exact=_told(resolver, own))
            settings = ARITHMETIC.get(way, own)
            same = f"; the image has {_names(own)}, {_whose(able)}, to the same bytes here"
            return Proof(answers.peer, exact=_told(resolver, {k: settings[k] for k in own}), beside=same)
        for settings in () if alike else sorted(_WAYS, key=lambda settings: settings != ARITHMETIC.get(way)):
            others = _differing(variant(model, **settings), given, answers)
            if not others:
                told = _told(resolver, {k: settings[k] for k in own})
                instead = f", if it rounds likewise; the image has {_names(own)}, {_whose(able)}"
                alike = Proof(answers.peer, exact=told, beside=instead)
                break
            wrong = min(wrong, others)
        fewest = min(fewest or wrong, wrong)
    if alike is not None:
        return alike
    if not here:
        remedy = 'pip install "edgelstm[tflite]" (where one has a wheel), and convert again'
        return Proof(reason="no TFLite runtime is installed", remedy=remedy)
    if not fewest:
        return Proof(reason=str(refused), remedy=_recorded(image))
    raise _Disagrees(
        f"the model as read does not answer as {', '.join(peers.runtimes())} does: {fewest} answers differ whatever "
        "its way of rounding; it is not converted. Please report this file"
    )


_WAYS = [*{tuple(way.items()): way for way in ARITHMETIC.values() if way["flavour"] == "tflite"}.values()]
"""How runtimes round."""


def _told(resolver: str, settings: dict[str, str]) -> str:
    return f"{resolver} kernels: {_names(settings)}".removesuffix(": ")


def _names(settings: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def _whose(rows: list[tuple[str, str, str]]) -> str:
    """Which runtimes, of those that are not here, could prove the image's own arithmetic."""
    return f"which {' or '.join(':'.join(row) for row in rows)} has" if rows else "which no runtime has"


def _differing(model: Tfl8Model, given: list[Array], answers: Answers) -> int:
    """How many of a runtime's answers are other numbers than the model's."""
    ys = reference_tfl8.run(model, given)
    found = [_real(y, model.tensor(name)) for y, name in zip(ys, model.outputs, strict=True)]
    if [y.shape for y in found] != [y.shape for y in answers.ys]:
        return sum(y.size for y in found)
    return sum(int((y != z).sum()) for y, z in zip(found, answers.ys, strict=True))


def _real(x: Array, tensor: Tfl8Tensor) -> Array:
    """Integers as the numbers they stand for."""
    if tensor.type == "f32":
        return x
    real: Array = np.float32(tensor.scale) * (x.astype(np.int32) - tensor.zero_point).astype(np.float32)
    return real


def _rounded(
    model: Model,
    checkpoint: Path,
    xs: list[Array],
    answers: Answers,
    ys: tuple[Array, ...],
    image: str | os.PathLike[str],
    timeout: float,
) -> Proof:
    """Beside a runtime that rounds what it multiplies int8 weights with, as the model does not: it gets the same file
    with those weights as floats. Where that cannot be run, its own answers tell right models from wrong ones."""
    with tempfile.TemporaryDirectory(prefix="edgelstm.") as folder:
        twin = Path(folder) / checkpoint.name
        try:
            twin.write_bytes(floats(checkpoint.read_bytes()))
            exact = peers.run_checkpoint(twin, xs, timeout=timeout)
        except (OSError, MissingError, PeerError, CheckpointError):
            return _near(answers, ys, image)
    proof = replace(_proven(exact, ys, model, xs), as_floats=True)
    near = min(compare(y, z).decibels for y, z in zip(answers.ys, ys, strict=True))
    if near > LEAST_SNR:
        return proof
    reason = (
        f"{answers.peer} answers alike with the int8 weights as the floats they stand for, but with the file as it is "
        f"{near:.0f} dB away, further than rounding to int8 takes sound nets ({LEAST_SNR:g} dB)"
    )
    return Proof(reason=reason, remedy=_recorded(image))


def _near(answers: Answers, ys: tuple[Array, ...], image: str | os.PathLike[str]) -> Proof:
    """A model whose answers differ by no more than a runtime's rounding to int8 may be right."""
    found = [compare(y, z) for y, z in zip(answers.ys, ys, strict=False)]
    shapes = [[y.shape for y in parts] for parts in (answers.ys, ys)]
    if shapes[0] != shapes[1] or any(not d.decibels > LEAST_SNR for d in found if d.max_error > LIMIT):
        raise _Disagrees(
            f"the model as read does not answer as {answers.peer} does, by more than the runtime's rounding to int8 "
            "can do; it is not converted. Please report this checkpoint"
        )
    worst = max(d.max_error / max(1.0, d.largest) for d in found)
    reason = (
        f"{answers.peer} rounds to int8 what it multiplies int8 weights with, and the model does not; they differ by "
        f"{worst:.1e} of max(1, max|y|)"
    )
    return Proof(reason=reason, remedy=_recorded(image))


def _proven_by_torch(
    model: Model, checkpoint: Any, xs: list[Array], ys: tuple[Array, ...], trust: bool, timeout: float
) -> Proof:
    """A program tells neither what its integers are nor which axis are the steps: whichever way it agrees proves it."""
    found = roles(model)
    given: list[Array] = []
    for name, x in zip(model.inputs, xs, strict=True):
        if found[name].mask:
            x = x.sum(axis=(1, 2)).astype(np.int64)  # how many steps count
        elif found[name].vocabulary:
            x = (x[..., 0] if x.shape[-1] == 1 else x).astype(np.int64)
        given.append(x)
    first: CheckpointError | PeerError | None = None
    for steps_first in (False, True):
        turned = [_turned(x) if steps_first else x for x in given]
        try:
            answers = peers.run_torch(checkpoint, turned, axis=int(steps_first), trust=trust, timeout=timeout)
            made = answers.ys
            if len(made) == len(ys):
                made = tuple(_state(y, z.shape) for y, z in zip(made, ys, strict=True))
            made = tuple(_turned(y) if steps_first and y.ndim > 2 else y for y in made)
            return replace(_proven(Answers(made, answers.peer), ys, model, xs), left_out=answers.left_out)
        except (_Disagrees, PeerError) as refused:
            first = first if isinstance(first, _Disagrees) else refused
    assert first is not None
    raise first


def _state(y: Array, shape: tuple[int, ...]) -> Array:
    """A state (layers, N, units) as the model gives it, (N, layers * units); all else as it is."""
    if len(shape) == 2 and y.ndim == 3 and y.shape[1] == shape[0] and y.size == shape[0] * shape[1]:
        return y.swapaxes(0, 1).reshape(shape)
    if len(shape) == 2 and y.shape == (shape[0], 1, shape[1]):
        return y[:, 0]
    return y


def _turned(x: Array) -> Array:
    return x.swapaxes(0, 1) if x.ndim > 1 else x


class _Disagrees(CheckpointError):
    """The framework gives other answers."""


def _recorded(image: str | os.PathLike[str]) -> str:
    """What to do where the checkpoint alone cannot be run."""
    image = os.fspath(image)
    return (
        f"edgelstm validate {image} --data X.npy --reference Y.npy, Y recorded where it was trained, "
        f"or in Python edgelstm.validate({image!r}, module) with the live torch module"
    )


def _proven(expected: Answers, found: tuple[Array, ...], model: Model, xs: list[Array]) -> Proof:
    """_Disagrees where the largest error is too large, or where the answers are not the same ones."""
    shapes = [[y.shape for y in ys] for ys in (expected.ys, found)]
    if shapes[0] != shapes[1]:
        raise _Disagrees(
            f"{expected.peer} gives answers of shape {_shown(shapes[0])}, the model as read {_shown(shapes[1])}; "
            "it is not converted"
        )
    if not all(np.isfinite(y).all() for y in expected.ys):
        raise _Disagrees(f"{expected.peer} gives NaN or infinite answers on random inputs; it is not converted")
    errors = _errors(expected.ys, found)
    worst = int(np.argmax(errors))
    if errors[worst] <= LIMIT:
        return Proof(expected.peer, errors[worst])
    with np.errstate(over="ignore", invalid="ignore"):
        exact, rounded = reference.run(model, xs), reference.run(model, xs, dtype=np.float32)
    rounding = max(_errors(exact, rounded)) if all(np.isfinite(y).all() for y in exact) else 0.0
    allowed = min(ROUNDINGS * rounding, MOST) if rounding > STEADY else LIMIT
    if errors[worst] <= allowed:
        return Proof(expected.peer, errors[worst], rounding=rounding)
    raise _Disagrees(
        f"the model as read does not answer as {expected.peer} does: output {worst} is off by {errors[worst]:.2g} of "
        f"max(1, max|y|), at most {max(LIMIT, allowed):.2g} is allowed; it is not converted. Please report this "
        "checkpoint"
    )


def _errors(expected: Sequence[Array], found: Sequence[Array]) -> list[float]:
    """Of each output, the largest error as a part of max(1, max|y|); infinite where there are NaN."""
    made = []
    for y, z in zip(expected, found, strict=True):
        difference = compare(y, z)
        error = difference.max_error / max(1.0, difference.largest)
        made.append(error if error == error else np.inf)
    return made


def _shown(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join(map(str, shapes))
