"""Keras' layers that move values: Flatten, Reshape, Permute, RepeatVector, and TimeDistributed around others."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from ..errors import CheckpointError
from ..layers import Repeat, Transpose
from .keras_build import Call, Value
from .keras_config import shown


def flatten(call: Call) -> Value:
    x = call.x
    if not x.rows:
        return x
    return _as_one(call, x)


def _as_one(call: Call, x: Value) -> Value:
    """All steps as one row."""
    if x.shape[0] is None:
        raise call.refuse("the number of steps must be known; give the model's Input a length and save it again")
    y = call.group(x.tensor, x.shape[0], x.width, single=not x.inside)
    return Value(y, (x.shape[0] * x.width,), False, inside=x.inside)


def reshape(call: Call) -> Value:
    """Values keep their order: rows are put together, or taken apart, or both."""
    x, key = call.x, "target_shape" if "target_shape" in call.settings.values else "dims"
    target = call.settings.take(key)
    if not isinstance(target, list) or not target or not all(_is_size(n) or n == -1 for n in target):
        raise call.settings.refuse(key, target, "expected a list of whole numbers")
    return to_shape(call, x, target)


def to_shape(call: Call, x: Value, target: list[int]) -> Value:
    shape: list[int | None] = list(target)
    total = None if None in x.shape else prod(n or 1 for n in x.shape)
    if -1 in target:
        rest = prod(n for n in target if n != -1)
        if target.count(-1) > 1 or (total is not None and total % rest):
            raise call.refuse(f"shape {shown(list(x.shape))} cannot become {shown(target)}")
        shape[target.index(-1)] = None if total is None else total // rest
    if total is not None and prod(n or 1 for n in shape) != total:
        raise call.refuse(f"shape {shown(list(x.shape))} cannot become {shown(target)}")
    if None in shape[1:] or (total is None and shape[0] is not None):
        raise call.refuse("the number of steps must be known; give the model's Input a length and save it again")
    if len(shape) == 1:
        return _as_one(call, x) if x.rows else x
    width = prod(n or 1 for n in shape[1:])
    made = Value(x.tensor, tuple(shape), True, inside=x.inside)
    if not x.rows:  # one row becomes steps
        count = shape[0] or 1
        return replace(made, tensor=call.split(x.tensor, count, width))
    if width == x.width:
        return made
    if width % x.width == 0:
        return replace(made, tensor=call.group(x.tensor, width // x.width, x.width))
    if x.width % width == 0:
        return replace(made, tensor=call.split(x.tensor, x.width // width, width))
    return to_shape(call, _as_one(call, x), [n or 1 for n in shape])


def permute(call: Call) -> Value:
    """The axes in another order; steps and values change places where the steps are known."""
    x, dims = call.x, call.settings.take("dims")
    if dims == list(range(1, len(x.shape) + 1)):
        return x
    if dims != [2, 1] or not x.rows or len(x.shape) != 2 or x.inside:
        reason = f"not supported for shape {shown(list(x.shape))}; [2, 1] of a sequence is"
        raise call.settings.refuse("dims", dims, reason)
    steps, width = x.shape
    if steps is None or width is None:
        raise call.refuse("the number of steps must be known; give the model's Input a length and save it again")
    y = call.add(lambda name, y: Transpose(name, (x.tensor,), (y,), steps), steps)
    return Value(y, (width, steps), True)


def repeat_vector(call: Call) -> Value:
    x = call.x
    count = call.settings.whole("n")
    if x.rows or x.inside:
        raise call.refuse("it repeats a single step, and reads a sequence")
    y = call.add(lambda name, y: Repeat(name, (x.tensor,), (y,), count), x.width)
    return Value(y, (count, x.width), True)


def enter(call: Call, x: Value) -> Value:
    """One step of a sequence as a value of its own, for the layer inside a TimeDistributed."""
    if not x.rows:
        raise call.refuse("it reads a single step, expected a sequence")
    if x.inside:
        raise call.refuse("a TimeDistributed inside a TimeDistributed is not supported")
    if len(x.shape) == 2:
        return Value(x.tensor, x.shape[1:], False, inside=True)
    steps, width = x.shape[1] or 1, prod(n or 1 for n in x.shape[2:])
    tensor = call.split(x.tensor, steps, width) if steps > 1 else x.tensor
    return Value(tensor, x.shape[1:], True, inside=True)


def leave(call: Call, y: Value, steps: int | None, mask: str | None) -> Value:
    """A step's value as part of the sequence again."""
    tensor = y.tensor
    if y.rows and y.mask is not None and (call.build.generation or 0) < 3:
        raise call.refuse("the mask of the sequence inside, which Keras 2 hands on, is not supported")
    if y.rows:
        if y.shape[0] is None:
            raise CheckpointError(f"layer {call.spec.name!r}: the steps of the sequence inside must be known")
        tensor = call.group(tensor, y.shape[0], y.width) if y.shape[0] > 1 else tensor
    return Value(tensor, (steps, *y.shape), True, mask)


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
