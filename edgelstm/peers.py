"""Runs a checkpoint in its own framework, so that answers can be compared.

Sequences in: one array [N, T, width] per input. Answers out: one per output, [N, T, width] or [N, width], as the
framework gives them. Every sequence starts from a reset state. Files run in a process of their own.

No file runs code: a Keras checkpoint runs where this package's importer reads it whole, and then as that read it, built
of known layers with what the file holds of numbers. What else could run code needs `trust`. A .tflite file holds none.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import importlib.util
import io
import json
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from . import importers
from .errors import CheckpointError, InputError, MissingError, PeerError
from .model import Array, Model, Source
from .peer_process import TIMEOUT, Answers, call

RUNTIMES = {"tflite-runtime": "tflite_runtime", "ai-edge-litert": "ai_edge_litert"}
"""TFLite runtimes by the name pip knows, and their modules; the first that is installed is taken."""

RESOLVERS = {"default": "AUTO", "reference": "BUILTIN_REF", "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES"}
"""Which of its kernels a TFLite runtime takes: its choice, the plain ones, or all but XNNPACK's."""


def run_checkpoint(
    path: str | os.PathLike[str],
    xs: Sequence[Array],
    *,
    architecture: str | os.PathLike[str] | None = None,
    trust: bool = False,
    timeout: float = TIMEOUT,
) -> Answers:
    """Run a checkpoint file, whatever its framework: Keras, PyTorch's programs, ONNX or TFLite, by its content.

    trust: whether code that the file may hold, from whoever made it, is allowed to run.
    CheckpointError if that would be needed and is not; MissingError if the framework is not installed; PeerError if it
    fails, or if the file holds tensors alone.
    """
    path = Path(path)
    if is_tflite(path):
        return any_runtime(path, xs, timeout=timeout)
    match importers.recognise(path):
        case "keras":
            return run_keras(path, xs, architecture=architecture, trust=trust, timeout=timeout)
        case "torch":
            return run_torch(path, xs, trust=trust, timeout=timeout)
        case "npz":
            raise PeerError(f"{path.name!r} holds matrices that no framework runs")
        case "safetensors":
            raise PeerError(f"{path.name!r} holds tensors and no code to run; give the live module")
        case "onnx":
            return run_onnx(path, xs, timeout=timeout)
    raise PeerError(f"{path.name!r} is not a checkpoint that another framework could run")


def any_runtime(path: Path, xs: Sequence[Array], *, resolver: str = "default", timeout: float = TIMEOUT) -> Answers:
    """A .tflite file in the first runtime that knows its operators' versions."""
    found: list[str | None] = [*runtimes()]
    first, *others = found or [None]
    try:
        return run_tflite(path, xs, first, resolver=resolver, timeout=timeout)
    except PeerError:
        for other in others:
            with contextlib.suppress(PeerError):
                return run_tflite(path, xs, other, resolver=resolver, timeout=timeout)
        raise


def is_tflite(path: Path) -> bool:
    """Whether a file's content is a TFLite model's."""
    try:
        with path.open("rb") as file:
            return file.read(8)[4:] == b"TFL3"
    except OSError as error:
        raise CheckpointError(f"{str(path)!r}: {error.strerror or 'cannot be read'}") from None


# ---- TFLite ----


def runtimes() -> list[str]:
    """The TFLite runtimes that are installed and fit the installed NumPy, the preferred one first."""
    return [name for name in RUNTIMES if _usable(name)]


def _usable(name: str) -> bool:
    if importlib.util.find_spec(RUNTIMES[name]) is None:
        return False
    # tflite-runtime's last release was built for NumPy 1
    return name != "tflite-runtime" or np.lib.NumpyVersion(np.__version__) < "2.0.0"


def run_tflite(
    model: bytes | str | os.PathLike[str],
    xs: Sequence[Array],
    runtime: str | None = None,
    *,
    resolver: str = "default",
    every_step: bool = False,
    as_read: bool = True,
    timeout: float = TIMEOUT,
) -> Answers:
    """Run a .tflite model on one thread, in `runtime` or the first installed.

    Bytes, as `exporters.tflite.build` gives them, run in this process unless TensorFlow is loaded in it; a file runs in
    a process of its own. A model of one step streams, and then `every_step` asks for the answers of all; any other is
    resized to the sequences' length. as_read: inputs and outputs are those of the model that the importer makes of the
    file, where it reads it; else the graph's own.
    """
    installed = runtimes()
    if runtime is not None and runtime not in RUNTIMES:
        raise InputError(f"unknown TFLite runtime {runtime!r}; known: {', '.join(RUNTIMES)}")
    if runtime is not None and runtime not in installed:
        raise MissingError(f"{runtime} is not installed for this Python and NumPy: pip install {runtime}")
    if not installed:
        raise MissingError('no TFLite runtime is installed: pip install "edgelstm[tflite]" (where one has a wheel)')
    if resolver not in RESOLVERS:
        raise InputError(f"unknown resolver {resolver!r}; known: {', '.join(RESOLVERS)}")
    chosen: dict[str, Any] = {"runtime": runtime or installed[0], "resolver": resolver}
    chosen |= {"every_step": every_step, "as_read": as_read}
    if not isinstance(model, bytes):
        return call("tflite_file", Path(model), xs, timeout, **chosen)
    if "tensorflow" not in sys.modules:
        return _tflite(model, "the model", xs, **chosen)
    # TensorFlow brings a TFLite of its own, whose symbols a runtime would take for its own and corrupt memory.
    with tempfile.TemporaryDirectory(prefix="edgelstm.") as folder:
        file = Path(folder) / "model.tflite"
        file.write_bytes(model)
        return call("tflite_file", file, xs, timeout, **chosen)


def tflite_file(path: Path, xs: Sequence[Array], **options: Any) -> Answers:
    """A file's answers in this process, which a damaged file may end."""
    return _tflite(path.read_bytes(), repr(path.name), xs, **options)


def _tflite(
    model: bytes, what: str, xs: Sequence[Array], runtime: str, resolver: str, every_step: bool, as_read: bool
) -> Answers:
    peer = f"{runtime} {version(runtime)}"
    module = importlib.import_module(f"{RUNTIMES[runtime]}.interpreter")

    def made() -> Any:
        return module.Interpreter(
            model_content=model,
            num_threads=1,
            experimental_op_resolver_type=getattr(module.OpResolverType, RESOLVERS[resolver]),
        )

    try:
        interpreter = made()
        reading = _read_tflite(model, xs) if as_read and not every_step else None
        if reading is not None:
            batches = _as_read(reading, made, xs)
        elif any(len(row["shape"]) != 3 for row in interpreter.get_input_details()):
            batches = _as_shaped(interpreter, what, xs)
        else:
            size, steps = _fit(interpreter, what, xs)
            # variables of their own are not reset with the others
            kept = any(row["dtype"] is np.object_ for row in interpreter.get_tensor_details())
            batches = []
            for first in range(0, len(xs[0]), size):
                if kept and first:
                    interpreter = made()
                    _fit(interpreter, what, xs)
                batches.append(_batch(interpreter, xs, first, size, steps, every_step))
        integer = any(row["dtype"] is np.int8 for row in interpreter.get_tensor_details())
    except InputError:
        raise
    except (ValueError, RuntimeError) as error:
        raise PeerError(f"{peer} cannot run {what}: {str(error).strip()}") from None
    return Answers(tuple(np.concatenate(parts) for parts in zip(*batches, strict=True)), peer, integer)


def _read_tflite(model: bytes, xs: Sequence[Array]) -> Any:
    """A .tflite model as the importer reads it, where its own graph takes as many steps as the data have; else None."""
    from .importers import onnx_feeds, tflite

    try:
        reading = tflite.reading(model, "", compat=True)
        if len(xs) != len(reading.feeds):
            return None
        onnx_feeds.given(reading, [x[: onnx_feeds.fixed_batch(reading) or len(x)] for x in xs])
    except (CheckpointError, InputError, ValueError):
        return None
    return reading


def _as_read(reading: Any, made: Any, xs: Sequence[Array]) -> list[tuple[Array, ...]]:
    """Answers to inputs as the importer's model has them. A fresh interpreter for each call: not all that a graph keeps
    can be reset."""
    from .importers import onnx_feeds

    count = len(xs[0])
    size = onnx_feeds.fixed_batch(reading) or count
    batches = []
    for first in range(0, count, size):
        interpreter = made()
        parts = [_filled(x[first : first + size], size) for x in xs]
        given = onnx_feeds.given(reading, parts)
        rows = interpreter.get_input_details()
        for row, port in zip(rows, reading.graph.inputs, strict=True):
            if tuple(row["shape"]) != given[port.name].shape:
                interpreter.resize_tensor_input(row["index"], given[port.name].shape)
        interpreter.allocate_tensors()
        for row, port in zip(rows, reading.graph.inputs, strict=True):
            x = given[port.name]
            interpreter.set_tensor(row["index"], x if x.dtype == row["dtype"] else _integers(x, row))
        interpreter.invoke()
        found = zip(reading.graph.outputs, interpreter.get_output_details(), strict=True)
        answers = {port.name: _real(interpreter.get_tensor(row["index"]), row) for port, row in found}
        batches.append(tuple(y[: count - first] for y in onnx_feeds.taken(reading, answers, size)))
    return batches


def _as_shaped(interpreter: Any, what: str, xs: Sequence[Array]) -> list[tuple[Array, ...]]:
    """Answers of a model whose inputs lack an axis of steps, or of values, and have the data's sizes otherwise."""
    rows = interpreter.get_input_details()
    shapes = [tuple(int(n) for n in row["shape"]) for row in rows]
    size = shapes[0][0]
    wanted = [prod(shape[1:]) for shape in shapes]
    if [shape[0] for shape in shapes] != [size] * len(xs) or wanted != [prod(x.shape[1:]) for x in xs] or size < 1:
        raise _misfit(what, shapes, xs)
    interpreter.allocate_tensors()
    batches = []
    for first in range(0, len(xs[0]), size):
        parts = [_filled(x[first : first + size], size) for x in xs]
        interpreter.reset_all_variables()
        for row, shape, x in zip(rows, shapes, parts, strict=True):
            interpreter.set_tensor(row["index"], _integers(x.reshape(shape), row))
        interpreter.invoke()
        found = [_real(interpreter.get_tensor(row["index"]), row) for row in interpreter.get_output_details()]
        batches.append(tuple(y[: len(xs[0]) - first] for y in found))
    return batches


def _misfit(what: str, shapes: Sequence[tuple[int, ...]], xs: Sequence[Array]) -> InputError:
    given = ", ".join(f"({', '.join(['N', 'T'][: x.ndim - 1])}, {x.shape[-1]})" for x in xs)
    return InputError(f"{what} has inputs {', '.join(map(str, shapes))}; the data's are {given}")


def _fit(interpreter: Any, what: str, xs: Sequence[Array]) -> tuple[int, int]:
    """Resize the inputs to the sequences, unless the model streams. Its batch size, and the steps of one call."""
    rows = interpreter.get_input_details()
    shapes = [tuple(int(n) for n in row["shape"]) for row in rows]
    if len(rows) != len(xs) or any(len(s) != 3 or s[2:] != x.shape[2:] for s, x in zip(shapes, xs, strict=True)):
        raise _misfit(what, shapes, xs)
    size, steps = shapes[0][0], xs[0].shape[1]
    resizable = any(int(row["shape_signature"][1]) == -1 for row in rows)
    if all(shape[1] == 1 for shape in shapes) and not resizable:
        steps = 1
    if any(shape[1] != steps for shape in shapes) and _counts(interpreter):
        raise InputError(f"{what} counts its steps: it takes sequences of {shapes[0][1]}, the data have {steps}")
    for row, shape in zip(rows, shapes, strict=True):
        if (size, steps) != shape[:2]:
            interpreter.resize_tensor_input(row["index"], (size, steps, shape[2]))
    interpreter.allocate_tensors()
    return size, steps


def _counts(interpreter: Any) -> bool:
    """Whether a model has loops, whose number of steps does not grow with its inputs."""
    return any(row["op_name"] == "WHILE" for row in interpreter._get_ops_details())


def _batch(
    interpreter: Any, xs: Sequence[Array], first: int, size: int, steps: int, every_step: bool
) -> tuple[Array, ...]:
    """The answers of `size` sequences, from a reset state."""
    parts = [x[first : first + size] for x in xs]
    count, total = parts[0].shape[:2]
    parts = [np.concatenate([x, np.zeros((size - count, *x.shape[1:]), x.dtype)]) for x in parts]
    interpreter.reset_all_variables()
    calls = []
    for start in range(0, total, steps):
        for row, x in zip(interpreter.get_input_details(), parts, strict=True):
            interpreter.set_tensor(row["index"], _integers(x[:, start : start + steps], row))
        interpreter.invoke()
        rows = interpreter.get_output_details()
        calls.append([_real(interpreter.get_tensor(row["index"]), row)[:count] for row in rows])
    return tuple(_joined(answers, every_step, total) for answers in zip(*calls, strict=True))


def _joined(answers: Sequence[Array], every_step: bool, total: int) -> Array:
    """One output's answers of successive calls as those of one."""
    if answers[0].ndim == 3:
        return np.concatenate(answers, axis=1)
    if not every_step:
        return answers[-1]
    if len(answers) < total:
        raise InputError("this .tflite gives the last step alone; write it with steps=1 to have every step")
    return np.stack(answers, axis=1)


def _integers(x: Array, row: dict[str, Any]) -> Array:
    if row["dtype"] is np.float32:
        return x.astype(np.float32)
    scale, zero = row["quantization"]
    if not scale:  # whole numbers, which stand for themselves
        scale, zero = 1.0, 0
    bounds = np.iinfo(row["dtype"])
    integers: Array = np.clip(np.rint(x / scale) + zero, bounds.min, bounds.max).astype(row["dtype"])
    return integers


def _real(y: Array, row: dict[str, Any]) -> Array:
    if row["dtype"] is np.float32:
        return y
    scale, zero = row["quantization"]
    real: Array = (np.float32(scale) * (y.astype(np.int32) - zero)).astype(np.float32)
    return real


def has_micro() -> bool:
    """Whether TFLite Micro's package for Python is installed; it has wheels for Linux on x86-64."""
    return importlib.util.find_spec("tflite_micro") is not None


def run_micro(path: str | os.PathLike[str], xs: Sequence[Array], *, timeout: float = TIMEOUT) -> Answers:
    """Run a .tflite file in TFLite Micro, which takes as many steps as the file has."""
    return call("micro_file", Path(path), xs, timeout)


def micro_file(path: Path, xs: Sequence[Array]) -> Answers:
    """A file's answers of TFLite Micro in this process."""
    try:
        module: Any = importlib.import_module("tflite_micro").runtime
    except ImportError as error:
        raise MissingError(f"TFLite Micro is not installed ({error}): pip install tflite-micro") from None
    peer = f"tflite-micro {version('tflite-micro')}"
    model = path.read_bytes()
    rows: tuple[list[Any], list[Any]] = [], []
    batches = []
    for k in range(len(xs[0])):
        try:
            interpreter = module.Interpreter.from_bytes(model, arena_size=_MICRO_ARENA)
            rows = rows if rows[0] else _micro_rows(interpreter, model, xs, repr(path.name))
            for number, (x, row) in enumerate(zip(xs, rows[0], strict=True)):
                interpreter.set_input(_integers(x[k : k + 1], row), number)
            interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise PeerError(f"{peer} cannot run {path.name!r}: {str(error).strip() or 'it does not say why'}") from None
        batches.append([_real(interpreter.get_output(n), row) for n, row in enumerate(rows[1])])
    ys = tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))
    return Answers(ys, peer, any(row["dtype"] is np.int8 for row in (*rows[0], *rows[1])))


_MICRO_ARENA = 1 << 22  # bytes


def _micro_rows(interpreter: Any, model: bytes, xs: Sequence[Array], what: str) -> tuple[list[Any], list[Any]]:
    """Inputs and outputs, as `_integers` and `_real` take them. InputError if the inputs are not the data's."""
    from .importers.tflite_file import parse

    graph = parse(model).subgraphs[0]
    found = ([interpreter.get_input_details(n) for n in range(len(graph.inputs))],
             [interpreter.get_output_details(n) for n in range(len(graph.outputs))])  # fmt: skip
    shapes = [tuple(int(n) for n in row["shape"]) for row in found[0]]
    if shapes != [(1, *x.shape[1:]) for x in xs]:
        given = ", ".join(str((1, *x.shape[1:])) for x in xs)
        raise InputError(f"{what} has inputs {', '.join(map(str, shapes))} in TFLite Micro; the data's are {given}")
    for row in (*found[0], *found[1]):
        scales = row["quantization_parameters"]
        if len(scales["scales"]):
            row["quantization"] = float(scales["scales"][0]), int(scales["zero_points"][0])
    return found


# ---- Keras ----


def run_keras(
    path: str | os.PathLike[str],
    xs: Sequence[Array],
    *,
    architecture: str | os.PathLike[str] | None = None,
    trust: bool = False,
    timeout: float = TIMEOUT,
) -> Answers:
    """Run a Keras checkpoint in a Keras of its generation: `keras` 3, or `tf_keras` for files of Keras 1 and 2.

    Keras gets a bare configuration and the numbers, of the same bytes that the importer read, never the file, and
    computes in float32 whatever policy the file had: what is compared is the reading, not roundings. With
    `trust` it gets the file itself where the importer cannot read it, and may run what that holds.
    """
    with fit_for_keras(path, architecture, trust) as ready:
        answers = call("keras_file", ready.file, xs, timeout, ready.name, **ready.options)
    return replace(answers, peer=f"{answers.peer} in float32") if ready.lifted else answers


@dataclass(frozen=True, slots=True)
class ForKeras:
    """A checkpoint as Keras may have it, in a folder of its own."""

    file: Path
    name: str  # what the user calls it
    options: dict[str, Any]  # of `keras_model`
    lifted: bool  # it computes in float32, the file did not


@contextlib.contextmanager
def fit_for_keras(
    path: str | os.PathLike[str], architecture: str | os.PathLike[str] | None, trust: bool
) -> Iterator[ForKeras]:
    """A checkpoint's numbers and bare configuration as files; the checkpoint itself if only `trust` allows it.

    CheckpointError if neither can be.
    """
    from .importers import keras as importer
    from .importers.keras_bare import bare, in_float32

    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{str(path)!r}: {error.strerror or 'cannot be read'}") from None
    try:
        checkpoint = importer.open_checkpoint(path, data, Path(architecture) if architecture else None)
    except CheckpointError as error:
        raise CheckpointError(f"{str(path)!r}: {error}") from None
    config, safe, lifted = checkpoint.config, True, False
    try:
        importer.model_of(checkpoint, Source("keras", path.name, ""))
        stated = bare(config, importer.generation(checkpoint))
        config = in_float32(stated)
        lifted = config != stated
    except (CheckpointError, RecursionError) as error:
        if not trust:
            reason = error if isinstance(error, CheckpointError) else "its configuration nests too deep"
            raise CheckpointError(f"{str(path)!r}: {reason}{_UNTRUSTED}") from None
        safe = False
    packed = not data.startswith(importers.HDF5)
    whole = packed or (checkpoint.whole and not safe)  # a bare .h5 goes as weights and configuration
    version = checkpoint.version or "2"
    with tempfile.TemporaryDirectory(prefix="edgelstm.") as folder:
        ending = ".keras" if packed else ".h5" if whole or checkpoint.legacy else ".weights.h5"
        file = Path(folder) / f"model{ending}"  # Keras goes by a file's name
        file.write_bytes(_rebuilt(data, config, version) if packed and safe else data)
        if not whole:
            (Path(folder) / "config.json").write_text(json.dumps(config))
        generation = importer.generation(checkpoint) if safe else version[0]
        yield ForKeras(file, path.name, {"generation": generation, "whole": whole, "safe": safe}, lifted)


def _rebuilt(data: bytes, config: Any, version: str) -> bytes:
    """A .keras archive with another configuration."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w") as new:
        new.writestr("config.json", json.dumps(config))
        new.writestr("metadata.json", json.dumps({"keras_version": version}))
        new.writestr("model.weights.h5", old.read("model.weights.h5"))
    return made.getvalue()


_UNTRUSTED = (
    "; its own framework might read it, and run code that the file may hold: "
    "trust=True (--trust) allows that, for a file whose maker you trust"
)


def keras_model(path: Path, generation: str, whole: bool, safe: bool) -> tuple[Any, Any]:
    """Keras, and the model of a whole file, or of weights and the configuration beside them."""
    keras = _keras(generation)
    if whole:
        return keras, keras.models.load_model(path, compile=False, safe_mode=safe)
    model = keras.models.model_from_json((path.parent / "config.json").read_text())
    model.load_weights(path)
    return keras, model


def keras_file(path: Path, xs: Sequence[Array], **options: Any) -> Answers:
    """Keras' answers in this process, to what `fit_for_keras` laid out."""
    keras, model = keras_model(path, **options)
    xs = keras_inputs(model, xs)
    count, size = len(xs[0]), model.inputs[0].shape[0] or len(xs[0])
    batches = []
    for first in range(0, count, size):
        parts = [_filled(x[first : first + size], size) for x in xs]
        for layer in model.layers:
            if getattr(layer, "stateful", False):
                layer.reset_states() if hasattr(layer, "reset_states") else layer.reset_state()
        batches.append(_outputs(model.predict(parts if len(parts) > 1 else parts[0], verbose=0, batch_size=size)))
    ys = tuple(np.concatenate(parts)[:count] for parts in zip(*batches, strict=True))
    return Answers(ys, f"{keras.__name__} {keras.__version__}")


def keras_inputs(model: Any, xs: Sequence[Array]) -> list[Array]:
    """The data as a Keras model takes them, float32."""
    shapes = [tuple(x.shape) for x in model.inputs]
    if len(shapes) != len(xs):
        raise InputError(f"the checkpoint has {len(shapes)} inputs, the data {len(xs)}")
    return [_shaped(x, shape) for x, shape in zip(xs, shapes, strict=True)]


def _filled(x: Array, size: int) -> Array:
    """A batch of `size` sequences, the last ones of zeros where there are fewer."""
    return np.concatenate([x, np.zeros((size - len(x), *x.shape[1:]), x.dtype)])


def _keras(generation: str) -> Any:
    """The Keras module for checkpoints of a generation."""
    name = "keras" if generation == "3" else "tf_keras"
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        command = "pip install tensorflow" + ("; pip install --no-deps tf_keras" if name == "tf_keras" else "")
        raise MissingError(f"a checkpoint of Keras {generation} needs {name} ({error}): {command}") from None
    if name == "keras" and not module.__version__.startswith("3."):
        raise MissingError(f'the checkpoint is of Keras 3, installed is {module.__version__}: pip install "keras>=3"')
    return module


def _shaped(x: Array, shape: tuple[int | None, ...]) -> Array:
    """Rows as Keras takes them: numbers of words have no axis of values, and a step may have axes of its own."""
    x = x.astype(np.float32)
    if len(shape) == 2:
        return x.reshape(len(x), -1)
    return x.reshape(len(x), x.shape[1], *(n or -1 for n in shape[2:]))


def flat(answer: Any) -> list[Any]:
    """A model's outputs in order, whatever it keeps them in."""
    if isinstance(answer, dict):
        return flat(list(answer.values()))
    if isinstance(answer, list | tuple):
        return [y for part in answer for y in flat(part)]
    return [answer]


def _outputs(answer: Any) -> list[Array]:
    """Answers in order; those of a step with several axes as one row."""
    return [y.reshape(*y.shape[:2], -1) if y.ndim > 3 else y for y in map(np.asarray, flat(answer))]


# ---- ONNX ----


def run_onnx(path: str | os.PathLike[str], xs: Sequence[Array], *, timeout: float = TIMEOUT) -> Answers:
    """Run an ONNX file in ONNX Runtime, its inputs and outputs as the importer's model has them.

    CheckpointError where the importer cannot read the file: it tells what the inputs are.
    """
    return call("onnx_file", Path(path), xs, timeout)


def onnx_file(path: Path, xs: Sequence[Array]) -> Answers:
    """An ONNX file's answers in this process. The runtime gets the bytes that were read, so it opens no other file."""
    from .importers import onnx as importer
    from .importers import onnx_feeds

    data = path.read_bytes()
    reading = importer.reading(data, path.name)
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError:
        raise MissingError("running an ONNX file needs ONNX Runtime: pip install onnxruntime") from None
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    count = len(xs[0])
    size = onnx_feeds.fixed_batch(reading) or count
    batches = []
    for first in range(0, count, size):
        parts = [_filled(x[first : first + size], size) for x in xs]
        answers = session.run(names, onnx_feeds.given(reading, parts))
        batches.append(onnx_feeds.taken(reading, dict(zip(names, answers, strict=True)), size))
    ys = tuple(np.concatenate(parts)[:count] for parts in zip(*batches, strict=True))
    return Answers(ys, f"onnxruntime {runtime.__version__}")


def fixed_steps(path: Path, model: Model, architecture: str | os.PathLike[str] | None = None) -> dict[str, int]:
    """The numbers of steps that a Keras, ONNX or TFLite file fixes, by the inputs of the model that was read of it."""
    from .importers import keras, onnx, onnx_feeds, tflite

    try:
        kind = importers.recognise(path)
        data = path.read_bytes() if kind in ("keras", "onnx", "tflite") else b""
        if kind == "tflite":
            return onnx_feeds.fixed_steps(tflite.reading(data, path.name, compat=True))
        if kind == "onnx":
            return onnx_feeds.fixed_steps(onnx.reading(data, path.name))
        if kind == "keras":
            described = Path(architecture) if architecture else None
            counts = keras.fixed_steps(keras.open_checkpoint(path, data, described))
            single = {t.name for t in model.tensors if t.single}
            named = zip(model.inputs, counts, strict=False)
            return {name: count for name, count in named if count and name not in single}
    except (CheckpointError, OSError):
        pass
    return {}


# ---- PyTorch ----


def run_torch(
    module: Any, xs: Sequence[Array], *, axis: int = 0, trust: bool = False, timeout: float = TIMEOUT
) -> Answers:
    """Run a live torch.nn.Module that takes (N, T, inputs), or a file of TorchScript or torch.export: a program, for
    `trust` to allow.

    A state dict holds no code to run: PeerError. Of (answers, state), as an LSTM returns, the answers are taken. axis:
    that of the sequences, by which they are given one by one to an exported program that takes one alone.
    """
    if is_module(module):
        return _torch(module, xs)
    path = Path(module)
    kind = program(path)
    if not kind:
        raise PeerError(
            f"{path.name!r} holds tensors and no code to run; give the live module, or a file of TorchScript or "
            "torch.export"
        )
    if not trust:
        raise CheckpointError(
            f"{str(path)!r}: a {kind} file is a program, and to run it is to run code from the file: "
            "trust=True (--trust) allows that, for a file whose maker you trust"
        )
    return call("torch_file", path, xs, timeout, axis=axis)


def is_module(value: Any) -> bool:
    """Whether a value is a live torch.nn.Module; torch is there if it is."""
    kind = getattr(getattr(sys.modules.get("torch"), "nn", None), "Module", None)
    return kind is not None and isinstance(value, kind)


def torch_file(path: Path, xs: Sequence[Array], axis: int) -> Answers:
    """A program's answers in this process."""
    kind = program(path)
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError:
        raise MissingError(f"running a {kind} file needs PyTorch: pip install torch") from None
    torch.set_num_threads(1)
    if kind == "TorchScript":
        return _torch(torch.jit.load(str(path), map_location="cpu"), xs)
    module = torch.export.load(str(path)).module()
    try:
        return _torch(module, xs)
    except PeerError:  # most are exported for as many sequences as their example has, one
        count = xs[0].shape[min(axis, xs[0].ndim - 1)]
        each = [_torch(module, [_one(x, k, axis) for x in xs]) for k in range(count)]
    columns = zip(*(answers.ys for answers in each), strict=True)
    ys = tuple(np.concatenate(parts, _axis(parts[0], axis)) for parts in columns)
    return Answers(ys, each[0].peer, left_out=each[0].left_out)


def _axis(y: Array, axis: int) -> int:
    """The axis of the one sequence of an answer; a state's of several layers is its second."""
    axis = axis if y.ndim > 2 else 0
    return 1 if y.ndim > 2 and y.shape[axis] != 1 and y.shape[1] == 1 else axis


def _one(x: Array, k: int, axis: int) -> Array:
    """One sequence of a batch."""
    return np.take(x, [k], min(axis, x.ndim - 1))


def _torch(module: Any, xs: Sequence[Array]) -> Answers:
    from .importers import torch_live

    torch = importlib.import_module("torch")
    training = [(child, child.training) for child in module.modules()]
    first = next(iter(module.parameters()), None)
    device = first.device if first is not None else "cpu"
    narrow = {v.dtype for v in (*module.parameters(), *module.buffers()) if v.is_floating_point()} - {torch.float32}
    try:
        with contextlib.suppress(NotImplementedError):  # of a module that torch.export made, which is trained already
            module.eval()
        made = copy.deepcopy(module).float() if narrow else module
        arrays = [torch.from_numpy(np.array(x)) for x in xs]
        given = [x.to(device) if x.dtype == torch.int64 else x.to(device, torch.float32) for x in arrays]
        try:
            with torch.no_grad():
                answer = made(*given)
        except Exception as error:  # a user's forward() may raise anything
            gist = (str(error).strip() or "no message").splitlines()[0]
            raise PeerError(f"the module does not take such inputs: {type(error).__name__}: {gist}") from None
    finally:
        for child, mode in training:
            child.training = mode
    notes: list[str] = []
    answers = torch_live.answers(torch_live.unwrapped(module), answer, notes)
    if not all(hasattr(y, "detach") for y in answers):
        raise PeerError("the module gives answers that are no tensors")
    ys = tuple(y.detach().cpu().float().numpy() for y in answers)
    return Answers(ys, f"torch {torch.__version__}" + " in float32" * bool(narrow), left_out=bool(notes))


def program(path: Path) -> str:
    """What PyTorch calls the program a file holds, "TorchScript" or "torch.export"; "" for any other file."""
    from .importers import torch_files

    try:
        is_torchs = importers.recognise(path) == "torch"
        return torch_files.program(path.read_bytes()) if is_torchs else ""
    except (OSError, CheckpointError):
        return ""
