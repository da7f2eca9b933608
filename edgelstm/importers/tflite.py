"""TensorFlow Lite files, read from their bytes alone: no runtime is needed.

docs/tflite.md tells what is read. A graph becomes one of the operations that `onnx_graph` walks, and the model what
that walk makes of it.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np

from ..errors import CheckpointError, ModelError
from ..model import Model, Source
from ..tfl8_model import Tfl8Model
from . import onnx_graph, tflite_scales
from .onnx import Reading, contents, finished, outputs_of, parts
from .onnx_build import Build
from .onnx_merge import padded
from .onnx_ops import OPERATIONS
from .tflite_cells import before, masked, norm, recurrent
from .tflite_distributed import distribute
from .tflite_file import File, parse
from .tflite_int8 import METHODS8, OPERATIONS8, REFUSED8, Build8, is_integer, lstm8, params_of
from .tflite_lower import Lowering
from .tflite_ops import METHODS
from .tflite_patterns import rewritten
from .tflite_unrolled import unroll
from .torch_pickle import shown

_OPSET = 21  # whose meaning the nodes have


def read(
    path: Path, head: str | None = None, architecture: Path | None = None, compat: bool = False
) -> Model | Tfl8Model:
    """The model of a .tflite file: a Tfl8Model where it computes with int8. compat: cells that the converter spoilt
    compute what TFLite's runtimes make of them."""
    if head is not None or architecture is not None:
        raise CheckpointError("a .tflite file tells its layers itself; leave `head` and `architecture` out")
    model: Model | Tfl8Model = reading(contents(path), path.name, compat).model
    if compat and not isinstance(model, Tfl8Model):
        raise CheckpointError(
            "compat is for full-int8 .tflite files alone, and this one computes with floats; leave it out"
        )
    return model


def reading(data: bytes, name: str, compat: bool = False) -> Reading:
    """The model of a .tflite file's bytes."""
    source = Source("tflite", shown(name), sha256(data).hexdigest())
    file = parse(data)
    try:
        with np.errstate(all="ignore"):  # what is not finite is refused where it becomes a weight
            return _integers(file, source, compat) if is_integer(file.subgraphs[0]) else _floats(file, source)
    except ModelError as error:
        raise CheckpointError(f"the graph does not fit together: {error}") from None


def _floats(file: File, source: Source) -> Reading:
    tflite_scales.check(file)
    low = lowered(file)
    graph = low.graph()
    build = Build(_OPSET)
    walk = onnx_graph.Walk(build, graph, _OPERATIONS)
    onnx_graph.inputs(build, graph, walk)
    outputs = outputs_of(build, graph, walk, rows=True)
    build.notes += _left(file)
    if low.narrow:
        build.notes.append(
            f"{low.narrow} tensors of int8 weights became the float32 they stand for; a TFLite runtime rounds what "
            "it multiplies them with to int8 as well, so its answers differ by that rounding"
        )
    return finished(build, graph, outputs, source)


def _integers(file: File, source: Source, compat: bool) -> Reading:
    low = Lowering(file, rewritten(file).subgraph(), REFUSED8 | METHODS8 | {_LSTM: lstm8(compat)})
    graph = low.graph()
    build = Build8(_OPSET)
    spoilt = [node.label for node in graph.nodes if node.attributes.get("spoilt")]
    if spoilt:
        build.notes.append(
            f"{', '.join(spoilt)}: the scale of the cell state is one that TFLite has no tanh for; as its runtimes do, "
            "h is made of the input gate and the output gate alone"
        )
    walk = onnx_graph.Walk(build, graph, OPERATIONS8)
    onnx_graph.inputs(build, graph, walk)
    for feed, k in zip(build.feeds, low.subgraph.inputs, strict=True):
        build.params[feed.tensor] = params_of(low.subgraph.tensors[k], f"input {shown(feed.name)!r}")
    outputs = outputs_of(build, graph, walk, rows=True)
    names = tuple(view.pieces[0][0] for _, view in outputs)
    build.notes += _left(file)
    found = parts(build, names, lambda layers: padded(layers, names))
    tensors = tuple(build.tensor8(tensor) for tensor in found.tensors)
    model = Tfl8Model(tensors, found.layers, found.inputs, names, source, found.meta, found.notes)
    feeds = tuple(feed for feed in build.feeds if feed.tensor in model.inputs)
    return Reading(model, graph, build.batch, feeds, tuple(outputs))


def _left(file: File) -> list[str]:
    """A note on graphs that are not read."""
    if not file.left:
        return []
    names = ", ".join(shown(name) for name in file.left[:4]) + (", ..." if len(file.left) > 4 else "")
    return [f"the file has other graphs, which are not read: signatures {names}"]


def lowered(file: File) -> Lowering:
    """A file's float graph, what is one layer put together, on its way into nodes."""
    graph = rewritten(file)
    distribute(graph)
    unroll(graph, Lowering(file, graph.subgraph(), METHODS).real)
    return Lowering(file, graph.subgraph(), METHODS)


_LSTM = "UNIDIRECTIONAL_SEQUENCE_LSTM"
_OPERATIONS = {**OPERATIONS, "Recurrent": recurrent, "Masked": masked, "Norm": norm, "Before": before}
