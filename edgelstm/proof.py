"""Whether a converted model answers as the framework that wrote its checkpoint: both run on a few random sequences."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import peers
from .comparison import LIMIT, compare
from .errors import CheckpointError, MissingError, PeerError
from .model import Array, Model
from .peer_process import TIMEOUT, Answers
from .random_inputs import draw
from .runner import Runner

SEQUENCES, STEPS = 3, 24


@dataclass(frozen=True, slots=True)
class Proof:
    """What came of it: the peer's name and the largest error, or why nothing else could answer, and what would."""

    peer: str = ""  # "keras 3.15.1"; "" where the conversion is unverified
    error: float = 0.0  # largest, as a part of max(1, max|y|)
    reason: str = ""
    remedy: str = ""  # what to do, "pip install tensorflow"

    def __str__(self) -> str:
        if self.peer:
            return f"proven: {self.peer} answers alike on {SEQUENCES} random sequences (largest error {self.error:.1e})"
        return f"unverified: {self.reason}; to verify: {self.remedy}"


def prove(
    model: Model,
    checkpoint: Any,
    *,
    architecture: str | os.PathLike[str] | None = None,
    image: str | os.PathLike[str] = "MODEL.elstm",
    timeout: float = TIMEOUT,
) -> Proof:
    """Runs a float model beside the checkpoint it was read from, a file or a live torch.nn.Module.

    CheckpointError where they disagree by more than 5e-6 times max(1, max|y|). No file runs code here (peers.py);
    `image` is the file that what to do names.
    """
    xs = draw(model, SEQUENCES, model.meta.window or STEPS, np.random.default_rng(0))
    try:
        if peers.is_module(checkpoint):
            answers = peers.run_torch(checkpoint, xs)
        else:
            answers = peers.run_checkpoint(Path(checkpoint), xs, architecture=architecture, timeout=timeout)
    except MissingError as error:
        reason, found, command = str(error).partition("pip install ")
        remedy = f"{found}{command}".replace("; ", " && ") if found else _recorded(image)
        return Proof(reason=reason.rstrip(": "), remedy=f"{remedy}, and convert again" if found else remedy)
    except (CheckpointError, PeerError) as error:
        return Proof(reason=str(error), remedy=_recorded(image))
    found = Runner(model).run(tuple(xs))
    return Proof(answers.peer, _checked(answers, found if isinstance(found, tuple) else (found,)))


def _recorded(image: str | os.PathLike[str]) -> str:
    """What to do where the checkpoint alone cannot be run."""
    image = os.fspath(image)
    return (
        f"edgelstm validate {image} --data X.npy --reference Y.npy, Y recorded where it was trained, "
        f"or in Python edgelstm.validate({image!r}, module) with the live torch module"
    )


def _checked(expected: Answers, found: tuple[Array, ...]) -> float:
    """The largest error. CheckpointError where it is too large, or where the answers are not the same ones."""
    shapes = [[y.shape for y in ys] for ys in (expected.ys, found)]
    if shapes[0] != shapes[1]:
        raise CheckpointError(
            f"{expected.peer} gives answers of shape {_shown(shapes[0])}, the model as read {_shown(shapes[1])}; "
            "it is not converted"
        )
    worst = 0.0
    for k, (y, z) in enumerate(zip(expected.ys, found, strict=True)):
        if not np.isfinite(y).all():
            raise CheckpointError(
                f"{expected.peer} gives NaN or infinite answers on random inputs; it is not converted"
            )
        difference = compare(y, z)
        error = difference.max_error / max(1.0, difference.largest)
        if not error <= LIMIT:
            raise CheckpointError(
                f"the model as read does not answer as {expected.peer} does: output {k} is off by {error:.2g} of "
                f"max(1, max|y|), at most {LIMIT:g} is allowed; it is not converted. Please report this checkpoint"
            )
        worst = max(worst, error)
    return worst


def _shown(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join(map(str, shapes))
