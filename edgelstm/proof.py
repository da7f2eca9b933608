"""Whether a converted model answers as the framework that wrote its checkpoint: both run on a few random sequences."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from . import peers, reference
from .comparison import LIMIT, compare
from .errors import CheckpointError, EdgeLstmError, MissingError, PeerError
from .model import Array, Model
from .peer_process import TIMEOUT, Answers
from .random_inputs import draw, roles
from .runner import Runner
from .timing import MOST_NUMBERS, numbers_made

SEQUENCES, STEPS = 3, 24
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
    rounding: float = 0.0  # how far float32 moves the answers of the model's equations, where that is too far

    def __str__(self) -> str:
        if self.peer:
            said = f"proven: {self.peer} answers alike on {SEQUENCES} random sequences (largest error {self.error:.1e})"
            if self.rounding:
                said += f"; this model is unsteady: float32 alone moves its answers by {self.rounding:.1e}"
            return said + ("; the state it returns beside them is no part of the model" if self.left_out else "")
        return f"unverified: {self.reason}; to verify: {self.remedy}"


def prove(
    model: Model,
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
    return _proven(answers, ys, model, xs)


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
