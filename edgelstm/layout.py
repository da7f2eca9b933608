"""An image with its weights in another layout (docs/format.md): standard for most CPUs, rows for Helium's."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from .description import GROUP, KINDS, LAYOUTS, S16_FUNCTIONS, Description, checksum, describe
from .errors import ImageError, ModelError
from .meta import Array

_WEIGHTS_AT = 64 + 8 * 3  # where the header says where the weights are
_PER_ROW = (4, 1, 1, 2)  # bytes a row: bias, kx, s, m
_PEEPHOLE, _PROJECTION, _RESET_AFTER = 8, 16, 32

Shape = tuple[int, int, int, int]
"""A matrix: how many follow one another, and of each groups, quads of columns, gates side by side."""

Part = tuple[int, int, Shape | None]
"""An array: its bytes, the multiple it starts on, and its shape where it is a matrix."""


def in_layout(image: bytes, layout: str) -> bytes:
    """The image with its weights in `layout`, one of LAYOUTS. ModelError where it has none of that name: weights of f32
    have one layout. ImageError if it is not an image."""
    if layout not in LAYOUTS:
        raise ModelError(f"layout {layout!r}, expected one of {', '.join(LAYOUTS)}")
    description = describe(image)
    if description.layout == LAYOUTS[layout].decode():
        return image
    if description.number_type == "f32":
        raise ModelError(
            f"an f32 model has no {layout} layout, which is one of int8 weights; leave it in the standard layout and "
            "build it with a kernel set that reads that (dsp on a Cortex-M55), or quantize it"
        )
    start, size = struct.unpack_from("<II", image, _WEIGHTS_AT)
    made = bytearray(image)
    made[24:32] = LAYOUTS[layout]
    try:
        at = 0
        for nbytes, align, shape in _parts(image, description):
            at = -(-at // align) * align
            if at + nbytes > size:
                raise ImageError("the image is inconsistent: its weights are fewer than its layers have")
            if shape is not None:
                own = slice(start + at, start + at + nbytes)
                made[own] = _moved(np.frombuffer(image[own], np.int8), shape, layout).tobytes()
            at += nbytes
    except (struct.error, ArithmeticError, ValueError, LookupError) as error:
        raise ImageError(f"the image is inconsistent: {error}") from None
    struct.pack_into("<I", made, 16, checksum(made))
    return bytes(made)


def _moved(weights: Array, shape: Shape, layout: str) -> Array:
    count, groups, quads, gates = shape
    if layout == "rows":
        return weights.reshape(count, groups, quads, gates, GROUP, 4).transpose(0, 1, 3, 4, 2, 5)
    return weights.reshape(count, groups, gates, GROUP, quads, 4).transpose(0, 1, 4, 2, 3, 5)


# ---- what the records' arrays are ----


def _parts(image: bytes, description: Description) -> Iterator[Part]:
    """Every array of an s8 or tfl8 image, in order."""
    kinds = {number: name for name, number in KINDS.items()}
    at, size = struct.unpack_from("<II", image, 64 + 8)
    end = at + size
    while at < end:
        kind, size, read, written = struct.unpack_from("<HHBB", image, at)
        if size < 8 or size > end - at:
            raise ImageError("the image is inconsistent: a record's size")
        indices = struct.unpack_from(f"<{read + written}H", image, at + 8)
        fields = image[at + -(-(8 + 2 * (read + written)) // 4) * 4 : at + size]
        x, y = description.tensors[indices[0]], description.tensors[indices[read]]
        yield from _record_parts(kinds[kind], fields, x.width, y.width, y.type)
        at += size


def _record_parts(kind: str, fields: bytes, inputs: int, outputs: int, written: str) -> Iterator[Part]:
    match kind:
        case "lstm_s8" | "lstm_tfl8":
            yield from (_beside(outputs, 4, inputs), _beside(outputs, 4, outputs))
            if kind == "lstm_tfl8":
                yield from [(4 * _rows(outputs, 4), 16, None)] * 2
            else:
                yield from _numbers(_rows(outputs, 4))
                yield from _tables(fields, 8, 10, 12)
        case "lstm_full_s8":
            yield from _lstm_full(fields, inputs)
        case "gru_s8":
            yield from _gru(fields, inputs)
        case "rnn_s8":
            yield from (_spans(1, outputs, inputs), _spans(1, outputs, outputs))
            yield from _numbers(_span_rows(1, outputs))
            yield from _tables(fields, 8)
        case "dense_s8":
            yield _beside(outputs, 1, inputs)
            yield from _numbers(_rows(outputs, 1))
            yield from _tables(fields, 8)
        case "dense_tfl8":
            yield _beside(outputs, 1, inputs)
            yield from _numbers(_rows(outputs, 1), (4, 4, 1))
        case "conv1d_s8" | "conv1d_tfl8":
            yield from _conv1d(kind, fields, inputs)
        case "activate_s8":
            yield from _tables(fields, 0)
        case "embedding_s8" | "embedding_tfl8":
            vocabulary, columns = struct.unpack_from("<II", fields)
            yield vocabulary * columns * (2 if kind == "embedding_s8" else 1), 64, None
        case "constant_s8" | "constant_tfl8":
            yield outputs * (1 if written == "s8" else 2), 16, None
        case "softmax_tfl8":
            yield 1024, 16, None
        case "map_tfl8":
            yield 256, 16, None


def _lstm_full(fields: bytes, inputs: int) -> Iterator[Part]:
    units, _, outputs = struct.unpack_from("<III", fields)
    options = struct.unpack_from("<H", fields, 30)[0]
    yield from (_beside(units, 4, inputs), _beside(units, 4, outputs))
    yield from _numbers(_rows(units, 4))
    if options & _PEEPHOLE:
        yield from _numbers(_rows(units, 3), (2, 1))
    if options & _PROJECTION:
        yield _spans(1, outputs, units)
        yield from _numbers(_span_rows(1, outputs))
    yield from _tables(fields, 12, 14, 16)


def _gru(fields: bytes, inputs: int) -> Iterator[Part]:
    units = struct.unpack_from("<I", fields)[0]
    after = struct.unpack_from("<H", fields, 22)[0] & _RESET_AFTER
    yield _spans(3, units, inputs)
    yield from (_spans(gates, units, units) for gates in ((3,) if after else (2, 1)))
    yield from _numbers(_span_rows(3, units))
    if after:
        yield from _numbers(_rows(units, 1), (4, 1, 2))
    yield from _tables(fields, 8, 10)


def _conv1d(kind: str, fields: bytes, inputs: int) -> Iterator[Part]:
    units, taps, groups = struct.unpack_from("<3I", fields)
    per_row = _PER_ROW if kind == "conv1d_s8" else (4, 4, 1)
    if groups > 1 and groups == units == inputs:
        yield taps * _rows(units, 1), 64, None
        yield from _numbers(_rows(units, 1), per_row)
    else:
        nbytes, align, shape = _beside(units // groups, 1, taps * inputs // groups)
        yield groups * nbytes, align, (groups, *shape[1:]) if shape else None
        yield from _numbers(groups * _rows(units // groups, 1), per_row)
    if kind == "conv1d_s8":
        yield from _tables(fields, 36)


def _rows(units: int, gates: int) -> int:
    return gates * -(-units // GROUP) * GROUP


def _beside(units: int, gates: int, columns: int) -> Part:
    """A matrix whose gates stand side by side."""
    shape = (1, -(-units // GROUP), -(-columns // 4), gates)
    return _rows(units, gates) * shape[2] * 4, 64, shape


def _side(gates: int, units: int) -> int:
    return 1 if gates * -(-units // GROUP) < 3 else 4


def _span_rows(gates: int, units: int) -> int:
    blocks, side = gates * -(-units // GROUP), _side(gates, units)
    return -(-blocks // side) * side * GROUP


def _spans(gates: int, units: int, columns: int) -> Part:
    """A matrix whose gates follow one another, in blocks."""
    rows, side, quads = _span_rows(gates, units), _side(gates, units), -(-columns // 4)
    return rows * quads * 4, 64, (1, rows // GROUP // side, quads, side)


def _numbers(rows: int, per_row: tuple[int, ...] = _PER_ROW) -> Iterator[Part]:
    return ((rows * size, 16, None) for size in per_row)


def _tables(fields: bytes, *places: int) -> Iterator[Part]:
    """Of the functions that stand there."""
    entries = {"table": 257, "softmax": 257, "jumps": 263}
    for at in places:
        size = entries.get(S16_FUNCTIONS[fields[at]], 0)
        if size:
            yield 2 * size, 16, None
