"""The tensors each Keras layer has: their roles, in Keras' order, and where files by class keep them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from .keras_cells import KERAS1_GATES
from .keras_spec import Spec

COUNT = "count"
"""How many samples a Normalization has seen; a whole number, and no answer depends on it."""


class Slot(NamedTuple):
    """One tensor of a layer."""

    role: str
    place: str  # below the layer's group in files by class
    trained: bool = True


def slots(spec: Spec) -> list[Slot]:
    """The tensors a layer has; those of the layers inside it are theirs."""
    return list(SLOTS[spec.kind](spec.config)) if spec.kind in SLOTS else []


def roles(spec: Spec) -> tuple[str, ...]:
    return tuple(slot.role for slot in slots(spec))


def _numbered(names: list[str], place: str = "vars", trained: int | None = None) -> Iterator[Slot]:
    for n, name in enumerate(names):
        yield Slot(name, f"{place}/{n}", trained is None or n < trained)


def _biased(config: dict[str, Any]) -> bool:
    return config.get("use_bias", config.get("bias", True)) is not False


def _cell(kind: str, place: str) -> Callable[[dict[str, Any]], Iterator[Slot]]:
    def of(config: dict[str, Any]) -> Iterator[Slot]:
        if "output_dim" in config:
            apart = kind in KERAS1_GATES and config.get("consume_less") != "gpu"
            names = [f"{part}_{g}" for g in KERAS1_GATES[kind] for part in "WUb"] if apart else ["W", "U", "b"]
            return _numbered(names, place)
        return _numbered(["kernel", "recurrent_kernel", *(["bias"] if _biased(config) else [])], place)

    return of


def _named(*kernels: str, old: str = "") -> Callable[[dict[str, Any]], Iterator[Slot]]:
    """Kernels, and a bias unless use_bias is false; `old`: the setting that Keras 1 alone has."""

    def of(config: dict[str, Any]) -> Iterator[Slot]:
        if old and old in config:
            return _numbered(["W", *(["b"] if _biased(config) else [])])
        return _numbered([*kernels, *(["bias"] if _biased(config) else [])])

    return of


def _embedding(config: dict[str, Any]) -> Iterator[Slot]:
    return _numbered(["W" if "embeddings_initializer" not in config and "init" in config else "embeddings"])


def _scaled(config: dict[str, Any]) -> list[str]:
    names = ["gamma"] if config.get("scale", True) is not False or config.get("rms_scaling") is True else []
    beta = config.get("center", True) is not False and config.get("rms_scaling") is not True
    return [*names, *(["beta"] if beta else [])]


def _batch_normalization(config: dict[str, Any]) -> Iterator[Slot]:
    names = _scaled(config)
    old = "gamma_init" in config or "mode" in config
    moving = ["running_mean", "running_std"] if old else ["moving_mean", "moving_variance"]
    return _numbered([*names, *moving], trained=len(names))


def _normalization(config: dict[str, Any]) -> Iterator[Slot]:
    return _numbered([] if config.get("mean") is not None else ["mean", "variance", COUNT], trained=0)


def _attention(config: dict[str, Any]) -> Iterator[Slot]:
    names = ["scale"] if config.get("use_scale") is True else []
    return _numbered([*names, *(["concat_score_weight"] if config.get("score_mode") == "concat" else [])])


def _additive_attention(config: dict[str, Any]) -> Iterator[Slot]:
    return _numbered(["scale"] if config.get("use_scale", True) is not False else [])


def _multi_head_attention(config: dict[str, Any]) -> Iterator[Slot]:
    for part in ("query", "key", "value", "output"):
        names = [f"{part} kernel", *([f"{part} bias"] if _biased(config) else [])]
        yield from _numbered(names, f"{part}_dense/vars")


SLOTS: dict[str, Callable[[dict[str, Any]], Iterator[Slot]]] = {
    **{kind: _cell(kind, "cell/vars") for kind in ("LSTM", "GRU", "SimpleRNN")},
    **{kind + "Cell": _cell(kind, "vars") for kind in ("LSTM", "GRU", "SimpleRNN")},
    **{kind: _cell(kind, "vars") for kind in ("CuDNNLSTM", "CuDNNGRU")},
    "Dense": _named("kernel", old="output_dim"),
    "Embedding": _embedding,
    "Conv1D": _named("kernel", old="nb_filter"),
    "DepthwiseConv1D": _named("depthwise_kernel"),
    "SeparableConv1D": _named("depthwise_kernel", "pointwise_kernel"),
    "BatchNormalization": _batch_normalization,
    "LayerNormalization": lambda config: _numbered(_scaled(config)),
    "RMSNormalization": lambda config: _numbered(["scale"]),
    "Normalization": _normalization,
    "PReLU": lambda config: _numbered(["alpha"]),
    "Attention": _attention,
    "AdditiveAttention": _additive_attention,
    "MultiHeadAttention": _multi_head_attention,
}
