"""Live PyTorch modules. The only file here that uses PyTorch, which is there if a module is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..errors import CheckpointError
from ..layers import LINEAR, Activation
from ..model import Array
from . import torch_names, torch_order
from .torch_names import Part, Stack, Weight
from .torch_steps import ActivationStep, DenseStep, LastStep, LstmStep, Step

_IDENTITIES = ("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout", "Identity")
_WRAPPERS = {"OptimizedModule": "_orig_mod", "DataParallel": "module", "DistributedDataParallel": "module"}
_LAYERS = ("LSTM", "LSTMCell", "Linear")
_PLAIN = {
    "ReLU": "relu", "ReLU6": "relu6", "Tanh": "tanh", "Sigmoid": "sigmoid", "SELU": "selu", "Softsign": "softsign",
    "SiLU": "silu", "Hardsigmoid": "hard_sigmoid",
}  # fmt: skip


@dataclass(slots=True)
class _Seen:
    """What a walk through a custom module finds, all by name."""

    rank: int  # of the arrays its Linear layers see, batch first
    layers: list[str] = field(default_factory=list)
    known: dict[str, Activation] = field(default_factory=dict)  # activation after a Linear
    loose: list[str] = field(default_factory=list)  # activations outside a Sequential


def steps(module: Any, head: str | None, notes: list[str]) -> list[Step]:
    """The steps of a module, its weights as float arrays of the CPU."""
    module = _unwrapped(module)
    if type(module).__module__.startswith("torch.jit"):
        raise CheckpointError("a TorchScript module hides its layers; give the module it was made of")
    if not callable(getattr(module, "state_dict", None)) or not isinstance(getattr(module, "_modules", None), dict):
        raise CheckpointError("not a torch.nn.Module")
    parts = {part.name: part for part in torch_names.parts(_weights(module), notes)}
    if _kind(module) == "Sequential" or _kind(module) in _LAYERS:
        return _sequential(module, parts, head, notes)
    return _custom(module, parts, head, notes)


def _unwrapped(module: Any) -> Any:
    """The module inside torch.compile's and DataParallel's wrappers."""
    while type(module).__name__ in _WRAPPERS and type(module).__module__.startswith("torch."):
        module = getattr(module, _WRAPPERS[type(module).__name__])
    return module


def _kind(module: Any) -> str:
    """The class name of a module of torch.nn itself; "" for any other, also for a class derived from one."""
    return type(module).__name__ if type(module).__module__.startswith("torch.nn.modules.") else ""


def _weights(module: Any) -> list[Weight]:
    return [
        Weight(name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), _loader(name, tensor))
        for name, tensor in module.state_dict().items()
        if hasattr(tensor, "shape")
    ]


def _loader(name: str, tensor: Any) -> Callable[[], Array]:
    def load() -> Array:
        if tensor.device.type == "meta" or tensor.is_sparse or tensor.is_quantized:
            raise CheckpointError(f"tensor {name} is not a plain tensor with values")
        array: Array = tensor.detach().cpu().double().numpy()
        return array

    return load


def _sequential(module: Any, parts: dict[str, Part], head: str | None, notes: list[str]) -> list[Step]:
    """The steps of an nn.Sequential, or of an LSTM or Linear alone: the order is known, and so are the activations.

    An LSTM returns a tuple, so a module of the user's follows it and picks the output. Which steps it picks only
    the head can tell.
    """
    flat = _flat("", module)
    last_lstm = max((i for i, (_, child) in enumerate(flat) if _kind(child) in ("LSTM", "LSTMCell")), default=-1)
    picks = _pick(parts, flat[last_lstm + 1 :], head, last_lstm >= 0, notes)
    found: list[Step] = []
    rank = 3 if last_lstm >= 0 else 2
    for index, (name, child) in enumerate(flat):
        before = flat[index - 1] if index else None
        if before and _kind(before[1]) in ("LSTM", "LSTMCell"):
            if _kind(child) or child.state_dict():
                raise CheckpointError(f"{name} follows an LSTM, which returns a tuple; a Sequential cannot run so")
            notes.append(f"{name} ({type(child).__name__}) was taken to pick the output of the LSTM before it")
            continue
        if _kind(child) in _LAYERS:
            part = parts[name]
            found.append(LstmStep(part) if isinstance(part, Stack) else DenseStep(part))
            if index == last_lstm and picks:
                found.append(LastStep())
                rank = 2
        elif _kind(child) not in _IDENTITIES:
            found.append(ActivationStep(_activation(name, child, rank)))
    return found


def _pick(
    parts: dict[str, Part], after: list[tuple[str, Any]], head: str | None, has_lstm: bool, notes: list[str]
) -> bool:
    """Whether only the last step leaves the last LSTM."""
    if head is not None and (head.strip().lower() not in ("last", "sequence") or not has_lstm):
        hint = '"last" or "sequence" alone' if has_lstm else "no head"
        raise CheckpointError(f"head {head!r}: the module shows its own activations; give {hint}")
    if not has_lstm:
        return False
    if head is not None:
        return head.strip().lower() == "last"
    last = any(not isinstance(parts[name], Stack) for name, child in after if name in parts)
    what = "the last step alone leaves" if last else "every step leaves"
    notes.append(f'assumed: {what} the LSTM; otherwise give head="{"sequence" if last else "last"}"')
    return last


def _flat(name: str, module: Any) -> list[tuple[str, Any]]:
    """The modules of nested Sequentials in order, by name."""
    if _kind(module) != "Sequential":
        return [(name, module)]
    return [pair for key, child in _children(module) for pair in _flat(f"{name}.{key}" if name else key, child)]


def _custom(module: Any, parts: dict[str, Part], head: str | None, notes: list[str]) -> list[Step]:
    """The steps of a module whose forward() is unknown: as of a state dict, with what its Sequentials show."""
    sequence = head is not None and head.strip().lower().startswith("sequence")
    seen = _Seen(3 if sequence else 2)
    _walk("", module, seen)
    if stray := [name for name in parts if name not in seen.layers]:
        raise CheckpointError(
            f"weights of {stray[0] or 'the module itself'} are not of an nn.LSTM or nn.Linear of its own"
        )
    chain = torch_order.order(list(parts.values()), True)
    headless = all(isinstance(part, Stack) for part in chain)  # then a head has no activations to name
    if seen.loose and (head is None or headless):
        words = torch_order.example(chain, seen.known, "softmax")
        advice = f'name those after each Linear layer in order, e.g. head="{words}"'
        if not words:
            advice = "save the state dict and describe them in an architecture file (docs/pytorch.md)"
        raise CheckpointError(
            f"it has activations whose place in forward() is not known ({', '.join(seen.loose[:4])}); {advice}"
        )
    return torch_order.apply_head(chain, head, seen.known, notes)


def _walk(name: str, module: Any, seen: _Seen) -> None:
    for key, child in _children(module):
        inner = f"{name}.{key}" if name else key
        kind = _kind(child)
        if kind == "Sequential":
            _walk_sequential(_flat(inner, child), seen)
        elif kind in ("ModuleList", "ModuleDict") or (not kind and _children(child)):
            _walk(inner, child, seen)
        elif kind in _LAYERS:
            seen.layers.append(inner)
        elif kind not in _IDENTITIES and not type(child).__module__.endswith(".modules.loss"):
            _activation(inner, child, seen.rank)
            seen.loose.append(inner)


def _walk_sequential(flat: list[tuple[str, Any]], seen: _Seen) -> None:
    """Notes the activation after each Linear but the last without one: what follows that, only forward() knows."""
    linear: str | None = None
    for name, child in flat:
        if _kind(child) in _LAYERS:
            seen.layers.append(name)
            if linear is not None:
                seen.known.setdefault(linear, LINEAR)
            linear = name if _kind(child) == "Linear" else None
        elif _kind(child) in _IDENTITIES:
            continue
        elif linear is None or linear in seen.known:
            raise CheckpointError(
                f"{name} ({type(child).__name__}) does not follow a Linear layer directly; save the state dict and "
                "describe it in an architecture file (docs/pytorch.md)"
            )
        else:
            seen.known[linear] = _activation(name, child, seen.rank)


def _children(module: Any) -> list[tuple[str, Any]]:
    """All submodules in order; unlike named_children() also a module that stands at several places."""
    return [(name, child) for name, child in module._modules.items() if child is not None]


def _activation(name: str, module: Any, rank: int) -> Activation:
    """The activation a module computes. rank: of the array it sees, batch first."""
    kind = _kind(module)
    if kind in _PLAIN:
        return Activation(_PLAIN[kind])
    if kind == "LeakyReLU":
        return Activation("leaky_relu", float(module.negative_slope))
    if kind == "ELU":
        return Activation("elu", float(module.alpha))
    if kind == "GELU":
        return Activation("gelu_tanh" if module.approximate == "tanh" else "gelu")
    if kind == "Softplus" and module.beta == 1 and module.threshold >= 20:
        return Activation("softplus")
    if kind == "Softmax" and module.dim in ((-1, 1, None) if rank == 2 else (-1, 2)):
        return Activation("softmax")
    raise CheckpointError(f"layer {name} ({module}) is not supported".replace("\n", " "))
