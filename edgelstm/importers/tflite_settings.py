"""What the LSTMs of a .tflite file are set to, where that can spoil its answers. Reads and mends; runs nothing."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from .tflite_file import Operator, Tensor, parse

OPS = ("UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM")
CELLS = {"UNIDIRECTIONAL_SEQUENCE_LSTM": (19,), "BIDIRECTIONAL_SEQUENCE_LSTM": (36, 38)}
"""Where an LSTM's inputs name the tensors of c."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One LSTM of a file."""

    cell_clip: float  # 0: none
    clip_at: int | None  # where the file holds that number; None if it holds none
    cell_scale: float | None  # of one unit of c in an int8 model, the least of them


def read(data: bytes) -> list[Settings]:
    """The fused LSTMs of a .tflite file. CheckpointError if it is damaged, or cannot be followed for another reason."""
    return [
        _settings(operator, graph.tensors)
        for graph in parse(data).subgraphs
        for operator in graph.operators
        if operator.op in OPS
    ]


def without_clip(data: bytes) -> bytes:
    """The file with every LSTM's cell clip set to none."""
    mended = bytearray(data)
    for settings in read(data):
        if settings.clip_at is not None:
            struct.pack_into("<f", mended, settings.clip_at, 0.0)
    return bytes(mended)


def _settings(operator: Operator, tensors: tuple[Tensor, ...]) -> Settings:
    named = [operator.inputs[k] for k in CELLS[operator.op] if k < len(operator.inputs)]
    known = [tensors[k].quantization for k in named if k >= 0]
    scales = [float(one.scales[0]) for one in known if one is not None]
    return Settings(
        float(operator.options.get("cell_clip", 0.0)), operator.places.get("cell_clip"), min(scales, default=None)
    )
