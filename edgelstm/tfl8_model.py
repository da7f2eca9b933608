"""A full-int8 TensorFlow Lite model: the layers of tfl8.py over their tensors, checked against one another."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from .errors import InputError, ModelError
from .meta import NOWHERE, Meta, Source
from .model import check_graph
from .tfl8 import (
    BYTE_MOVERS,
    MAX_SOFTMAX,
    Tfl8Combine,
    Tfl8Constant,
    Tfl8Conv1d,
    Tfl8Dense,
    Tfl8Dequantize,
    Tfl8Embedding,
    Tfl8Layer,
    Tfl8Lstm,
    Tfl8Map,
    Tfl8Pool1d,
    Tfl8Quantize,
    Tfl8Reduce,
    Tfl8Softmax,
    Tfl8Tensor,
    affine,
    among,
)
from .timing import Timing, timing


@dataclass(frozen=True, slots=True, eq=False)
class Tfl8Model:
    """A full-int8 TFLite model. ModelError if tensors and layers do not fit one another."""

    tensors: tuple[Tfl8Tensor, ...]
    layers: tuple[Tfl8Layer, ...]  # in an order in which they can run
    inputs: tuple[str, ...]  # tensor names
    outputs: tuple[str, ...]  # tensor names
    source: Source = NOWHERE
    meta: Meta = field(default_factory=Meta)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for t in self.tensors:
            _check_tensor(t)
        check_graph(self.tensors, self.layers, self.inputs, self.outputs, self.meta)
        for layer in self.layers:
            _check_layer(self, layer)
        timing(self)

    def width(self, tensor: str) -> int:
        """Values a step of a tensor."""
        return self.tensor(tensor).width

    def tensor(self, name: str) -> Tfl8Tensor:
        """A tensor by name."""
        return next(t for t in self.tensors if t.name == name)

    @property
    def timing(self) -> Timing:
        """When the model's tensors have rows."""
        return timing(self)


def _row(
    rounding: str, convolution: str, depthwise: str, factors: str, ties: str, flavour: str = "tflite"
) -> dict[str, str]:
    settings = {"rounding": rounding, "convolution": convolution, "depthwise": depthwise}
    return settings | {"factors": factors, "ties": ties, "flavour": flavour}


ARITHMETIC = {
    ("tflite-runtime", "default", "x86_64"): _row("halfup", "halfup", "double", "double", "exact"),
    ("tflite-runtime", "reference", "x86_64"): _row("double", "double", "double", "double", "away"),
    ("tflite-runtime", "builtin", "x86_64"): _row("halfup", "halfup", "double", "double", "exact"),
    ("tflite-runtime", "default", "aarch64"): _row("double", "double", "eights", "halfup", "even"),
    ("tflite-runtime", "reference", "aarch64"): _row("double", "double", "double", "double", "away"),
    ("tflite-runtime", "builtin", "aarch64"): _row("double", "double", "eights", "halfup", "even"),
    ("tflite-runtime", "default", "armv7l"): _row("double", "double", "eights", "halfup", "exact"),
    ("tflite-runtime", "reference", "armv7l"): _row("double", "double", "double", "double", "exact"),
    ("tflite-runtime", "builtin", "armv7l"): _row("double", "double", "eights", "halfup", "exact"),
    ("ai-edge-litert", "default", "x86_64"): _row("float", "float", "float", "coarse", "even"),
    ("ai-edge-litert", "reference", "x86_64"): _row("single", "double", "double", "double", "away"),
    ("ai-edge-litert", "builtin", "x86_64"): _row("halfup", "halfup", "eights", "halfup", "even"),
    ("ai-edge-litert", "default", "aarch64"): _row("float", "float", "float", "coarse", "even"),
    ("ai-edge-litert", "reference", "aarch64"): _row("single", "double", "double", "double", "away"),
    ("ai-edge-litert", "builtin", "aarch64"): _row("single", "single", "eights", "halfup", "even"),
    ("tflite-micro", "reference", "x86_64"): _row("double", "double", "double", "double", "away", "micro"),
}  # fmt: skip
"""What `variant` makes of a model for a runtime: by package, resolver (peers.RESOLVERS) and machine. The LSTM itself is
the same in all but TFLite Micro. Proven by tests/parity/test_tfl8_parity.py; on ARM, by tools/test_arm_tflite.py."""


JOINS = ("add", "subtract", "multiply")
SETTINGS = ("flavour", "rounding", "convolution", "depthwise", "factors", "ties")
"""Of a runtime's arithmetic: fields that layers have of these names, and the rounding of the convolutions."""


def runtime_arithmetic(name: str) -> dict[str, str]:
    """The row of ARITHMETIC that a name means, "tflite-runtime", "ai-edge-litert:reference" or whole as
    "PACKAGE:RESOLVER:MACHINE"; default kernels and aarch64 where it does not say. InputError for others."""
    package, *rest = name.split(":")
    resolver, machine = (*rest[:2], "", "")[:2]
    for row, settings in sorted(ARITHMETIC.items(), key=lambda item: item[0][2] != "aarch64"):
        if row[0] == package and resolver in ("", row[1]) and machine in ("", row[2]) and len(rest) < 3:
            return dict(settings)
    packages, resolvers, machines = (", ".join(dict.fromkeys(row[k] for row in ARITHMETIC)) for k in range(3))
    raise InputError(
        f"the arithmetic of {name!r} is not known; expected PACKAGE:RESOLVER:MACHINE, of which the last two may be "
        f"left out: {packages}; {resolvers}; {machines} (tflite-micro has reference kernels alone, listed for x86_64)"
    )


def arithmetic(model: Tfl8Model) -> dict[str, str]:
    """The settings that a model's layers have, each with its value; "mixed" where layers differ."""
    found: dict[str, str] = {}
    for name in SETTINGS:
        for layer in model.layers:
            value = getattr(layer, name, None)
            if isinstance(layer, Tfl8Conv1d):
                value = layer.rounding if name == _rounding_of(layer) else None
            if value is not None and (name != "factors" or _has_factors(layer)):
                found[name] = value if found.get(name, value) == value else "mixed"
    return found


def _rounding_of(layer: Tfl8Conv1d) -> str:
    """The setting that its rounding is."""
    return "depthwise" if layer.depthwise else "convolution"


def _has_factors(layer: Any) -> bool:
    """Whether this setting means anything to a layer."""
    if isinstance(layer, Tfl8Reduce):
        return layer.kind == "mean"
    return getattr(layer, "function", "") in ("leaky_relu", "rescale") or getattr(layer, "kind", "") in JOINS


def computed_by(settings: dict[str, str]) -> list[tuple[str, str, str]]:
    """The rows of ARITHMETIC that compute with these settings."""
    return [row for row, own in ARITHMETIC.items() if settings == {k: own[k] for k in settings}]


def variant(
    model: Tfl8Model,
    *,
    runtime: str | None = None,
    flavour: str | None = None,
    rounding: str | None = None,
    convolution: str | None = None,
    depthwise: str | None = None,
    factors: str | None = None,
    ties: str | None = None,
) -> Tfl8Model:
    """The same model in another runtime's arithmetic: every layer that has such a setting gets the one given.

    runtime: whose, "tflite-runtime", "ai-edge-litert", "tflite-micro" or with resolver and machine as in ARITHMETIC,
    "ai-edge-litert:reference:x86_64"; the other settings, of FLAVOURS, ROUNDINGS, CONV_ROUNDINGS, FACTORS and TIES
    in tfl8.py, come after it. InputError for a runtime that is not known, ModelError for a setting that is not, or that
    no layer can have.
    """
    settings = {"flavour": flavour, "rounding": rounding, "convolution": convolution, "depthwise": depthwise}
    settings |= {"factors": factors, "ties": ties}
    given = runtime_arithmetic(runtime) if runtime is not None else {}
    given |= {name: value for name, value in settings.items() if value is not None}

    def changed(layer: Any) -> Any:
        own = {k: v for k, v in given.items() if k in {f.name for f in fields(layer)}}
        if isinstance(layer, Tfl8Conv1d):
            rounding = given.get(_rounding_of(layer))
            own = {"rounding": rounding} if rounding is not None else {}
        return replace(layer, **own) if own else layer

    return replace(model, layers=tuple(changed(layer) for layer in model.layers))


# ---- checks ----


def _check_tensor(tensor: Tfl8Tensor) -> None:
    among(f"tensor {tensor.name}", "type", tensor.type, ("f32", "s8", "s16"))
    affine(f"tensor {tensor.name}", "its", tensor.scale, tensor.zero_point)
    if (tensor.type == "f32" and tensor.scale != 1) or (tensor.type != "s8" and tensor.zero_point != 0):
        raise ModelError(f"tensor {tensor.name}: {tensor.type} of scale {tensor.scale}, zero {tensor.zero_point}")


def _same(a: Tfl8Tensor, b: Tfl8Tensor) -> bool:
    return a.type == b.type and np.float32(a.scale) == np.float32(b.scale) and a.zero_point == b.zero_point


def _is(tensor: Tfl8Tensor, type: str, scale: float, zero: int = 0) -> bool:
    return tensor.type == type and np.float32(tensor.scale) == np.float32(scale) and tensor.zero_point == zero


def _check_layer(model: Tfl8Model, layer: Any) -> None:
    reads, writes = [model.tensor(n) for n in layer.reads], [model.tensor(n) for n in layer.writes]
    x, y = reads[0], writes[0]
    match layer:
        case Tfl8Lstm():
            cell = 2.0**layer.cell_exponent
            fine = x.type == y.type == "s8" and all(_is(c, "s16", cell) for c in (*writes[1:], *reads[2:]))
            fine &= all(_is(h, "s8", layer.state_scale, layer.state_zero) for h in reads[1:2])
        case Tfl8Dense():
            fine = x.type == y.type == "s8"
        case Tfl8Softmax():
            fine = x.type == "s8" and _is(y, "s8", 1 / 256, -128)
            if x.width > MAX_SOFTMAX:
                raise ModelError(f"{layer.name}: a softmax over {x.width} values, expected at most {MAX_SOFTMAX}")
        case Tfl8Map():
            fine = x.type == y.type == "s8"
            fine &= {"logistic": _is(y, "s8", 1 / 256, -128), "tanh": _is(y, "s8", 1 / 128)}.get(layer.function, True)
        case Tfl8Quantize():
            fine = x.type == "f32" and (y.type == "s8" or _is(y, "s16", 1))
        case Tfl8Dequantize():
            fine = x.type != "f32" and y.type == "f32"
        case Tfl8Embedding():
            fine = _is(x, "s16", 1) and y.type == "s8"
        case Tfl8Constant():
            fine = y.type != "f32"
            if y.type == "s8" and np.abs(layer.value + 0.5).max() > 127.5:
                raise ModelError(f"{layer.name}: value holds other than int8's numbers, and {y.name} is s8")
        case Tfl8Conv1d():
            fine = x.type == y.type == "s8"
        case Tfl8Pool1d() | Tfl8Reduce():
            fine = x.type == y.type == "s8"
            fine &= (isinstance(layer, Tfl8Reduce) and layer.kind == "mean") or _same(x, y)
        case Tfl8Combine():
            fine = all(t.type == "s8" for t in (*reads, y))
            fine &= layer.kind != "concatenate" or all(_same(t, y) for t in reads)
        case _:
            if not isinstance(layer, BYTE_MOVERS):
                raise ModelError(f"{layer.name}: {type(layer).__name__} is no layer of an int8 TFLite model")
            fine = _same(x, y)
    if not fine:
        kinds = ", ".join(f"{t.name} {t.type} {t.scale:g}/{t.zero_point}" for t in (*reads, *writes))
        raise ModelError(f"{layer.name}: types, scales or zero points do not fit: {kinds}")
