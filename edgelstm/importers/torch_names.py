"""PyTorch's tensor names: which tensors make which layer, and which none that is supported."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ..errors import CheckpointError
from ..layers import MAX_VOCABULARY
from ..model import MAX_WIDTH, Array

_FLOATS = ("float32", "float64", "float16", "bfloat16")
_RECURRENT = re.compile(r"(weight_ih|weight_hh|bias_ih|bias_hh|weight_hr)_l(\d{1,3})(_reverse)?")
LEAVES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
"""The tensors of one layer and direction."""
_PREFIXES = ("module.", "_orig_mod.", "model.")
_COUNTERS = ("int64", "int32", "int16", "int8", "uint8", "bool")
_DEPTH_LIMIT = 64
_GATES = {4: "lstm", 3: "gru", 1: "rnn"}  # rows of a recurrent matrix for each unit
_HEADS = ("in_proj_weight", "q_proj_weight")
_REFUSED = {
    "weight_g": "weight normalisation (call torch.nn.utils.remove_weight_norm before saving)",
    "weight_v": "weight normalisation (call torch.nn.utils.remove_weight_norm before saving)",
    "original0": "a parametrization (call torch.nn.utils.parametrize.remove_parametrizations before saving)",
    "original1": "a parametrization (call torch.nn.utils.parametrize.remove_parametrizations before saving)",
    "original": "a parametrization (call torch.nn.utils.parametrize.remove_parametrizations before saving)",
    "bias_k": "a MultiheadAttention with add_bias_kv, which is not supported",
    "bias_v": "a MultiheadAttention with add_bias_kv, which is not supported",
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
    """One layer and direction; rows of all tensors by gate: i, f, g, o of an LSTM, r, z, n of a GRU."""

    kernel: Weight  # [gates * units, inputs]
    recurrent: Weight  # [gates * units, outputs]
    biases: tuple[Weight, ...]  # none, or two of [gates * units]
    projection: Weight | None = None  # [outputs, units], of an LSTM

    @property
    def units(self) -> int:
        return (self.recurrent if self.projection is None else self.projection).shape[1]


@dataclass(frozen=True, slots=True)
class Stack:
    """All layers of one nn.LSTM, nn.GRU or nn.RNN, or the one of a cell module."""

    name: str  # the module's name in the state dict; may be ""
    kind: str  # "lstm", "gru" or "rnn"
    inputs: int
    units: int  # values it gives, of both directions
    cells: tuple[tuple[Cell, ...], ...]  # by layer: forwards, and backwards where there is one

    @property
    def bidirectional(self) -> bool:
        return len(self.cells[0]) == 2


@dataclass(frozen=True, slots=True)
class Linear:
    """An nn.Linear; without bias it could be an nn.Embedding as well."""

    name: str
    inputs: int
    units: int
    kernel: Weight  # [units, inputs]
    bias: Weight | None  # [units]


@dataclass(frozen=True, slots=True)
class Table:
    """An nn.Embedding, known as one by its name or by an architecture file."""

    name: str
    inputs: int  # 1: a whole number
    units: int  # columns
    table: Weight  # [vocabulary, columns]


@dataclass(frozen=True, slots=True)
class Conv:
    """An nn.Conv1d."""

    name: str
    kernel: Weight  # [units, inputs / groups, taps]
    bias: Weight | None  # [units]


@dataclass(frozen=True, slots=True)
class BatchNorm:
    """An nn.BatchNorm1d with its running statistics."""

    name: str
    mean: Weight  # [width], and so the others
    variance: Weight
    scale: Weight | None
    offset: Weight | None


@dataclass(frozen=True, slots=True)
class Norm:
    """Numbers for each value, or one for all: of an nn.LayerNorm, nn.RMSNorm or nn.PReLU."""

    name: str
    scale: Weight  # [width]
    offset: Weight | None


@dataclass(frozen=True, slots=True)
class Heads:
    """An nn.MultiheadAttention."""

    name: str
    kernels: tuple[Weight, ...]  # of queries, keys and values: one of [3 * width, width], or three
    bias: Weight | None  # [3 * width]
    output: Weight  # [width, width]
    output_bias: Weight | None

    @property
    def units(self) -> int:
        return self.output.shape[0]


Part = Stack | Linear | Table | Conv | BatchNorm | Norm | Heads


def kind(part: Part) -> str:
    """What a person calls a part's layer."""
    if isinstance(part, Stack):
        return part.kind.upper()
    names = {Linear: "Linear layer", Table: "Embedding", Conv: "Conv1d", BatchNorm: "BatchNorm1d", Norm: "LayerNorm or "
             "the like", Heads: "MultiheadAttention"}  # fmt: skip
    return names[type(part)]


def unwrapped(names: list[str], notes: list[str]) -> list[str]:
    """The names without those of wrappers: a prefix that all share ("module.", ...), and inside "module" and
    "_orig_mod" where nothing stands beside them."""
    prefix = ""
    while names and (found := next((p for p in _PREFIXES if all(n.startswith(prefix + p) for n in names)), "")):
        prefix += found
    if prefix:
        notes.append(f"the prefix {prefix} was removed from all names")
    paths = [name[len(prefix) :].split(".") for name in names]
    if max((len(path) for path in paths), default=0) > _DEPTH_LIMIT:
        raise CheckpointError(f"names of more than {_DEPTH_LIMIT} parts")
    children: dict[tuple[str, ...], set[str]] = {}
    for path in paths:
        for k, part in enumerate(path):
            children.setdefault(tuple(path[:k]), set()).add(part)
    alone = {parent for parent, inner in children.items() if parent and inner in ({"module"}, {"_orig_mod"})}
    if alone:
        notes.append("the names of wrappers, module and _orig_mod, were removed inside names")
    return [".".join(part for k, part in enumerate(path) if tuple(path[:k]) not in alone) for path in paths]


def parts(weights: list[Weight], notes: list[str]) -> list[Part]:
    """The layers, in the order of their first tensors; CheckpointError for a tensor of none."""
    modules: dict[str, dict[str, Weight]] = {}
    for weight in weights:
        if not weight.name.isprintable() or len(weight.name) > 200:
            raise CheckpointError("a tensor's name is not printable text of at most 200 characters")
        module, _, leaf = weight.name.rpartition(".")
        if leaf in _REFUSED:
            raise CheckpointError(f"tensor {weight.name} belongs to {_REFUSED[leaf]}")
        if not weight.shape and weight.dtype in _COUNTERS:
            notes.append(f"{weight.name}: a single whole number, taken for a counter and left out")
            continue
        modules.setdefault(module, {})[leaf] = weight
    if not modules:
        raise CheckpointError("no weights in it")
    inner = {f"{m}.out_proj".lstrip(".") for m, leaves in modules.items() if any(name in leaves for name in _HEADS)}
    return [
        _part(module, leaves, modules.get(f"{module}.out_proj".lstrip("."), {}))
        for module, leaves in modules.items()
        if module not in inner
    ]


def values(weight: Weight, dtype: type[np.floating[Any]]) -> Array:
    """The tensor's finite numbers. CheckpointError if some are NaN or infinite, as float32 too."""
    with np.errstate(over="ignore", invalid="ignore"):
        array = weight.load().astype(dtype)
        finite = np.isfinite(array.astype(np.float32)).all()
    if not finite:
        raise CheckpointError(f"tensor {weight.name} holds NaN, infinite or larger values than float32 can hold")
    return array


def label(part: Part) -> str:
    """The module's name, or its kind where the state dict is that of the module alone."""
    if part.name:
        return part.name
    names = {Linear: "linear", Table: "embedding", Conv: "conv", BatchNorm: "norm", Norm: "norm", Heads: "attention"}
    return part.kind if isinstance(part, Stack) else names[type(part)]


def weights_of(part: Part) -> list[Weight]:
    """All tensors of a part."""
    match part:
        case Stack():
            cells = [cell for directions in part.cells for cell in directions]
            found = [w for cell in cells for w in (cell.kernel, cell.recurrent, *cell.biases, cell.projection)]
        case Linear() | Conv():
            found = [part.kernel, part.bias]
        case Table():
            found = [part.table]
        case BatchNorm():
            found = [part.mean, part.variance, part.scale, part.offset]
        case Norm():
            found = [part.scale, part.offset]
        case Heads():
            found = [*part.kernels, part.bias, part.output, part.output_bias]
    return [weight for weight in found if weight is not None]


def cell(where: str, tensors: Mapping[str, Weight], expected: str | None = None) -> tuple[str, Cell]:
    """A layer and direction of its tensors by name (weight_ih, ...), and its kind: the shapes tell."""
    for name in ("weight_ih", "weight_hh"):
        if name not in tensors:
            raise CheckpointError(f"{where} lacks {name}")
        _check(tensors[name], 2)
    kernel, recurrent, projection = tensors["weight_ih"], tensors["weight_hh"], tensors.get("weight_hr")
    rows, outputs = recurrent.shape
    units = outputs
    if projection is not None:
        _check(projection, 2)
        units = projection.shape[1]
        if projection.shape[0] != outputs or rows != 4 * units:
            raise CheckpointError(f"{where}: {projection.name} {projection.shape} does not fit {recurrent.name}")
    gates = next((g for g in _GATES if rows == g * units), 0)
    if not gates or kernel.shape[0] != rows or (expected is not None and _GATES[gates] != expected):
        raise CheckpointError(
            f"{where}: {kernel.name} {kernel.shape} and {recurrent.name} {recurrent.shape} fit no "
            + (expected.upper() if expected else "LSTM, GRU or RNN")
        )
    biases = tuple(tensors[name] for name in ("bias_ih", "bias_hh") if name in tensors)
    if len(biases) == 1:
        raise CheckpointError(f"{where}: {biases[0].name} comes without the other of the two biases")
    for each in biases:
        _check_vector(where, each, rows)
    return _GATES[gates], Cell(kernel, recurrent, biases, projection)


def stack(name: str, where: str, found: list[tuple[tuple[str, Cell], ...]]) -> Stack:
    """The layers of one module; CheckpointError unless they are of one kind and chain."""
    kinds = {kind for directions in found for kind, _ in directions}
    cells = tuple(tuple(one for _, one in directions) for directions in found)
    if len(kinds) != 1 or len({len(directions) for directions in cells}) != 1:
        raise CheckpointError(f"{where}: its layers are of several kinds, or some have two directions and some one")
    if any(len({one.recurrent.shape for one in directions}) > 1 for directions in cells):
        raise CheckpointError(f"{where}: its two directions differ in size")
    for directions in cells:
        if any(one.kernel.shape[1] != directions[0].kernel.shape[1] for one in directions):
            raise CheckpointError(f"{where}: its two directions do not read the same")
    for below, above in pairwise(cells):
        if above[0].kernel.shape[1] != sum(one.recurrent.shape[1] for one in below):
            raise CheckpointError(f"{where}: {above[0].kernel.name} does not read what {below[0].kernel.name} makes")
    units = sum(one.recurrent.shape[1] for one in cells[-1])
    return Stack(name, kinds.pop(), cells[0][0].kernel.shape[1], units, cells)


def _part(module: str, leaves: Mapping[str, Weight], inner: Mapping[str, Weight]) -> Part:
    """inner: of an attention's output layer, which is a module in it."""
    if any(_RECURRENT.fullmatch(leaf) or leaf in LEAVES for leaf in leaves):
        return _stack(module, leaves)
    if any(leaf in _HEADS for leaf in leaves):
        return _heads(module, leaves, inner)
    for leaf, tensor in leaves.items():
        if leaf not in ("weight", "bias", "running_mean", "running_var"):
            raise CheckpointError(f"tensor {tensor.name} is of no layer that is supported")
    weight, bias = leaves.get("weight"), leaves.get("bias")
    if "running_mean" in leaves or "running_var" in leaves:
        return _batch_norm(module, leaves, weight, bias)
    if weight is None:
        raise CheckpointError(f"tensor {leaves['bias'].name} comes without a weight")
    where = f"layer {module or 'of the file'}"
    rank = len(weight.shape)
    if rank not in (1, 2, 3):
        raise CheckpointError(
            f"tensor {weight.name} has shape {weight.shape}, as of a convolution over several dimensions or the like, "
            "which is not supported"
        )
    _check(weight, rank, tall=rank == 2 and bias is None)
    if bias is not None:
        _check_vector(where, bias, weight.shape[0])
    if rank == 1:
        return Norm(module, weight, bias)
    if rank == 3:
        return Conv(module, weight, bias)
    return Linear(module, weight.shape[1], weight.shape[0], weight, bias)


def _stack(module: str, leaves: Mapping[str, Weight]) -> Stack:
    where = f"layer {module or 'of the file'}"
    layers: dict[int, tuple[dict[str, Weight], dict[str, Weight]]] = {}
    for leaf, weight in leaves.items():
        found = _RECURRENT.fullmatch(leaf)
        if not found and leaf not in LEAVES:
            raise CheckpointError(f"tensor {weight.name} is of no layer that is supported")
        directions = layers.setdefault(int(found[2]) if found else 0, ({}, {}))
        directions[1 if found and found[3] else 0][found[1] if found else leaf] = weight
    count = sum(len(tensors) for directions in layers.values() for tensors in directions)
    if sorted(layers) != list(range(len(layers))) or len(leaves) != count:
        raise CheckpointError(f"{where} has tensors of the layers {sorted(layers)}, not of each from 0 on once")
    return stack(module, where, [
        tuple(cell(f"{where}: layer {index}", tensors) for tensors in layers[index] if tensors)
        for index in range(len(layers))
    ])  # fmt: skip


def _batch_norm(module: str, leaves: Mapping[str, Weight], scale: Weight | None, offset: Weight | None) -> BatchNorm:
    where = f"layer {module or 'of the file'}"
    for name in ("running_mean", "running_var"):
        if name not in leaves:
            raise CheckpointError(f"{where} lacks {name}; without running statistics its answers depend on the batch")
    width = leaves["running_mean"].shape[0] if leaves["running_mean"].shape else 0
    for weight in leaves.values():
        _check_vector(where, weight, width)
    return BatchNorm(module, leaves["running_mean"], leaves["running_var"], scale, offset)


def _heads(module: str, leaves: Mapping[str, Weight], inner: Mapping[str, Weight]) -> Heads:
    where = f"layer {module or 'of the file'}"
    names = ("in_proj_weight",) if "in_proj_weight" in leaves else tuple(f"{x}_proj_weight" for x in "qkv")
    for name in (*names, *leaves):
        if name not in leaves or name not in (*names, "in_proj_bias"):
            raise CheckpointError(f"{where}: {name} is missing, or of no attention that is supported")
    if "weight" not in inner or set(inner) > {"weight", "bias"}:
        raise CheckpointError(f"{where}: an attention without its out_proj")
    output = inner["weight"]
    width = output.shape[0] if len(output.shape) == 2 else 0
    _check(output, 2)
    for name in names:
        _check(leaves[name], 2)
        if leaves[name].shape[0] != (3 * width if name == "in_proj_weight" else width) or output.shape[1] != width:
            raise CheckpointError(f"{where}: {leaves[name].name} {leaves[name].shape} does not fit {output.name}")
    bias = leaves.get("in_proj_bias")
    if bias is not None:
        _check_vector(where, bias, 3 * width)
    output_bias = inner.get("bias")
    if output_bias is not None:
        _check_vector(where, output_bias, width)
    return Heads(module, tuple(leaves[name] for name in names), bias, output, output_bias)


def _check_vector(where: str, weight: Weight, length: int) -> None:
    _check(weight, 1)
    if weight.shape != (length,):
        raise CheckpointError(f"{where}: {weight.name} has {weight.shape[0]} values, expected {length}")


def _check(weight: Weight, rank: int, tall: bool = False) -> None:
    limit = MAX_VOCABULARY if tall else 4 * MAX_WIDTH
    if len(weight.shape) != rank or not all(1 <= n <= limit for n in weight.shape):
        raise CheckpointError(f"tensor {weight.name} has shape {weight.shape}, expected {rank} dimensions, none empty")
    if weight.dtype not in _FLOATS:
        raise CheckpointError(f"tensor {weight.name} holds {weight.dtype}, expected floating-point weights")
