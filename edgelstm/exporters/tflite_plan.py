"""What of a model goes into a .tflite file, and in which shape: decided before anything is written."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..layers import Embedding
from ..model import Model
from ..timing import Timing, rows, timing

KINDS = ("float", "dynamic", "int8")


@dataclass(frozen=True)
class Plan:
    """A model, the kind of its file, and the steps and sequences of one call."""

    model: Model
    kind: str
    steps: int
    batch: int = 1

    @cached_property
    def timing(self) -> Timing:
        return timing(self.model)

    @property
    def streams(self) -> bool:
        """Whether calls of one step, the state kept between them, give what a whole sequence gives."""
        return self.steps == 1 and self.timing.causal and not self.timing.uneven

    @cached_property
    def ids(self) -> frozenset[str]:
        """Inputs that hold the ids of an embedding: whole numbers in the file."""
        reads = {layer.reads[0] for layer in self.model.layers if isinstance(layer, Embedding)}
        return frozenset(reads.intersection(self.model.inputs))

    def single(self, name: str) -> bool:
        return name in self.timing.single

    def rows(self, name: str) -> int:
        """Steps of a tensor in one call; 1 of a single one."""
        return 1 if self.single(name) else rows(self.timing.clocks[name], self.steps)

    def shape(self, name: str) -> tuple[int, ...]:
        """[N, width], or [N, steps, width]."""
        width = self.model.width(name)
        return (self.batch, width) if self.single(name) else (self.batch, self.rows(name), width)

    def readers(self, name: str) -> list[Any]:
        """Layers that read a tensor."""
        return [layer for layer in self.model.layers if name in layer.reads]
