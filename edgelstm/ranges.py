"""How wide integers reach: what a layer can be asked to narrow, and what was asked. Nothing is made here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .meta import Array

WORTH_FLAT = 1.02  # what narrowing must divide the error by, where a function goes flat: such values lose nothing else
WORTH = 2.0  # 3 dB, of any other: for less, the room that covering leaves for live data beyond the samples is not sold


@dataclass(frozen=True, slots=True)
class Span:
    """A range that covers what the samples reach, and that could be narrower."""

    layer: str
    what: str  # "c", "state", "h" or "output"
    full: float  # real value where it saturates
    largest: float  # real value that the samples reach
    noise: float  # energy of its rounding over that of its values: what narrowing can save at most
    worth: float  # what narrowing must divide the error of the outputs by
    grows: bool = False  # whether its rounding errors add up from step to step
    coarse: bool = True  # whether its candidates are halves of each other
    most: float = 2.0**12  # how many times narrower it can be

    @property
    def key(self) -> tuple[str, str]:
        return self.layer, self.what


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model is to be made."""

    kind: str = "s8"  # the type of h
    compensate: bool = True
    narrowed: Mapping[tuple[str, str], float] = field(default_factory=dict)  # by a Span's key, 0 ... 1

    def factor(self, layer: str, what: str) -> float:
        """What of the covering range is kept."""
        return self.narrowed.get((layer, what), 1.0)


def rounding_noise(full: float, values: list[Array]) -> float:
    """Energy of the rounding to integers, 32768 of which reach `full`, over that of the values [..., width]: the mean
    over the units that are not all but idle."""
    energies = sum(np.square(v).sum(axis=tuple(range(v.ndim - 1))) for v in values) / sum(
        v[..., 0].size for v in values
    )
    largest = float(np.max(energies, initial=0))
    if not largest:
        return 0.0
    return float((full / 32768) ** 2 / 12 * np.mean(1 / np.maximum(energies, 1e-6 * largest)))
