"""What a layer of an image has to do in a step, as a few numbers in which its instructions are linear.

`kind` names what is alike but for sizes: the layer, the types of what it reads and writes, its options and functions.
Sizes are counted as the C core walks them: rows in groups of 8, the columns of integer matrices in quads. Where
`kind` is empty, nobody has counted such a layer, and the reason is said.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .description import GROUP, SOFTMAX, Description, LayerDescription, TensorDescription

FUNCTIONS = ("linear", "sigmoid", "tanh", "relu", "table", "softmax", "jumps")  # of an s8 model, by their numbers
FLOAT_FUNCTIONS = {0: "linear", 1: "sigmoid", 2: "tanh", 3: "relu", SOFTMAX: "softmax"}
COUNTED = ("sigmoid", "tanh", "relu", "table", "softmax")
LOOPS = ("table", "softmax")
"""Those that every set computes value by value."""
VECTORS = ("helium", "neon", "neon_dotprod")
"""Sets whose functions are vectors'."""
WHOLE = ("small", "dsp", "helium")
"""Sets that make any LSTM's step in one."""
RESET_AFTER = 32


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
        return Work("the call", "door_f32", (*numbers, inputs // 4, inputs % 4, widths["f32"] // 4, widths["f32"] % 4))
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
    found = _terms(layer, x, y, kernels)
    if isinstance(found, str):
        return Work(layer.name, "", (), found)
    kind, terms = found
    return Work(layer.name, kind, (1, *terms))


def _terms(
    layer: LayerDescription, x: TensorDescription, y: TensorDescription, kernels: str
) -> tuple[str, tuple[int, ...]] | str:
    """The kind and its numbers, or why there are none."""
    record, kind = layer.record, layer.kind
    types = f"{x.type}-{y.type}"
    terms: tuple[int, ...]
    floats = kind.endswith("f32")
    groups = _groups(y.width)
    lanes = _lanes(kernels, floats)
    match kind.removesuffix("_f32").removesuffix("_s8"):
        case "lstm":
            special = special_lstm(layer)
            if special:
                return f"LSTMs with {special} are not counted"
            doublings = _functions(record, 8, 2 if floats else 3, floats)[1]
            joined = types == "s16-s8" or kernels in WHOLE  # the step of such a layer is one kernel
            terms = (groups, *_product(kernels, x, 4 * groups), *_product(kernels, y, 4 * groups, not joined))
            return f"{kind} {types}", (*terms, groups * doublings[-1])
        case "gru":
            names, doublings = _functions(record, 8, 2, floats)
            options = struct.unpack_from("<I" if floats else "<H", record, 28 if floats else 22)[0]
            if names != ("sigmoid", "tanh") or options & ~RESET_AFTER:
                return "GRUs with other functions, masks, starts or periods are not counted"
            after = options & RESET_AFTER
            again = (3 * groups,) if after else (2 * groups, groups)
            terms = (groups, groups % 2, *_spans(kernels, x, (3 * groups,)), *_spans(kernels, y, again, True))
            terms = (*terms, groups * (2 * doublings[0] + doublings[1]))
            return f"{kind} {types} {'after' if after else 'before'}", terms
        case "rnn":
            names, doublings = _functions(record, 8, 1, floats)
            options = struct.unpack_from("<I" if floats else "<H", record, 20 if floats else 14)[0]
            if names != ("tanh",) or options:
                return "RNNs with other functions, masks, starts or periods are not counted"
            terms = (groups, groups % 2, *_spans(kernels, x, (groups,)), *_spans(kernels, y, (groups,), True))
            return f"{kind} {types}", (*terms, groups * doublings[0])
        case "dense":
            (name,), (raised,) = _functions(record, 8, 1, floats)
            terms = (groups, *_product(kernels, x, groups), *_function(name, y.width, raised, lanes))
            return f"{kind} {types}", terms
        case "activate":
            (name,), (raised,) = _functions(record, 0, 1, floats)
            return f"{kind} {types}", (*_values(y.width, lanes), *_function(name, y.width, raised, lanes))
        case "conv1d":
            units, taps, parts, dilation, stride, *_ = struct.unpack_from("<9I", record)
            if parts > 1 or stride > 1:
                return "convolutions in groups or with strides are not counted"
            (name,), (raised,) = _functions(record, 36, 1, floats)
            gathered = replace(x, width=taps * x.width)
            kept, row = (taps - 1) * dilation, 8 * _groups(x.width)
            copied = taps * x.width
            odd = copied if x.width % 2 else 0  # which copies go byte by byte
            window = (taps, copied, odd, min(kept, 1), kept, kept * row)
            terms = (groups, *_product(kernels, gathered, groups), *window, *_function(name, units, raised, lanes))
            return f"{kind} {types}", terms
        case "embedding":
            return f"{kind} {types}", (x.width, y.width)
        case "last":
            return f"{kind} {types}", (y.width,)
    return f"{kind.replace('_', ' ')} layers are not counted"


def special_lstm(layer: LayerDescription) -> str:
    """What an LSTM has that kernels of a whole cell do not take; "" where they do."""
    record, floats = layer.record, layer.kind.endswith("f32")
    names, doublings = _functions(record, 8, 2 if floats else 3, floats)
    if names != ("sigmoid", "tanh", "tanh")[: len(names)]:
        return "other functions"
    if not floats and (doublings[:2] != (0, 0) or struct.unpack_from("<HHH", record, 14)[::2] != (0, 32767)):
        return "clips or gates beyond 1"
    if floats and struct.unpack_from("<f", record, len(record) - 4)[0]:
        return "clips"
    return ""


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


def _function(name: str, width: int, doublings: int, lanes: int) -> tuple[int, ...]:
    """Of each function that it is called, and for how many values; values doubled, and whether nobody counted it."""
    calls = tuple(
        number * (name == known) for known in COUNTED for number in (1, *_values(width, lanes * (known not in LOOPS)))
    )
    return (*calls, width * doublings, int(name not in ("linear", *COUNTED)))


def _lanes(kernels: str, floats: bool) -> int:
    """Values that a set's functions take at once; 0: one by one."""
    return (4 if floats else 8) if kernels in VECTORS else 0


def _values(width: int, lanes: int) -> tuple[int, ...]:
    """Values; of vectors full ones, whether there are any, whether there is a rest, and of that its 4 and its ones."""
    if not lanes:
        return (width,)
    rest = width % lanes
    return (width // lanes, int(width >= lanes), int(rest > 0), rest // 4, rest % 4)


# ---- products: blocks of 8 rows over the columns of what is read ----


def _product(kernels: str, read: TensorDescription, blocks: int, added: bool = False) -> tuple[int, ...]:
    """The numbers of one product. added: to sums that are there."""
    columns = read.width if read.type == "f32" else -(-read.width // 4)  # or quads of them
    if kernels == "helium":
        return _by_vectors(8 if read.type == "s16" else 16, blocks, columns, added)
    if kernels.startswith("neon"):
        rest = (int(columns % 4 == count) for count in (1, 2, 3))
        return (blocks, *(blocks * number for number in (columns // 8, columns // 4 % 2, *rest)))
    chunk = 16 if kernels == "dsp" else 8  # what is brought into shape before the rows; small takes 16 bits as they are
    chunks = 0 if kernels == "small" and read.type == "s16" else -(-columns // chunk)
    return (columns, chunks, blocks, blocks * columns, blocks * (columns % 2), blocks * chunks)


def _spans(kernels: str, read: TensorDescription, matrices: tuple[int, ...], added: bool = False) -> tuple[int, ...]:
    """The same of matrices of so many blocks each: those with four of them side by side, and those with one."""
    wide = [-(-blocks // 4) * 4 for blocks in matrices if blocks > 2]
    thin = [blocks for blocks in matrices if blocks < 3]
    sums = []
    for some in ([*wide, *thin],) if kernels == "helium" else (wide, thin):
        found = [_product(kernels, read, blocks, added) for blocks in some]
        sums.append(tuple(map(sum, zip(*found, strict=True))) or (0,) * len(_product(kernels, read, 0, added)))
    return tuple(number for own in sums for number in own)


def _by_vectors(lanes: int, blocks: int, quads: int, added: bool) -> tuple[int, ...]:
    """Of Helium. A product over exactly 1, 2, 4 or 8 vectors of columns has code of its own, unless it adds; else it
    goes four vectors at a time, the last 1, 2 or 3 apart."""
    vectors, rest = divmod(4 * quads, lanes)
    if not added and not rest and vectors in (1, 2, 4, 8):
        near = tuple(blocks * (vectors == count) for count in (1, 2, 4, 8))
        return (blocks, *near, 0, 0, 0, 0, 0, 0, 0)
    vectors += rest > 0
    four, left = divmod(vectors, 4)
    return (blocks, 0, 0, 0, 0, 1, blocks, four, blocks * four, *(blocks * (left == count) for count in (1, 2, 3)))


def _groups(width: int) -> int:
    return -(-width // GROUP)
