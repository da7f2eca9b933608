"""What Keras writes to disk: where a checkpoint keeps its configuration, its version and its tensors."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from . import hdf5, keras_toml
from .hdf5 import Hdf5

MAX_JSON = 1 << 23  # bytes of a configuration; of empty lists alone, Python would make 24 times as much
MAX_EXPANSION = 16  # a packed member may be so many times larger than its archive


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A Keras checkpoint taken apart; nothing of its content is interpreted yet."""

    config: Any  # the model's configuration as JSON gives it
    version: str | None  # the Keras that wrote it; None where neither file tells
    backend: str | None  # what that Keras ran on
    tensors: Hdf5
    root: str  # path of the group that holds the layers' tensors, "" or "model_weights"
    whole: bool  # one file holds configuration and weights
    legacy: bool  # tensors lie by layer name with lists of names (.h5), not by class (.weights.h5)
    notes: tuple[str, ...]


def open_archive(data: bytes) -> Checkpoint:
    """A `.keras` archive: config.json, metadata.json and model.weights.h5."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            if len(set(names)) != len(names):
                raise CheckpointError("the archive holds two members of one name; save the model again")
            known = {"config.json", "metadata.json", "model.weights.h5"}
            extra = [name for name in names if name not in known and not name.endswith("/")]
            if "model.weights.h5" not in names:
                raise CheckpointError(
                    f"the archive has no model.weights.h5 (it holds {_listed(names)}); "
                    "save the model with model.save('name.keras')"
                )
            if extra:
                raise CheckpointError(f"the archive holds {_listed(extra)}, which no supported layer uses")
            config = load_json(_member(archive, "config.json", len(data), MAX_JSON), "config.json")
            metadata: Any = {}
            if "metadata.json" in names:
                metadata = load_json(_member(archive, "metadata.json", len(data), MAX_JSON), "metadata.json")
            weights = _member(archive, "model.weights.h5", len(data), MAX_EXPANSION * len(data))
    except (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, RuntimeError, OSError, ValueError, EOFError) as error:
        reason = f"({str(error)[:100]!r})"
        raise CheckpointError(f"the archive is damaged or truncated {reason}; copy or save it again") from None
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    return _checkpoint(config, version, hdf5.read(weights), ())


def open_hdf5(path: Path, data: bytes, architecture: Path | None) -> Checkpoint:
    """A `.h5` file: a whole model, or weights whose configuration lies beside it or in `architecture`."""
    content = hdf5.read(data)
    top = content.attributes[""]
    if "model_config" in top:
        if architecture is not None:
            raise CheckpointError("the file holds its own architecture; leave `architecture` out")
        text = top["model_config"]
        if not isinstance(text, str) or len(text) > MAX_JSON:
            raise CheckpointError("the attribute model_config is not a text; the file is damaged")
        return _checkpoint(load_json(text.encode(), "model_config"), top.get("keras_version"), content, ())
    beside = architecture if architecture is not None else _config_beside(path)
    config, written = _described(beside)
    told = top.get("keras_version")
    if written and told is None and "keras_version" not in config:
        raise CheckpointError(f"neither the file nor {beside.name!r} tells the Keras: add a line keras = '3' to it")
    note = f"the architecture comes from {beside.name!r}"
    return _checkpoint(config, told, content, (note,))


def _described(path: Path) -> tuple[Any, bool]:
    """A configuration from a file, Keras' own as JSON or one in TOML; whether it is one in TOML."""
    try:
        return json.loads(_file(path)), False
    except (ValueError, RecursionError):
        return keras_toml.read(path), True


def load_json(data: bytes, what: str) -> Any:
    """A JSON text; CheckpointError if it is none."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise CheckpointError(f"{what!r} is not valid JSON; save the model again") from None


def _checkpoint(config: Any, version: Any, tensors: Hdf5, notes: tuple[str, ...]) -> Checkpoint:
    if isinstance(config, dict) and config.get("keras_version") is not None:
        version = config["keras_version"]
    root = "model_weights" if "model_weights" in tensors.attributes else ""
    attributes = tensors.attributes[root]
    version = version if version is not None else attributes.get("keras_version")
    legacy = hdf5.joined(attributes, "layer_names") is not None
    if not legacy:  # some Keras on Windows join with backslashes
        straight = {path.replace("\\", "/"): values for path, values in tensors.tensors.items()}
        if len(straight) != len(tensors.tensors):
            raise CheckpointError("two tensors of the file share a path; the file is damaged")
        tensors = Hdf5(straight, tensors.attributes)
    if not isinstance(version, str | None):
        raise CheckpointError("keras_version is not a text; the checkpoint is damaged")
    told = config.get("backend") if isinstance(config, dict) else None
    backend = attributes.get("backend", tensors.attributes[""].get("backend", told))
    if not isinstance(backend, str | None):
        raise CheckpointError("backend is not a text; the checkpoint is damaged")
    return Checkpoint(config, version, backend, tensors, root, not notes, legacy, notes)


def _config_beside(path: Path) -> Path:
    """The configuration of a weights-only file, by the names people give it."""
    stems = [path.stem, path.stem.removesuffix(".weights")]
    names = [f"{path.name}.config.json", *(f"{stem}.json" for stem in stems), "config.json"]
    for name in dict.fromkeys(names):
        if (path.parent / name).is_file():
            return path.parent / name
    raise CheckpointError(
        f"the file holds weights only: write model.to_json() into {names[1]!r} beside it, "
        "or name that file as the architecture"
    )


def _file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_JSON + 1)
    except OSError as error:
        raise CheckpointError(f"architecture {str(path)!r}: {error.strerror or 'cannot be read'}") from None
    if len(data) > MAX_JSON:
        raise CheckpointError(f"architecture {str(path)!r} is too large to be a model's configuration")
    return data


def _member(archive: zipfile.ZipFile, name: str, size: int, limit: int) -> bytes:
    """A member's bytes. What it declares is bounded first; zipfile never reads more than is declared."""
    if name not in archive.namelist():
        raise CheckpointError(f"the archive has no {name!r}; save the model again")
    info = archive.getinfo(name)
    if info.file_size > limit or info.file_size > MAX_EXPANSION * size:
        raise CheckpointError(f"{name!r} claims {info.file_size} bytes in an archive of {size}; refused")
    return archive.read(info)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return (", ".join(repr(name) for name in names[:5]) or "nothing") + more
