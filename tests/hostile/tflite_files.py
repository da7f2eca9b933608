""".tflite files whose offsets lead astray, whose graphs run in circles, or that make much of few bytes."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from cases import Case, Yard

sys.path.append(str(Path(__file__).parents[1]))
from tflite_models import File, lstm, weights

from edgelstm.exporters.flatbuffer import pack

WORDS = "TFLite|tensor|node|operator|graph|offset|vector|table|it |its |text|version"
ESCAPES = "\x1b[2J\x07\u202eevil\r\n"
BIG = (1 << 31) - 1


def good(**options: Any) -> bytes:
    file = File()
    x = file.input(1, 6, 3, name="x")
    file.outputs(lstm(file, x, (1, 6, 3), 4, **options))
    return file.bytes()


def changed(at: int, form: str, value: int, data: bytes | None = None) -> bytes:
    made = bytearray(data or good())
    struct.pack_into(form, made, at, value)
    return bytes(made)


def root() -> int:
    return int(struct.unpack_from("<I", good())[0])


def vtable() -> int:
    return root() - int(struct.unpack_from("<i", good(), root())[0])


def spoiled(change: Callable[[dict[int, Any]], None], build: Callable[[File], None] | None = None) -> bytes:
    """A file whose tables were changed before they were packed."""
    file = File()
    if build is None:
        x = file.input(1, 6, 3, name="x")
        file.outputs(lstm(file, x, (1, 6, 3), 4))
    else:
        build(file)
    tables = file.root()
    change(tables)
    return pack(tables, b"TFL3")


def graph(build: Callable[[File, int], Any], shape: tuple[int, ...] = (1, 6, 4), dtype: str = "float32") -> bytes:
    file = File()
    x = file.input(*shape, name="x", dtype=dtype)
    made = build(file, x)
    file.outputs(*(made if isinstance(made, list) else [made]))
    return file.bytes()


def tensors(tables: dict[int, Any]) -> Any:
    return tables[2][0][0]


def operator(tables: dict[int, Any]) -> Any:
    return tables[2][0][3][0]


def first_weights(tables: dict[int, Any]) -> Any:
    return tensors(tables)[1]


def ints(file: File, *values: Any) -> int:
    return file.constant(np.array(values, np.int32))


def chain(count: int) -> bytes:
    def build(file: File, x: int) -> int:
        for _ in range(count):
            x = file.op("TANH", [x], (1, 6, 4))
        return x

    return graph(build)


def circle() -> bytes:
    def build(file: File) -> None:
        x = file.input(1, 6, 4)
        first, second = file.tensor((1, 6, 4)), file.tensor((1, 6, 4))
        file.into("ADD", [x, second], [first])
        file.into("TANH", [first], [second])
        file.outputs(second)

    return spoiled(lambda tables: None, build)


def shared(count: int, size: int) -> bytes:
    """Products with the same int8 weights, each of which would become floats of its own."""

    def build(file: File, x: int) -> int:
        first = file.constant(np.ones((4, size), np.int8), quantized=(0.1, 0, 0))
        buffer = len(file.buffers) - 1
        for k in range(count):
            scale = (0.1 + k, 0, 0)
            row = first if k == 0 else file.tensor((4, size), "int8", buffer=buffer, quantized=scale)
            wide = file.op("TILE", [x, ints(file, 1, 1, size // 4)], (1, 6, size))
            x = file.op("FULLY_CONNECTED", [wide, row, -1], (1, 6, 4), {"keep_dims": True}, version=9)
        return x

    return graph(build)


def loop(
    body: Callable[[File, int, int, int], tuple[int, int]] | None = None,
    *,
    steps: int = 6,
    limit: int = 6,
    same: bool = False,
) -> bytes:
    """A WHILE of a simple RNN; `body` makes h and the count of the step from count, h and x."""
    file = File()
    x = file.input(steps, 1, 3, name="x")
    zero, h = file.constant(np.int32(0)), file.constant(np.zeros((1, 4), np.float32))
    made = [file.tensor(s, t) for s, t in (((), "int32"), ((1, 4), "float32"), ((steps, 1, 3), "float32"))]
    file.into("WHILE", [zero, h, x], made, {"condition": 0 if same else 1, "body": 0 if same else 2})
    file.outputs(made[1])
    for k in range(2):
        file.graph()
        count, state = file.input(dtype="int32"), file.input(1, 4)
        rows = file.input(steps, 1, 3)
        if k == 0:
            file.outputs(file.op("LESS", [count, file.constant(np.int32(limit))], (), dtype="bool"))
            continue
        new, after = (body or plain)(file, count, state, rows)
        file.outputs(after, new, rows)
    return file.bytes()


def plain(file: File, count: int, h: int, rows: int) -> tuple[int, int]:
    x = file.op("GATHER", [rows, count], (1, 3))
    left = file.op("FULLY_CONNECTED", [x, file.constant(weights(4, 3)), -1], (1, 4))
    right = file.op("FULLY_CONNECTED", [h, file.constant(weights(4, 4)), -1], (1, 4))
    made = file.op("TANH", [file.op("ADD", [left, right], (1, 4))], (1, 4))
    return made, file.op("ADD", [count, file.constant(np.int32(1))], (), dtype="int32")


def backwards(file: File, count: int, h: int, rows: int) -> tuple[int, int]:
    new, _ = plain(file, count, h, rows)
    return new, file.op("ADD", [count, file.constant(np.int32(-1))], (), dtype="int32")


def own_cell(file: File, count: int, h: int, rows: int) -> tuple[int, int]:
    new, after = plain(file, count, h, rows)
    return file.op("MUL", [new, h], (1, 4)), after


def nested(file: File, count: int, h: int, rows: int) -> tuple[int, int]:
    new, after = plain(file, count, h, rows)
    made = file.tensor((1, 4))
    file.into("WHILE", [new], [made], {"condition": 1, "body": 2})
    return made, after


def many_graphs(count: int) -> bytes:
    """A vector of graphs, put behind the root, whose items are all the same graph."""
    data = good()
    start = root()
    end = start + struct.unpack_from("<H", data, vtable() + 2)[0]
    end += -end % 4
    size = 4 + 4 * count
    head = bytearray(data[:end])
    if vtable() > start:  # it is another table's, behind
        struct.pack_into("<i", head, start, start - vtable() - size)
    slots = (struct.unpack_from("<H", data, vtable())[0] - 4) // 2
    for slot in range(1, slots):
        place = struct.unpack_from("<H", data, vtable() + 4 + 2 * slot)[0]
        if place:
            at = start + place
            struct.pack_into("<I", head, at, struct.unpack_from("<I", data, at)[0] + size)
    at = start + struct.unpack_from("<H", data, vtable() + 8)[0]
    vector = at + struct.unpack_from("<I", data, at)[0]
    graph = vector + 4 + struct.unpack_from("<I", data, vector + 4)[0] + size
    struct.pack_into("<I", head, at, end - at)
    items = [struct.pack("<I", graph - (end + 4 + 4 * k)) for k in range(count)]
    return bytes(head) + struct.pack("<I", count) + b"".join(items) + data[end:]


def integers(
    *,
    kernel: Any = 3,
    x: Any = (0.02, -5),
    cell: Any = 2.0**-12,
    hidden: Any = (0.008, 3),
    bias: tuple[int, ...] = (4,),
    intermediates: bool = True,
    scales: Any = 0.01,
    dtype: str = "int8",
) -> bytes:
    """A full-int8 file of one LSTM."""
    file = File()
    given = file.input(1, 6, 3, name="x", dtype=dtype, quantized=(*x, 0))

    def matrix(*shape: int) -> int:
        return file.tensor(shape, "int8", data=np.full(shape, kernel, np.int8), quantized=(scales, 0, 0))

    rows = [matrix(4, 3) for _ in range(4)] + [matrix(4, 4) for _ in range(4)] + [-1] * 3
    scale = 0.01 * (x[0] if isinstance(x[0], float) and np.isfinite(x[0]) else 1)
    rows += [file.tensor(bias, "int32", data=np.zeros(bias, np.int32), quantized=(scale, 0, 0)) for _ in range(4)]
    rows += [-1, -1, file.tensor((1, 4), "int8", variable=True, quantized=(0.008, 3, 0))]
    rows += [file.tensor((1, 4), "int16", variable=True, quantized=(cell, 0, 0)), *[-1] * 4]
    inner = [file.tensor((0,)) for _ in range(4)] + [file.tensor((0,), "int8", quantized=(*hidden, 0))]
    y = file.tensor((1, 6, 4), "int8", quantized=(0.008, 3, 0))
    options = {"activation": 4}
    file.into("UNIDIRECTIONAL_SEQUENCE_LSTM", [given, *rows], [y], options, 1, inner if intermediates else ())
    file.outputs(y)
    return file.bytes()


def resource() -> bytes:
    def build(file: File) -> None:
        x = file.input(1, 6, 4)
        file.into("CALL_ONCE", [], [], {"subgraph": 0})
        handle = file.op("VAR_HANDLE", [], (), {"shared_name": ESCAPES}, dtype="resource")
        held = file.op("READ_VARIABLE", [handle], (4,))
        file.outputs(file.op("ADD", [x, held], (1, 6, 4)))

    return spoiled(lambda tables: None, build)


def put(tables: dict[int, Any], place: Callable[[dict[int, Any]], Any], slot: int, value: Any) -> None:
    place(tables)[slot] = value


def made() -> dict[str, tuple[str, Callable[[], bytes]]]:
    def bad(place: Callable[[dict[int, Any]], Any], slot: int, value: Any) -> Callable[[], bytes]:
        return lambda: spoiled(lambda tables: put(tables, place, slot, value))

    def i32(*values: int) -> Any:
        return np.array(values, np.int32)

    nan = np.full((4, 3), np.nan, np.float32).tobytes()
    scales = {2: np.array([np.inf], np.float32), 3: np.array([0], np.int64), 6: np.int32(0)}
    return {
        # bytes
        **{f"cut_at_{n}": ("TFLite|empty|checkpoint", lambda n=n: good()[:n]) for n in (8, 9, 12, 40, 100, 400)},
        "cut_by_one": ("reaches past its end", lambda: good()[:-1]),
        "root_far": ("leads out", lambda: changed(0, "<I", BIG)),
        "root_zero": ("leads out", lambda: changed(0, "<I", 0)),
        "root_at_its_end": ("leads out", lambda: changed(0, "<I", len(good()) - 2)),
        "index_of_a_table_far": ("index", lambda: changed(root(), "<i", -BIG)),
        "index_of_a_table_before_the_file": ("index", lambda: changed(root(), "<i", BIG)),
        "index_of_a_table_is_huge": ("index reaches", lambda: changed(vtable(), "<H", 65534)),
        "index_of_a_table_is_odd": ("index reaches", lambda: changed(vtable(), "<H", 7)),
        "a_table_is_huge": ("table reaches", lambda: changed(vtable() + 2, "<H", 65535)),
        "a_field_outside_its_table": ("outside its table", lambda: changed(vtable() + 8, "<H", 6000)),
        "graphs_lead_far": ("leads out", lambda: _field(2, 0xFFFFFFF0)),
        "graphs_lead_nowhere": ("leads out", lambda: _field(2, 0)),
        "graphs_without_end": ("vector reaches", lambda: _count(2, 0xFFFFFFFF)),
        "buffers_without_end": ("vector reaches", lambda: _count(4, 1 << 30)),
        "one_graph_many_times": ("more than", lambda: many_graphs(100_000)),
        "mark_of_another": ("no checkpoint", lambda: changed(4, "<I", 0)),
        "schema_of_the_future": ("schema 9", lambda: spoiled(lambda t: t.update({0: np.uint32(9)}))),
        "fields_unknown": ("does not know", lambda: spoiled(lambda t: t.update({30: np.int32(1)}))),
        "in_other_files": ("other files", lambda: spoiled(lambda t: t.update({9: [{0: np.int32(1)}]}))),
        "no_graph": ("no graph", lambda: spoiled(lambda t: t.update({2: []}))),
        "nothing_at_all": ("schema 0", lambda: pack({}, b"TFL3")),
        # tensors
        "negative_shape": ("shape", bad(first_weights, 0, i32(-4, 3))),
        "absurd_shape": ("bytes for", bad(first_weights, 0, i32(BIG, BIG, BIG, BIG))),
        "shape_of_17_dimensions": ("shape", bad(first_weights, 0, i32(*[1] * 17))),
        "shape_of_a_million_dimensions": ("shape|more than", bad(first_weights, 0, i32(*[1] * 1_000_000))),
        "shape_does_not_fit": ("bytes for", bad(first_weights, 0, i32(4, 4))),
        "another_signature": ("signature", bad(first_weights, 7, i32(4, 5))),
        "buffer_not_there": ("buffer", bad(first_weights, 2, np.uint32(4000))),
        "kind_unknown": ("kind", bad(first_weights, 1, np.int8(99))),
        "kind_of_texts": ("kind", bad(first_weights, 1, np.int8(5))),
        "sparse": ("sparse", bad(first_weights, 6, {0: i32(0)})),
        "numbers_outside": ("outside", bad(first_weights, 10, np.uint32(7))),
        "buffer_behind_the_file": ("outside", lambda: spoiled(lambda t: t[4][1].update({1: np.uint64(1 << 40)}))),
        "not_a_number": ("NaN|finite", lambda: spoiled(lambda t: t[4][1].update({0: nan}))),
        "scale_is_infinite": ("scale", bad(first_weights, 4, scales)),
        "scales_do_not_fit": ("scales", bad(first_weights, 4, {2: np.ones(3, np.float32), 6: np.int32(0)})),
        "scales_of_an_axis_not_there": ("scales", bad(first_weights, 4, {2: np.ones(4, np.float32), 6: np.int32(9)})),
        "quantized_its_own_way": ("own", bad(first_weights, 4, {2: np.ones(1, np.float32), 4: np.uint8(1)})),
        "names_that_write_to_a_terminal": ("shape", lambda: spoiled(_terminal)),
        "a_name_of_10_megabytes": ("names take", bad(first_weights, 3, "a" * 10_000_000)),
        "input_twice": ("twice", lambda: spoiled(lambda t: t[2][0].update({1: i32(0, 0)}))),
        "input_not_there": ("not there", lambda: spoiled(lambda t: t[2][0].update({1: i32(77)}))),
        "output_not_there": ("not there", lambda: spoiled(lambda t: t[2][0].update({2: i32(-1)}))),
        "output_is_the_input": ("not computed", lambda: spoiled(lambda t: t[2][0].update({2: i32(0)}))),
        "output_is_a_constant": ("not computed", lambda: spoiled(lambda t: t[2][0].update({2: i32(1)}))),
        "no_outputs": ("no outputs", lambda: spoiled(lambda t: t[2][0].update({2: i32()}))),
        # operators
        "operator_not_there": ("not there", bad(operator, 0, np.uint32(9))),
        "operator_unknown": ("builtin 250", lambda: spoiled(lambda t: t[1][0].update({3: np.int32(250)}))),
        "operator_of_its_own": ("custom", lambda: spoiled(lambda t: t[1][0].update({1: ESCAPES, 3: np.int32(32)}))),
        "operator_reads_what_is_not_there": ("not there", bad(operator, 1, i32(*range(5, 400)))),
        "operator_reads_nothing": ("0 inputs", bad(operator, 1, i32())),
        "operator_writes_nothing": ("outputs", bad(operator, 2, i32())),
        "operator_writes_its_input": ("twice", bad(operator, 2, i32(0))),
        "operator_writes_a_constant": ("twice", bad(operator, 2, i32(1))),
        "options_of_another": ("options", bad(operator, 3, np.uint8(8))),
        "options_unknown": ("does not know", bad(operator, 4, {9: np.int32(1)})),
        "circle": ("written behind it", circle),
        "ten_thousand_operators": ("more than|layers", lambda: chain(10_000)),
        "twenty_thousand_operators": ("more than", lambda: chain(20_000)),
        # cells
        "lstm_without_weights": ("weights and not others", lambda: spoiled(lambda t: put(t, operator, 1, _absent(t)))),
        "lstm_of_other_shapes": ("shape", bad(lambda t: tensors(t)[5], 0, i32(2, 8))),
        "lstm_clips_at_nan": ("clips", lambda: good(cell_clip=float("nan"))),
        "lstm_normalises": (None, lambda: good(norm=True)),
        "lstm_of_another_function": ("sign_bit", lambda: good(activation=5)),
        # sizes
        "reshape_to_anything": ("cannot be followed|shape", lambda: graph(
            lambda f, x: f.op("RESHAPE", [x, ints(f, BIG, BIG)], (1, 24))
        )),
        "fill_of_a_terabyte": ("a constant of shape", lambda: graph(lambda f, x: f.op(
            "ADD", [x, f.op("FILL", [ints(f, BIG, BIG, 4), f.constant(np.float32(1))], (1, 6, 4))], (1, 6, 4)
        ))),
        "tile_of_a_terabyte": ("a constant of shape", lambda: graph(lambda f, x: f.op(
            "ADD", [x, f.op("TILE", [f.constant(np.ones((1, 1, 4), np.float32)), ints(f, BIG, BIG, 1)], (1, 6, 4))],
            (1, 6, 4),
        ))),
        "range_of_a_terabyte": ("too large", lambda: graph(lambda f, x: f.op(
            "ADD", [x, f.op("RANGE", [f.constant(np.float32(v)) for v in (0, 1e12, 1)], (4,))], (1, 6, 4)
        ))),
        "pads_of_a_terabyte": ("steps|expected", lambda: graph(
            lambda f, x: f.op("PAD", [x, f.constant(np.array([[0, 0], [BIG, BIG], [0, 0]], np.int32))], (1, 6, 4))
        )),
        "windows_of_zero": ("windows|strides", lambda: graph(lambda f, x: f.op(
            "MAX_POOL_2D", [f.op("EXPAND_DIMS", [x, ints(f, 1)], (1, 1, 6, 4))], (1, 1, 6, 4), {"stride_w": 0}
        ))),
        "strides_of_zero": ("bounds", lambda: graph(
            lambda f, x: f.op("STRIDED_SLICE", [x, ints(f, 0, 0, 0), ints(f, 1, 6, 4), ints(f, 1, 0, 1)], (1, 6, 4))
        )),
        "split_into_nothing": ("2 tensors where it says 0", lambda: graph(
            lambda f, x: f.op("SPLIT_V", [x, ints(f, -5, 9), f.constant(np.int32(2))], [(1, 6, 2), (1, 6, 2)], {})
        )),
        "an_axis_not_there": ("axis", lambda: graph(
            lambda f, x: f.op("CONCATENATION", [x, x], (1, 6, 8), {"axis": BIG})
        )),
        "shared_weights_of_few_bits": ("fewer bits|hold", lambda: shared(12, 1 << 20)),
        "an_embedding_of_floats": ("not whole|kind", lambda: graph(
            lambda f, x: f.op("GATHER", [f.constant(np.ones((7, 3), np.float32)), x], (1, 6, 3)), (1, 6)
        )),
        # int8
        "int8_that_is_fine": (None, integers),
        "int8_weights_of_minus_128": ("-128", lambda: integers(kernel=-128)),
        "int8_of_no_scale": ("without a scale|scale", lambda: integers(x=([], []))),
        "int8_of_scale_0": ("scale", lambda: integers(x=(0.0, 0))),
        "int8_of_an_infinite_scale": ("scale", lambda: integers(x=(float("inf"), 0))),
        "int8_of_a_zero_point_beyond": ("zero point", lambda: integers(x=(0.02, 1000))),
        "int8_of_a_zero_point_far_beyond": ("zero point", lambda: integers(x=(0.02, 1 << 60))),
        "int8_of_several_scales": ("scales", lambda: integers(x=([0.1, 0.2, 0.3], 0))),
        "int8_weights_of_scale_0": ("scale of its bias", lambda: integers(scales=0.0)),
        "int8_weights_of_a_scale_a_row": ("one scale a row", lambda: integers(scales=[0.1, 0.2, 0.3, 0.4])),
        "int8_without_the_scale_of_h": ("is missing", lambda: integers(intermediates=False)),
        "int8_h_of_a_zero_point_beyond": ("zero point", lambda: integers(hidden=(0.008, -500))),
        "int8_cell_without_tanh": ("below 0.5", lambda: integers(cell=2.0**-16)),
        "int8_cell_too_coarse": ("above 2", lambda: integers(cell=2.0**-5)),
        "int8_cell_of_no_power_of_two": ("power of two", lambda: integers(cell=0.001)),
        "int8_bias_of_another_shape": ("bias", lambda: integers(bias=(5,))),
        "int8_without_sign": ("uint8", lambda: integers(dtype="uint8", x=(0.02, 128))),
        # loops
        "loop_in_itself": ("not there", lambda: loop(same=True)),
        "loop_in_a_loop": ("computes WHILE", lambda: loop(nested)),
        "loop_without_end": ("count|steps", lambda: loop(backwards)),
        "loop_over_a_billion_steps": ("runs", lambda: loop(limit=BIG)),
        "loop_of_a_billion_steps": (None, lambda: loop(steps=BIG, limit=BIG)),
        "loop_of_a_cell_of_its_own": ("none of an LSTM.*import the checkpoint", lambda: loop(own_cell)),
        "a_variable_nobody_sets": ("variable|not there", resource),
    }  # fmt: skip


def _field(slot: int, value: int) -> bytes:
    """A root's offset changed."""
    at = root() + struct.unpack_from("<H", good(), vtable() + 4 + 2 * slot)[0]
    return changed(at, "<I", value)


def _count(slot: int, value: int) -> bytes:
    """How many items a root's vector is said to have."""
    at = root() + struct.unpack_from("<H", good(), vtable() + 4 + 2 * slot)[0]
    return changed(at + struct.unpack_from("<I", good(), at)[0], "<I", value)


def _terminal(tables: dict[int, Any]) -> None:
    tensors(tables)[1].update({0: np.array([-1], np.int32), 3: ESCAPES})


def _absent(tables: dict[int, Any]) -> Any:
    inputs = operator(tables)[1].copy()
    inputs[1:9] = -1
    return inputs


def cases() -> Iterator[Case]:
    for name, (words, make) in made().items():

        def content(yard: Yard, make: Callable[[], bytes] = make) -> bytes:
            return make()

        yield Case(f"tflite_{name}.tflite", words, content)
