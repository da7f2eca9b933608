"""Keras' layers that join several tensors, and the masks they give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ..layers import MAX_READS
from .keras_build import Call, Shape, Value
from .keras_config import shown
from .keras_fold import Affine

MERGES = {
    "Add": "add",
    "Subtract": "subtract",
    "Multiply": "multiply",
    "Average": "average",
    "Maximum": "maximum",
    "Minimum": "minimum",
}
KERAS1_MERGES = {"sum": "add", "mul": "multiply", "ave": "average", "max": "maximum", "concat": "concatenate"}


def merge(call: Call) -> Value:
    """Add, Subtract, Multiply, Average, Maximum and Minimum."""
    values, kind = _several(call), MERGES[call.spec.kind]
    mask = _merged_mask(call, values)
    if _any_of_masks(call) and any(value.mask is not None for value in values):
        if kind == "multiply":
            return replace(_masked_product(call, values, mask), mask=mask)
        if kind in ("maximum", "minimum"):
            return replace(_masked_extreme(call, kind, values), mask=mask)
    return replace(elementwise(call, kind, values), mask=mask)


def _masked_product(call: Call, values: Sequence[Value], mask: str | None) -> Value:
    """Since Keras 3.4 a step that does not count is a factor of 1, and one that counts nowhere gives 0."""
    factors = []
    for value in values:
        tensor = value.tensor
        if value.mask is not None:
            tensor = call.combine("multiply", (tensor, value.mask), value.width)
            tensor = call.combine("add", (tensor, other_steps(call, value.mask)), value.width)
        factors.append(replace(value, tensor=tensor))
    y = elementwise(call, "multiply", factors)
    return y if mask is None else replace(y, tensor=call.combine("multiply", (y.tensor, mask), y.width))


def _masked_extreme(call: Call, kind: str, values: Sequence[Value]) -> Value:
    """Since Keras 3.4 a step that does not count in one tensor is taken from the other."""
    y, mask = values[0], values[0].mask
    for value in values[1:]:
        x = value if value.mask is None else _where(call, value.mask, value, y)
        y = y if mask is None else _where(call, mask, y, x)
        mask = None if mask is None or value.mask is None else joined_masks(call, "maximum", [mask, value.mask])
        y = elementwise(call, kind, [y, x])
    return y


def _where(call: Call, mask: str, value: Value, other: Value) -> Value:
    """The value's steps that count, the other's elsewhere."""
    if value.width != other.width:
        raise call.refuse(f"shapes {_shapes([value, other])} under a mask are not supported")
    kept = call.combine("multiply", (value.tensor, mask), value.width)
    taken = call.combine("multiply", (other.tensor, other_steps(call, mask)), value.width)
    return replace(value, tensor=call.combine("add", (kept, taken), value.width))


def other_steps(call: Call, mask: str) -> str:
    """1 where a step does not count: 1 - mask."""
    if ("other", mask) not in call.build.known:
        y = call.add(
            lambda name, y: Affine(name, (mask,), (y,), np.full(1, -1.0), np.ones(1), False), 1, "_other_steps"
        )
        call.build.known["other", mask] = y
    return call.build.known["other", mask]


def concatenate(call: Call) -> Value:
    values = _several(call)
    rank = max(len(value.shape) for value in values)
    axis = call.settings.axis("axis", -1, rank)
    return replace(side_by_side(call, values, axis), mask=_concatenated_mask(call, values))


def keras1_merge(call: Call) -> Value:
    """Merge of Keras 1, by its mode."""
    settings = call.settings
    mode = settings.text("mode", default="sum", allowed=tuple(KERAS1_MERGES))
    for key, plain in (("mode_type", "raw"), ("output_shape_type", "raw"), ("output_mask_type", "raw")):
        settings.text(key, default=plain, allowed=(plain,))
    for key in ("output_shape", "output_mask", "dot_axes"):
        settings.take(key)
    arguments = settings.take("arguments", {})
    if arguments:
        raise settings.refuse("arguments", arguments, "only a function takes them, and functions are code")
    values = _several(call)
    axis = settings.axis("concat_axis", -1, max(len(value.shape) for value in values))
    mask = _merged_mask(call, values)
    if mode == "concat":
        return replace(side_by_side(call, values, axis), mask=mask)
    return replace(elementwise(call, KERAS1_MERGES[mode or ""], values), mask=mask)


def _several(call: Call) -> list[Value]:
    if not call.inputs:
        raise call.refuse("it is called on no tensor")
    values = [call.build.settle(value, False, call.spec.name) for value in call.inputs]
    if len({value.inside for value in values}) > 1:
        raise call.refuse("it joins what lies inside a TimeDistributed with what does not")
    return values


def elementwise(call: Call, kind: str, values: Sequence[Value]) -> Value:
    """Values joined one by one: equal ones, or one row or one value for all, as Keras broadcasts."""
    if kind == "subtract" and len(values) != 2:
        raise call.refuse(f"it subtracts {len(values)} tensors, expected two")
    values = [_as_row(call, value, values) for value in values]
    widest = max(values, key=lambda value: (value.rows or False, len(value.shape), value.width))
    width = max(value.width for value in values)
    deep = len(widest.shape) > 2
    for value in values:
        # one value a step serves all, and a step's values serve all steps; inside a row nothing can be repeated
        fits = value.shape[1:] == widest.shape[1:] if deep else value.width in (1, width)
        if not fits or not _steps_fit(value, widest):
            raise call.refuse(f"shapes {_shapes(values)} cannot be joined value by value")
    if len(values) == 1:
        return values[0]
    tensor = values[0].tensor
    if kind == "average" and len(values) > MAX_READS:
        raise call.refuse(f"an average of {len(values)} tensors, expected at most {MAX_READS}")
    for first in range(1, len(values), MAX_READS - 1):
        part = values[first : first + MAX_READS - 1]
        tensor = call.combine(kind, (tensor, *(value.tensor for value in part)), width)
    steps = next((value.shape[0] for value in values if value.rows and value.shape[0] is not None), None)
    shape: Shape = (steps, *(widest.shape[1:] if deep else (width,))) if widest.rows else (width,)
    return Value(tensor, shape, widest.rows, inside=widest.inside)


def _as_row(call: Call, value: Value, others: Sequence[Value]) -> Value:
    """A sequence of one step as a single row, where it stands beside a longer one."""
    longer = any(other.rows and other.shape[0] != 1 for other in others)
    if value.rows and value.shape[0] == 1 and longer and not value.inside:
        tensor = call.group(value.tensor, 1, value.width, single=True)
        return Value(tensor, value.shape[1:], False)
    return value


def _steps_fit(value: Value, other: Value) -> bool:
    if not value.rows or not other.rows:
        return True
    return value.shape[0] is None or other.shape[0] is None or value.shape[0] == other.shape[0]


def side_by_side(call: Call, values: Sequence[Value], axis: int) -> Value:
    """Values one after the other, along the last axis."""
    ranks = {len(value.shape) for value in values}
    first = values[0]
    if len(ranks) > 1 or len({value.rows for value in values}) > 1:
        raise call.refuse(f"shapes {_shapes(values)} cannot be put one after the other")
    if axis != -1 or (first.rows and len(first.shape) == 1):
        raise call.refuse(f"axis = {axis}: only -1, over the values of a step, is supported")
    if len(first.shape) > 2:
        raise call.refuse(f"shapes {_shapes(values)}: only (steps, values) are supported")
    if any(not _steps_fit(value, first) for value in values):
        raise call.refuse(f"shapes {_shapes(values)} differ in their steps")
    if len(values) == 1:
        return first
    parts = [(value.tensor, value.width) for value in values]
    while len(parts) > 1:
        some, parts = parts[:MAX_READS], parts[MAX_READS:]
        width = sum(n for _, n in some)
        parts.insert(0, (call.combine("concatenate", tuple(t for t, _ in some), width), width))
    tensor, width = parts[0]
    steps = next((value.shape[0] for value in values if value.rows and value.shape[0] is not None), None)
    return Value(tensor, (steps, width) if first.rows else (width,), first.rows, inside=first.inside)


def _shapes(values: Sequence[Value]) -> str:
    return shown([list(value.shape) for value in values])


# ---- masks ----


def _any_of_masks(call: Call) -> bool:
    """Since Keras 3.4 a joined step counts if it counts in any of the tensors; before it had to count in all."""
    return call.build.release >= (3, 4)


def _merged_mask(call: Call, values: Sequence[Value]) -> str | None:
    masks = [value.mask for value in values]
    if _any_of_masks(call):
        return None if None in masks else joined_masks(call, "maximum", masks)
    return joined_masks(call, "multiply", masks)


def _concatenated_mask(call: Call, values: Sequence[Value]) -> str | None:
    masks = [value.mask for value in values]
    if _any_of_masks(call):  # a tensor without a mask counts everywhere
        return None if None in masks else joined_masks(call, "maximum", masks)
    return joined_masks(call, "multiply", masks)


def joined_masks(call: Call, kind: str, masks: Sequence[str | None]) -> str | None:
    """One mask of several; those that are None left out."""
    found = list(dict.fromkeys(mask for mask in masks if mask is not None))
    if len(found) < 2:
        return found[0] if found else None
    mask = found[0]
    for other in found[1:]:
        key = ("joined", kind, mask, other)
        if key not in call.build.known:
            call.build.known[key] = call.combine(kind, (mask, other), 1, "_mask")
        mask = call.build.known[key]
    return mask


LAYERS: dict[str, Callable[[Call], Value]] = {
    **dict.fromkeys(MERGES, merge),
    "Concatenate": concatenate,
    "Merge": keras1_merge,
}
