"""A float Model as a TensorFlow Lite file: float, dynamic range or full int8. Only flatbuffers is needed.

Inputs are float32 [batch, steps, width] in all kinds, [batch, width] where they have one row a run, and int32 where
they are ids of an embedding. What TFLite has no operator for is lowered to those it has where that is exact, and else
refused by name (docs/tflite.md). In a file of one step the states stay from one call to the next.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ..calibration import calibrate
from ..errors import ExportError, InputError
from ..files import write_whole
from ..layers import (
    Activate,
    Attention,
    Combine,
    Constant,
    Conv1d,
    Crop,
    Dense,
    Embedding,
    Group,
    Gru,
    Last,
    LayerNorm,
    Lstm,
    Mask,
    Pad,
    Pool1d,
    Reduce,
    Repeat,
    Reverse,
    Rnn,
    SoftmaxSteps,
    Split,
    Transpose,
)
from ..model import Model
from ..timing import MOST_NUMBERS, check_run, numbers_made
from . import tflite_cells, tflite_dense, tflite_joins, tflite_moves, tflite_norms, tflite_windows
from .tflite_assembly import Assembly
from .tflite_plan import KINDS as KINDS
from .tflite_plan import Plan
from .tflite_sheet import Sheet


def write(
    model: Model,
    path: str | os.PathLike[str],
    kind: str = "float",
    samples: Any = None,
    steps: int | None = None,
    batch: int = 1,
) -> int:
    """Write a model as a .tflite file, whole or not at all; returns its size in bytes. Arguments as in `build`."""
    data = build(model, kind, samples, steps, batch)
    write_whole(path, data)
    return len(data)


def build(model: Model, kind: str = "float", samples: Any = None, steps: int | None = None, batch: int = 1) -> bytes:
    """The bytes of a .tflite file.

    kind: "float", "dynamic" (int8 weights) or "int8", which takes its ranges from `samples` as `quantize` does.
    steps: of the input's shape; None takes the model's window, else 1, which streams. ExportError names every layer
    that TFLite cannot express.
    """
    if (samples is not None) != (kind == "int8") and kind in KINDS:
        raise InputError(f"kind {kind} takes no samples" if samples is not None else "kind int8 needs samples")
    plan = planned(model, kind, steps, batch)
    numbers = plan.batch * numbers_made(model, plan.steps)
    if numbers > MOST_NUMBERS:
        raise InputError(f"{plan.steps} steps of {batch} sequences make {numbers:,} numbers a call; give fewer")
    if reasons := _refusals(plan):
        raise ExportError(f"TFLite cannot express this model: {'; '.join(reasons)}")
    return assembled(plan, samples).pack()


def planned(model: Model, kind: str = "float", steps: int | None = None, batch: int = 1) -> Plan:
    """What a file is to hold. InputError where the model cannot run over so many steps."""
    if kind not in KINDS:
        raise InputError(f"kind is {kind!r}, expected one of {', '.join(KINDS)}")
    if steps is None and model.meta.window is None and model.timing.waits:
        name, reason = model.timing.waits[0]
        raise InputError(f"the model runs over whole sequences alone ({name}: {reason}); give `steps`, their number")
    steps = (model.meta.window or 1) if steps is None else steps
    for name, value in (("steps", steps), ("batch", batch)):
        if not isinstance(value, int) or not 1 <= value < 2**31:
            raise InputError(f"{name} is {value!r}, expected a whole number of at least 1")
    return Plan(model, kind, steps, batch)


def refusals(model: Model, kind: str = "float", steps: int | None = None) -> list[str]:
    """Why TFLite cannot express a model: a reason per layer, none if it can."""
    return _refusals(planned(model, kind, steps))


def _refusals(plan: Plan) -> list[str]:
    if not plan.streams:
        check_run(plan.model, plan.steps, timed=plan.timing)
    return [f"{layer.name}: {reason}" for layer in plan.model.layers for reason in _family(layer)[1](layer, plan)]


@dataclass(frozen=True, slots=True, eq=False)
class Assembled:
    """A graph that is ready, and where its inputs and outputs stand."""

    assembly: Assembly
    inputs: list[int]
    outputs: list[int]

    def pack(self) -> bytes:
        """The file's bytes."""
        inner = self.assembly.inner
        return self.assembly.sheet.graph.pack(self.inputs, self.outputs, "EdgeLSTM", inner.graphs)


def assembled(plan: Plan, samples: Any) -> Assembled:
    """The graph of a plan that nothing refuses."""
    calibration = calibrate(plan.model, samples) if plan.kind == "int8" else None
    assembly = Assembly(plan, calibration, Sheet(plan.kind))
    inputs = [assembly.input(name) for name in plan.model.inputs]
    for layer in plan.model.layers:
        _family(layer)[0](assembly, layer)
    outputs = [assembly.output(name) for name in plan.model.outputs]
    assembly.finish()
    return Assembled(assembly, inputs, outputs)


Writer = Callable[[Assembly, Any], None]
Refuser = Callable[[Any, Plan], Iterator[str]]


def _nothing(layer: Any, plan: Plan) -> Iterator[str]:
    yield from ()


_FAMILIES: dict[type, tuple[Writer, Refuser]] = {
    **dict.fromkeys((Lstm, Gru, Rnn), (tflite_cells.write, tflite_cells.refused)),
    Dense: (tflite_dense.dense, tflite_dense.refused),
    Activate: (tflite_dense.activate, tflite_dense.refused),
    Embedding: (tflite_dense.embedding, _nothing),
    Constant: (tflite_joins.constant, tflite_joins.refused),
    Combine: (tflite_joins.combine, tflite_joins.refused),
    Mask: (tflite_norms.mask, tflite_norms.refused),
    LayerNorm: (tflite_norms.layer_norm, tflite_norms.refused),
    SoftmaxSteps: (tflite_norms.softmax_steps, tflite_norms.refused),
    Attention: (tflite_norms.attention, tflite_norms.refused),
    Conv1d: (tflite_windows.conv1d, tflite_windows.refused),
    Pool1d: (tflite_windows.pool1d, tflite_windows.refused),
    Reduce: (tflite_windows.reduce, tflite_windows.refused),
    **dict.fromkeys(
        (Last, Reverse, Crop, Pad, Repeat, Split, Group, Transpose), (tflite_moves.write, tflite_moves.refused)
    ),
}
"""Per layer how it is written, and why it may not be."""


def _family(layer: Any) -> tuple[Writer, Refuser]:
    return _FAMILIES[type(layer)]
