"""What a layer of an image has to do in a step, as a few numbers in which its instructions are linear.

`kind` names what is alike but for sizes: the layer, the types of what it reads and writes, its options and functions.
Sizes are counted as the C core walks them: rows in groups of 8, the columns of integer matrices in quads. Where
`kind` is empty, nobody has counted such a layer, and the reason is said.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from .description import GROUP, SOFTMAX, Description, LayerDescription, TensorDescription

FUNCTIONS = ("linear", "sigmoid", "tanh", "relu", "table", "softmax", "jumps")  # of an s8 model, by their numbers
FLOAT_FUNCTIONS = {0: "linear", 1: "sigmoid", 2: "tanh", 3: "relu", SOFTMAX: "softmax"}
COUNTED = ("sigmoid", "tanh", "relu", "softmax")
TOGETHER = 8  # quads
RESET_AFTER = 32


Product: TypeAlias = Callable[[int, int], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Work:
    name: str
    kind: str  # "": not counted, and `reason` says why
    terms: tuple[int, ...]  # the first is 1
    reason: str = ""


def door(description: Description) -> Work:
    """All of a step but its layers: the call, inputs in, the walk, outputs out."""
    tensors = description.tensors
    widths = dict.fromkeys(("f32", "s16", "s8"), 0)
    for index in description.outputs:
        widths[tensors[index].type] += tensors[index].width
    inputs = sum(tensors[index].width for index in description.inputs)
    numbers = (1, len(description.inputs), len(description.outputs), len(description.layers))
    if description.number_type == "f32":
        return Work("the call", "door_f32", (*numbers, inputs, widths["f32"]))
    if description.number_type == "s8":  # copies go by 16 bytes, then by 4, then by 1
        copied = (width for count in (inputs, widths["s16"]) for width in (count // 8, count % 8 // 2, count % 2))
        return Work("the call", "door_s8", (*numbers, widths["s8"], *copied))
    return Work("the call", "", (), "full-int8 TFLite models are not counted")


def layers(description: Description, kernels: str) -> tuple[Work, ...]:
    """Of each layer, in their order, as a kernel set walks them."""
    return tuple(_layer(layer, description.tensors, kernels) for layer in description.layers)


def _layer(layer: LayerDescription, tensors: Sequence[TensorDescription], kernels: str) -> Work:
    x, y = tensors[layer.reads[0]], tensors[layer.writes[0]]
    if any(tensors[k].clock for k in (*layer.reads, *layer.writes)):
        return Work(layer.name, "", (), "it has not a row at each step")
    found = _terms(layer, x, y, kernels == "helium" and not layer.kind.endswith("f32"))
    if isinstance(found, str):
        return Work(layer.name, "", (), found)
    kind, terms = found
    return Work(layer.name, kind, (1, *terms))


def _terms(
    layer: LayerDescription, x: TensorDescription, y: TensorDescription, vectors: bool
) -> tuple[str, tuple[int, ...]] | str:
    """The kind and its numbers, or why there are none."""
    record, kind = layer.record, layer.kind
    types = f"{x.type}-{y.type}"
    terms: tuple[int, ...]
    product: Product = partial(_by_vectors, 8 if x.type == "s16" else 16) if vectors else _by_quads
    again_product: Product = partial(_by_vectors, 8 if y.type == "s16" else 16) if vectors else _by_quads
    floats = kind.endswith("f32")
    groups = _groups(y.width)
    across_x, across_h = (x.width, y.width) if floats else (_quads(x.width), _quads(y.width))
    match kind.removesuffix("_f32").removesuffix("_s8"):
        case "lstm":
            names, doublings = _functions(record, 8, 2 if floats else 3, floats)
            if names != ("sigmoid", "tanh", "tanh")[: len(names)]:
                return "LSTMs with other functions are not counted"
            if not floats and (doublings[:2] != (0, 0) or struct.unpack_from("<HHH", record, 14)[::2] != (0, 32767)):
                return "LSTMs with clips or gates beyond 1 are not counted"
            if floats and struct.unpack_from("<f", record, len(record) - 4)[0]:
                return "LSTMs with clips are not counted"
            terms = (groups, *product(groups, across_x), *again_product(groups, across_h), groups * doublings[-1])
            return f"{kind} {types}", terms
        case "gru":
            names, doublings = _functions(record, 8, 2, floats)
            options = struct.unpack_from("<I" if floats else "<H", record, 28 if floats else 22)[0]
            if names != ("sigmoid", "tanh") or options & ~RESET_AFTER:
                return "GRUs with other functions, masks, starts or periods are not counted"
            after = options & RESET_AFTER
            products = (*_product(product, (3,), groups, across_x),)
            products += _product(again_product, (3,) if after else (2, 1), groups, across_h)
            terms = (groups, *products, groups * (2 * doublings[0] + doublings[1]))
            return f"{kind} {types} {'after' if after else 'before'}", terms
        case "rnn":
            names, doublings = _functions(record, 8, 1, floats)
            options = struct.unpack_from("<I" if floats else "<H", record, 20 if floats else 14)[0]
            if names != ("tanh",) or options:
                return "RNNs with other functions, masks, starts or periods are not counted"
            products = _product(product, (1,), groups, across_x) + _product(again_product, (1,), groups, across_h)
            return f"{kind} {types}", (groups, *products, groups * doublings[0])
        case "dense":
            (name,), (raised,) = _functions(record, 8, 1, floats)
            terms = (groups, *product(groups, across_x), *_function(name, y.width, raised))
            return f"{kind} {types}", terms
        case "activate":
            (name,), (raised,) = _functions(record, 0, 1, floats)
            return f"{kind} {types}", (groups, y.width, *_function(name, y.width, raised))
        case "conv1d":
            units, taps, parts, dilation, stride, *_ = struct.unpack_from("<9I", record)
            if parts > 1 or stride > 1:
                return "convolutions in groups or with strides are not counted"
            (name,), (raised,) = _functions(record, 36, 1, floats)
            columns = taps * x.width if floats else _quads(taps * x.width)
            kept, row = (taps - 1) * dilation, 8 * _groups(x.width)
            copied = taps * x.width
            odd = copied if x.width % 2 else 0  # which copies go byte by byte
            window = (taps, copied, odd, min(kept, 1), kept, kept * row)
            terms = (groups, *product(groups, columns), *window, *_function(name, units, raised))
            return f"{kind} {types}", terms
        case "embedding":
            return f"{kind} {types}", (x.width, y.width)
        case "last":
            return f"{kind} {types}", (y.width,)
    return f"{kind.replace('_', ' ')} layers are not counted"


def _functions(record: bytes, at: int, count: int, floats: bool) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names of a record's functions and doublings before them; those of integers are two bytes each, of floats more."""
    names, doublings = [], []
    for _ in range(count):
        if floats:
            number = struct.unpack_from("<I", record, at)[0]
            names.append(FLOAT_FUNCTIONS.get(number, f"function {number}"))
            doublings.append(0)
            at += 8 if number <= SOFTMAX else 16
        else:
            names.append(FUNCTIONS[record[at]])
            doublings.append(record[at + 1])
            at += 2
    return tuple(names), tuple(doublings)


def _function(name: str, width: int, doublings: int) -> tuple[int, ...]:
    """That it is called, for how many values, of each function; values doubled, and functions that nobody counted."""
    calls = tuple(number for known in COUNTED for number in (int(name == known), width * (name == known)))
    return (*calls, width * doublings, int(name not in ("linear", *COUNTED)))


def _by_quads(blocks: int, columns: int) -> tuple[int, ...]:
    """Columns, which are brought into shape once; blocks of rows times columns; blocks where columns are odd; blocks
    times what is brought into shape at once."""
    return columns, blocks * columns, blocks * (columns % 2), blocks * -(-columns // TOGETHER)


def _by_vectors(lanes: int, blocks: int, quads: int) -> tuple[int, ...]:
    """Of Helium, blocks of rows where they have exactly 1, 2, 4 or 8 vectors; else times four vectors at a time, and
    where 1, 2 or 3 are left."""
    left, four = 4 * quads, 0
    exact = left // lanes if left % lanes == 0 else 0
    near = tuple(blocks * (exact == count) for count in (1, 2, 4, 8))
    if any(near):
        return (*near, 0, 0, 0, 0)
    while left > 3 * lanes:
        left -= min(left, 4 * lanes)
        four += 1
    rest = -(-left // lanes)
    return (*near, blocks * four, *(blocks * (rest == count) for count in (1, 2, 3)))


def _product(shape: Product, matrices: tuple[int, ...], groups: int, columns: int) -> tuple[int, ...]:
    """Of matrices of so many gates, which follow one another, over the same columns. Where four blocks of 8 rows stand
    side by side, then where each is alone: blocks, and the numbers of the product."""
    wide = thin = 0
    for gates in matrices:
        blocks = gates * groups
        if blocks < 3:
            thin += blocks
        else:
            wide += -(-blocks // 4) * 4
    return (wide, *shape(wide, columns), thin, *shape(thin, columns))


def _groups(width: int) -> int:
    return -(-width // GROUP)


def _quads(width: int) -> int:
    return -(-width // 4)
