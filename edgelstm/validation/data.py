"""The sequences a validation runs on: a person's, or realistic ones where there are none."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import arrays
from ..calibration import calibrate
from ..curves import HEADROOM
from ..description import MASK
from ..errors import InputError
from ..meta import Array, Meta
from ..model import Model
from ..random_inputs import fit, fitting_steps
from ..runner import Runner
from .variants import integers, real

SEQUENCES, STEPS = 16, 60  # of what is generated


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """What all answers are made of."""

    xs: list[Array]  # float32 per input, [N, T, width], or [N, width] of one that takes a single row
    name: str  # for people
    generated: bool

    @property
    def sequences(self) -> int:
        return len(self.xs[0])

    @property
    def steps(self) -> int:
        """Of the longest input."""
        return steps_of(self.xs)


def steps_of(xs: Sequence[Array]) -> int:
    """How many steps the sequences have, the longest of them."""
    return max((x.shape[1] for x in xs if x.ndim == 3), default=1)


def given(data: Any, subject: Runner, raw: bool) -> Data:
    """A person's data: arrays as `Runner.run` takes them or a file of such; for int8 inputs real numbers too. raw: in
    the sensor's numbers, for the image's scalers to bring to the model's."""
    name = "the data given"
    if is_path(data):
        name = Path(data).name
        data = arrays.load(data, subject.description.input_names)
    if raw:
        data = subject.meta.scale_inputs(data)
        name += ", scaled"
    return Data(_sequences(data, subject), name, False)


def scaled(samples: Any, meta: Meta) -> Any:
    """Samples in the sensor's numbers, as `quantize` takes them, brought to the model's."""
    ports = samples if isinstance(samples, tuple) else (samples,)
    if not any(isinstance(port, list) for port in ports):
        return meta.scale_inputs(samples)
    rows = [meta.scale_inputs(row) for row in zip(*ports, strict=True)]
    columns = tuple(list(column) for column in zip(*rows, strict=True))
    return columns if isinstance(samples, tuple) else columns[0]


def _sequences(data: Any, subject: Runner) -> list[Array]:
    if all(x.dtype == np.float32 for x in subject.xs):
        return subject.sequences(data)
    parts = data if isinstance(data, tuple) else (data,)
    doors = [
        _door(subject, k, np.asarray(part)) if k < len(subject.xs) else part for k, part in enumerate(parts)
    ]  # fmt: skip
    shaped = subject.sequences(tuple(doors))
    xs = []
    for k, (part, door) in enumerate(zip(parts, shaped, strict=True)):
        values = np.asarray(part)
        if door.dtype != np.float32 and values.dtype.kind in "iu":
            tensor = subject.description.tensors[subject.description.inputs[k]]
            values = real(door, tensor.scale, tensor.zero_point)
        xs.append(values.reshape(door.shape).astype(np.float32))
    return xs


def _door(subject: Runner, k: int, values: Array) -> Array:
    """An input's values as its own door takes them."""
    dtype = subject.xs[k].dtype
    if dtype == np.float32 or values.dtype.kind != "f":
        return values
    if not np.isfinite(values).all():
        raise InputError(f"input {k} holds NaN or infinite values")
    tensor = subject.description.tensors[subject.description.inputs[k]]
    return integers(values, tensor.scale, tensor.zero_point, dtype)


# ---- generated ----


def generated(
    subject: Runner,
    floats: Model | None,
    samples: Any,
    calibrated: Runner | None,
    fixed: Mapping[str, int],
    steps: int | None = None,
    sequences: int = SEQUENCES,
) -> Data:
    """Seeded slow random walks over the inputs' ranges; ids, masks and states where the model has such.

    Ranges are those of the samples, or else of the int8 image `calibrated`. fixed: the numbers of steps a checkpoint
    fixes, by input. steps: about how many; unless given the model's window, or else STEPS.
    """
    widths = subject.input_widths
    if samples is not None and floats is not None:
        ranges, source = list(calibrate(floats, samples).ranges.values()), "the samples' range"
    elif calibrated is not None:
        ranges, source = _calibrated(calibrated), "the range the model was calibrated for"
    else:
        ranges, source = [(-1.0, 1.0)] * len(widths), "-1 ... 1"
    wanted = steps or subject.meta.window or STEPS
    if floats is not None:
        names, count = floats.inputs, fitting_steps(floats, wanted, fixed)
    else:
        names, count = subject.description.input_names, _fitting(subject, wanted)
    lengths = [fixed.get(name, count) for name in names]
    xs = [
        random_walks([width], [span], sequences, length, seed=k)[0]
        for k, (width, span, length) in enumerate(zip(widths, ranges, lengths, strict=True))
    ]
    random = np.random.default_rng(0)
    xs = _of_image(subject, xs, random) if floats is None else fit(floats, xs, random)
    return Data(xs, f"seeded random walks over {source}", True)


def _calibrated(runner: Runner) -> list[tuple[float, float]]:
    """What the inputs of an int8 image can hold."""
    described = runner.description
    if described.number_type == "s8":
        return [(-r, r) for r in (32767 * scale / HEADROOM for scale in runner.input_scales)]
    read = {layer.reads[0]: layer.writes[0] for layer in described.layers if layer.kind == "quantize_tfl8"}
    tensors = [described.tensors[read.get(k, k)] for k in described.inputs]
    return [(t.scale * (-128 - t.zero_point), t.scale * (127 - t.zero_point)) for t in tensors]


def _fitting(subject: Runner, wanted: int) -> int:
    """A number of steps that the image takes."""
    for count in (wanted, subject.description.example_steps):
        try:
            subject.reset()
            subject.check_run(count)
            return count
        except InputError as error:
            refused = error
    raise InputError(f"the model takes no run of {wanted} steps ({refused}); give data")


def _of_image(subject: Runner, xs: list[Array], random: np.random.Generator) -> list[Array]:
    """Ids, masks and single rows, of what an image alone tells of them."""
    described = subject.description
    made = []
    for k, x in enumerate(xs):
        if described.vocabularies[k]:
            x = random.integers(0, described.vocabularies[k], x.shape).astype(np.float32)
        elif described.input_names[k] == MASK and x.shape[2] == 1 and len(xs) > 1:
            lengths = random.integers(1, x.shape[1] + 1, len(x))
            lengths[0] = x.shape[1]
            x = (np.arange(x.shape[1]) < lengths[:, None])[..., None].astype(np.float32)
        made.append(x[:, 0] if described.tensors[described.inputs[k]].single else x)
    return made


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


def is_path(value: Any) -> bool:
    """Whether a value names a file."""
    return isinstance(value, str | os.PathLike)
