"""TensorFlow Lite files, read from their bytes alone: no runtime is needed.

docs/tflite.md tells what is read. A graph becomes one of the operations that `onnx_graph` walks, and the model what
that walk makes of it.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from ..errors import CheckpointError, ModelError
from ..model import Model, Source
from . import onnx_graph
from .onnx import Reading, contents, finished, outputs_of
from .onnx_build import Build
from .onnx_ops import OPERATIONS
from .tflite_cells import masked, norm, recurrent
from .tflite_file import File, parse
from .tflite_lower import Lowering
from .tflite_ops import METHODS
from .tflite_patterns import rewritten
from .tflite_unrolled import unroll
from .torch_pickle import shown

_OPSET = 21  # whose meaning the nodes have


def read(path: Path, head: str | None = None, architecture: Path | None = None) -> Model:
    """The model of a .tflite file."""
    if head is not None or architecture is not None:
        raise CheckpointError("a .tflite file tells its layers itself; leave `head` and `architecture` out")
    return reading(contents(path), path.name).model


def reading(data: bytes, name: str) -> Reading:
    """The model of a .tflite file's bytes."""
    digest = sha256(data).hexdigest()
    file = parse(data)
    low = lowered(file)
    graph = low.graph()
    build = Build(_OPSET)
    walk = onnx_graph.Walk(build, graph, _OPERATIONS)
    try:
        onnx_graph.inputs(build, graph, walk)
        outputs = outputs_of(build, graph, walk)
        if low.narrow:
            build.notes.append(
                f"{low.narrow} tensors of int8 weights became the float32 they stand for; a TFLite runtime rounds what "
                "it multiplies them with to int8 as well, so its answers differ by that rounding"
            )
        return finished(build, graph, outputs, Source("tflite", shown(name), digest))
    except ModelError as error:
        raise CheckpointError(f"the graph does not fit together: {error}") from None


def lowered(file: File) -> Lowering:
    """A file's graph, what is one layer put together, on its way into nodes."""
    graph = rewritten(file)
    unroll(graph, Lowering(file, graph.subgraph(), METHODS).real)
    return Lowering(file, graph.subgraph(), METHODS)


_OPERATIONS = {**OPERATIONS, "Recurrent": recurrent, "Masked": masked, "Norm": norm}
