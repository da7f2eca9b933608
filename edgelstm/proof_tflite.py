"""Whether a .tflite file that was written answers as the model it was written from: a runtime beside the reference."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import peers, reference
from .comparison import LIMIT, compare
from .errors import EdgeLstmError, ExportError
from .model import Array, Model
from .peer_process import TIMEOUT
from .proof import MOST, ROUNDINGS, SEQUENCES, STEADY, STEPS
from .random_inputs import draw

STREAMED = 256  # steps of the samples that a file of one step is given


@dataclass(frozen=True, slots=True)
class Written:
    """What came of it: the runtime and the error, or why none could answer."""

    peer: str = ""
    error: float = 0.0  # largest, as a part of max(1, max|y|)
    decibels: float = np.inf  # least signal to error ratio of the outputs; of a file with integers
    integer: bool = False
    data: str = ""  # what it was given
    reason: str = ""

    def __str__(self) -> str:
        if not self.peer:
            return f"not run: {self.reason}"
        if self.integer:
            return f"run by {self.peer} on {self.data}: {self.decibels:.1f} dB signal to error beside the float model"
        return f"run by {self.peer} on {self.data}: largest error {self.error:.1e} beside the float model"


def beside(model: Model, file: bytes, steps: int, samples: Any = None, timeout: float = TIMEOUT) -> Written:
    """Runs a written file, of so many steps a call, beside the float64 reference: on the samples, where there are some
    of as many steps, else on random sequences. ExportError where a float file is off by more than 5e-6 times
    max(1, max|y|)."""
    if not peers.runtimes():
        return Written(reason='no TFLite runtime is installed: pip install "edgelstm[tflite]" (where one has a wheel)')
    streams = steps == 1 and model.timing.causal and not model.timing.uneven
    try:
        xs, data = _sampled(model, samples, 0 if streams else steps), "the samples"
        if xs is None:
            xs, data = draw(model, SEQUENCES, STEPS if streams else steps, np.random.default_rng(0)), "random sequences"
        expected = reference.run(model, xs)
        with tempfile.TemporaryDirectory(prefix="edgelstm.") as folder:
            path = Path(folder) / "model.tflite"
            path.write_bytes(file)
            answers = peers.run_tflite(path, xs, as_read=False, timeout=timeout)
    except EdgeLstmError as error:
        return Written(reason=str(error))
    found = [compare(y, z) for y, z in zip(expected, answers.ys, strict=True)]
    worst = max(d.max_error / max(1.0, d.largest) for d in found)
    if not answers.integer and not worst <= _allowed(model, xs, expected):
        raise ExportError(
            f"{answers.peer} answers otherwise than the model, off by {worst:.2g} of max(1, max|y|); it is not "
            "written. Please report this checkpoint"
        )
    return Written(answers.peer, worst, min(d.decibels for d in found), answers.integer, data)


def _allowed(model: Model, xs: list[Array], expected: tuple[Array, ...]) -> float:
    """More than LIMIT where float32 alone moves the answers by much."""
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = reference.run(model, xs, dtype=np.float32)
    found = [compare(y, z) for y, z in zip(expected, rounded, strict=True)]
    moved = max(d.max_error / max(1.0, d.largest) for d in found)
    return min(ROUNDINGS * moved, MOST) if moved > STEADY else LIMIT


def _sampled(model: Model, samples: Any, steps: int) -> list[Array] | None:
    """The first sequences of the samples, cut to so many steps, or of 0 to STREAMED; None where they have fewer."""
    if samples is None:
        return None
    single = {t.name for t in model.tensors if t.single}
    per_input = samples if isinstance(samples, tuple) else (samples,)
    xs = []
    for name, given in zip(model.inputs, per_input, strict=True):
        array = np.asarray(given, np.float32)
        array = array[None] if array.ndim == 2 and name not in single else array
        if name not in single:
            array = array[:, : steps or STREAMED]
            if array.ndim != 3 or array.shape[1] < steps:
                return None
        xs.append(array[:SEQUENCES])
    return xs
