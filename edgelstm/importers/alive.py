"""Layers that outputs need: what nothing reads is left out, also the cell states of an LSTM."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from ..layers import Lstm


def alive(layers: Sequence[Any], outputs: Iterable[str]) -> list[Any]:
    """The layers that outputs need, in their order. An LSTM writes its cell states where somebody reads them."""
    wanted, kept = set(outputs), []
    for layer in reversed(layers):
        if not wanted.intersection(layer.writes):
            continue
        if isinstance(layer, Lstm) and layer.writes[-1] not in wanted:
            layer = replace(layer, writes=layer.writes[:1])
        wanted.update(layer.reads)
        kept.append(layer)
    return kept[::-1]
