"""What a .tflite graph does to every step of a sequence alike, one by one, as converters write TimeDistributed: once,
to the sequence."""

from __future__ import annotations

import numpy as np

from .tflite_file import Operator
from .tflite_patterns import Graph

_DEPTH = 64  # operators on a step
_UNARY = {
    "LOGISTIC", "TANH", "RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LEAKY_RELU", "ELU", "HARD_SWISH", "GELU",
    "EXP", "SOFTMAX", "NEG", "SQUARE", "softplus", "softsign", "selu",
}  # fmt: skip
_BINARY = {"ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "FULLY_CONNECTED"}


def distribute(graph: Graph) -> None:
    """Puts operators on sequences in place of those on steps that are put together again."""
    for pack in list(graph.operators):
        if pack.op == "PACK" and len(pack.inputs) > 1 and pack.options["axis"] in (0, 1):
            _joined(graph, pack)


def _joined(graph: Graph, pack: Operator) -> None:
    found = _chain(graph, list(pack.inputs))
    if found is None:
        return
    x, axis, chain = found
    made = []
    head = graph.tensors[x].shape[:2]
    for step, place in chain:
        output = graph.tensors[step.outputs[0]]
        signature = (*graph.tensors[x].signature[:2], *output.signature[-1:])
        k = graph.tensor(output, shape=(*head, *output.shape[-1:]), signature=signature)
        options = {**step.options, "keep_dims": 1} if step.op == "FULLY_CONNECTED" else step.options
        inputs = tuple(x if n == place else source for n, source in enumerate(step.inputs))
        made.append(Operator(step.op, step.version, inputs, (k,), (), options))
        x = k
    perm = [0, 1, 2] if axis == pack.options["axis"] else [1, 0, 2]
    graph.put(pack, *made, Operator("turned", 1, (x,), pack.outputs, (), {"perm": perm}))


def _chain(graph: Graph, steps: list[int]) -> tuple[int, int, list[tuple[Operator, int]]] | None:
    """The sequence whose steps these are made of, the axis of its steps, and the operators from first to last, each
    with which of its inputs is the step's."""
    chain: list[tuple[Operator, int]] = []
    for _ in range(_DEPTH):
        source = _source(graph, steps)
        if source is not None:
            return (*source, chain[::-1]) if chain else None
        writers = [graph.writers.get(k) for k in steps]
        first = writers[0]
        if first is None or first.op not in _UNARY | _BINARY or len(graph.tensors[first.outputs[0]].shape) != 2:
            return None
        places = [n for n, k in enumerate(first.inputs) if k >= 0 and graph.tensors[k].data is None]
        if len(places) != 1 or (first.op == "FULLY_CONNECTED" and places != [0]):
            return None
        (place,) = places
        for writer in writers:
            if writer is None or not _alike(first, writer, place):
                return None
        chain.append((first, place))
        steps = [writer.inputs[place] for writer in writers if writer is not None]
    return None


def _alike(left: Operator, right: Operator, place: int) -> bool:
    """Whether two operators compute the same of what stands at a place."""
    others = [tuple(k for n, k in enumerate(o.inputs) if n != place) for o in (left, right)]
    same = (left.op, len(left.inputs), others[0]) == (right.op, len(right.inputs), others[1])
    return same and all(np.array_equal(value, right.options[key]) for key, value in left.options.items())


def _source(graph: Graph, steps: list[int]) -> tuple[int, int] | None:
    """The sequence that has just these steps in this order, and their axis."""
    writers = [graph.writers.get(k) for k in steps]
    first = writers[0]
    if first is None:
        return None
    x = graph.tensors[first.inputs[0]] if first.inputs else None
    if x is None or len(x.shape) != 3:
        return None
    if first.op == "UNPACK":
        fits = first.outputs == tuple(steps) and first.options["axis"] in (0, 1)
        return (first.inputs[0], first.options["axis"]) if fits else None
    for axis in (0, 1):
        if x.signature[axis] == len(steps) and all(
            writer is not None and writer.inputs[0] == first.inputs[0] and _takes(graph, writer, axis) == t
            for t, writer in enumerate(writers)
        ):
            return first.inputs[0], axis
    return None


def _takes(graph: Graph, operator: Operator, axis: int) -> int | None:
    """The one step that an operator takes along an axis, all of the others."""
    if operator.op != "STRIDED_SLICE":
        return None
    begin, _, strides = (graph.constant(k) for k in operator.inputs[1:4])
    options, rest = operator.options, 0b111 & ~(1 << axis)
    if begin is None or strides is None or begin.size != 3 or (strides != 1).any() or options["offset"]:
        return None
    if options["ellipsis_mask"] or options["new_axis_mask"] or options["shrink_mask"] != 1 << axis:
        return None
    whole = options["begin_mask"] & rest == rest and options["end_mask"] & rest == rest
    return int(begin.reshape(-1)[axis]) if whole and not options["begin_mask"] >> axis & 1 else None
