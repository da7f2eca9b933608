"""ONNX files, read from their bytes alone: no other file is opened, and no runtime is needed.

docs/onnx.md tells what is read, and how inputs and outputs stand in the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError, ModelError
from ..layers import LINEAR, Activate
from ..model import Meta, Model, Source, Tensor
from . import onnx_graph
from .alive import alive
from .onnx_build import MAX_WEIGHTS, Build, Feed
from .onnx_file import Graph, Node, parse
from .onnx_merge import merge
from .onnx_values import Atom, Data, Refused
from .torch_pickle import shown


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """A file's model, and how the file's own inputs and outputs look."""

    model: Any  # a Model; of an int8 .tflite file a Tfl8Model
    graph: Graph
    batch: Atom
    feeds: tuple[Feed, ...]  # in the order of the model's inputs
    outputs: tuple[tuple[str, Data], ...]  # name and view


def read(path: Path, head: str | None = None, architecture: Path | None = None) -> Model:
    """The model of an ONNX file."""
    if head is not None or architecture is not None:
        raise CheckpointError("an ONNX file tells its layers itself; leave `head` and `architecture` out")
    model: Model = reading(contents(path), path.name).model
    return model


def contents(path: Path) -> bytes:
    """A file's bytes."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot be read: {error.strerror}") from None


def reading(data: bytes, name: str) -> Reading:
    """The model of an ONNX file's bytes."""
    digest = sha256(data).hexdigest()
    file = parse(data)
    del data  # a third of the most that is held, where the caller keeps none
    build = Build(file.opset)
    walk = onnx_graph.Walk(build, file.graph)
    try:
        onnx_graph.inputs(build, file.graph, walk)
        outputs = outputs_of(build, file.graph, walk)
        return finished(build, file.graph, outputs, Source("onnx", shown(name), digest))
    except ModelError as error:
        raise CheckpointError(f"the graph does not fit together: {error}") from None


def finished(build: Build, graph: Graph, outputs: list[tuple[str, Data]], source: Source) -> Reading:
    """What was built, as the model of a file."""
    names = tuple(view.pieces[0][0] for _, view in outputs)
    found = parts(build, names, lambda layers: merge(layers, names, build.affine))
    model = Model(found.tensors, found.layers, found.inputs, names, source, found.meta, found.notes)
    feeds = tuple(feed for feed in build.feeds if feed.tensor in model.inputs)
    return Reading(model, graph, build.batch, feeds, tuple(outputs))


def outputs_of(build: Build, graph: Graph, walk: onnx_graph.Walk, rows: bool = False) -> list[tuple[str, Data]]:
    """The graph's outputs, each a tensor of the model, and how the file's own looks. With `rows`, one that has no axis
    for its one step is a row of a run."""
    found: list[tuple[str, Data]] = []
    taken = {feed.tensor for feed in build.feeds}
    for port, value in zip(graph.outputs, walk.run(graph), strict=True):
        if isinstance(value, Refused):
            raise CheckpointError(value.reason)
        if not isinstance(value, Data):
            raise CheckpointError(f"output {shown(port.name)!r} is not computed from what the model reads")
        node = Node("Identity", "", port.name, (), (port.name,), {})
        spare = sum(not axis for axis in value.axes) - (build.batch.size == 1)
        if rows and spare < 1 and all(atom.size == 1 for atom in value.steps):
            value = build.alone(node, value)
        value = build.ordered(node, value)
        if value.turned:
            build.notes.append(
                f"output {shown(port.name)!r} has its values before its steps in the file, here behind them"
            )
        tensor = build.read(node, value)
        view = build.whole(node, value)
        if tensor in taken:
            tensor = build.emit(Activate, node, (tensor,), view.width, ".output", activation=LINEAR)
        taken.add(tensor)
        found.append((port.name, Data(((tensor, 0),), view.order, view.split, view.axes)))
    if not found:
        raise CheckpointError("its graph has no outputs")
    return [(name, replace(view, pieces=((build.renamed(view.pieces[0][0], name), 0),))) for name, view in found]


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What a model is made of that its outputs need."""

    layers: tuple[Any, ...]
    inputs: tuple[str, ...]
    tensors: tuple[Tensor, ...]
    meta: Meta
    notes: tuple[str, ...]


def parts(build: Build, names: tuple[str, ...], join: Callable[[list[Any]], list[Any]]) -> Parts:
    """The layers, tensors and inputs that outputs need, `join` still to put layers together."""
    found = alive(build.layers, names)
    held = (getattr(layer, field.name) for layer in found for field in fields(layer))
    weights = sum(value.size for value in held if isinstance(value, np.ndarray))
    if weights > MAX_WEIGHTS:
        raise CheckpointError(f"its layers hold {weights} weights, expected at most {MAX_WEIGHTS}")
    layers = join(found)
    read_ = {name for layer in layers for name in layer.reads}
    inputs = tuple(feed.tensor for feed in build.feeds if feed.tensor in read_)
    unread = [feed.name for feed in build.feeds if feed.tensor not in read_]
    notes = [f"inputs that no output depends on were left out: {', '.join(map(shown, unread))}"] if unread else []
    masks = [feed for feed in build.feeds if feed.data is None and feed.tensor in inputs]
    notes += [f"{m.tensor} stands for {shown(m.name)}: 1 for each step that counts, then 0" for m in masks]
    written = {*inputs, *(name for layer in layers for name in layer.writes)}
    steps = {a.size for feed in build.feeds if feed.data and feed.tensor in inputs for a in feed.data.steps}
    window = steps.pop() if len(steps) == 1 else None
    return Parts(
        layers=tuple(layers),
        inputs=inputs,
        tensors=tuple(tensor for name, tensor in build.tensors.items() if name in written),
        meta=Meta(window=window if isinstance(window, int) else None),
        notes=(*notes, *build.notes),
    )
