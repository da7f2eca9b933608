"""Our own answers: a runner between arrays of real numbers, whatever its doors take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import reference_s8
from ..model import Array
from ..runner import Runner

Arrays = tuple[Array, ...]

Progress = Callable[[str, float], object]
"""Told what is being done and which share of it is done, 0 ... 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """What is compared with the reference."""

    name: str  # "f32", "s8" or "tfl8"
    runner: Runner

    def answers(self, xs: Sequence[Array], every_step: bool = False) -> Arrays:
        """Float arrays in, as `Runner.run` takes them, and out; integers as the numbers they stand for."""
        made = self.runner.run(tuple(self.given(xs)), every_step)
        described = self.runner.description
        ys = made if isinstance(made, tuple) else (made,)
        return tuple(
            y if y.dtype == np.float32 else real(y, described.tensors[k].scale, described.tensors[k].zero_point)
            for y, k in zip(ys, described.outputs, strict=True)
        )

    def given(self, xs: Sequence[Array]) -> list[Array]:
        """Float arrays as the doors of `run` take them: those of int8 inputs in TFLite's integers."""
        described, types = self.runner.description, [x.dtype for x in self.runner.xs]
        return [
            x
            if dtype == np.float32
            else integers(x, described.tensors[k].scale, described.tensors[k].zero_point, dtype)
            for x, k, dtype in zip(xs, described.inputs, types, strict=True)
        ]

    def inside(self, xs: Sequence[Array]) -> list[Array]:
        """Float arrays as probe.run takes them: those of an s8 image in its integers."""
        if self.name != "s8":
            return self.given(xs)
        return [reference_s8.to_int16(x, scale) for x, scale in zip(xs, self.runner.input_scales, strict=True)]


def named(runner: Runner) -> str:
    """What a runner's variant is called: the number type of its image."""
    return runner.description.number_type


def integers(x: Array, scale: float, zero: int, dtype: np.dtype[Any]) -> Array:
    """Real numbers in a runtime's integers, as peers.run_tflite makes them."""
    info = np.iinfo(dtype)
    whole: Array = np.clip(np.rint(x / scale) + zero, info.min, info.max).astype(dtype)
    return whole


def real(values: Array, scale: float, zero: int) -> Array:
    """The numbers that integers stand for, float32, as TFLite computes them."""
    numbers: Array = np.float32(scale) * (values.astype(np.int32) - zero).astype(np.float32)
    return numbers
