"""PyTorch's tensor names: which tensors make an LSTM, which a Linear layer, and which nothing supported."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ..errors import CheckpointError
from ..model import MAX_WIDTH, Array

_FLOATS = ("float32", "float64", "float16", "bfloat16")
_RECURRENT = re.compile(r"(weight_ih|weight_hh|bias_ih|bias_hh|weight_hr)_l(\d{1,3})(_reverse)?")
_CELL = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_PREFIXES = ("module.", "_orig_mod.", "model.")
_COUNTERS = ("int64", "int32", "int16", "int8", "uint8", "bool")
_REFUSED = {
    "running_mean": "BatchNorm",
    "running_var": "BatchNorm",
    "num_batches_tracked": "BatchNorm",
    "weight_g": "weight normalisation (call torch.nn.utils.remove_weight_norm before saving)",
    "weight_v": "weight normalisation (call torch.nn.utils.remove_weight_norm before saving)",
    "original0": "a parametrization (call torch.nn.utils.parametrize.remove_parametrizations before saving)",
    "original1": "a parametrization (call torch.nn.utils.parametrize.remove_parametrizations before saving)",
    "original": "a parametrization (call torch.nn.utils.parametrize.remove_parametrizations before saving)",
    "in_proj_weight": "MultiheadAttention",
    "in_proj_bias": "MultiheadAttention",
    "weight_orig": "pruning (call torch.nn.utils.prune.remove before saving)",
    "weight_mask": "pruning (call torch.nn.utils.prune.remove before saving)",
}


@dataclass(frozen=True, slots=True)
class Weight:
    """A named tensor of a checkpoint, not read yet."""

    name: str
    shape: tuple[int, ...]
    dtype: str  # NumPy's name, or "bfloat16"
    load: Callable[[], Array]


@dataclass(frozen=True, slots=True)
class Cell:
    """One LSTM layer; rows of all tensors by gate: i, f, g, o."""

    kernel: Weight  # [4 * units, inputs]
    recurrent: Weight  # [4 * units, units]
    biases: tuple[Weight, ...]  # none, or two of [4 * units], which are added


@dataclass(frozen=True, slots=True)
class Stack:
    """The layers of one nn.LSTM, or one nn.LSTMCell."""

    name: str  # the module's name in the state dict; may be ""
    inputs: int
    units: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Linear:
    """An nn.Linear."""

    name: str
    inputs: int
    units: int
    kernel: Weight  # [units, inputs]
    bias: Weight | None  # [units]


Part = Stack | Linear


def strip_prefixes(names: list[str]) -> tuple[str, int]:
    """The wrappers' prefix that all names share ("module.", ...), and its length."""
    prefix = ""
    while names and (found := next((p for p in _PREFIXES if all(n.startswith(prefix + p) for n in names)), "")):
        prefix += found
    return prefix, len(prefix)


def parts(weights: list[Weight], notes: list[str]) -> list[Part]:
    """The LSTMs and Linear layers, in the order of their first tensors; CheckpointError for any other tensor."""
    modules: dict[str, dict[str, Weight]] = {}
    for weight in weights:
        if not weight.name.isprintable() or len(weight.name) > 200:
            raise CheckpointError("a tensor's name is not printable text of at most 200 characters")
        module, _, leaf = weight.name.rpartition(".")
        if leaf in _REFUSED:
            raise CheckpointError(f"tensor {weight.name} belongs to {_REFUSED[leaf]}, which is not supported")
        if not weight.shape and weight.dtype in _COUNTERS:
            notes.append(f"{weight.name}: a single whole number, taken for a counter and left out")
            continue
        modules.setdefault(module, {})[leaf] = weight
    if not modules:
        raise CheckpointError("no weights in it")
    return [_part(module, leaves) for module, leaves in modules.items()]


def values(weight: Weight, dtype: type[np.floating[Any]]) -> Array:
    """The tensor's finite numbers. CheckpointError if some are NaN or infinite, as float32 too."""
    with np.errstate(over="ignore", invalid="ignore"):
        array = weight.load().astype(dtype)
        finite = np.isfinite(array.astype(np.float32)).all()
    if not finite:
        raise CheckpointError(f"tensor {weight.name} holds NaN, infinite or larger values than float32 can hold")
    return array


def bias_sum(cell: Cell, units: int) -> Array:
    """b_ih + b_hh, added in float64 and rounded to float32 once; zeros without biases. float32 [4 * units]."""
    total = np.zeros(4 * units, np.float64)
    for bias in cell.biases:
        total += values(bias, np.float64)
    return total.astype(np.float32)


def label(part: Part) -> str:
    """The module's name, or its kind where the state dict is that of the module alone."""
    return part.name or ("lstm" if isinstance(part, Stack) else "linear")


def _part(module: str, leaves: Mapping[str, Weight]) -> Part:
    if any(_RECURRENT.fullmatch(leaf) or leaf in _CELL for leaf in leaves):
        return _stack(module, leaves)
    return _linear(module, leaves)


def _stack(module: str, leaves: Mapping[str, Weight]) -> Stack:
    where = f"layer {module or 'lstm'}"
    layers: dict[int, dict[str, Weight]] = {}
    for leaf, weight in leaves.items():
        found = _RECURRENT.fullmatch(leaf)
        if found and found[3]:
            raise CheckpointError(f"{where} is bidirectional ({weight.name}), which is not supported")
        if found and found[1] == "weight_hr":
            raise CheckpointError(f"{where} has proj_size ({weight.name}), which is not supported")
        if not found and leaf not in _CELL:
            raise CheckpointError(f"tensor {weight.name} is of no layer that is supported")
        layers.setdefault(int(found[2]) if found else 0, {})[found[1] if found else leaf] = weight
    if sorted(layers) != list(range(len(layers))) or len(leaves) != sum(len(layer) for layer in layers.values()):
        raise CheckpointError(f"{where} has tensors of the layers {sorted(layers)}, not of each from 0 on once")
    cells = tuple(_cell(where, index, layers[index]) for index in range(len(layers)))
    for below, above in pairwise(cells):
        if above.kernel.shape[1] != below.recurrent.shape[1]:
            raise CheckpointError(f"{where}: {above.kernel.name} does not read what {below.kernel.name} makes")
    return Stack(module, cells[0].kernel.shape[1], cells[-1].recurrent.shape[1], cells)


def _cell(where: str, index: int, tensors: Mapping[str, Weight]) -> Cell:
    for name in ("weight_ih", "weight_hh"):
        if name not in tensors:
            raise CheckpointError(f"{where}: layer {index} lacks {name}")
        _check(tensors[name], 2)
    kernel, recurrent = tensors["weight_ih"], tensors["weight_hh"]
    rows, units = recurrent.shape
    if rows in (3 * units, units):
        kind = "GRU" if rows == 3 * units else "RNN"
        raise CheckpointError(
            f"{where} is of kind {kind} ({recurrent.name} is {rows} x {units}), which is not supported"
        )
    if rows != 4 * units or kernel.shape[0] != rows:
        raise CheckpointError(
            f"{where}: {kernel.name} {kernel.shape} and {recurrent.name} {recurrent.shape} fit no LSTM"
        )
    biases = tuple(tensors[name] for name in ("bias_ih", "bias_hh") if name in tensors)
    if len(biases) == 1:
        raise CheckpointError(f"{where}: {biases[0].name} comes without the other of the two biases")
    for bias in biases:
        _check(bias, 1)
        if bias.shape != (rows,):
            raise CheckpointError(f"{where}: {bias.name} has {bias.shape[0]} values, expected {rows}")
    return Cell(kernel, recurrent, biases)


def _linear(module: str, leaves: Mapping[str, Weight]) -> Linear:
    where = f"layer {module or 'linear'}"
    for leaf, weight in leaves.items():
        if leaf not in ("weight", "bias"):
            raise CheckpointError(f"tensor {weight.name} is of no layer that is supported")
    if "weight" not in leaves:
        raise CheckpointError(f"tensor {leaves['bias'].name} comes without a weight")
    weight, bias = leaves["weight"], leaves.get("bias")
    if len(weight.shape) != 2:
        kind = {1: "a normalisation (LayerNorm or the like)"}.get(len(weight.shape), "a convolution or the like")
        raise CheckpointError(f"tensor {weight.name} has shape {weight.shape}, as of {kind}, which is not supported")
    if bias is None and "emb" in module.lower():
        raise CheckpointError(f"tensor {weight.name} is of an Embedding by its name, which is not supported")
    _check(weight, 2)
    if bias is not None:
        _check(bias, 1)
        if bias.shape != weight.shape[:1]:
            raise CheckpointError(f"{where}: {bias.name} has {bias.shape[0]} values, expected {weight.shape[0]}")
    return Linear(module, weight.shape[1], weight.shape[0], weight, bias)


def _check(weight: Weight, rank: int) -> None:
    if len(weight.shape) != rank or not all(1 <= n <= 4 * MAX_WIDTH for n in weight.shape):
        raise CheckpointError(f"tensor {weight.name} has shape {weight.shape}, expected {rank} dimensions, none empty")
    if weight.dtype not in _FLOATS:
        raise CheckpointError(f"tensor {weight.name} holds {weight.dtype}, expected floating-point weights")
