"""A model as bytes (docs/format.md)."""

from __future__ import annotations

import json
import os
import struct
from typing import Any, TypeAlias

import numpy as np

from . import reference, reference_s8, reference_tfl8
from .description import (
    HEADER_SIZE,
    KINDS,
    LAYOUTS,
    MAGIC,
    MASK,
    MAX_TEXTS,
    NUMBER_TYPES,
    SECTIONS,
    TENSOR_TYPES,
    VERSION,
    checksum,
)
from .errors import InputError, ModelError
from .files import write_whole
from .layers import Embedding, Mask
from .layout import in_layout
from .model import Array, Model, Port, QuantizedModel
from .quantized import MOVERS, QuantizedEmbedding, QuantizedMask
from .records import packed, record
from .records_tfl8 import TFL8_RECORDS
from .tfl8 import Tfl8Embedding, Tfl8Quantize
from .tfl8_model import Tfl8Model
from .timing import MOST_NUMBERS, Timing, check_run, numbers_made

AnyModel: TypeAlias = Model | QuantizedModel | Tfl8Model

EXAMPLE_STEPS = 8
EXAMPLE_TRIES = 1 << 17  # layers looked at for a number of steps that fits: a second


MAX_PORTS = 8
"""Inputs, and outputs, that the C core holds."""


def pack(model: AnyModel, example: bool = True, layout: str = "standard") -> bytes:
    """The image of a model, with an example of a few steps whose answers the reference gives; without, opening is all
    that checks it. `layout` is that of the weights, of description.LAYOUTS: the core that Python runs reads the
    standard one alone."""
    for what, names in (("inputs", model.inputs), ("outputs", model.outputs)):
        if len(names) > MAX_PORTS:
            raise ModelError(f"the model has {len(names)} {what}, and an image holds at most {MAX_PORTS}")
    index = {t.name: k for k, t in enumerate(_in_order(model))}
    weights = _Weights()
    ops = b"".join(_op(model, layer, index, weights) for layer in model.layers)
    ports = b"".join(struct.pack("<IIII", index[name], _scaler(port, weights), 0, 0) for name, port in _ports(model))
    timing = model.timing
    tensors = b"".join(_tensor(t, timing) for t in _in_order(model))
    meta = json.dumps(_meta(model), ensure_ascii=False, separators=(",", ":")).encode()
    if len(meta) > MAX_TEXTS:
        raise ModelError(f"names, labels and notes take {len(meta)} bytes, expected at most {MAX_TEXTS}")
    blobs = (tensors, ops, ports, bytes(weights.data), meta, _example(model) if example else b"")
    table, body, end = b"", b"", HEADER_SIZE
    for blob in blobs:
        start = -(-end // 64) * 64
        table += struct.pack("<II", start, len(blob))
        body += bytes(start - end) + blob
        end = start + len(blob)
    number_type = NUMBER_TYPES[{QuantizedModel: "s8", Tfl8Model: "tfl8"}.get(type(model), "f32")]
    counts = struct.pack("<HHHH", len(model.inputs), len(model.outputs), len(index), len(model.layers))
    header = struct.pack("<8sHHII", MAGIC, VERSION, number_type, end, 0)
    header += struct.pack("<I8s", len(SECTIONS), LAYOUTS["standard"]) + counts
    header = header.ljust(64, b"\0") + table
    image = bytearray(header.ljust(HEADER_SIZE, b"\0") + body)
    struct.pack_into("<I", image, 16, checksum(image))
    return in_layout(bytes(image), layout)


def save(model: AnyModel, path: str | os.PathLike[str]) -> int:
    """Write a model's image to a file, whole or not at all; returns its size in bytes."""
    image = pack(model)
    write_whole(path, image)
    return len(image)


class _Weights:
    """The weights section: arrays one after the other, in the order in which the records name them."""

    def __init__(self) -> None:
        self.data = bytearray()

    def add(self, array: Array, align: int) -> None:
        self.data += bytes(-len(self.data) % align) + array.tobytes()


def _op(model: AnyModel, layer: Any, index: dict[str, int], weights: _Weights) -> bytes:
    own = TFL8_RECORDS.get(type(layer)) if isinstance(model, Tfl8Model) else None
    kind, fields, arrays = own(model, layer) if own and isinstance(model, Tfl8Model) else record(layer)
    for array, align in arrays:
        weights.add(array, align)
    return packed(KINDS[kind], [index[name] for name in layer.reads], [index[name] for name in layer.writes], fields)


def _in_order(model: Any) -> list[Any]:
    """Tensors as the image numbers them: the inputs, then each as it is written."""
    tensors = {t.name: t for t in model.tensors}
    return [tensors[name] for name in (*model.inputs, *(name for layer in model.layers for name in layer.writes))]


def _tensor(tensor: Any, timing: Timing) -> bytes:
    single = (tensor.name in timing.single) + (tensor.name in timing.constant)
    clock = timing.table.index(timing.clocks[tensor.name])
    kind, scale = TENSOR_TYPES[getattr(tensor, "type", "f32")], getattr(tensor, "scale", 1.0)
    return struct.pack("<BBBbIfI", kind, single, clock, getattr(tensor, "zero_point", 0), tensor.width, scale, 0)


def _ports(model: Any) -> list[tuple[str, Port]]:
    inputs = model.meta.inputs or (Port(),) * len(model.inputs)
    outputs = model.meta.outputs or (Port(),) * len(model.outputs)
    return list(zip((*model.inputs, *model.outputs), (*inputs, *outputs), strict=True))


def _scaler(port: Port, weights: _Weights) -> int:
    if port.scaler is None:
        return 0
    weights.add(port.scaler.scale, 16)
    weights.add(port.scaler.offset, 16)
    return 1


def _meta(model: Any) -> dict[str, Any]:
    """What people read; the scalers stand in the weights section, where C finds them."""

    def port(name: str, p: Port) -> dict[str, Any]:
        lists = {"channels": p.channels, "units": p.units, "labels": p.labels}
        size = {"vocabulary": ids[name]} if name in ids else {}
        return {"name": name} | {key: list(values) for key, values in lists.items() if values} | size

    ids = vocabularies(model)
    described = [port(name, p) for name, p in _ports(model)]
    source = {"format": model.source.format, "file": model.source.file, "sha256": model.source.sha256}
    meta: dict[str, Any] = {
        "inputs": described[: len(model.inputs)],
        "outputs": described[len(model.inputs) :],
        "layers": [layer.name for layer in model.layers],
        "source": source,
        "notes": list(model.notes),
    }
    if model.timing.waits:
        meta["waits"] = [list(pair) for pair in model.timing.waits]
    if model.meta.window is not None:
        meta["window"] = model.meta.window
    if model.meta.hop is not None:
        meta["hop"] = model.meta.hop
    return meta


def vocabularies(model: AnyModel) -> dict[str, int]:
    """The inputs that hold ids of an Embedding, read as they are, masked or moved, and how many ids there are."""
    origin = {name: name for name in model.inputs}
    found: dict[str, int] = {}
    for layer in model.layers:
        name = origin.get(layer.reads[0])
        if name is None:
            continue
        if isinstance(layer, (Mask, QuantizedMask, Tfl8Quantize, *MOVERS)):
            origin[layer.writes[0]] = name
        elif isinstance(layer, Embedding | QuantizedEmbedding | Tfl8Embedding):
            found[name] = min(layer.vocabulary, found.get(name, layer.vocabulary))
    return found


def _example(model: AnyModel) -> bytes:
    """Steps, then the inputs' and the outputs' values, each array padded to 4 bytes. Empty for a float model that
    overflows even on small inputs, for one that fits no number of steps, and for one that a run makes too large: there
    is nothing to compare then."""
    steps = _example_steps(model)
    if not steps or numbers_made(model, steps) > MOST_NUMBERS:
        return b""
    random = np.random.default_rng(0)
    single = {t.name for t in model.tensors if t.single}
    shapes = [(1, 1 if name in single else steps, model.width(name)) for name in model.inputs]
    every = model.timing.causal
    xs: list[Array]
    if isinstance(model, QuantizedModel):
        xs = [x.astype(np.int16) for x in _with_ids(model, [random.integers(-8000, 8001, s) for s in shapes], random)]
        ys = [y.astype(np.int16) for y in reference_s8.run(model, xs, every)]
    elif isinstance(model, Tfl8Model):
        noise = [
            _noise(random, model.tensor(name).type, shape) for name, shape in zip(model.inputs, shapes, strict=True)
        ]
        xs = [x.astype(n.dtype) for x, n in zip(_with_ids(model, noise, random), noise, strict=True)]
        ys = list(reference_tfl8.run(model, xs, every))
    else:
        noise = [random.standard_normal(shape) for shape in shapes]
        for size in (0.5, 0.05, 0.0):
            xs = [x.astype(np.float32) for x in _with_ids(model, [size * x for x in noise], random)]
            with np.errstate(all="ignore"):
                ys = [y.astype(np.float32) for y in reference.run(model, xs, every)]
            if all(np.abs(y).max() < 1e6 for y in ys):  # false for NaN
                break
        else:
            return b""
    blobs = [array.tobytes() for array in (*xs, *ys)]
    return struct.pack("<II", steps, 0) + b"".join(blob + bytes(-len(blob) % 4) for blob in blobs)


def _noise(random: np.random.Generator, kind: str, shape: tuple[int, ...]) -> Array:
    if kind == "f32":
        return random.standard_normal(shape).astype(np.float32)
    most = {"s8": 128, "s16": 8000}[kind]
    return random.integers(-most, most, shape).astype(reference_tfl8.DTYPES[kind])


def _with_ids(model: AnyModel, xs: list[Array], random: np.random.Generator) -> list[Array]:
    """Noise, but for ids whole numbers of their vocabulary, and for a mask 0 and 1."""
    ids = vocabularies(model)
    ids |= {name: 2 for name in model.inputs if name == MASK and model.width(name) == 1}
    most = {name: min(ids[name], 32767) for name in ids}  # s8 inputs are int16
    return [
        random.integers(0, most[name], x.shape) if name in ids else x for name, x in zip(model.inputs, xs, strict=True)
    ]


def _example_steps(model: AnyModel) -> int:
    """A number of steps the model can run over, with a row at every output; 0: none was found."""
    timing = model.timing
    window = () if timing.causal or model.meta.window is None else (model.meta.window,)
    steps: int
    tries = min(4096, EXAMPLE_TRIES // max(1, len(model.layers)))
    for steps in (*window, EXAMPLE_STEPS, *range(1, 1 + tries)):
        try:
            check_run(model, steps, timed=timing)
        except InputError:
            continue
        return steps
    return 0
