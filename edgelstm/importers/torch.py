"""PyTorch state dicts (.pt, .pth) without PyTorch, and live modules with it."""

from __future__ import annotations

import importlib
import io
import os
from dataclasses import replace
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, MissingError, ModelError
from ..model import Model, Source
from . import architecture as architecture_file
from . import torch_contents, torch_files, torch_names, torch_order, torch_steps
from .torch_names import Weight
from .torch_pickle import StoredTensor, shown

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
        return from_weights(_weights(data, architecture), head, architecture, True, source)
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
        torch: Any = importlib.import_module("torch")
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
    described = None if architecture is None else architecture_file.load(architecture)
    if described is not None and described.names:
        weights = architecture_file.named(described, weights)
    names = torch_names.unwrapped([weight.name for weight in weights], notes)
    parts = torch_names.parts(
        [Weight(name, w.shape, w.dtype, w.load) for name, w in zip(names, weights, strict=True)], notes
    )
    inputs = None
    if described is not None:
        steps, inputs = architecture_file.steps(described, parts)
    else:
        steps = torch_order.infer(parts, head, registered, notes)
    return torch_steps.build(steps, source, notes, inputs)


def _weights(data: bytes, architecture: str | os.PathLike[str] | None) -> tuple[list[Weight], list[str]]:
    contents = torch_files.read(data)
    notes: list[str] = []
    chosen = None if architecture is None else architecture_file.load(architecture).state_dict
    tensors = torch_contents.tensors(contents.value, chosen, architecture is not None, notes)
    if 4 * sum(prod(tensor.shape) for tensor in tensors.values()) > _SHARING * len(data):
        raise CheckpointError("its tensors name the same numbers over and over")
    return [
        Weight(name, tensor.shape, torch_files.dtype(tensor.storage), _loader(contents, tensor))
        for name, tensor in tensors.items()
    ], notes


def _loader(contents: torch_files.Contents, tensor: StoredTensor) -> Any:
    return lambda: torch_files.elements(contents, tensor)
