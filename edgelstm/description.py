"""What an image holds: the layout's constants, and an image read as a description (docs/format.md).

A device that only runs images loads this and none of what packs them.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .errors import ImageError, printable
from .meta import Array, Meta, Port, Scaler, Source

VERSION = 1
MAGIC = b"EDGELSTM"
LAYOUTS = {"standard": b"g8c4ifgo", "rows": b"g8r4ifgo"}
"""Of the weights: this machine's core reads the standard one, firmware for Helium the other."""
HEADER_SIZE = 128
SECTIONS = ("tensors", "ops", "ports", "weights", "meta", "example")
NUMBER_TYPES = {"f32": 1, "s8": 2, "tfl8": 4}
TENSOR_TYPES = {"f32": 1, "s8": 2, "s16": 3}
KINDS = {
    "lstm_f32": 1,
    "lstm_s8": 2,
    "dense_f32": 3,
    "dense_s8": 4,
    "activate_f32": 5,
    "activate_s8": 6,
    "last": 7,
    "reverse": 8,
    "crop": 9,
    "pad": 10,
    "repeat": 11,
    "split": 12,
    "group": 13,
    "transpose": 14,
    "gru_f32": 16,
    "gru_s8": 17,
    "rnn_f32": 18,
    "rnn_s8": 19,
    "embedding_f32": 20,
    "embedding_s8": 21,
    "mask_f32": 22,
    "mask_s8": 23,
    "combine_f32": 24,
    "combine_s8": 25,
    "conv1d_f32": 26,
    "conv1d_s8": 27,
    "pool1d_f32": 28,
    "pool1d_s8": 29,
    "reduce_f32": 30,
    "reduce_s8": 31,
    "layer_norm_f32": 32,
    "softmax_steps_f32": 33,
    "attention_f32": 34,
    "lstm_full_f32": 35,
    "lstm_full_s8": 36,
    "constant_f32": 37,
    "constant_s8": 38,
    "lstm_tfl8": 40,
    "dense_tfl8": 41,
    "softmax_tfl8": 42,
    "map_tfl8": 43,
    "quantize_tfl8": 44,
    "dequantize_tfl8": 45,
    "embedding_tfl8": 46,
    "concatenate_tfl8": 47,
    "join_tfl8": 48,
    "constant_tfl8": 49,
    "conv1d_tfl8": 50,
    "pool1d_tfl8": 51,
    "reduce_tfl8": 52,
}
MASK = "mask"  # the name of an input of width 1 that holds 1 for steps that count
TFL8_SETTINGS = {
    "flavour": ("tflite", "micro"),
    "rounding": ("double", "halfup", "single", "float"),
    "convolution": ("double", "halfup", "single", "float", "eights"),
    "ties": ("away", "exact", "even"),
}
"""Settings of full-int8 TFLite layers (tfl8.py) that an image stores, each value by its number."""
S16_FUNCTIONS = ("linear", "sigmoid", "tanh", "relu", "table", "softmax", "jumps")
MAX_TEXTS = 1 << 24  # bytes of an image's texts; of empty lists alone, Python would make 24 times as much
GROUP = 8
SOFTMAX = 16  # the number of the last activation that takes one number alone


def checksum(image: bytes | bytearray) -> int:
    """CRC-32 of an image without its own four bytes of checksum."""
    return zlib.crc32(image[20:], zlib.crc32(image[:16]))


@dataclass(frozen=True, slots=True)
class LayerDescription:
    """One layer of an image. `macs`: multiplications by weights for one row written; `weight_bytes`: the matrices
    it reads for them, padding included; `state_bytes`: what it keeps for one stream."""

    name: str
    kind: str
    reads: tuple[int, ...]  # tensor indices
    writes: tuple[int, ...]
    inputs: int
    units: int
    parameters: int
    macs: int
    weight_bytes: int
    state_bytes: int
    hidden_type: str  # of a cell's h: a tensor's type; "" for all else
    arithmetic: tuple[tuple[str, str], ...] = ()  # of a tfl8 layer: a setting of TFL8_SETTINGS and its value
    record: bytes = b""  # the kind's fields, as docs/format.md has them


@dataclass(frozen=True, slots=True)
class TensorDescription:
    """One tensor of an image; real value = scale * (integer - zero_point)."""

    type: str
    width: int
    scale: float
    single: bool  # one row a run unless every step is asked for
    constant: bool = False  # its row is known from the start of a run on
    clock: int = 0  # at which steps it has rows; 0: at each
    zero_point: int = 0  # 0 but for an s8 of a tfl8 image


@dataclass(frozen=True, slots=True, eq=False)
class Description:
    """What an image holds."""

    version: int
    number_type: str
    size: int  # bytes
    checksum: int
    layout: str
    tensors: tuple[TensorDescription, ...]
    layers: tuple[LayerDescription, ...]
    inputs: tuple[int, ...]  # tensor indices
    outputs: tuple[int, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    meta: Meta
    source: Source
    notes: tuple[str, ...]
    example_steps: int
    waits: tuple[tuple[str, str], ...] = ()  # layers that need steps to come, each with the reason
    vocabularies: tuple[int, ...] = ()  # of inputs that hold ids; 0: of none
    sections: dict[str, int] = field(default_factory=dict)  # name: bytes


def one_id_a_step(x: Any, width: int) -> Any:
    """An array of ids (N, T) as (N, T, 1), for an input of one id a step; (T, 1) and all others as they are."""
    return x[..., None] if width == 1 and x.ndim == 2 and x.shape[1] != 1 else x


def describe(image: bytes) -> Description:
    """What an image holds. ImageError if it is not one; whether it may be run is for the C core to check."""
    if len(image) < HEADER_SIZE or image[:8] != MAGIC:
        raise ImageError("not an EdgeLSTM image")
    version = struct.unpack_from("<H", image, 8)[0]
    if version != VERSION:
        raise ImageError(f"the image has format version {version}, this build reads {VERSION}")
    size, crc = struct.unpack_from("<II", image, 12)
    if size != len(image) or crc != checksum(image):
        raise ImageError("the image is damaged: its length or checksum is wrong")
    try:
        return _describe(image)
    except (struct.error, ArithmeticError, LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ImageError(f"the image is inconsistent: {error}") from None


def _describe(image: bytes) -> Description:
    version, number_type = struct.unpack_from("<HH", image, 8)
    inputs, outputs, _, op_count = struct.unpack_from("<HHHH", image, 32)
    spans = {name: struct.unpack_from("<II", image, 64 + 8 * k) for k, name in enumerate(SECTIONS)}
    blob = {name: image[offset : offset + size] for name, (offset, size) in spans.items()}
    if len(blob["meta"]) > MAX_TEXTS:
        raise ImageError(f"the image holds {len(blob['meta'])} bytes of texts, expected at most {MAX_TEXTS}")
    meta = json.loads(blob["meta"] or b"{}")
    if len(meta["layers"]) != op_count:
        raise ImageError(f"the image names {len(meta['layers'])} layers and has {op_count}")
    types = {number: name for name, number in TENSOR_TYPES.items()}
    tensors = tuple(
        TensorDescription(types[kind], width, scale, single > 0, single == 2, clock, zero)
        for kind, single, clock, zero, width, scale, _ in struct.iter_unpack("<BBBbIfI", blob["tensors"])
    )
    ports = list(struct.iter_unpack("<IIII", blob["ports"]))
    scalers = _read_scalers(blob["weights"], ports, [tensors[p[0]].width for p in ports])
    names = [p["name"] for p in (*meta["inputs"], *meta["outputs"])]
    described = tuple(
        _read_port(p, scaler) for p, scaler in zip((*meta["inputs"], *meta["outputs"]), scalers, strict=True)
    )
    return Description(
        version=version,
        number_type={number: name for name, number in NUMBER_TYPES.items()}[number_type],
        size=len(image),
        checksum=struct.unpack_from("<I", image, 16)[0],
        layout=image[24:32].decode("ascii"),
        tensors=tensors,
        layers=tuple(_read_ops(blob["ops"], op_count, tensors, [_text(name) for name in meta["layers"]])),
        inputs=tuple(p[0] for p in ports[:inputs]),
        outputs=tuple(p[0] for p in ports[inputs : inputs + outputs]),
        input_names=tuple(map(_text, names[:inputs])),
        output_names=tuple(map(_text, names[inputs:])),
        meta=Meta(described[:inputs], described[inputs:], meta.get("window"), meta.get("hop")),
        source=Source(*(_text(meta["source"][key]) for key in ("format", "file", "sha256"))),
        notes=tuple(map(_text, meta["notes"])),
        waits=tuple((_text(name), _text(reason)) for name, reason in meta.get("waits", ())),
        vocabularies=tuple(int(p.get("vocabulary", 0)) for p in meta["inputs"]),
        example_steps=struct.unpack_from("<I", blob["example"])[0] if blob["example"] else 0,
        sections={name: size for name, (_, size) in spans.items()},
    )


def _text(value: object) -> str:
    """Names and notes come from files of strangers and go to terminals and logs."""
    return printable(str(value))


def _read_port(described: dict[str, Any], scaler: Scaler | None) -> Port:
    channels, units, labels = (tuple(map(_text, described.get(key, ()))) for key in ("channels", "units", "labels"))
    return Port(channels, units, labels, scaler)


def _read_scalers(weights: bytes, ports: list[Any], widths: list[int]) -> list[Scaler | None]:
    """The scalers end the weights section, each array on a multiple of 16; so they are found from its end."""
    sizes = [width for (_, scaled, _, _), width in zip(ports, widths, strict=True) if scaled for _ in (0, 1)]
    if not sizes:
        return [None] * len(ports)
    start = len(weights) - 4 * sizes[-1] - sum(-(-4 * n // 16) * 16 for n in sizes[:-1])
    arrays: list[Array] = []
    for n in sizes:
        arrays.append(np.frombuffer(weights, "<f4", n, start))
        start += -(-4 * n // 16) * 16
    pairs = iter(zip(arrays[::2], arrays[1::2], strict=True))
    return [Scaler(*next(pairs)) if scaled else None for _, scaled, _, _ in ports]


def _read_ops(ops: bytes, count: int, tensors: Sequence[TensorDescription], names: list[str]) -> list[LayerDescription]:
    kinds = {number: name for name, number in KINDS.items()}
    layers, at = [], 0
    for name in names[:count]:
        kind, size, read, written, _ = struct.unpack_from("<HHBBH", ops, at)
        indices = struct.unpack_from(f"<{read + written}H", ops, at + 8)
        fields = ops[at + -(-(8 + 2 * (read + written)) // 4) * 4 : at + size]
        at += size
        x, y = tensors[indices[0]], tensors[indices[read]]
        costs = _costs(kinds[kind], fields, x, y)
        layers.append(
            LayerDescription(
                name,
                kinds[kind],
                indices[:read],
                indices[read:],
                x.width,
                y.width,
                costs.parameters,
                costs.macs,
                costs.weight_bytes,
                -(-costs.state // 16) * 16,
                y.type if kinds[kind].startswith(("lstm", "gru", "rnn")) else "",
                _arithmetic(kinds[kind], fields),
                fields,
            )
        )
    return layers


def resized(layer: LayerDescription, x: TensorDescription, y: TensorDescription) -> LayerDescription:
    """The layer with as many inputs and units as other tensors have; of those whose record starts with them."""
    fields = struct.pack("<I", y.width) + layer.record[4:]
    if not layer.kind.startswith("conv1d"):
        fields = fields[:4] + struct.pack("<I", x.width) + fields[8:]
    costs = _costs(layer.kind, fields, x, y)
    return replace(
        layer, inputs=x.width, units=y.width, parameters=costs.parameters, macs=costs.macs,
        weight_bytes=costs.weight_bytes, state_bytes=-(-costs.state // 16) * 16, record=fields,
    )  # fmt: skip


def _arithmetic(kind: str, fields: bytes) -> tuple[tuple[str, str], ...]:
    """How a layer of a tfl8 image computes where TFLite's runtimes differ."""
    stored = {
        "lstm_tfl8": ("flavour", 10), "dense_tfl8": ("rounding", 8), "quantize_tfl8": ("ties", 0),
        "conv1d_tfl8": ("convolution", 36),
    }  # fmt: skip
    if kind not in stored:
        return ()
    setting, at = stored[kind]
    value = TFL8_SETTINGS[setting][fields[at]]
    if setting == "convolution" and struct.unpack_from("<3I", fields)[2] > 1:
        setting = "depthwise"
    return ((setting, value),)


@dataclass(frozen=True, slots=True)
class _Costs:
    parameters: int = 0
    macs: int = 0
    weight_bytes: int = 0
    state: int = 0  # bytes


def _padded(count: int, to: int = GROUP) -> int:
    return -(-count // to) * to


def _costs(kind: str, fields: bytes, x: TensorDescription, y: TensorDescription) -> _Costs:
    value = {"f32": 4, "s8": 1, "s16": 2}[x.type]
    row = _padded(x.width) * value  # of a tensor
    size, quads = (4, 1) if kind.endswith("f32") else (1, 4)  # of a weight; s8 columns come by fours

    def product(rows: int, gates: int, *columns: int) -> tuple[int, int]:
        """Multiplications, and bytes of the matrices."""
        return rows * gates * sum(columns), gates * _padded(rows) * size * sum(_padded(n, quads) for n in columns)

    match kind.removesuffix("_f32").removesuffix("_s8").removesuffix("_tfl8"):
        case "lstm":
            macs, weights = product(y.width, 4, x.width, y.width)
            if kind == "lstm_tfl8":
                return _Costs(macs + 4 * y.width, macs, weights, 3 * _padded(y.width) + 4)
            return _Costs(macs + 4 * y.width, macs, weights, {"f32": 8, "s8": 3, "s16": 4}[y.type] * _padded(y.width))
        case "lstm_full" | "gru" | "rnn":
            return _cell_costs(kind, fields, x, y)
        case "dense":
            macs, weights = product(y.width, 1, x.width)
            return _Costs(macs + y.width, macs, weights)
        case "conv1d":
            units, taps, groups, dilation, *window = struct.unpack_from("<9I", fields)
            state = _window_state((taps - 1) * dilation + 1, window, row)
            if groups > 1 and groups == units == x.width:
                return _Costs(units * taps + units, units * taps, taps * _padded(units) * size, state)
            macs, weights = product(units // groups, 1, taps * x.width // groups)
            return _Costs(groups * macs + units, groups * macs, groups * weights, state)
        case "pool1d":
            _, reach, _, *window = struct.unpack_from("<8I", fields)
            return _Costs(state=_window_state(reach, window, row))
        case "reduce":
            reduction = struct.unpack_from("<I", fields)[0]
            of_value = {"reduce_f32": (8, 4, 8), "reduce_s8": (8, 2, 8), "reduce_tfl8": (8, 1, 8)}[kind][reduction]
            return _Costs(state=16 + of_value * x.width)
        case "reverse":
            return _Costs(state=16 + row * struct.unpack_from("<I", fields)[0] if fields else 0)
        case "crop":
            return _Costs(state=row * int(struct.unpack_from("<II", fields)[1]))
        case "group":
            count, single = struct.unpack_from("<II", fields)
            # what was split so comes in whole groups, and its clock is an earlier one
            return _Costs(state=0 if single or y.clock < x.clock else row * (count - 1))
        case "embedding":
            vocabulary, columns = struct.unpack_from("<II", fields)
            return _Costs(parameters=vocabulary * columns)
        case "constant":
            return _Costs(parameters=y.width)
        case "layer_norm":
            return _Costs(parameters=2 * x.width)
        case "attention":
            additive = struct.unpack_from("<fIIII", fields)[4]
            return _Costs(parameters=x.width * additive)
    return _Costs()


def _cell_costs(kind: str, fields: bytes, x: TensorDescription, y: TensorDescription) -> _Costs:
    """Of a recurrent layer other than the plain LSTM."""
    cell, number_type = kind.rsplit("_", 1)
    options = struct.unpack_from("<H", fields, _options_at(kind, fields))[0]
    units, outputs = struct.unpack_from("<I", fields)[0], y.width
    size, quads = (4, 1) if number_type == "f32" else (1, 4)
    h, fine = {"f32": 4, "s8": 1, "s16": 2}[y.type], 4 if number_type == "f32" else 2
    flags = (4 if options & 2 else 0) + (4 if options & 64 else 0)

    def rows(gates: int, count: int, across: int = 0) -> int:
        """Rows of a matrix whose gates stand one after the other, or side by side."""
        blocks = gates * _padded(count) // GROUP
        return _padded(blocks, across or (1 if blocks < 3 else 4)) * GROUP

    def bytes_of(count: int, columns: int) -> int:
        return count * size * _padded(columns, quads)

    match cell:
        case "lstm_full":
            macs = 4 * units * (x.width + outputs) + (3 * units if options & 8 else 0)
            weights = bytes_of(rows(4, units, 4), x.width) + bytes_of(rows(4, units, 4), outputs)
            if options & 16:
                macs += outputs * units
                weights += bytes_of(rows(1, outputs), units)
            added = 4 * units * (2 if options & 128 else 1) + (outputs if options & 256 else 0)
            return _Costs(macs + added, macs, weights, fine * _padded(units) + h * _padded(outputs) + flags)
        case "gru":
            macs = 3 * units * (x.width + units)
            parts = (3,) if options & 32 else (2, 1)
            weights = bytes_of(rows(3, units), x.width) + sum(bytes_of(rows(n, units), units) for n in parts)
            behind = 0 if number_type == "f32" else fine * _padded(units)
            biases = 4 if options & 32 else 3
            return _Costs(macs + biases * units, macs, weights, behind + h * _padded(units) + flags)
        case _:
            macs = units * (x.width + units)
            weights = bytes_of(rows(1, units), x.width) + bytes_of(rows(1, units), units)
            return _Costs(macs + units, macs, weights, h * _padded(units) + flags)


def _options_at(kind: str, fields: bytes) -> int:
    """Where a cell's options stand: in float behind its activations, some of which take 8 bytes more, and its clips."""
    if kind.endswith("s8"):
        return {"gru_s8": 22, "rnn_s8": 14, "lstm_full_s8": 30}[kind]
    at, activations, clips = {"gru_f32": (8, 2, 4), "rnn_f32": (8, 1, 4), "lstm_full_f32": (12, 3, 8)}[kind]
    for _ in range(activations):
        at += 8 if struct.unpack_from("<I", fields, at)[0] <= SOFTMAX else 16
    return at + clips


def _window_state(reach: int, window: list[int], row: int) -> int:
    """The rows that later windows need, and 16 bytes that say where they are."""
    _, _, right, same, period = window
    kept = period or (0 if right or same else reach - 1)
    return 16 + kept * row if kept else 0
