"""What TensorFlow's own converter makes of a Keras checkpoint, in a process of its own that may die of it.

The converter gets what Keras gets in `peers`, by the same rule: no file runs code unless trusted.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from . import importers, peers
from .errors import MissingError, PeerError
from .importers.tflite_file import parse
from .model import Array
from .peer_process import TIMEOUT, Answers, Died, call

KINDS = ("float", "dynamic", "int8")
"""float32; int8 weights and floats between; int8 throughout, its inputs and outputs too."""

SAMPLES = 200
"""How many sequences at most int8 takes its ranges from: the converter's calibrator runs them one by one."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """What came of one kind: a file, or the reason why there is none."""

    kind: str
    by: str  # "TensorFlow 2.21.0's converter"
    file: bytes | None
    failure: str  # in one line; "" where there is a file
    inputs: tuple[int, ...] = ()  # which of the checkpoint's each of the file's is
    outputs: tuple[int, ...] = ()  # the same of outputs


def run(made: Conversion, xs: Sequence[Array], runtime: str | None = None, *, timeout: float = TIMEOUT) -> Answers:
    """The answers of a conversion's file in a TFLite runtime, the first that knows its operators unless one is named,
    with the checkpoint's inputs and outputs in their order. PeerError where there is no file, or it does not run."""
    if made.file is None:
        raise PeerError(made.failure)
    with tempfile.TemporaryDirectory(prefix="edgelstm.") as folder:
        path = Path(folder) / f"converter-{made.kind}.tflite"
        path.write_bytes(made.file)
        given = [xs[k] for k in made.inputs]
        if runtime is None:
            answers = peers.any_runtime(path, given, timeout=timeout)
        else:
            answers = peers.run_tflite(path, given, runtime, timeout=timeout)
    if len(answers.ys) != len(made.outputs):
        raise PeerError(f"{made.by} wrote {len(answers.ys)} outputs on kind {made.kind}, expected {len(made.outputs)}")
    return replace(answers, ys=tuple(answers.ys[made.outputs.index(k)] for k in range(len(made.outputs))))


def convert(
    path: str | os.PathLike[str],
    xs: Sequence[Array],
    kinds: Sequence[str] = KINDS,
    *,
    samples: Sequence[Array] | None = None,
    architecture: str | os.PathLike[str] | None = None,
    trust: bool = False,
    timeout: float = TIMEOUT,
) -> dict[str, Conversion]:
    """Conversions of a Keras checkpoint for sequences as long as those of xs, one at a time, in the order of `kinds`.

    xs: [N, T, width] per input. samples: the like with as many steps, from which int8 takes its ranges, else from xs.
    A converter that raises, dies, takes more than
    `timeout` seconds or asks for TensorFlow's own operators is a result. CheckpointError, as of `peers.run_keras`, if
    the checkpoint may not run; MissingError without TensorFlow; PeerError if this is no checkpoint of Keras.
    """
    by = maker(path)
    source = xs if samples is None else samples
    some = np.unique(np.linspace(0, len(source[0]) - 1, SAMPLES).astype(int))
    given = [x[some] for x in source]
    found: dict[str, Conversion] = {}
    with (
        peers.fit_for_keras(path, architecture, trust) as ready,
        tempfile.TemporaryDirectory(prefix="edgelstm.") as folder,
    ):
        while left := [one for one in kinds if one not in found]:
            end = ""
            try:
                call(
                    "keras_to_tflite", ready.file, given, timeout, ready.name, "converter",
                    folder=folder, kinds=left, **ready.options,
                )  # fmt: skip
            except Died as error:
                end = error.end
            found |= {one.kind: one for one in _made(left, Path(folder), by, end)}
    return found


def maker(path: str | os.PathLike[str]) -> str:
    """Who would convert a checkpoint. MissingError without TensorFlow; PeerError if this is no checkpoint of Keras."""
    kind = "tflite" if peers.is_tflite(Path(path)) else importers.recognise(Path(path))
    if kind != "keras":
        raise PeerError(_OTHER_ROADS.get(str(kind), "TensorFlow's converter reads Keras models alone"))
    return f"TensorFlow {_version()}'s converter"


_OTHER_ROADS = {
    "torch": "TFLite's official road from PyTorch is ai-edge-torch, which takes the live module and not a checkpoint",
    "safetensors": "TFLite's official road from PyTorch is ai-edge-torch, which takes the live module and not tensors",
    "tflite": "a .tflite file is what TensorFlow's converter makes, not what it reads",
}


def _version() -> str:
    if importlib.util.find_spec("tensorflow") is None:
        raise MissingError(
            "TFLite's official converter is TensorFlow's, which is not installed: pip install tensorflow"
        )
    names = importlib.metadata.packages_distributions().get("tensorflow", ["tensorflow"])
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(names[0])
    return "of unknown version"


def _made(kinds: Sequence[str], folder: Path, by: str, end: str) -> Iterator[Conversion]:
    """What a child has left behind; the kind at which it ended, if it did, is the last."""
    for kind in kinds:
        file, failure = folder / f"{kind}.tflite", folder / f"{kind}.txt"
        if file.exists():
            data = file.read_bytes()
            yield Conversion(kind, by, data, "", *_order(data))
        elif failure.exists():
            yield Conversion(kind, by, None, f"{by} {failure.read_text('utf-8')}")
        else:
            yield Conversion(kind, by, None, f"{by} {end or 'ended without a word'} on kind {kind}")
            return


def _order(data: bytes) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Which of the function's inputs, and outputs, each of a file's is: the converter lists them as it likes."""
    file = parse(data)
    graph = file.subgraphs[0]
    inputs = [file.names.get(k, "") for k in graph.inputs]
    outputs = [file.names.get(k, "") for k in graph.outputs]
    return _numbers(inputs), _numbers(outputs)


def _numbers(names: Sequence[str]) -> tuple[int, ...]:
    """The numbers that names end in; where they are not each number once, the order they stand in."""
    found = [re.search(r"\d+$", name) for name in names]
    numbers = tuple(int(one[0]) if one else -1 for one in found)
    return numbers if sorted(numbers) == list(range(len(names))) else tuple(range(len(names)))


# ---- in the child ----


def keras_to_tflite(path: Path, xs: Sequence[Array], folder: str, kinds: Sequence[str], **options: Any) -> Answers:
    """Writes <kind>.tflite, or <kind>.txt with what went wrong, into the folder; gives no answers."""
    tensorflow = importlib.import_module("tensorflow")
    _, model = peers.keras_model(path, **options)
    size = model.inputs[0].shape[0] or 1
    count = max(1, len(xs[0]) // size)
    given = [x.astype(_dtype(tensor)) for x, tensor in zip(peers.keras_inputs(model, xs), model.inputs, strict=True)]
    parts = [[np.resize(x, (count * size, *x.shape[1:]))[k * size :][:size] for x in given] for k in range(count)]
    saved = str(Path(folder) / "saved")
    _save(tensorflow, model, parts[0], saved)
    for kind in kinds:
        converter = _converter(tensorflow, saved, kind, parts)
        try:
            made = converter.convert()
        except Exception as error:  # whatever it raises is its result
            (Path(folder) / f"{kind}.txt").write_text(_failure(kind, error), "utf-8")
            continue
        part = Path(folder) / "part"
        part.write_bytes(made)
        part.rename(Path(folder) / f"{kind}.tflite")
    return Answers((), "")


def _save(tensorflow: Any, model: Any, xs: Sequence[Array], folder: str) -> None:
    """A saved model for inputs of these shapes. The converter loses the variables of Keras 3's own models."""
    module = tensorflow.Module()
    module.kept = [getattr(one, "value", one) if hasattr(one, "path") else one for one in model.variables]
    module.model = model

    def answer(**values: Any) -> dict[str, Any]:
        given = [values[f"input_{k}"] for k in range(len(xs))]
        ys = peers.flat(model(given if len(given) > 1 else given[0], training=False))
        return {f"output_{k}": y for k, y in enumerate(ys)}

    specs = {f"input_{k}": tensorflow.TensorSpec(x.shape, x.dtype, f"input_{k}") for k, x in enumerate(xs)}
    concrete = tensorflow.function(answer).get_concrete_function(**specs)
    tensorflow.saved_model.save(module, folder, signatures=concrete)


def _converter(tensorflow: Any, saved: str, kind: str, parts: Sequence[Sequence[Array]]) -> Any:
    converter = tensorflow.lite.TFLiteConverter.from_saved_model(saved)
    if kind != "float":
        converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
    if kind == "int8":
        named = [{f"input_{k}": x for k, x in enumerate(part)} for part in parts]
        converter.representative_dataset = lambda: (("serving_default", part) for part in named)
        converter.target_spec.supported_ops = [tensorflow.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tensorflow.int8
    return converter


def _dtype(tensor: Any) -> Any:
    """A Keras input's type as NumPy knows it."""
    return np.dtype(getattr(tensor.dtype, "name", tensor.dtype))


def _failure(kind: str, error: Exception) -> str:
    """What the converter raised, in a line."""
    said = str(error)
    wanted = sorted(set(re.findall(r"\btf\.([A-Z]\w{0,60})", said)))
    if re.search(r"select tf op|SELECT_TF_OPS", said, re.IGNORECASE):
        named = f" ({', '.join(wanted[:5])})" if wanted else ""
        own = f"asks for TensorFlow's own operators{named} on kind {kind}"
        return f"{own} (SELECT_TF_OPS), which TFLite's runtimes do not have"
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["no message"]
    line = "".join(c if c.isprintable() else "?" for c in lines[0])
    return f"failed on kind {kind}: {type(error).__name__}: {line if len(line) <= 200 else line[:197] + '...'}"
