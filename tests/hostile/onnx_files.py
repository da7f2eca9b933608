"""ONNX files that reach outside, loop, nest, or lie about their numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from cases import Case, Yard
from onnx import TensorProto, helper, numpy_helper

WORDS = "ONNX|node|tensor|graph|opset|output|input|entries|nest|protobuf|checkpoint"
ESCAPES = "\x1b[2J\x07\u202eevil\r\n"
X, Y = "x", "y"


def values(shape: tuple[int, ...], name: str) -> Any:
    return numpy_helper.from_array(np.full(shape, 0.1, np.float32), name)


def lstm(**changes: Any) -> Any:
    """A model of one LSTM; `changes` replace initializers by name, attributes, or the node itself."""
    weights = {"W": values((1, 16, 3), "W"), "R": values((1, 16, 4), "R"), "B": values((1, 32), "B")}
    weights |= {name: value for name, value in changes.items() if name in weights}
    attributes = {"hidden_size": 4} | {name: value for name, value in changes.items() if name in ATTRIBUTES}
    node = helper.make_node("LSTM", [X, "W", "R", "B"], [Y], name=changes.get("name", "cell"), **attributes)
    return model(changes.get("nodes", [node]), list(weights.values()) + changes.get("more", []))


ATTRIBUTES = ("hidden_size", "activations", "clip", "direction", "activation_alpha", "layout")


def model(nodes: list[Any], initializers: list[Any], shape: Any = ("t", 1, 3), output: str = Y, opset: int = 17) -> Any:
    x = helper.make_tensor_value_info(X, TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [x], [y], initializers)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = 8
    return made


def external(location: str, offset: int = 0, length: int = 16 * 3 * 4) -> Any:
    tensor = TensorProto(name="W", data_type=TensorProto.FLOAT, dims=[1, 16, 3], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": str(offset), "length": str(length)}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def tensor(dims: list[int], kind: int = TensorProto.FLOAT, **fields: Any) -> Any:
    made = TensorProto(name="W", data_type=kind, dims=dims)
    for name, value in fields.items():
        if isinstance(value, bytes):
            setattr(made, name, value)
        else:
            getattr(made, name).extend(value)
    return made


def branch(name: str, inner: list[Any] | None = None) -> Any:
    nodes = inner or [helper.make_node("Identity", [X], [name])]
    return helper.make_graph(nodes, "b", [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)])


def nested_ifs(depth: int) -> Any:
    node = helper.make_node("Identity", [X], ["v0"])
    for k in range(depth):
        then, other = branch(f"v{k}", [node]), branch(f"v{k}")
        node = helper.make_node("If", ["c"], [f"v{k + 1}"], then_branch=then, else_branch=other)
    return model([node], [numpy_helper.from_array(np.array(True), "c")], output=f"v{depth}")


def field(number: int, content: bytes) -> bytes:
    """A field of protocol buffers that holds bytes."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def deep_ifs(depth: int) -> bytes:
    """Subgraphs inside subgraphs by their bytes, deeper than any library writes them."""
    node = field(4, b"Identity") + field(1, b"x") + field(2, b"y")
    for _ in range(depth):
        attribute = field(1, b"then_branch") + field(6, field(1, node)) + b"\xa0\x01\x05"
        node = field(4, b"If") + field(2, b"y") + field(5, attribute)
    return b"\x08\x08" + field(7, field(1, node)) + field(8, b"\x10\x11")


def calling_itself() -> Any:
    made = model([helper.make_node("Evil", [X], [Y], domain="evil")], [])
    inner = [helper.make_node("Evil", ["a"], ["b"], domain="evil")]
    made.functions.append(helper.make_function("evil", "Evil", ["a"], ["b"], inner, [helper.make_opsetid("evil", 1)]))
    made.opset_import.append(helper.make_opsetid("evil", 1))
    return made


def folded(*nodes: tuple[str, list[str], str, dict[str, Any]], **constants: Any) -> Any:
    """Constants computed from constants, then added to the input."""
    made = [helper.make_node(op, reads, [writes], **settings) for op, reads, writes, settings in nodes]
    made.append(helper.make_node("Add", [X, nodes[-1][2]], [Y]))
    return model(made, [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()])


def sharing(count: int) -> Any:
    """One large matrix that many layers read."""
    nodes = [helper.make_node("MatMul", [f"v{k}" if k else X, "w"], [f"v{k + 1}"]) for k in range(count)]
    held = numpy_helper.from_array(np.full((3744, 3744), 0.01, np.float32), "w")
    return model(nodes, [held], ("N", "T", 3744), f"v{count}")


def doubling() -> Any:
    """A constant that grows twofold forty times."""
    nodes = [("Concat", [f"c{k}", f"c{k}"], f"c{k + 1}", {"axis": 0}) for k in range(40)]
    return folded(*nodes, c0=np.ones((1024, 3), np.float32))


def made(yard: Yard) -> dict[str, tuple[str | None, Callable[[], Any]]]:
    secret = str(yard.secrets / "secret.bin")
    identity = helper.make_node("Identity", [X], [Y])
    huge = np.array([1 << 40, 1 << 20], np.int64)
    return {
        "external_data_that_climbs": ("another file", lambda: lstm(W=external("../secrets/secret.bin"))),
        "external_data_absolute": ("another file", lambda: lstm(W=external(secret))),
        "external_data_in_a_pipe": ("another file", lambda: lstm(W=external(str(yard.secrets / "pipe")))),
        "external_data_in_itself": ("another file", lambda: lstm(W=external("onnx_external_data_in_itself.onnx"))),
        "external_data_enormous": ("another file", lambda: lstm(W=external("w.bin", 1 << 62, 1 << 62))),
        "external_data_with_escapes": ("another file", lambda: lstm(W=external(ESCAPES))),
        "external_data_in_an_attribute": (
            "another file",
            lambda: model(
                [
                    helper.make_node("Constant", [], ["c"], value=external(secret)),
                    helper.make_node("Add", [X, "c"], [Y]),
                ],
                [],
            ),
        ),
        "cyclic_graph": (
            "circles",
            lambda: model(
                [
                    helper.make_node("Tanh", ["a"], ["b"]),
                    helper.make_node("Tanh", ["b"], ["a"]),
                    helper.make_node("Add", [X, "b"], [Y]),
                ],
                [],
            ),
        ),
        "node_that_reads_itself": ("circles|compute|read", lambda: model([helper.make_node("Tanh", [Y], [Y])], [])),
        "reads_what_is_not_there": (WORDS, lambda: model([helper.make_node("Tanh", ["zz"], [Y])], [])),
        "writes_one_name_twice": ("written already", lambda: model([identity, identity], [])),
        "twenty_nested_ifs": ("nest|deep|If|then|node", lambda: nested_ifs(20)),
        "ten_thousand_nested_ifs": ("nest|ONNX|checkpoint", lambda: deep_ifs(10_000)),
        "function_that_calls_itself": ("function", calling_itself),
        "loop": ("Loop", lambda: model([helper.make_node("Loop", ["", "", X], [Y], body=branch("b"))], [])),
        "scan": ("Scan", lambda: model([helper.make_node("Scan", [X], [Y], num_scan_inputs=1, body=branch("b"))], [])),
        "custom_operation": ("Evil|evil", lambda: model([helper.make_node("Evil", [X], [Y], domain="evil.dll")], [])),
        "python_operation": (
            "PyOp|Python",
            lambda: model(
                [helper.make_node("PyOp", [X], [Y], domain="pyopmulti", module="os", class_name="system")], []
            ),
        ),
        "dims_enormous_without_data": ("holds|shape", lambda: lstm(W=tensor([1 << 40, 1 << 40]))),
        "dims_negative": ("impossible shape", lambda: lstm(W=tensor([-1, -16, -3], raw_data=bytes(192)))),
        "dims_overflowing": ("holds|shape", lambda: lstm(W=tensor([1 << 32, 1 << 32, 3], raw_data=bytes(192)))),
        "dims_of_a_thousand": ("impossible|shape", lambda: lstm(W=tensor([1] * 1000, raw_data=bytes(4)))),
        "dims_zero": (WORDS, lambda: lstm(W=tensor([1, 16, 0], raw_data=b""))),
        "raw_data_too_short": ("holds", lambda: lstm(W=tensor([1, 16, 3], raw_data=bytes(100)))),
        "raw_data_too_long": ("holds", lambda: lstm(W=tensor([1, 16, 3], raw_data=bytes(1000)))),
        "raw_data_of_a_fraction": ("holds", lambda: lstm(W=tensor([1, 16, 3], raw_data=bytes(191)))),
        "raw_and_typed_data": (WORDS, lambda: lstm(W=tensor([1, 16, 3], raw_data=bytes(192), float_data=[1.0] * 47))),
        "typed_data_of_another_type": ("holds", lambda: lstm(W=tensor([1, 16, 3], int64_data=[1] * 48))),
        "texts_as_weights": (
            "not read",
            lambda: lstm(W=tensor([1, 16, 3], TensorProto.STRING, string_data=[b"x"] * 48)),
        ),
        "complex_weights": (
            "not read",
            lambda: lstm(W=tensor([1, 16, 3], TensorProto.COMPLEX64, float_data=[1.0] * 96)),
        ),
        "unknown_type_of_weights": ("not read", lambda: lstm(W=tensor([1, 16, 3], 999, raw_data=bytes(192)))),
        "whole_numbers_as_weights": (
            None,
            lambda: lstm(W=numpy_helper.from_array(np.ones((1, 16, 3), np.int64), "W")),
        ),
        "sparse_weights": ("sparse", _sparse),
        "weights_of_nan": (
            "NaN|finite",
            lambda: lstm(W=numpy_helper.from_array(np.full((1, 16, 3), np.nan, "f4"), "W")),
        ),
        "weights_of_infinity": (
            "infin|finite",
            lambda: lstm(B=numpy_helper.from_array(np.full((1, 32), np.inf, "f4"), "B")),
        ),
        "weights_beyond_float32": (WORDS, lambda: lstm(W=numpy_helper.from_array(np.full((1, 16, 3), 1e300), "W"))),
        "weights_twice": ("two tensors", lambda: lstm(more=[values((1, 16, 3), "W")])),
        "units_negative": (WORDS, lambda: lstm(hidden_size=-4)),
        "units_zero": (WORDS, lambda: lstm(hidden_size=0)),
        "units_absurd": (WORDS, lambda: lstm(hidden_size=1 << 60)),
        "clip_of_nan": (WORDS, lambda: lstm(clip=float("nan"))),
        "clip_negative": (WORDS, lambda: lstm(clip=-1.0)),
        "activations_with_escapes": (WORDS, lambda: lstm(activations=[ESCAPES] * 3)),
        "activations_a_hundred_thousand": (WORDS, lambda: lstm(activations=["Tanh"] * 100_000)),
        "direction_of_a_megabyte": (WORDS, lambda: lstm(direction="d" * 1_000_000)),
        "slope_of_infinity": (WORDS, lambda: lstm(activations=["LeakyRelu"] * 3, activation_alpha=[float("inf")] * 3)),
        "node_with_escapes": (WORDS, lambda: model([helper.make_node(ESCAPES, [X], [Y], name=ESCAPES)], [])),
        "node_named_by_a_megabyte": (
            WORDS,
            lambda: model([helper.make_node("Evil", [X], [Y], name="n" * 1_000_000)], []),
        ),
        "input_shape_negative": (WORDS, lambda: model([helper.make_node("Tanh", [X], [Y])], [], (-1, -1, -3))),
        "input_shape_absurd": (None, lambda: model([helper.make_node("Tanh", [X], [Y])], [], ("t", 1, 1 << 60))),
        "input_shape_of_a_thousand": (
            "dimensions",
            lambda: model([helper.make_node("Tanh", [X], [Y])], [], (1,) * 1000),
        ),
        "opset_of_zero": ("opset", lambda: model([identity], [], opset=0)),
        "opset_negative": ("opset", lambda: model([identity], [], opset=-5)),
        "no_nodes": ("no nodes|ONNX|checkpoint", lambda: model([], [])),
        "hundred_thousand_nodes": (
            WORDS,
            lambda: model(
                [helper.make_node("Tanh", [f"t{k}" if k else X], [f"t{k + 1}"]) for k in range(90_000)],
                [],
                output="t90000",
            ),
        ),
        "million_names": ("entries|nodes", lambda: model([helper.make_node("Sum", ["x"] * 1_000_000, [Y])], [])),
        "packed_numbers": (
            "too large|entries|ONNX",
            lambda: lstm(W=tensor([1, 16, 3], TensorProto.INT32, int32_data=[0] * 70_000_000)),
        ),
        "constant_of_terabytes": (WORDS, lambda: folded(("ConstantOfShape", ["s"], "c", {}), s=huge)),
        "expanded_to_terabytes": (
            WORDS,
            lambda: folded(("Expand", ["o", "s"], "c", {}), o=np.ones((1, 1), "f4"), s=huge),
        ),
        "tiled_to_terabytes": (WORDS, lambda: folded(("Tile", ["o", "s"], "c", {}), o=np.ones((1, 1), "f4"), s=huge)),
        "range_of_terabytes": (
            WORDS,
            lambda: folded(("Range", ["a", "b", "d"], "c", {}), a=np.int64(0), b=np.int64(1 << 50), d=np.int64(1)),
        ),
        "padded_to_terabytes": (
            WORDS,
            lambda: folded(
                ("Pad", ["o", "s"], "c", {}), o=np.ones((1, 1), "f4"), s=np.array([0, 0, 1 << 40, 1 << 20], np.int64)
            ),
        ),
        "doubled_forty_times": (WORDS, doubling),
        "divided_by_zero": (
            WORDS,
            lambda: folded(
                ("Div", ["a", "b"], "n", {}), ("ConstantOfShape", ["n"], "c", {}), a=np.array([4]), b=np.array([0])
            ),
        ),
        "convolution_dilated_absurdly": (
            WORDS,
            lambda: model(
                [
                    helper.make_node(
                        "Conv", [X, "K"], [Y], dilations=[1 << 60], strides=[1 << 60], pads=[1 << 60, 1 << 60]
                    )
                ],
                [values((2, 3, 3), "K")],
                (1, 3, "t"),
            ),
        ),
        "pool_of_zero": (
            WORDS,
            lambda: model([helper.make_node("MaxPool", [X], [Y], kernel_shape=[0], strides=[0])], [], (1, 3, "t")),
        ),
        "split_of_a_million": (
            WORDS,
            lambda: model([helper.make_node("Split", [X], [Y, *(f"s{k}" for k in range(100_000))], axis=2)], []),
        ),
        "half": ("ONNX|checkpoint|truncated", lambda: lstm().SerializeToString()[:400]),
        "field_of_exabytes": (
            "ONNX|checkpoint|truncated",
            lambda: b"\x08\x08" + b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        ),
        "groups": ("ONNX|checkpoint", lambda: b"\x08\x08" + b"\x3b" * 100_000),
        "weights_that_sixty_layers_share": ("more than are read", lambda: sharing(60)),
        "weights_that_three_layers_share": ("its layers hold", lambda: sharing(3)),
        "unknown_fields": ("too large", lambda: lstm().SerializeToString() + field(999, bytes(30 << 20))),
    }


def _sparse() -> Any:
    made = lstm()
    entries = helper.make_tensor("S", TensorProto.FLOAT, [1], [1.0])
    places = helper.make_tensor("p", TensorProto.INT64, [1], [1 << 50])
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(entries, places, [1 << 40]))
    return made


def cases() -> Iterator[Case]:
    for name, (words, _) in made(Yard(Path(), Path(), Path())).items():

        def make(yard: Yard, name: str = name) -> bytes:
            content = made(yard)[name][1]()
            return content if isinstance(content, bytes) else content.SerializeToString()

        yield Case(f"onnx_{name}.onnx", words, make)
