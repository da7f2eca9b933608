"""What the fuzzer feeds: an importer each, by the door users come in, and how its inputs are changed."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import mutate

from edgelstm import description, errors, importers
from edgelstm.importers import torch_pickle
from edgelstm.meta_file import describe

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
CORPUS = Path(__file__).parent / "corpus"
"""Inputs that earlier runs found worth keeping, in a folder for each target."""

Change = Callable[[bytes, Random, mutate.Raw], bytes]


@dataclass(slots=True)
class Place:
    """A folder in memory for the file of the moment."""

    folder: Path = field(
        default_factory=lambda: Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    )

    def file(self, data: bytes, name: str = "given") -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path


@dataclass(frozen=True, slots=True)
class Target:
    seeds: tuple[Path, ...]
    prepare: Callable[[bytes, Place], tuple[Callable[[], object], set[str]]]
    """What is to be done with an input, and which files that may open."""
    change: Change


def _read(data: bytes, place: Place, heads: Iterable[str | None] = (None,)) -> tuple[Callable[[], object], set[str]]:
    path = place.file(data)

    def action() -> None:
        for head in heads:
            try:
                importers.read(path, head=head)
            except errors.EdgeLstmError as error:
                refused = error
            else:
                return
        raise refused

    return action, {str(path)}


def _config(data: bytes, place: Place) -> tuple[Callable[[], object], set[str]]:
    path = place.file(data, "architecture.json")  # config.json would be found beside the weights of other targets
    kind = "siamese" if b"siamese" in data else "stack"
    writer = "keras1_stack_weights.h5" if b"output_dim" in data else f"keras315_{kind}_weights.weights.h5"
    weights = GOLDEN / "keras" / writer
    return lambda: importers.read(weights, architecture=path), {str(path), str(weights)}


def _architecture(data: bytes, place: Place) -> tuple[Callable[[], object], set[str]]:
    path = place.file(data, "net.toml")
    weights = GOLDEN / "torch" / "activity.pt"
    return lambda: importers.read(weights, architecture=path), {str(path), str(weights)}


def _matrices(data: bytes, place: Place) -> tuple[Callable[[], object], set[str]]:
    path, described = place.file(data), ROOT / "examples" / "tutorials" / "numpy_cell.toml"
    return lambda: importers.read(path, architecture=described), {str(path), str(described)}


def _described(data: bytes, place: Place) -> tuple[Callable[[], object], set[str]]:
    path, matrices = place.file(data, "net.toml"), ROOT / "examples" / "tutorials" / "numpy_cell.npz"
    return lambda: importers.read(matrices, architecture=path), {str(path), str(matrices)}


def _meta(data: bytes, place: Place) -> tuple[Callable[[], object], set[str]]:
    path = place.file(data, "net.meta.toml")
    return lambda: describe(ACTIVITY, path), {str(path)}


def _pickle(data: bytes, place: Place) -> tuple[Callable[[], object], set[str]]:
    return lambda: torch_pickle.load(data), set()


def _image(data: bytes, place: Place) -> tuple[Callable[[], object], set[str]]:
    image = bytearray(data)
    if len(image) >= 20:
        image[:10] = b"EDGELSTM" + description.VERSION.to_bytes(2, "little")
        image[12:16] = len(image).to_bytes(4, "little")
        image[16:20] = description.checksum(bytes(image)).to_bytes(4, "little")
    return lambda: description.describe(bytes(image)), set()


def _golden(*patterns: str) -> tuple[Path, ...]:
    return tuple(path for pattern in patterns for path in sorted(GOLDEN.glob(pattern)))


ACTIVITY = importers.read(GOLDEN / "torch" / "activity.pt", head="relu,softmax")
PYTORCH_HEADS = (None, "relu,softmax")
JSON_MEMBER = {".json": mutate.json_text, ".h5": mutate.overwrite}
STATE_DICT = {"data.pkl": mutate.pickled}

TARGETS = {
    "keras_h5": Target(
        _golden("keras/keras1_stack.h5", "keras/keras2[23]_s*.h5", "keras/keras23_cudnn.h5", "keras/keras315_s*.h5"),
        _read,
        mutate.overwrite,
    ),
    "keras_zip": Target(
        _golden("keras/*_relu.keras", "keras/*_s*.keras"), _read, partial(mutate.archive, members=JSON_MEMBER)
    ),
    "keras_config": Target(
        _golden("keras/*_weights.json"),
        _config,
        mutate.json_text,
    ),
    "torch_zip": Target(
        tuple(path for path in _golden("torch/*.pt") if "legacy" not in path.name),
        partial(_read, heads=PYTORCH_HEADS),
        partial(mutate.archive, members=STATE_DICT),
    ),
    "torch_legacy": Target(_golden("torch/*_legacy.pt"), partial(_read, heads=PYTORCH_HEADS), mutate.overwrite_or_raw),
    "torch_pickle": Target(_golden("torch/[a-l]*.pt"), _pickle, mutate.pickled),
    "safetensors": Target(_golden("torch/*.safetensors"), partial(_read, heads=PYTORCH_HEADS), mutate.safetensors),
    "onnx": Target(_golden("onnx/*.onnx"), _read, mutate.protobuf),
    "tflite": Target(_golden("tflite/*.tflite"), _read, mutate.words),
    "npz": Target(
        (ROOT / "examples" / "tutorials" / "numpy_cell.npz",),
        _matrices,
        partial(mutate.archive, members={".npy": mutate.array}),
    ),
    "npz_architecture": Target((ROOT / "examples" / "tutorials" / "numpy_cell.toml",), _described, mutate.lines),
    "architecture": Target((), _architecture, mutate.lines),
    "meta": Target((ROOT / "examples" / "activity" / "activity.toml",), _meta, mutate.lines),
    "image": Target(_golden("images/*.elstm"), _image, mutate.overwrite_or_raw),
}


def seeds(name: str) -> list[tuple[str, bytes]]:
    """What a target starts from: golden fixtures and the committed corpus."""
    found = [(path.name, path.read_bytes()) for path in TARGETS[name].seeds]
    if name == "torch_pickle":
        found = [(file, _inside(data)) for file, data in found]
    return found + [(path.name, path.read_bytes()) for path in sorted((CORPUS / name).glob("*"))]


def _inside(data: bytes) -> bytes:
    """The pickle of a zip of torch.save; of an older file all of it, which starts with one."""
    if not data.startswith(b"PK"):
        return data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return next(archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))


def prepared(name: str, data: bytes, place: Place) -> tuple[Callable[[], object], set[str]]:
    return TARGETS[name].prepare(data, place)


def warm(name: str, place: Place) -> None:
    """Loads the modules importers need, so that what is imported later on is an input's doing.

    Those of all targets: changed bytes may be another format's.
    """
    for other in TARGETS:
        for _, data in seeds(other)[: 6 if other == name else 1]:
            action: Any = prepared(other, data, place)[0]
            try:
                action()
            except errors.EdgeLstmError:
                continue
