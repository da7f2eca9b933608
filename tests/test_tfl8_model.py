"""The contract of int8 TFLite models: what fits is a model, what does not is refused by name."""

from dataclasses import replace

import numpy as np
import pytest
from tfl8_nets import tfl8_stack

from edgelstm import describe, pack
from edgelstm.errors import InputError, ModelError
from edgelstm.layers import SoftmaxSteps
from edgelstm.tfl8 import Tfl8Combine, Tfl8Dense, Tfl8Lstm, Tfl8Quantize, Tfl8Softmax, Tfl8Tensor
from edgelstm.tfl8_model import ARITHMETIC, Tfl8Model, arithmetic, computed_by, runtime_arithmetic, variant


def test_a_model_knows_its_rows_and_keeps_its_arrays():
    model = tfl8_stack(3, (5, 4), 2)
    assert model.timing.causal and not model.timing.uneven
    assert model.timing.single == {"k", "y", "out"}
    lstm = model.layers[1]
    assert lstm.kernel.dtype == np.int8 and not lstm.kernel.flags.writeable and lstm.units == 5


def test_another_runtimes_arithmetic_is_one_call():
    model = variant(tfl8_stack(3, (5,), 2), flavour="micro", rounding="single", ties="exact")
    settings = {
        (type(layer).__name__, name)
        for layer in model.layers
        for name, value in (("flavour", "micro"), ("rounding", "single"), ("ties", "exact"))
        if getattr(layer, name, None) == value
    }
    assert settings == {("Tfl8Lstm", "flavour"), ("Tfl8Dense", "rounding"), ("Tfl8Quantize", "ties")}
    assert [layer.name for layer in model.layers] == [layer.name for layer in tfl8_stack(3, (5,), 2).layers]


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (Tfl8Lstm, {"cell_exponent": -16}, "scale 2.-16; TFLite computes no tanh"),
        (Tfl8Lstm, {"flavour": "other"}, "flavour is 'other'"),
        (Tfl8Lstm, {"coupled": True}, "weights of an input gate"),
        (Tfl8Lstm, {"kernel_scale": [0, 1, 1, 1]}, "above 0"),
        (Tfl8Lstm, {"hidden_zero": 128}, "hidden scale"),
        (Tfl8Lstm, {"cell_clip": -1.0}, "cell_clip"),
        (Tfl8Dense, {"rounding": "nearest"}, "rounding is 'nearest'"),
        (Tfl8Dense, {"kernel": np.full((2, 5), -128)}, "-128"),
        (Tfl8Dense, {"kernel": np.full((2, 5), 200)}, "whole numbers from -128 to 127"),
        (Tfl8Dense, {"bias": [0.5, 1]}, "bias holds other than whole numbers"),
        (Tfl8Dense, {"bias": [2**40, 1]}, "bias holds other than whole numbers"),
        (Tfl8Dense, {"kernel_scale": [1, 1, 1]}, "scales"),
        (Tfl8Quantize, {"ties": "up"}, "ties is 'up'"),
    ],
)
def test_what_does_not_fit_a_layer_is_refused(kind, change, message):
    layer = next(layer for layer in tfl8_stack(3, (5,), 2).layers if isinstance(layer, kind))
    with pytest.raises(ModelError, match=message):
        replace(layer, **change)


def test_what_does_not_fit_the_tensors_is_refused():
    model = tfl8_stack(3, (5,), 2)
    for name, change in {
        "x": {"type": "s8"},
        "q": {"type": "f32", "scale": 1.0, "zero_point": 0},
        "h0": {"type": "s16", "zero_point": 0},
        "k": {"zero_point": 7},  # of a Last, which copies bytes
        "out": {"type": "s8"},
    }.items():
        tensors = tuple(replace(t, **change) if t.name == name else t for t in model.tensors)
        with pytest.raises(ModelError, match="do not fit"):
            replace(model, tensors=tensors)
    layers = tuple(SoftmaxSteps("last", layer.reads, layer.writes) if layer.name == "last" else layer
                   for layer in model.layers)  # fmt: skip
    with pytest.raises(ModelError, match="last: SoftmaxSteps is no layer"):
        replace(model, layers=layers)


def test_joins_and_softmaxes_have_their_bounds():
    for kind, count in (("concatenate", 17), ("concatenate", 1), ("add", 3)):
        with pytest.raises(ModelError, match=f"join: it joins {count} tensors"):
            Tfl8Combine("join", ("x",) * count, ("y",), kind)
    tensors = (Tfl8Tensor("x", 5000, "s8", 0.1), Tfl8Tensor("y", 5000, "s8", 1 / 256, -128))
    with pytest.raises(ModelError, match="softmax over 5000 values"):
        Tfl8Model(tensors, (Tfl8Softmax("softmax", ("x",), ("y",)),), ("x",), ("y",))


@pytest.mark.parametrize(
    "options", [{"cell_exponent": -15}, {"cell_exponent": -31}, {"coupled": True}, {"flavour": "micro"}]
)
def test_cells_without_a_tanh_are_those_that_a_runtime_has(options):
    with pytest.raises(ModelError, match="without tanh"):
        tfl8_stack(3, (5,), 0, last=False, **{"cell_exponent": -18, "bare": True} | options)


@pytest.mark.parametrize(
    "name,row",
    [
        ("tflite-runtime", ("tflite-runtime", "default", "aarch64")),
        ("ai-edge-litert:builtin", ("ai-edge-litert", "builtin", "aarch64")),
        ("tflite-runtime::x86_64", ("tflite-runtime", "default", "x86_64")),
        ("ai-edge-litert:reference:x86_64", ("ai-edge-litert", "reference", "x86_64")),
        ("tflite-micro", ("tflite-micro", "reference", "x86_64")),
    ],
)
def test_a_runtime_by_name(name, row):
    assert runtime_arithmetic(name) == ARITHMETIC[row]
    model = variant(tfl8_stack(3, (5,), 2), flavour="micro", runtime="tflite-runtime:builtin:x86_64")
    found = arithmetic(variant(model, runtime=name))
    assert found == {key: ARITHMETIC[row].get(key, "tflite") for key in ("flavour", "rounding", "ties")}
    assert row in computed_by(found)


@pytest.mark.parametrize("name", ["", "tflite", "tflite-runtime:fast", "tflite-runtime:default:z80", "a:b:c:d",
                                  "tflite-runtime:default:x86_64:1"])  # fmt: skip
def test_unknown_runtimes_are_refused(name):
    with pytest.raises(InputError, match="PACKAGE:RESOLVER:MACHINE"):
        variant(tfl8_stack(3, (5,), 2), runtime=name)


def test_a_models_own_arithmetic_is_told():
    model = tfl8_stack(3, (5,), 2)
    assert arithmetic(model) == {"flavour": "tflite", "rounding": "double", "ties": "even"}
    own = {"flavour": "micro", "rounding": "single", "ties": "exact"}
    assert arithmetic(variant(model, **own)) == own and computed_by(own) == []
    described = describe(pack(variant(model, **own)))
    assert {pair for layer in described.layers for pair in layer.arithmetic} == set(own.items())
