"""What stands in an image's tensors while it runs: the same weights and ops in the C core, with other outputs.

An image names the tensors that are its outputs; a copy that names others shows those. Of an LSTM the copy writes c too.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..description import (
    HEADER_SIZE,
    KINDS,
    S16_FUNCTIONS,
    SECTIONS,
    SOFTMAX,
    TENSOR_TYPES,
    Description,
    checksum,
    describe,
)
from ..image import MAX_PORTS
from ..model import Array
from ..records import packed
from ..runner import Runner

_TENSOR = struct.Struct("<BBBbIfI")
_CELLS = ("lstm", "gru", "rnn")


@dataclass(frozen=True, slots=True)
class Seen:
    """A tensor of an image."""

    layer: int  # that writes it; -1 for an input
    name: str  # of the layer, or of the input
    kind: str  # of the layer: "lstm", "dense", ...; "" for an input
    tensor: str  # "h" and "c" of a cell, "x" and "mask" of a Mask, "y" of all else; "" for an input
    type: str  # "f32", "s8" or "s16"
    width: int
    scale: float
    zero: int
    least: int | None = None  # integers that are an end to what it can hold; None where a function of its layer ends
    most: int | None = None  # there by itself, as a sigmoid at 1, or nothing ends
    reads: tuple[int, ...] = ()  # places in `tensors` of what its layer reads

    def real(self, values: Array) -> Array:
        """Integers as the numbers they stand for, float64."""
        if self.type == "f32":
            return values.astype(np.float64)
        return self.scale * (values.astype(np.float64) - self.zero)


def tensors(image: bytes) -> tuple[Seen, ...]:
    """The tensors that can be looked at: the inputs, then what each layer writes, in order."""
    return _Opened(image).seen


def run(image: bytes, xs: Sequence[Array], kernels: str | None = None) -> Iterator[tuple[Seen, Array]]:
    """Every tensor but the inputs with its values in a run over whole sequences, [N, rows, width], integers as such.

    xs: what `Runner.run` takes, for an s8 image what `run_integers` does. Nothing where all outputs have scalers and no
    port is left.
    """
    opened = _Opened(image)
    inner = range(len(opened.described.inputs), len(opened.seen))
    kept = [k for k, port in enumerate(opened.described.meta.outputs) if port.scaler is not None]
    room = MAX_PORTS - len(kept)
    for first in range(0, len(inner) if room else 0, room):
        chosen = inner[first : first + room]
        runner = Runner(opened.showing(chosen, kept), kernels)
        made = (runner.run_integers if runner.integer else runner.run)(tuple(xs))
        ys = made if isinstance(made, tuple) else (made,)
        for k, y in zip(chosen, ys[len(kept) :], strict=True):
            yield opened.seen[k], y[:, None] if y.ndim == 2 else y


class _Opened:
    """An image taken apart, its LSTMs made to write c."""

    def __init__(self, image: bytes) -> None:
        self.described: Description = describe(image)
        self.number_type = self.described.number_type
        spans = [struct.unpack_from("<II", image, 64 + 8 * k) for k in range(len(SECTIONS))]
        self.head = image[:64]
        self.blobs = {name: image[at : at + size] for name, (at, size) in zip(SECTIONS, spans, strict=True)}
        self.rows: list[bytes] = []  # of tensors, in their new order
        self.place: dict[int, int] = {}  # new numbers of tensors by their old ones
        found: list[Seen] = []
        old = list(_TENSOR.iter_unpack(self.blobs["tensors"]))
        for k, name in zip(self.described.inputs, self.described.input_names, strict=True):
            least, most = _type_ends(old[k])
            found.append(self.tensor(k, old[k], -1, name, "", "", least=least, most=most))
        self.ops = b""
        at = 0
        for number, layer in enumerate(self.described.layers):
            size = struct.unpack_from("<H", self.blobs["ops"], at + 2)[0]
            self.ops += self.op(number, layer, self.blobs["ops"][at : at + size], old, found)
            at += size
        self.seen = tuple(found)

    def tensor(self, k: int, row: tuple[Any, ...], layer: int, name: str, kind: str, tensor: str, **more: Any) -> Seen:
        self.place[k] = len(self.rows)
        return self.added(row, layer, name, kind, tensor, **more)

    def added(self, row: tuple[Any, ...], layer: int, name: str, kind: str, tensor: str, **more: Any) -> Seen:
        self.rows.append(_TENSOR.pack(*row))
        of_type = {number: name for name, number in TENSOR_TYPES.items()}[row[0]]
        return Seen(layer, name, kind, tensor, of_type, row[4], row[5], row[3], **more)

    def op(self, number: int, layer: Any, record: bytes, old: list[Any], found: list[Seen]) -> bytes:
        """A layer's record with its tensors' new numbers, after these have been noted."""
        start = -(-(8 + 2 * (len(layer.reads) + len(layer.writes))) // 4) * 4
        fields, kind = record[start:], layer.kind
        name = kind.removesuffix("_f32").removesuffix("_s8").removesuffix("_tfl8").removesuffix("_full")
        names = ("h", "c") if name in _CELLS else ("x", "mask") if name == "mask" else ("y",)
        reads = tuple(self.place[k] for k in layer.reads)
        scale, limit = _cell(kind, fields) if name == "lstm" else (1.0, 32767)
        for place, k in enumerate(layer.writes):
            least, most = (-limit, limit) if names[place] == "c" else _ends(kind, fields, old[k])
            more = {"least": least, "most": most, "reads": reads}
            found.append(self.tensor(k, old[k], number, layer.name, name, names[place], **more))
        writes = [self.place[k] for k in layer.writes]
        if name == "lstm" and len(writes) == 1:
            _, single, clock, *_ = old[layer.writes[0]]
            units = struct.unpack_from("<I", fields)[0]
            row = (TENSOR_TYPES["f32" if kind.endswith("f32") else "s16"], single, clock, 0, units, scale, 0)
            writes.append(len(self.rows))
            more = {} if kind.endswith("f32") else {"least": -limit, "most": limit}
            found.append(self.added(row, number, layer.name, name, "c", reads=reads, **more))
            kind, fields = _with_options(kind, fields)
        return packed(KINDS[kind], reads, writes, fields)

    def showing(self, chosen: Sequence[int], kept: Sequence[int]) -> bytes:
        """The image with these outputs: its own that have a scaler, which stands in the weights, then others."""
        inputs, outputs = len(self.described.inputs), len(self.described.outputs)
        ports = [struct.unpack_from("<IIII", self.blobs["ports"], 16 * k) for k in range(inputs + outputs)]
        rows = [*ports[:inputs], *(ports[inputs + k] for k in kept)]
        rows = [(self.place[index], *rest) for index, *rest in rows] + [(k, 0, 0, 0) for k in chosen]
        meta = json.loads(self.blobs["meta"])
        meta["outputs"] = [meta["outputs"][k] for k in kept] + [{"name": f"tensor {k}"} for k in chosen]
        blobs = self.blobs | {
            "tensors": b"".join(self.rows),
            "ops": self.ops,
            "ports": b"".join(struct.pack("<IIII", *row) for row in rows),
            "meta": json.dumps(meta).encode(),
            "example": b"",
        }
        table, body, end = b"", b"", HEADER_SIZE
        for name in SECTIONS:
            start = -(-end // 64) * 64
            table += struct.pack("<II", start, len(blobs[name]))
            body += bytes(start - end) + blobs[name]
            end = start + len(blobs[name])
        image = bytearray((self.head + table).ljust(HEADER_SIZE, b"\0") + body)
        struct.pack_into("<I", image, 12, end)
        struct.pack_into("<HHH", image, 34, len(kept) + len(chosen), len(self.rows), len(self.described.layers))
        struct.pack_into("<I", image, 16, checksum(image))
        return bytes(image)


def _cell(kind: str, fields: bytes) -> tuple[float, int]:
    """The scale of an LSTM's c, and what it is clamped to."""
    match kind:
        case "lstm_s8":
            return struct.unpack_from("<f", fields, 24)[0], struct.unpack_from("<H", fields, 18)[0]
        case "lstm_full_s8":
            return struct.unpack_from("<f", fields, 32)[0], struct.unpack_from("<H", fields, 22)[0]
        case "lstm_tfl8":
            return 2.0 ** (struct.unpack_from("<b", fields, 11)[0] - 15), struct.unpack_from("<H", fields, 14)[
                0
            ] or 32767
    return 1.0, 32767


def _ends(kind: str, fields: bytes, row: tuple[Any, ...]) -> tuple[int | None, int | None]:
    """The integers at which what a layer writes ends, but for those where its own function does."""
    least, most = _type_ends(row)
    multiplier_at = {"lstm_s8": 20, "lstm_full_s8": 24, "gru_s8": 16, "rnn_s8": 10}.get(kind)
    if multiplier_at is not None and struct.unpack_from("<H", fields, multiplier_at)[0] <= (most or 0):
        return None, None  # |h| <= hm
    function_at = {"dense_s8": 8, "activate_s8": 0, "conv1d_s8": 36}.get(kind)
    if function_at is not None and S16_FUNCTIONS[fields[function_at]] in ("sigmoid", "tanh", "softmax"):
        return None, None
    zero, scale = row[3], row[5]
    if kind.endswith("_tfl8") and row[0] == TENSOR_TYPES["s8"]:
        if zero == -128:  # 0 of a relu, a sigmoid or a softmax
            least = None
        if (kind == "softmax_tfl8" or kind == "map_tfl8") and scale in (1 / 256, 1 / 128):
            return None, None
    return (None, None) if kind.startswith(("mask", "embedding", "constant")) else (least, most)


def _type_ends(row: tuple[Any, ...]) -> tuple[int | None, int | None]:
    """Least and largest integers of a tensor's type; s8 and s16 images use no -128, which TFLite does."""
    if row[0] == TENSOR_TYPES["f32"]:
        return None, None
    most = 127 if row[0] == TENSOR_TYPES["s8"] else 32767
    return -most, most


def _with_options(kind: str, fields: bytes) -> tuple[str, bytes]:
    """A plain LSTM's record as that of one with options, which may write c; it has none of them."""
    sizes = struct.pack("<III", *struct.unpack_from("<II", fields), *struct.unpack_from("<I", fields))
    if kind == "lstm_f32":
        at = _activations(fields, 8, 2)
        cell = fields[_activations(fields, 8, 1) : at]  # of c too
        return "lstm_full_f32", sizes + fields[8:at] + cell + fields[at : at + 4] + struct.pack("<fI", 0.0, 0)
    if kind == "lstm_s8":
        limits = struct.pack("<HHH", 32767, 32767, 0)
        return "lstm_full_s8", sizes + fields[8:22] + limits + fields[24:28]
    return kind, fields


def _activations(fields: bytes, at: int, count: int) -> int:
    """Where so many activations end that start at `at`."""
    for _ in range(count):
        at += 8 if struct.unpack_from("<I", fields, at)[0] <= SOFTMAX else 16
    return at
