"""Attention in a traced PyTorch graph: products of queries, keys and values, however they are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from ..layers import Attention, Dense, Reduce
from . import torch_build
from .torch_graph import Args, Const, Score, Walk
from .torch_names import Heads
from .torch_values import ONE, Axis, Misplaced, Refuse, Rows, combined, ordered, rows, values

_HIDDEN = -1e4  # a score this low is as good as none; masks hold less, mostly minus infinity


def product(walk: Walk, name: str, first: Any, second: Any) -> Any:
    """The product of two matrices of which both, or scores, are computed from the input."""
    if isinstance(first, Score) and isinstance(second, Rows):
        return _mixed(walk, name, first, second)
    if not isinstance(first, Rows) or not isinstance(second, Rows) or min(len(first.axes), len(second.axes)) < 2:
        raise Refuse("a product of matrices that is none of an attention")
    rank = max(len(first.axes), len(second.axes))
    first, second = (replace(x, axes=(ONE,) * (rank - len(x.axes)) + x.axes) for x in (first, second))
    if any(axis.kind == "steps" for x in (first, second) for axis in x.axes[:-2]):
        raise Misplaced("the steps of its attention would be the batch")
    kinds = tuple(x.axes[k].kind for x in (first, second) for k in (-2, -1))
    if kinds[1] == "steps" and kinds[2] == "steps":
        return _weighted(walk, name, first, second)
    if kinds[1] == "values" and kinds[2] == "values" and kinds[3] == "steps" and kinds[0] in ("steps", "one"):
        return _score(walk, first, second)
    if kinds == ("steps", "values", "values", "one"):
        row = replace(second, axes=(*second.axes[:-2], ONE, second.axes[-2]))
        return _dots(walk, name, first, row)
    raise Misplaced("a product of matrices that is none of an attention")


def _heads(x: Rows) -> list[Axis]:
    found = [axis for axis in x.axes[:-2] if axis.kind == "values"]
    if len(found) > 1 or any(axis.kind == "steps" for axis in x.axes[:-2]):
        raise Refuse("an attention over several axes")
    return found


def _arranged(walk: Walk, x: Rows, inner: Axis) -> str:
    """A row's values head by head."""
    return ordered(walk.builder, Rows(x.tensor, (*_heads(x), inner))).tensor


def _score(walk: Walk, queries: Rows, keys: Rows) -> Score:
    heads = [prod(axis.size for axis in _heads(x)) for x in (queries, keys)]
    if heads[0] != heads[1] or queries.sizes[-1] != keys.sizes[-2]:
        raise Refuse(f"queries of {queries.sizes} and keys of {keys.sizes}")
    axes = (*queries.axes[:-1], keys.axes[-1])
    query, key = _arranged(walk, queries, queries.axes[-1]), _arranged(walk, keys, keys.axes[-2])
    return Score(query, key, axes, heads[0])


def _mixed(walk: Walk, name: str, score: Score, vals: Rows) -> Rows:
    vals = replace(vals, axes=(ONE,) * (len(score.axes) - len(vals.axes)) + vals.axes)
    if not score.soft or vals.axes[-2].kind != "steps" or prod(a.size for a in _heads(vals)) != score.heads:
        raise Refuse("a product of matrices that is none of an attention")
    tensor = _arranged(walk, vals, vals.axes[-1])
    settings = score.scale, None, score.heads, score.causal
    made = walk.builder.add(Attention, name, (score.query, tensor, score.key), *settings)
    return rows(made, (*score.axes[:-1], values(vals.sizes[-1])))


def _weighted(walk: Walk, name: str, first: Rows, second: Rows) -> Rows:
    """The sum of a sequence's steps, each with a weight."""
    if not first.find("values") and first.axes[-2].kind == "one":
        weights, x, axes = first, second, (*second.axes[:-2], ONE, second.axes[-1])
        weights = replace(weights, axes=(*weights.axes[:-2], weights.axes[-1], ONE))
    elif not second.find("values") and second.axes[-1].kind == "one":
        weights, x, axes = second, replace(first, axes=(*first.axes[:-2], first.axes[-1], first.axes[-2])), (
            *first.axes[:-1], ONE)  # fmt: skip
    else:
        raise Refuse("a product over the steps of two sequences")
    product = combined(walk.builder, "multiply", [x, weights], f"{name}.weighted")
    tensor = walk.builder.add(Reduce, name, (product.tensor,), "sum")
    return rows(tensor, axes)


def _dots(walk: Walk, name: str, x: Rows, row: Rows) -> Rows:
    """The product of each step with one row."""
    if _heads(x) or _heads(row):
        raise Refuse("a product of a row with each step in several heads")
    product = combined(walk.builder, "multiply", [x, row], f"{name}.products")
    width = walk.builder.width(product.tensor)
    tensor = walk.builder.add(Dense, name, (product.tensor,), np.ones((1, width)), np.zeros(1))
    return rows(tensor, (*x.axes[:-1], ONE))


# ---- scores ----


def softmax(score: Score, dim: int) -> Score:
    if dim % len(score.axes) != len(score.axes) - 1 or score.soft:
        raise Refuse("a softmax of an attention over other than its keys")
    return replace(score, soft=True)


def changed(kind: str, score: Any, other: Any) -> Score:
    """A score with a number or a mask."""
    if not isinstance(score, Score):
        if kind not in ("add", "multiply"):
            raise Refuse("a number divided by scores of an attention, or less them")
        score, other = other, score
    if score.soft or isinstance(other, Score | Rows):
        raise Refuse("scores of an attention joined with what is computed from the input")
    if isinstance(other, Const) and other.tensor.ndim == 0:
        other = float(other.tensor)
    if isinstance(other, int | float) and kind in ("multiply", "divide"):
        factor = float(other) if kind == "multiply" else 1 / other
        made: Score = replace(score, scale=score.scale * factor)
        return made
    if isinstance(other, Const) and kind == "add":
        return masked(score, other.array() < _HIDDEN, other.array())
    raise Refuse(f"to {kind} something and scores of an attention")


def masked(score: Score, hidden: Any, numbers: Any = None) -> Score:
    """A score with keys hidden from queries: none, or those later than the query."""
    queries, keys = score.axes[-2].size, score.axes[-1].size
    if hidden.shape[-2:] != (queries, keys) or prod(hidden.shape[:-2]) != 1:
        raise Refuse(f"a mask of shape {tuple(hidden.shape)} for {queries} queries and {keys} keys")
    hidden = hidden.reshape(queries, keys)
    if numbers is not None and np.any(numbers.reshape(queries, keys)[~hidden]):
        raise Refuse("a bias of an attention's scores")
    if not hidden.any():
        return score
    if queries != keys or not (hidden == ~np.tril(np.ones((queries, keys), bool))).all():
        raise Refuse("a mask that hides other than the steps to come")
    return replace(score, causal=True)


def masked_fill(walk: Walk, name: str, a: Args) -> Score:
    score: Any = a.values.pop("self")
    mask, value = a.const("mask"), a.values.pop("value")
    number = float(value.tensor) if isinstance(value, Const) else float(value)
    if not isinstance(score, Score) or mask is None or number > _HIDDEN:
        raise Refuse("it fills other than an attention's scores with minus infinity")
    return masked(score, mask.array() != 0)


def viewed(score: Score, sizes: Sequence[int]) -> Score:
    """A score with heads and batch on other axes."""
    if tuple(sizes[-2:]) != tuple(axis.size for axis in score.axes[-2:]) or prod(sizes[:-2]) != score.heads:
        raise Refuse("scores of an attention with axes changed")
    if any(n not in (1, score.heads) for n in sizes[:-2]):
        raise Refuse("scores of an attention with axes changed")
    inner = [Axis("values", n) if n > 1 else ONE for n in sizes[:-2]]
    return replace(score, axes=(*inner, *score.axes[-2:]))


def baddbmm(walk: Walk, name: str, a: Args) -> Any:
    mask, factor, alpha = a.values.pop("self"), a.values.pop("beta", 1), a.values.pop("alpha", 1)
    made = product(walk, name, a.rows("batch1"), a.rows("batch2"))
    if not isinstance(made, Score) or factor not in (0, 1):
        raise Refuse("a product of matrices that is none of an attention")
    made = replace(made, scale=made.scale * alpha)
    return made if factor == 0 else changed("add", made, mask)


def scaled_dot_product(walk: Walk, name: str, a: Args) -> Rows:
    queries, keys, vals = (a.rows(key) for key in ("query", "key", "value"))
    mask, causal, scale = a.values.pop("attn_mask", None), a.take("is_causal", False), a.values.pop("scale", None)
    a.values.pop("enable_gqa", None)
    if a.values.pop("dropout_p", 0):
        raise Refuse("a dropout that is training; call .eval()")
    turned = replace(keys, axes=(*keys.axes[:-2], keys.axes[-1], keys.axes[-2]))
    score = product(walk, name, queries, turned)
    if not isinstance(score, Score):
        raise Refuse("an attention of one value")
    score = replace(score, scale=queries.sizes[-1] ** -0.5 if scale is None else float(scale))
    if isinstance(mask, Const):
        kind = str(mask.tensor.dtype)
        score = masked(score, mask.array() == 0) if kind == "torch.bool" else changed("add", score, mask)
    elif mask is not None:
        raise Refuse("a mask that is computed from the input")
    score = replace(score, causal=score.causal or causal)
    return _mixed(walk, name, replace(score, soft=True), vals)


def native(walk: Walk, name: str, a: Args) -> Any:
    """nn.MultiheadAttention as PyTorch records it where it has taken its shortcut."""
    queries, keys, vals = (a.rows(key) for key in ("query", "key", "value"))
    if a.values.pop("mask", None) is not None or any(x.axes[-1].kind != "values" for x in (queries, keys, vals)):
        raise Refuse("a mask, or an attention of one value")
    kernel, bias, output, output_bias = (a.const(k) for k in ("qkv_weight", "qkv_bias", "proj_weight", "proj_bias"))
    heads = int(a.take("num_head"))
    for key in ("embed_dim", "need_weights", "average_attn_weights", "mask_type"):
        a.values.pop(key, None)
    assert kernel is not None and bias is not None and output is not None and output_bias is not None
    part = Heads(
        walk.name_of(kernel, name), (walk.weight(kernel),), walk.weight(bias), walk.weight(output),
        walk.weight(output_bias),
    )  # fmt: skip
    tensors = [ordered(walk.builder, x).tensor for x in (queries, keys, vals)]
    made = torch_build.attention(walk.builder, part, heads, False, *tensors)
    return (rows(made, (*queries.axes[:-1], values(part.units))), None)
