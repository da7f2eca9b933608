"""Layer norm, softmax over steps, attention and masks, of floats, lowered to operators that the reader knows again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..layers import Attention, LayerNorm, Mask, SoftmaxSteps
from .flatbuffer import Table
from .tflite_assembly import Assembly
from .tflite_plan import Plan
from .tflite_sheet import Sheet, differs

_FAR = -1e9  # a score that counts nothing


def refused(layer: Any, plan: Plan) -> Iterator[str]:
    """Why one of these cannot be written."""
    if plan.kind == "int8":
        yield f"TFLite has no int8 operator for {type(layer).__name__}; write it as float or dynamic"
    if isinstance(layer, Attention) and layer.additive is not None:
        yield "additive attention has no operators that read back"
    if isinstance(layer, Attention) and layer.masked:
        yield "attention with a mask of the keys has no operators that read back"
    if isinstance(layer, LayerNorm) and layer.rms:
        yield "a norm without its mean has no operators that read back"


def layer_norm(a: Assembly, layer: LayerNorm) -> None:
    """(x - mean) / sqrt(mean((x - mean)^2) + epsilon) * scale + offset."""
    s, name, x = a.sheet, layer.name, a.index[layer.reads[0]]
    mean = _mean(s, x, f"{name}/mean")
    centred = s.join("SUB", x, mean, f"{name}/centred")
    squares = s.op("SQUARED_DIFFERENCE", [x, mean], f"{name}/squares")
    spread = s.join("ADD", _mean(s, squares, f"{name}/variance"), s.number(layer.epsilon), f"{name}/spread")
    normal = s.join("MUL", centred, s.op("RSQRT", [spread], f"{name}/inverse"), f"{name}/normal")
    scaled = s.join("MUL", normal, s.row(f"{name}/scale", layer.scale), f"{name}/scaled")
    a.index[layer.writes[0]] = s.join("ADD", scaled, s.row(f"{name}/offset", layer.offset), layer.writes[0])


def _mean(s: Sheet, x: int, name: str) -> int:
    return s.op("MEAN", [x, s.whole(f"{name}/axis", [-1])], name, (*s.shape(x)[:-1], 1), _KEPT)


_KEPT: Table = {0: np.bool_(True)}  # the axis that is reduced, as 1


def softmax_steps(a: Assembly, layer: SoftmaxSteps) -> None:
    """Softmax where steps are values."""
    s, x = a.sheet, a.index[layer.reads[0]]
    turned = s.transpose(x, (0, 2, 1), f"{layer.name}/turned")
    normal = s.op("SOFTMAX", [turned], f"{layer.name}/normal", options={0: np.float32(1)})
    a.index[layer.writes[0]] = s.transpose(normal, (0, 2, 1), layer.writes[0])


def attention(a: Assembly, layer: Attention) -> None:
    """softmax(scale q k) v in each head."""
    s, name, target = a.sheet, layer.name, layer.writes[0]
    alone = a.plan.single(layer.reads[0])
    queries, values, keys = (a.index[read] for read in layer.reads[:3])
    if alone:
        queries = a.reshape(queries, (a.plan.batch, 1, s.shape(queries)[1]), f"{name}/query")
    q, v, k = (_heads(s, x, layer.heads, f"{name}/{key}") for x, key in ((queries, "q"), (values, "v"), (keys, "k")))
    q = s.join("MUL", q, s.number(layer.scale), f"{name}/scaled") if layer.scale != 1 else q
    batch, heads, steps, _ = s.shape(q)
    score = _matmul(s, q, k, f"{name}/score", (batch, heads, steps, s.shape(k)[2]), turned=True)
    if layer.causal:
        later = np.triu(np.full((steps, s.shape(k)[2]), _FAR, np.float32), 1)
        score = s.join("ADD", score, s.row(f"{name}/later", later), f"{name}/causal")
    weights = s.op("SOFTMAX", [score], f"{name}/weights", options={0: np.float32(1)})
    mixed = _matmul(s, weights, v, f"{name}/mixed", (batch, heads, steps, s.shape(v)[3]))
    mixed = s.transpose(mixed, (0, 2, 1, 3), f"{name}/beside")
    a.index[target] = a.reshape(mixed, a.plan.shape(target), target)


def _heads(s: Sheet, x: int, heads: int, name: str) -> int:
    """[N, heads, steps, width / heads]."""
    batch, steps, width = s.shape(x)
    return s.transpose(s.reshape(x, (batch, steps, heads, width // heads), name), (0, 2, 1, 3), f"{name}/heads")


def _matmul(s: Sheet, x: int, y: int, name: str, shape: tuple[int, ...], turned: bool = False) -> int:
    options: Table = {0: np.bool_(False), 1: np.bool_(turned), 2: np.bool_(False)}
    return s.op("BATCH_MATMUL", [x, y], name, shape, options)


def mask(a: Assembly, layer: Mask) -> None:
    """Whether some value differs from the one that is missing, and x times that."""
    x = a.index[layer.reads[0]]
    counts = a.counts[layer.writes[1]] = differs(a.sheet, x, layer.value, layer.name)
    kept = a.sheet.op("CAST", [counts], layer.writes[1], a.sheet.shape(counts), {0: np.int8(6), 1: np.int8(0)})
    a.index[layer.writes[0]] = a.sheet.join("MUL", x, kept, layer.writes[0])
    a.index[layer.writes[1]] = kept
