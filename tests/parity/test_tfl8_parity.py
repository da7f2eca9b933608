"""Int8 TFLite models in NumPy and in C beside TFLite's own runtimes: every byte, h and the last c of every LSTM."""

from __future__ import annotations

import importlib.util
import platform
from typing import Any

import measured_nets
import numpy as np
import pytest
from tfl8_cases import told_apart
from tfl8_files import answers, exported, micro_answers
from tfl8_nets import tfl8_bidirectional, tfl8_dense, tfl8_stack

from edgelstm import demo, importers, peers, reference_tfl8, tfl8_integers, tfl8_model
from edgelstm.tfl8 import (
    FUSED,
    MAPS,
    ROUNDINGS,
    Tfl8Combine,
    Tfl8Constant,
    Tfl8Dequantize,
    Tfl8Map,
    Tfl8Quantize,
    Tfl8Softmax,
    Tfl8Tensor,
)
from edgelstm.tfl8_model import Tfl8Model, variant

WAYS = [(runtime, resolver) for runtime in peers.RUNTIMES for resolver in peers.RESOLVERS]

MACHINE = "x86_64" if platform.machine() in ("x86_64", "AMD64") else platform.machine()
ARITHMETIC = {way: tfl8_model.ARITHMETIC[*way, MACHINE] for way in WAYS}

INEXACT = ("ai-edge-litert", "builtin")
"""Whose DEQUANTIZE takes scale * zero from scale * q, with two roundings."""

NETS = {
    "1x1": (1, (1,), 1, 7, {}),
    "1x8": (1, (8,), 2, 60, {}),
    "3x5": (3, (5,), 2, 33, {}),
    "int8 doors": (3, (5,), 2, 33, {"floats": False}),
    "every step": (6, (12,), 3, 40, {"last": False}),
    "no head": (6, (13,), 0, 40, {"last": False}),
    "stacked": (4, (17, 9), 3, 48, {}),
    "three": (4, (8, 7, 6), 3, 48, {"last": False}),
    "clip 1": (5, (16,), 3, 40, {"cell_clip": 1.0}),
    "clip 0.3": (5, (16,), 3, 40, {"cell_clip": 0.3, "cell_exponent": -15}),
    "clip 10": (5, (16,), 3, 40, {"cell_clip": 10.0, "cell_exponent": -11}),
    "c 2^-15": (5, (16,), 3, 40, {"cell_exponent": -15}),
    "c 2^-14": (5, (16,), 3, 40, {"cell_exponent": -14}),
    "c 2^-13": (5, (16,), 3, 40, {"cell_exponent": -13}),
    "c 2^-11": (5, (16,), 3, 40, {"cell_exponent": -11}),
    "c 2^-10": (5, (16,), 3, 40, {"cell_exponent": -10}),
    "c 2^-9": (5, (16,), 3, 40, {"cell_exponent": -9}),
    "three scales of h": (5, (24,), 3, 40, {
        "state_scale": 0.00544, "state_zero": 24, "hidden_scale": 0.00658, "hidden_zero": 5}),
    "odd scales": (5, (24,), 3, 40, {
        "state_scale": 0.031, "state_zero": -128, "hidden_scale": 0.0019, "hidden_zero": 127}),
    "coupled": (5, (16,), 3, 40, {"coupled": True}),
    **{f"c 2^{e}, without a tanh": (5, (16,), 3, 40, {"cell_exponent": e, "bare": True}) for e in (-16, -18, -30)},
    "32x64": (32, (64,), 4, 128, {}),
    "64x64x48": (64, (64, 48), 5, 100, {"last": False}),
    "128x256": (128, (256,), 4, 256, {}),
}  # fmt: skip


def way(runtime: str, resolver: str) -> tuple[str, str]:
    if runtime not in peers.runtimes():
        pytest.skip(f"{runtime} is not installed for this Python and NumPy")
    return runtime, resolver


def signals(model: Tfl8Model, count: int, steps: int, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    shapes = [(model.tensor(name), (count, steps, model.width(name))) for name in model.inputs]
    return [
        random.normal(0, 1, shape).astype(np.float32) if t.type == "f32" else random.integers(-128, 128, shape, np.int8)
        for t, shape in shapes
    ]


def differing(model: Tfl8Model, xs: list[np.ndarray], runtime: str, resolver: str, file: Any = None) -> int:
    """Bytes of the outputs, and values of the last c of each LSTM, in which the reference differs from a runtime."""
    expected, cells = answers(model, xs, runtime, resolver, file)
    trace: dict[str, np.ndarray] = {}
    found = reference_tfl8.run(model, xs, trace=trace)
    if (runtime, resolver) == INEXACT:  # so that what is compared are the integers
        last = [layer for layer in model.layers if isinstance(layer, Tfl8Dequantize)]
        scales = [np.float32(model.tensor(layer.reads[0]).scale) for layer in last]
        found, expected = (tuple(np.rint(y / s) for y, s in zip(ys, scales or [1], strict=True))
                           for ys in (found, expected))  # fmt: skip
    wrong = sum(int((a != b).sum()) for a, b in zip(found, expected, strict=True))
    return wrong + sum(int((trace[name][:, -1] != c).sum()) for name, c in cells.items())


@pytest.mark.parametrize("runtime,resolver", WAYS)
@pytest.mark.parametrize("name", NETS)
def test_lstms(name: str, runtime: str, resolver: str) -> None:
    inputs, units, outputs, steps, options = NETS[name]
    model = tfl8_stack(inputs, units, outputs, seed=len(name), **options)
    chosen = way(runtime, resolver)
    assert differing(variant(model, **ARITHMETIC[chosen]), signals(model, 2, steps), *chosen) == 0


EXPORTED = {
    "trained on a machine's temperature": lambda: (importers.read(demo.CHECKPOINT), *temperatures()),
    **{name: measured_nets.NETS[name] for name in (
        "trained sines 1-32-32-1", "random 9-64", "random 32-64-3, large weights", "student-t 6-48-32-4",
        "stacked 3-50-50-1", "softmax 12-128-6", "clipped cell 4-24-2",
    )},
}  # fmt: skip
"""Float nets, samples, and data that may go beyond them."""


def temperatures() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(6)
    walks = np.cumsum(random.normal(0, 0.2, (8, 60, 1)), axis=1).astype(np.float32)
    return walks[:4], walks[4:]


@pytest.fixture(scope="module", params=EXPORTED)
def exported_net(request: pytest.FixtureRequest) -> tuple[Tfl8Model, list[np.ndarray], Any]:
    """What the exporter makes of a float net in int8: the int8 model, data, and the file."""
    made, samples, data = EXPORTED[request.param]()
    x = data[:3].astype(np.float32)
    file, model, cells = exported(made, samples, x.shape[1])
    return model, [x], (file, cells)


@pytest.mark.parametrize("runtime,resolver", WAYS)
def test_files_of_the_exporter(
    exported_net: tuple[Tfl8Model, list[np.ndarray], Any], runtime: str, resolver: str
) -> None:
    model, xs, file = exported_net
    chosen = way(runtime, resolver)
    assert differing(variant(model, **ARITHMETIC[chosen]), xs, *chosen, file) == 0


@pytest.mark.parametrize("planted", ["c rounded down", "gates with one rounding", "gates rounded half up"])
def test_a_wrong_rounding_is_seen(planted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = way(*WAYS[0])
    model = variant(tfl8_stack(32, (64,), 0, last=False, floats=False), **ARITHMETIC[chosen])
    xs = signals(model, 3, 128)
    assert differing(model, xs, *chosen) == 0
    if planted == "c rounded down":
        monkeypatch.setattr(reference_tfl8, "rdp", lambda v, e: v >> e)
    else:
        rule = "single" if "one" in planted else "halfup"
        monkeypatch.setattr(reference_tfl8, "scaled", lambda v, m, s, *_: tfl8_integers.scaled(v, m, s, rule))
    assert differing(model, xs, *chosen) > 0


@pytest.mark.skipif(importlib.util.find_spec("tflite_micro") is None, reason="tflite-micro is not installed")
@pytest.mark.parametrize("name", [name for name, net in NETS.items() if not {"coupled", "bare"} & {*net[4]}])
def test_micro(name: str) -> None:
    inputs, units, outputs, steps, options = NETS[name]
    model = tfl8_stack(inputs, units, outputs, seed=len(name), **options)
    model = variant(model, **tfl8_model.ARITHMETIC["tflite-micro", "reference", "x86_64"])
    xs = signals(model, 2, steps)
    (found,) = reference_tfl8.run(model, xs)
    expected = micro_answers(model, xs)
    assert np.array_equal(found, expected), int((found != expected).sum())


# tflite-runtime's reference kernels have no REVERSE_V2 of int8
@pytest.mark.parametrize("runtime,resolver", [way for way in WAYS if way[1] != "reference"])
def test_bidirectional(runtime: str, resolver: str) -> None:
    model = tfl8_bidirectional(6, 11, 3)
    chosen = way(runtime, resolver)
    assert differing(variant(model, **ARITHMETIC[chosen]), signals(model, 2, 21), *chosen) == 0


def alone(layer: object, x: Tfl8Tensor, y: Tfl8Tensor) -> Tfl8Model:
    return Tfl8Model((x, y), (layer,), ("x",), ("y",))  # type: ignore[arg-type]


@pytest.mark.parametrize("runtime,resolver", WAYS)
def test_of_all_roundings_exactly_the_one_named_is_a_runtimes_own(runtime: str, resolver: str) -> None:
    chosen = way(runtime, resolver)
    random = np.random.default_rng(1)
    wrong = dict.fromkeys(ROUNDINGS, 0)
    for k in range(8):
        inputs, units = int(random.integers(1, 60)), int(random.integers(1, 40))
        y = Tfl8Tensor("y", units, "s8", float(random.uniform(0.01, 0.2)), (5, -128, -128, 0)[k % 4])
        layer = tfl8_dense("dense", "x", "y", inputs, units, random, activation=FUSED[k % 4])
        model = alone(layer, Tfl8Tensor("x", inputs, "s8", 0.02, -9), y)
        x = random.integers(-128, 128, (1, 400, inputs), np.int8)
        for rounding in ROUNDINGS:
            wrong[rounding] += differing(variant(model, rounding=rounding), [x], *chosen)
    own = ARITHMETIC[chosen]["rounding"]
    # float and single differ once in a million values, and are told apart in the next test
    assert [r for r in ROUNDINGS if wrong[r] == 0 and {r, own} != {"float", "single"}] == [own], wrong


@pytest.mark.parametrize(
    "runtime,resolver", [way for way in WAYS if ARITHMETIC[way]["rounding"] in ("float", "single")]
)
def test_float32_is_told_from_one_rounding(runtime: str, resolver: str) -> None:
    chosen = way(runtime, resolver)
    model, x = told_apart()
    wrong = {r: differing(variant(model, rounding=r), [x], *chosen) for r in ROUNDINGS}
    assert [r for r in ("single", "float") if wrong[r] == 0] == [ARITHMETIC[chosen]["rounding"]], wrong


@pytest.mark.parametrize("runtime,resolver", WAYS)
def test_functions_of_single_values(runtime: str, resolver: str) -> None:
    chosen = way(runtime, resolver)
    random = np.random.default_rng(2)
    x = np.arange(-128, 128, dtype=np.int8).reshape(1, 1, 256)
    for function in (f for f in MAPS if f != "relu_n1_to_1"):  # for which no runtime has an int8 operator
        for _ in range(6):
            scale = float(2 ** random.uniform(-8, 0))
            read = Tfl8Tensor("x", 256, "s8", scale, int(random.integers(-128, 128)))
            written = Tfl8Tensor("y", 256, "s8", scale * 2.0 ** random.uniform(-9, 8), int(random.integers(-128, 128)))
            fixed = {"logistic": (1 / 256, -128), "tanh": (1 / 128, 0)}.get(function)
            written = Tfl8Tensor("y", 256, "s8", *fixed) if fixed else written
            layer = Tfl8Map("map", ("x",), ("y",), function, float(random.uniform(-1.5, 1.5)))
            model = variant(alone(layer, read, written), **ARITHMETIC[chosen])
            assert differing(model, [x], *chosen) == 0, (function, read, written)


@pytest.mark.parametrize("runtime,resolver", WAYS)
def test_sums_and_products(runtime: str, resolver: str) -> None:
    chosen = way(runtime, resolver)
    random = np.random.default_rng(5)
    for k in range(12):
        a, b = (float(2 ** random.uniform(-7, -2)) for _ in range(2))
        zeros = [int(random.integers(-128, 128)) for _ in range(3)]
        for kind in ("add", "subtract", "multiply"):
            size = a * b * float(random.uniform(20, 200)) if kind == "multiply" else (a + b) * random.uniform(0.3, 1.2)
            tensors = (
                Tfl8Tensor("x", 100, "s8", a, zeros[0]),
                Tfl8Tensor("w", 100, "s8", b, zeros[1]),
                Tfl8Tensor("y", 100, "s8", float(size), zeros[2] if k % 4 else -128),
            )
            layer = Tfl8Combine("join", ("x", "w"), ("y",), kind, FUSED[k % 4])
            model = Tfl8Model(tensors, (layer,), ("x", "w"), ("y",))
            xs = [random.integers(-128, 128, (1, 60, 100), np.int8) for _ in range(2)]
            assert differing(variant(model, **ARITHMETIC[chosen]), xs, *chosen) == 0, (kind, k)
            held = Tfl8Constant("held", ("x",), ("w",), random.integers(-128, 128, 100))
            model = Tfl8Model(tensors, (held, layer), ("x",), ("y",))
            assert differing(variant(model, **ARITHMETIC[chosen]), xs[:1], *chosen) == 0, (kind, k, "constant")


@pytest.mark.parametrize("runtime,resolver", WAYS)
def test_softmax(runtime: str, resolver: str) -> None:
    chosen = way(runtime, resolver)
    random = np.random.default_rng(3)
    for width in (1, 2, 3, 10, 40, 200):
        for spread in (2, 10, 128):
            x = np.clip(random.normal(0, spread, (1, 50, width)), -128, 127).astype(np.int8)
            read = Tfl8Tensor("x", width, "s8", float(2 ** random.uniform(-8, 0)), int(random.integers(-128, 128)))
            layer = Tfl8Softmax("softmax", ("x",), ("y",), float(random.choice([0.5, 1, 3])))
            assert differing(alone(layer, read, Tfl8Tensor("y", width, "s8", 1 / 256, -128)), [x], *chosen) == 0


@pytest.mark.parametrize("runtime,resolver", WAYS)
def test_quantize_and_dequantize(runtime: str, resolver: str) -> None:
    chosen = way(runtime, resolver)
    random = np.random.default_rng(4)
    for k in range(6):
        eight = Tfl8Tensor("y", 100, "s8", float(2 ** random.uniform(-8, 0)), int(random.integers(-128, 128)))
        model = alone(Tfl8Quantize("quantize", ("x",), ("y",)), Tfl8Tensor("x", 100, "f32"), eight)
        x = random.normal(0, 60 * eight.scale, (1, 40, 100))
        halves = np.rint(2 * x / eight.scale) / 2 * eight.scale  # in float32 a few are ties, most nearly
        x = (halves if k % 2 else x).astype(np.float32)
        assert differing(variant(model, **ARITHMETIC[chosen]), [x], *chosen) == 0
        back = alone(Tfl8Dequantize("back", ("x",), ("y",)), Tfl8Tensor("x", 100, "s8", eight.scale, eight.zero_point),
                     Tfl8Tensor("y", 100, "f32"))  # fmt: skip
        q = random.integers(-128, 128, (1, 40, 100), np.int8)
        (expected,), _ = answers(back, [q], *chosen)
        (found,) = reference_tfl8.run(back, [q])
        if chosen == INEXACT:
            assert np.abs(found - expected).max() <= 1e-6 * np.abs(found).max()
        else:
            assert np.array_equal(found, expected)
