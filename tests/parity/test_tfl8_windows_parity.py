"""Int8 convolutions, pools, means and paddings in NumPy beside TFLite's own runtimes: every byte."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from test_tfl8_parity import ARITHMETIC, WAYS, differing, way
from tfl8_files import micro_answers
from tfl8_nets import tfl8_conv, tfl8_windows

from edgelstm import reference_tfl8
from edgelstm.layers import Pad
from edgelstm.tfl8 import CONV_ROUNDINGS, FUSED, Tfl8Pool1d, Tfl8Reduce, Tfl8Tensor
from edgelstm.tfl8_model import Tfl8Model, variant


def alone(layer: object, x: Tfl8Tensor, y: Tfl8Tensor) -> Tfl8Model:
    return Tfl8Model((x, y), (layer,), ("x",), ("y",))  # type: ignore[arg-type]


def bytes_of(random: np.random.Generator, *shape: int) -> np.ndarray:
    return random.integers(-128, 128, shape, np.int8)


def zero(random: np.random.Generator) -> int:
    return int(random.integers(-128, 128))


def convolutions(depthwise: bool) -> list[tuple[Tfl8Model, np.ndarray]]:
    """With every stride, dilation, padding, activation and number of units about a vector's."""
    random, made = np.random.default_rng(6), []
    for k in range(24):
        inputs = int(random.integers(1, 20))
        units = inputs * (1, 1, 2, 3)[k % 4] if depthwise else int(random.integers(1, 40))
        stride = (1, 1, 2)[k % 3]
        options = {"stride": stride, "dilation": 1 + (k % 5 == 1 and stride == 1), "activation": FUSED[k % 4]}
        options |= ({"same": True}, {"left": 2}, {})[k % 3]
        options["groups"] = inputs if depthwise else 1
        if depthwise and inputs == 1:
            continue
        layer = tfl8_conv("conv", "x", "y", inputs, units, random, taps=int(random.integers(1, 6)), **options)
        x = Tfl8Tensor("x", inputs, "s8", float(random.uniform(0.01, 0.1)), zero(random))
        y = Tfl8Tensor("y", units, "s8", float(random.uniform(0.1, 0.5)), (5, -128, -128, 0)[k % 4])
        made.append((alone(layer, x, y), bytes_of(random, 1, 200, inputs)))
    return made


@pytest.mark.parametrize("runtime,resolver", WAYS)
@pytest.mark.parametrize("kind", ["convolution", "depthwise"])
def test_of_all_roundings_exactly_the_one_named_is_a_runtimes_own(kind: str, runtime: str, resolver: str) -> None:
    chosen = way(runtime, resolver)
    wrong = dict.fromkeys(CONV_ROUNDINGS, 0)
    for model, x in convolutions(kind == "depthwise"):
        for rounding in CONV_ROUNDINGS:
            wrong[rounding] += differing(variant(model, **{kind: rounding}), [x], *chosen)
    own = ARITHMETIC[chosen][kind]
    # float and single differ once in a million values: test_float32_is_told_from_one_rounding
    assert [r for r in CONV_ROUNDINGS if wrong[r] == 0 and {r, own} != {"float", "single"}] == [own], wrong


@pytest.mark.parametrize("runtime,resolver", WAYS)
def test_pools(runtime: str, resolver: str) -> None:
    chosen = way(runtime, resolver)
    random = np.random.default_rng(7)
    for k in range(20):
        width, size = int(random.integers(1, 40)), int(random.integers(1, 9))
        x, y = (Tfl8Tensor(n, width, "s8", 0.05, (3, -128, 77, -4)[k % 4]) for n in "xy")
        layer = Tfl8Pool1d(
            "pool", ("x",), ("y",), ("max", "average")[k % 2], size, FUSED[k % 4], 1 + k % 3, same=k % 3 == 0
        )
        assert differing(alone(layer, x, y), [bytes_of(random, 1, 60, width)], *chosen) == 0, k


@pytest.mark.parametrize("runtime,resolver", WAYS)
def test_reductions(runtime: str, resolver: str) -> None:
    chosen = way(runtime, resolver)
    random = np.random.default_rng(8)
    for k in range(24):
        x = Tfl8Tensor("x", 300, "s8", float(random.uniform(0.01, 0.1)), zero(random))
        scale = x.scale * (1, 2.0 ** int(random.integers(-2, 3)), float(random.uniform(0.1, 1)))[k % 3]
        y = Tfl8Tensor("y", 300, "s8", scale, x.zero_point if k % 3 < 2 else zero(random))
        values = bytes_of(random, 1, int(random.integers(1, 90)), 300)
        mean = alone(Tfl8Reduce("mean", ("x",), ("y",), "mean"), x, y)
        assert differing(variant(mean, **ARITHMETIC[chosen]), [values], *chosen) == 0, k
        most = alone(Tfl8Reduce("max", ("x",), ("y",), "max"), x, Tfl8Tensor("y", 300, "s8", x.scale, x.zero_point))
        assert differing(most, [values], *chosen) == 0, k


@pytest.mark.skipif(importlib.util.find_spec("tflite_micro") is None, reason="tflite-micro is not installed")
@pytest.mark.parametrize("kind", ["convolution", "depthwise", "max", "average", "mean", "most", "pad"])
def test_micro(kind: str) -> None:
    random, made = np.random.default_rng(10), []
    if kind in ("convolution", "depthwise"):  # no kernel of it clamps to -1 ... 1
        made = [pair for pair in convolutions(kind == "depthwise") if pair[0].layers[0].activation != "relu_n1_to_1"]  # type: ignore[union-attr]
    for k in range(12 if not made else 0):
        x = Tfl8Tensor("x", 100, "s8", float(random.uniform(0.01, 0.1)), zero(random))
        same = Tfl8Tensor("y", 100, "s8", x.scale, x.zero_point)
        other = Tfl8Tensor("y", 100, "s8", x.scale * float(random.uniform(0.2, 2)), zero(random))
        layer, y = {
            "max": (Tfl8Pool1d("pool", ("x",), ("y",), "max", 1 + k % 5, same=k % 3 == 0), same),
            "average": (Tfl8Pool1d("pool", ("x",), ("y",), "average", 1 + k % 5, same=k % 3 == 0), same),
            "mean": (Tfl8Reduce("mean", ("x",), ("y",), "mean"), (same, other)[k % 2]),
            "most": (Tfl8Reduce("most", ("x",), ("y",), "max"), same),
            "pad": (Pad("pad", ("x",), ("y",), 1, k % 3), same),
        }[kind]
        made.append((alone(layer, x, y), bytes_of(random, 1, 1 + 5 * k, 100)))
    for model, values in made:
        model = variant(model, runtime="tflite-micro")
        (found,) = reference_tfl8.run(model, [values])
        assert np.array_equal(found, micro_answers(model, [values]).reshape(found.shape))


@pytest.mark.parametrize("runtime,resolver", WAYS)
def test_padding_is_the_zero_point(runtime: str, resolver: str) -> None:
    chosen = way(runtime, resolver)
    x, y = (Tfl8Tensor(n, 5, "s8", 0.05, -37) for n in "xy")
    model = alone(Pad("pad", ("x",), ("y",), 2, 3), x, y)
    assert differing(model, [bytes_of(np.random.default_rng(9), 2, 9, 5)], *chosen) == 0


@pytest.mark.parametrize("runtime,resolver", WAYS)
def test_all_of_them_and_a_cell(runtime: str, resolver: str) -> None:
    chosen = way(runtime, resolver)
    for seed in range(3):
        model = variant(tfl8_windows(seed), **ARITHMETIC[chosen])
        model = Tfl8Model(model.tensors[:6], model.layers[:5], model.inputs, ("h",))
        assert differing(model, [bytes_of(np.random.default_rng(seed), 2, 40, 6)], *chosen) == 0
