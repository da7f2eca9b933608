"""A node's attributes: each is taken once with its kind checked, and what is left over is an error."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import CheckpointError
from .onnx_file import Node
from .torch_pickle import shown

_HARMLESS = {"BatchNormalization": ("momentum", "consumed_inputs"), "LayerNormalization": ("stash_type",)}
_HARMLESS |= {"RMSNormalization": ("stash_type",), "MaxPool": ("storage_order",), "Dropout": ("ratio", "seed")}
_HARMLESS |= dict.fromkeys(("Add", "Sub", "Mul", "Div", "Relu", "Sigmoid", "Tanh", "Clip"), ("consumed_inputs",))
"""Attributes that change no answer: of training, of memory, or of outputs that are refused where they are used."""


class Settings:
    """The attributes of one node."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.left = {k: v for k, v in node.attributes.items() if k not in _HARMLESS.get(node.op, ())}

    def _take(self, name: str, kind: Any, default: Any) -> Any:
        value = self.left.pop(name, default)
        if value is not None and not isinstance(value, kind):
            raise CheckpointError(f"{self.node.label}: {name} is of the wrong kind")
        return value

    def int(self, name: str, default: Any = None) -> Any:
        return self._take(name, int, default)

    def float(self, name: str, default: Any = None) -> Any:
        value = self._take(name, float, default)
        if value is not None and not np.isfinite(value):
            raise CheckpointError(f"{self.node.label}: {name} is {value}")
        return value

    def text(self, name: str, default: Any = None) -> Any:
        return self._take(name, str, default)

    def list(self, name: str, kind: type, default: Any = None) -> Any:
        value = self._take(name, list, default)
        if value is not None and not all(isinstance(v, kind) for v in value):
            raise CheckpointError(f"{self.node.label}: {name} is of the wrong kind")
        return value

    def any(self, name: str) -> Any:
        return self.left.pop(name, None)

    def only(self, name: str, kind: Any, value: Any, reason: str) -> None:
        """Takes an attribute that may have but one value."""
        found = self._take(name, kind, value)
        if found != value:
            raise CheckpointError(f"{self.node.label}: {name} is {shown(found)}; {reason}")

    def finish(self) -> None:
        """CheckpointError where an attribute was not taken."""
        if self.left:
            name, value = next(iter(self.left.items()))
            raise CheckpointError(f"{self.node.label}: unknown attribute {shown(name)!r} ({shown(value)})")
