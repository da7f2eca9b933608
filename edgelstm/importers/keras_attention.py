"""Keras' attention: Attention, AdditiveAttention and MultiHeadAttention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..layers import Attention, Dense, Reduce
from ..model import Array
from .keras_build import MASK_ORDER, Call, Value
from .keras_config import shown
from .keras_joins import joined_masks, other_steps
from .keras_steps import affine


def _sequences(call: Call, values: tuple[Value, ...]) -> list[Value]:
    found = [call.build.settle(value, False, call.spec.name) for value in values]
    for value in found:
        if not value.rows or len(value.shape) != 2 or value.inside:
            raise call.refuse(f"it reads shape {shown(list(value.shape))}, expected (steps, values)")
    return found


def _switch(call: Call, key: str) -> bool:
    value = call.keywords.pop(key, None)
    if value not in (None, False, True):
        raise call.refuse(f"{key} = {shown(value)} is not understood")
    return bool(value)


def _no_scores(call: Call) -> None:
    if _switch(call, "return_attention_scores"):
        raise call.refuse("it is called with return_attention_scores = True; scores as an output are not supported")


def attention(call: Call) -> Value:
    """Attention: queries, values and perhaps keys; scores by product or, "concat", by the tanh of sums."""
    settings = call.settings
    values = _sequences(call, call.inputs)
    if len(values) not in (2, 3):
        raise call.refuse(f"it is called on {len(values)} tensors, expected queries, values and perhaps keys")
    q, v, k = values[0], values[1], values[-1]
    _no_scores(call)
    causal = settings.flag("causal", default=False) | _switch(call, "use_causal_mask")
    q_mask, v_mask = _given_masks(call, q, v)
    scaled = settings.flag("use_scale", default=call.spec.kind == "AdditiveAttention")
    scale, additive = 1.0, None
    if call.spec.kind == "AdditiveAttention":
        found = call.arrays({"scale": (q.width,)} if scaled else {})
        additive = found["scale"] if scaled else np.ones(q.width, np.float32)
    else:
        concat = settings.text("score_mode", default="dot", allowed=("dot", "concat")) == "concat"
        names = [*(["scale"] if scaled else []), *(["concat_score_weight"] if concat else [])]
        found = call.arrays(dict.fromkeys(names, ()))
        factor = float(found["scale"]) if scaled else 1.0
        if concat:
            additive = np.full(q.width, found["concat_score_weight"])
            if scaled:  # inside the tanh
                q = affine(call, q, factor, 0.0, "_query_scale")
                k = affine(call, k, factor, 0.0, "_key_scale")
        else:
            scale = factor
    reads = (q.tensor, v.tensor, k.tensor, *([] if v_mask is None else [v_mask]))
    y = call.add(lambda name, y: Attention(name, reads, (y,), scale, additive, 1, causal, v_mask is not None), v.width)
    if q_mask is not None:
        y = call.combine("multiply", (y, q_mask), v.width)
    return Value(y, (q.shape[0], v.width), True, q_mask)


def _given_masks(call: Call, q: Value, v: Value) -> tuple[str | None, str | None]:
    """The masks of queries and values: those it is called with, or those that came with them."""
    given = call.keywords.pop("mask", None)
    if given is None:
        return q.mask, v.mask
    if not isinstance(given, list) or not 2 <= len(given) <= 3:
        raise call.refuse(f"mask = {shown(given)}: expected a list of two masks")
    found = [None if mask is None else as_mask(call, mask) for mask in given]
    if len(found) == 3 and found[2] is not None and found[2] != found[1]:
        call.build.note(f"layer {call.spec.name}: the mask of its keys is not used, as in Keras")
    return found[0], found[1]


def as_mask(call: Call, value: Any) -> str:
    """A tensor handed over as a mask: of one number or truth value a step."""
    if not isinstance(value, Value):
        raise call.refuse(f"the mask {shown(value)} is no layer's output")
    mask = call.build.settle(value, True, call.spec.name)
    if not mask.rows or mask.width != 1 or len(mask.shape) != 1:
        raise call.refuse(f"a mask of shape {shown(list(mask.shape))}, expected one value a step")
    return mask.tensor


# ---- several heads ----


def multi_head_attention(call: Call) -> Value:
    """MultiHeadAttention (Vaswani et al. 2017): a Dense each for queries, keys, values and the answer."""
    settings = call.settings
    given = [*call.inputs, *call.args]
    for place, part in enumerate(("query", "value", "key")):
        named = call.keywords.pop(part, None)
        if named is not None:
            if place < len(given):
                raise call.refuse(f"it is given its {part} twice")
            given.append(named)
    given = [value for value in given if value is not None]
    if not 2 <= len(given) <= 3 or not all(isinstance(value, Value) for value in given):
        raise call.refuse(f"it is called on {len(given)} tensors, expected query, value and perhaps key")
    values = _sequences(call, tuple(given))
    query, value, key = values[0], values[1], values[-1]
    _no_scores(call)
    causal = _switch(call, "use_causal_mask")
    if call.keywords.pop("attention_mask", None) is not None:
        raise call.refuse("attention_mask: a mask of its own for every pair of steps is not supported")
    heads, size = settings.whole("num_heads"), settings.whole("key_dim")
    value_size = settings.whole("value_dim", default=size) if settings.values.get("value_dim") is not None else size
    settings.take("value_dim")
    biased = settings.flag("use_bias", default=True)
    axes, output = settings.take("attention_axes"), settings.take("output_shape")
    if axes not in (None, [1], 1, [-2]) or isinstance(axes, bool):
        raise settings.refuse("attention_axes", axes, "only attention over the steps, [1], is supported")
    for shape in ("query_shape", "value_shape", "key_shape"):  # of the tensors, known from those
        settings.take(shape)
    settings.flag("softmax_robust_masking", default=False)
    if output is not None and not isinstance(output, int):
        if not (isinstance(output, list) and len(output) == 1):
            raise settings.refuse("output_shape", output, "expected one number")
        output = output[0]
    width = output if isinstance(output, int) and not isinstance(output, bool) else query.width
    found = _projections(call, (query.width, key.width, value.width), heads, (size, value_size), width, biased)
    q, k, v = (
        _projected(call, x, found[part], f"_{part}") for x, part in ((query, "query"), (key, "key"), (value, "value"))
    )
    q_mask, mask = _head_masks(call, query, value, key, len(given) == 3)
    reads = (q, v, k, *([] if mask is None else [mask]))
    scale = 1 / np.sqrt(size)
    y = call.add(
        lambda name, y: Attention(name, reads, (y,), float(scale), None, heads, causal, mask is not None),
        heads * value_size,
        "_heads",
    )
    dropped = settings.number("dropout", 0.0) or 0.0
    if q_mask is not None or mask is not None:
        y = _unseen(call, y, q_mask, mask, v, heads * value_size, causal, dropped)
    made = call.add(lambda name, t: Dense(name, (y,), (t,), *found["output"]), width)
    _unmask(call, values, made)
    return Value(made, (query.shape[0], width), True, q_mask)


def _unmask(call: Call, values: Sequence[Value], made: str) -> None:
    """From Keras 3.8 on it takes the masks off what it reads, for all who read that later."""
    build = call.build
    if build.release < (3, 8):
        return
    for value in values:
        others = [t for t in build.readers.get(value.tensor, ()) if t != value.tensor]
        if value.mask is not None and not all(build.depends([v.tensor for v in values], t) for t in others):
            raise call.refuse(MASK_ORDER)
        build.unmasked.setdefault(value.tensor, made)


def _projected(call: Call, x: Value, weights: tuple[Array, Array], suffix: str) -> str:
    return call.add(lambda name, y: Dense(name, (x.tensor,), (y,), *weights), len(weights[1]), suffix)


def _projections(
    call: Call, widths: tuple[int, int, int], heads: int, sizes: tuple[int, int], width: int, biased: bool
) -> dict[str, tuple[Array, Array]]:
    """Kernel and bias of the four Dense layers."""
    shapes: dict[str, tuple[int, ...]] = {}
    inner = {"query": sizes[0], "key": sizes[0], "value": sizes[1]}
    for part, inputs in zip(inner, widths, strict=True):
        shapes[f"{part} kernel"] = (inputs, heads, inner[part])
        shapes |= {f"{part} bias": (heads, inner[part])} if biased else {}
    shapes["output kernel"] = (heads, sizes[1], width)
    shapes |= {"output bias": (width,)} if biased else {}
    found = call.arrays(shapes)
    made = {}
    for part in (*inner, "output"):
        kernel = found[f"{part} kernel"]
        units = width if part == "output" else kernel.shape[1] * kernel.shape[2]
        bias = found[f"{part} bias"].reshape(-1) if biased else np.zeros(units, np.float32)
        made[part] = (kernel.reshape(-1, units).T, bias)
    return made


def _head_masks(call: Call, query: Value, value: Value, key: Value, keyed: bool) -> tuple[str | None, str | None]:
    """The mask of the queries, and that of keys and values together."""
    found = {}
    for name, tensor in (("query_mask", query), ("value_mask", value), ("key_mask", key)):
        given = call.keywords.pop(name, None)
        found[name] = tensor.mask if given is None else as_mask(call, given)
        if name == "query_mask" and call.build.release >= (3, 8) and found[name] != tensor.mask:
            raise call.refuse(
                "query_mask: this Keras takes the mask that came with the queries, whatever is given; give it by a "
                "Masking or Embedding layer"
            )
        if name == "key_mask" and not keyed and given is not None and found[name] != found["value_mask"]:
            raise call.refuse("it is given a key_mask and no key; give the mask as value_mask")
    of_keys = [found["value_mask"], found["key_mask"] if keyed else None]
    return found["query_mask"], joined_masks(call, "multiply", of_keys)


def _unseen(
    call: Call, y: str, q_mask: str | None, mask: str | None, v: str, width: int, causal: bool, dropped: float
) -> str:
    """What queries get that may look at nothing: the mean of all values; since Keras 3.10, with dropout, zeros."""
    if call.build.release >= (3, 10) and dropped > 0:
        if mask is not None and causal:
            raise call.refuse("dropout, use_causal_mask and a mask together are not supported")
        if mask is not None:
            some = call.add(lambda name, t: Reduce(name, (mask,), (t,), "max"), 1, "_seen")
            y = call.combine("multiply", (y, some), width)
        return y if q_mask is None else call.combine("multiply", (y, q_mask), width)
    if q_mask is None:
        return y
    others = other_steps(call, q_mask)
    mean = call.add(lambda name, t: Reduce(name, (v,), (t,), "mean"), width, "_mean")
    kept = call.combine("multiply", (y, q_mask), width)
    rest = call.combine("multiply", (mean, others), width, "_rest")
    return call.combine("add", (kept, rest), width)
