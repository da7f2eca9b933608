"""Which tensors hold whole numbers, ids and masks: an integer model keeps them as they are, with a scale of 1."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

from .layers import LINEAR, Activate, Combine, Conv1d, Dense, Embedding, Gru, Lstm, Mask, Pool1d, Reduce, Rnn
from .quantized import MOVERS

_KEEPING = ("concatenate", "multiply", "maximum", "minimum")  # combinations of whole numbers that are such again


def whole_inputs(model: Any) -> frozenset[str]:
    """Inputs that reach an Embedding's ids or a layer's mask with no layer between that computes other numbers."""
    masks = {mask_of(layer) for layer in model.layers if getattr(layer, "masked", False)}
    return id_inputs(model) | _sources(model, masks)


def id_inputs(model: Any) -> frozenset[str]:
    """Those of them that reach ids."""
    return _sources(model, {name for layer in model.layers if isinstance(layer, Embedding) for name in layer.reads})


def _sources(model: Any, wanted: set[str]) -> frozenset[str]:
    """Inputs that these tensors are made of, without a computation."""
    for layer in reversed(model.layers):
        if layer.writes[0] in wanted and (_keeps(layer) or isinstance(layer, Mask)):
            wanted = wanted | set(layer.reads)
    return frozenset(wanted & set(model.inputs))


def mask_of(layer: Any) -> str:
    """The mask that a masked layer reads: an attention's comes last, all others' second."""
    return str(layer.reads[3] if hasattr(layer, "heads") else layer.reads[1])


def whole_tensors(model: Any, inputs: frozenset[str]) -> frozenset[str]:
    """All tensors that hold whole numbers where these inputs do."""
    whole = set(inputs)
    for layer in model.layers:
        all_whole = all(name in whole for name in layer.reads)
        if isinstance(layer, Mask):
            whole.update(layer.writes if all_whole else layer.writes[1:])
        elif all_whole and _keeps(layer):
            whole.update(layer.writes)
    return frozenset(whole)


def _keeps(layer: Any) -> bool:
    """Whether a layer writes whole numbers where it reads such."""
    if isinstance(layer, Combine):
        return layer.kind in _KEEPING
    return isinstance(layer, MOVERS) or (isinstance(layer, Pool1d | Reduce) and layer.kind == "max")


def numbers_read(layer: Any, whole: frozenset[str]) -> frozenset[str]:
    """Those of these whole tensors that the layer computes with as with any numbers, so that steps of 1 would be too
    coarse: not as ids or a mask, not as a factor, and not where it writes whole numbers itself. A mean or sum has bits
    of its own."""
    read = whole.intersection(layer.reads)
    if isinstance(layer, Dense | Conv1d):
        return read
    if isinstance(layer, Activate):
        return frozenset() if layer.activation == LINEAR else read
    if isinstance(layer, Lstm | Gru | Rnn):
        return whole.intersection(layer.reads[:1] + layer.reads[1 + layer.masked :])
    if isinstance(layer, Combine) and layer.kind != "multiply":
        return frozenset() if layer.kind in _KEEPING and read == set(layer.reads) else read
    return frozenset()


def with_numbers(model: Any, whole: frozenset[str]) -> tuple[Any, dict[str, str]]:
    """The model with a linear Activate for each of these whole tensors that a layer computes with, which then reads
    what that writes: integers of finer steps. Also the tensors written, by the tensor read."""
    layers: list[Any] = []
    made: dict[str, str] = {}
    taken = {t.name for t in model.tensors} | {layer.name for layer in model.layers}
    for layer in model.layers:
        numbers = numbers_read(layer, whole)
        for name in sorted(numbers - set(made)):
            fine = next(n for n in (f"{name}_numbers{k or ''}" for k in count()) if n not in taken)
            taken.add(fine)
            made[name] = fine
            layers.append(Activate(fine, (name,), (fine,), LINEAR))
        reads = tuple(made[name] if name in numbers else name for name in layer.reads)
        if isinstance(layer, Lstm | Gru | Rnn) and layer.masked:
            reads = (reads[0], layer.reads[1], *reads[2:])
        layers.append(replace(layer, reads=reads) if numbers else layer)
    tensors = {t.name: t for t in model.tensors}
    fine_tensors = tuple(replace(tensors[name], name=fine, single=False) for name, fine in made.items())
    return replace(model, tensors=model.tensors + fine_tensors, layers=tuple(layers)), made
