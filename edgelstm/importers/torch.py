"""PyTorch state dicts (.pt, .pth) without PyTorch, and live modules with it."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, MissingError, ModelError
from ..model import Model, Source
from . import architecture as architecture_file
from . import torch_files, torch_names, torch_order, torch_steps
from .torch_names import Weight
from .torch_pickle import Inert, StoredTensor, shown

_SHARING = 8  # tensors may name the numbers of a file so many times over (tied weights)


def read(
    path: str | os.PathLike[str],
    head: str | None = None,
    architecture: str | os.PathLike[str] | None = None,
    example: Any = None,
    trust: bool = False,
) -> Model:
    """The model of a file of torch.save: a state dict, or a training checkpoint that holds one; or of a program.

    head: the activations after the Linear layers, "last,relu,softmax"; architecture: a TOML file (docs/pytorch.md).
    example and trust, of TorchScript and torch.export alone: as `importers.read` has them.
    """
    file = Path(path)
    data = load_file(file)
    source = Source("torch", file.name, sha256(data).hexdigest())
    try:
        if kind := torch_files.program(data):
            return _program(data, kind, head or architecture, example, trust, source)
        if example is not None:
            raise CheckpointError("a file of tensors has no input; leave the example out")
        return from_weights(_weights(data), head, architecture, True, source)
    except ModelError as error:
        raise CheckpointError(str(error)) from None


def read_module(module: Any, head: str | None = None, example: Any = None) -> Model:
    """The model of a live torch.nn.Module, in evaluation mode; example as in `importers.read`."""
    from . import torch_live  # it needs PyTorch, which is there if a module is

    if head is not None:
        raise CheckpointError(f"{type(module).__name__}: a module shows what its forward() does; leave the head out")
    try:
        return torch_live.read(module, example)
    except (CheckpointError, ModelError) as error:
        raise CheckpointError(f"{type(module).__name__}: {error}") from None


def _program(data: bytes, kind: str, described: Any, example: Any, trust: bool, source: Source) -> Model:
    """The model of a TorchScript file or one of torch.export, loaded by PyTorch: that may run code of the file's."""
    if not trust:
        raise CheckpointError(
            f"a {kind} file is a program, and to load it is to run code from the file: trust=True (--trust) allows "
            "that, for a file whose maker you trust; or save the weights alone, torch.save(model.state_dict(), path)"
        )
    if described is not None:
        raise CheckpointError("a program shows what it computes; leave head and architecture out")
    try:
        import torch
    except ImportError:
        raise MissingError(f"reading a {kind} file needs PyTorch: pip install torch") from None
    from . import torch_live

    module: Any
    try:
        if kind == "TorchScript":
            module = torch.jit.load(io.BytesIO(data), map_location="cpu")
        else:
            program = torch.export.load(io.BytesIO(data))
            module = program.module()
            if example is None and program.example_inputs is not None:
                example = program.example_inputs[0]
    except Exception as error:  # PyTorch's loaders raise anything
        raise CheckpointError(f"PyTorch cannot load it: {shown(' '.join(str(error).split()))}") from None
    return replace(torch_live.read(module, example), source=source)


def load_file(file: Path) -> bytes:
    """The bytes of a checkpoint."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot be read: {error.strerror}") from None


def from_weights(
    found: tuple[list[Weight], list[str]],
    head: str | None,
    architecture: str | os.PathLike[str] | None,
    registered: bool,
    source: Source,
) -> Model:
    """The model of a checkpoint's tensors and the notes on them; also serves safetensors."""
    weights, notes = found
    if head is not None and architecture is not None:
        raise CheckpointError("give a head or an architecture file, not both")
    prefix, length = torch_names.strip_prefixes([weight.name for weight in weights])
    if prefix:
        notes.append(f"the prefix {prefix} was removed from all names")
    parts = torch_names.parts([Weight(w.name[length:], w.shape, w.dtype, w.load) for w in weights], notes)
    inputs = None
    if architecture is not None:
        steps, inputs = architecture_file.read(architecture, parts)
    else:
        steps = torch_order.infer(parts, head, registered, notes)
    return torch_steps.build(steps, source, notes, inputs)


def _weights(data: bytes) -> tuple[list[Weight], list[str]]:
    contents = torch_files.read(data)
    notes: list[str] = []
    tensors = _state_dict(contents.value, notes)
    if 4 * sum(prod(tensor.shape) for tensor in tensors.values()) > _SHARING * len(data):
        raise CheckpointError("its tensors name the same numbers over and over")
    return [
        Weight(name, tensor.shape, torch_files.dtype(tensor.storage), _loader(contents, tensor))
        for name, tensor in tensors.items()
    ], notes


def _loader(contents: torch_files.Contents, tensor: StoredTensor) -> Any:
    return lambda: torch_files.elements(contents, tensor)


def _state_dict(value: Any, notes: list[str]) -> dict[str, StoredTensor]:
    """The state dict: the value itself, or the one entry of a training checkpoint that is one."""
    if type(value) is not dict:
        raise CheckpointError(f"it holds {_kind(value)}, not a state dict; save model.state_dict()")
    nested = {key: entry for key, entry in value.items() if _is_state_dict(entry)}
    if len(nested) > 1:
        raise CheckpointError(f"it holds several state dicts ({_names(nested)}); save the one that is to run alone")
    if not nested:
        return _tensors(value)
    ((key, entry),) = nested.items()
    others = {name: other for name, other in value.items() if name != key}
    notes.append(f"read: the state dict under {shown(key)!r}" + (f"; left out: {_names(others)}" if others else ""))
    return _tensors(entry)


def _is_state_dict(value: Any) -> bool:
    """A dict of tensors, some of them weights."""
    return (
        type(value) is dict
        and all(type(key) is str and type(entry) is StoredTensor for key, entry in value.items())
        and any("weight" in key.rpartition(".")[2] for key in value)
    )


def _tensors(state: dict[Any, Any]) -> dict[str, StoredTensor]:
    if not any(type(entry) is StoredTensor for entry in state.values()):
        raise CheckpointError("it holds no state dict; save model.state_dict()")
    for key, entry in state.items():
        if type(key) is not str or type(entry) is not StoredTensor:
            raise CheckpointError(f"entry {shown(key)!r} of the state dict is {_kind(entry)}, not a tensor")
    return state


def _kind(value: Any) -> str:
    if isinstance(value, StoredTensor):
        return "a single tensor"
    return f"an object of type {shown(value.text) if isinstance(value, Inert) else type(value).__name__}"


def _names(entries: Iterable[Any]) -> str:
    names = [shown(key) for key in entries]
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
