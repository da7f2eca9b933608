"""Records of the layers around the cells: what they hold, and that opening refuses each number no packer writes."""

import struct

import numpy as np
import pytest
from around import conv, of
from golden_around import (
    FLOAT_ALONE,
    FLOATS,
    WILD,
    attentive,
    joins,
    of_integers,
    pools,
    reductions,
    wild_around,
    wild_joins,
)
from nets import signal

from edgelstm.description import checksum, describe
from edgelstm.errors import ImageError
from edgelstm.image import pack
from edgelstm.layers import ACTIVATIONS, Conv1d
from edgelstm.quantization import quantize
from edgelstm.quantized import QuantizedActivation, QuantizedConv1d, QuantizedEmbedding, QuantizedPool1d
from edgelstm.runner import Runner

MODELS = FLOATS | FLOAT_ALONE | WILD


def at_field(image, layer, offset):
    """Where a number of a layer's fields stands in the image."""
    at = struct.unpack_from("<I", image, 64 + 8)[0]
    for name in describe(image).layers:
        size, read, written = struct.unpack_from("<HBB", image, at + 2)
        if name.name == layer:
            return at + -(-(8 + 2 * (read + written)) // 4) * 4 + offset
        at += size
    raise AssertionError(layer)


def changed(model, layer, offset, form, value):
    """The model's image with one number of a layer's fields changed, its checksum mended."""
    image = bytearray(pack(model))
    struct.pack_into(form, image, at_field(bytes(image), layer, offset), value)
    struct.pack_into("<I", image, 16, checksum(image))
    return bytes(image)


def with_weight(model, form, old, new):
    """The model's image with the first such number of its weights changed, its checksum mended."""
    image = bytearray(pack(model))
    start, size = struct.unpack_from("<II", image, 64 + 8 * 3)
    at = bytes(image[start : start + size]).find(struct.pack(form, old))
    assert at >= 0
    struct.pack_into(form, image, start + at, new)
    struct.pack_into("<I", image, 16, checksum(image))
    return bytes(image)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_what_is_packed_opens(name):
    Runner(MODELS[name]).self_check()


CONV = FLOATS["convolutions"]
FIELDS = {
    "units": (CONV, "plain", 0, "<I", 6),
    "no taps": (CONV, "plain", 4, "<I", 0),
    "a window too long": (CONV, "plain", 4, "<I", 65537),
    "groups that divide nothing": (CONV, "plain", 8, "<I", 4),
    "no groups": (CONV, "plain", 8, "<I", 0),
    "no dilation": (CONV, "valid", 12, "<I", 0),
    "a dilation too long": (CONV, "valid", 12, "<I", 65537),
    "no stride": (CONV, "plain", 16, "<I", 0),
    "a stride too long": (CONV, "plain", 16, "<I", 65537),
    "padding too long": (CONV, "plain", 20, "<I", 65537),
    "padding after": (CONV, "plain", 24, "<I", 65537),
    "same that is neither": (CONV, "normalized", 28, "<I", 2),
    "same and padding": (CONV, "plain", 28, "<I", 1),
    "a period too long": (CONV, "plain", 32, "<I", 65537),
    "an activation": (CONV, "plain", 36, "<I", len(ACTIVATIONS)),
    "a kind of pool": (pools(), "p0", 0, "<I", 2),
    "no size": (pools(), "p3", 4, "<I", 0),
    "a size too long": (pools(), "p0", 4, "<I", 65537),
    "padding counted": (pools(), "p0", 8, "<I", 2),
    "padding as long as a window": (pools(), "p0", 16, "<I", 3),
    "an average raised too far": (wild_around(), "p0", 32, "<I", 13),
    "raised beyond 15": (wild_around(), "p0", 32, "<I", 16),
    "a maximum raised": (wild_around(), "p1", 32, "<I", 1),
    "a reduction": (reductions(), "x mean", 0, "<I", 3),
    "a mask that is not read": (reductions(), "x mean", 4, "<I", 1),
    "a mask that is not used": (reductions(), "masked", 4, "<I", 0),
    "a mask of a maximum": (reductions(), "masked", 0, "<I", 1),
    "a period of a mask": (reductions(), "masked", 8, "<I", 3),
    "a mean raised beyond 15": (wild_around(), "r0", 12, "<i", 16),
    "a mean lowered": (wild_around(), "r0", 12, "<i", -1),
    "a sum lowered beyond 31": (wild_around(), "r1", 12, "<i", -32),
    "a sum raised beyond all": (wild_around(), "r1", 12, "<I", 1 << 31),
    "a combination": (joins(), "add", 0, "<I", 7),
    "a combination of two": (joins(), "one value", 0, "<I", 2),
    "an average of integers": (wild_joins(), "add", 0, "<I", 4),
    "a shift": (wild_joins(), "add", 4, "<b", 28),
    "a shift up": (wild_joins(), "add", 4, "<b", -5),
    "what is no multiplier": (wild_joins(), "add", 6, "<H", 32768),
    "what should be 0": (wild_joins(), "add", 5, "<B", 1),
    "a product's first shift": (wild_joins(), "multiply", 4, "<b", 1),
    "a product's first multiplier": (wild_joins(), "multiply", 6, "<H", 1),
    "a product shifted up": (wild_joins(), "multiply", 8, "<b", -1),
    "no vocabulary": (FLOAT_ALONE["ids"], "e", 0, "<I", 0),
    "a vocabulary not there": (FLOAT_ALONE["ids"], "e", 0, "<I", 1 << 31),
    "columns": (FLOAT_ALONE["ids"], "e", 4, "<I", 2),
    "a mask's value": (FLOAT_ALONE["ids"], "m", 0, "<f", float("nan")),
    "what follows a mask's value": (wild_joins(), "m", 2, "<H", 1),
    "rms": (FLOAT_ALONE["normalized"], "n", 0, "<I", 2),
    "no epsilon": (FLOAT_ALONE["normalized"], "n", 4, "<f", 0.0),
    "a denormal epsilon": (FLOAT_ALONE["normalized"], "n", 4, "<I", 1),
    "a scale of scores": (attentive(), "heads", 0, "<f", float("inf")),
    "no heads": (attentive(), "heads", 4, "<I", 0),
    "heads that divide nothing": (attentive(), "heads", 4, "<I", 3),
    "heads of an additive one": (attentive(), "additive", 4, "<I", 2),
    "causal": (attentive(), "heads", 8, "<I", 2),
    "masked": (attentive(), "heads", 12, "<I", 1),
    "additive": (attentive(), "additive", 16, "<I", 2),
}


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_a_number_no_packer_writes_is_refused(name):
    model, layer, offset, form, value = FIELDS[name]
    with pytest.raises(ImageError):
        Runner(changed(model, layer, offset, form, value))


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_weights_that_are_not_finite_are_refused(groups):
    kernel = np.full((6, 2, 6 // groups), 0.5)
    for bias in (0.25, np.nan):
        layer = Conv1d("c", ("x",), ("y",), kernel, np.full(6, 0.25), groups=groups)
        model = of({"x": 6}, [layer], ["y"])
        image = with_weight(model, "<f", 0.25 if np.isnan(bias) else 0.5, np.nan)
        with pytest.raises(ImageError):
            Runner(image)
        with pytest.raises(ImageError):
            Runner(with_weight(model, "<f", 0.0, 1.0))  # padding
    with pytest.raises(ImageError):
        Runner(with_weight(FLOAT_ALONE["ids"], "<f", FLOAT_ALONE["ids"].layers[1].table[3, 1], np.inf))


def rows_of(taps, columns, groups=1, **changes):
    """A convolution of alike rows, all weights 127."""
    units = groups
    fields = {"bias": 0, "input_shift": 8, "shift": 8, "multiplier": 0} | changes
    rows = {name: np.full(units, value) for name, value in fields.items()}
    kernel = np.full((units, taps, columns), changes.get("weight", 127), np.int8)
    rows.pop("weight", None)
    layer = QuantizedConv1d(
        "c", ("x",), ("y",), kernel, rows["bias"].astype(np.int32), rows["input_shift"].astype(np.int8),
        rows["shift"].astype(np.int8), rows["multiplier"].astype(np.int16), QuantizedActivation("linear"), groups,
        left=taps - 1,
    )  # fmt: skip
    return of_integers({"x": columns * groups}, [layer], ["y"])


@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ({"taps": 32, "input_shift": 0}, {"taps": 33, "input_shift": 0}),  # 2^27 / 127 / 32768 = 32.2
        ({"taps": 516}, {"taps": 517}),  # 2^31
        ({"shift": 27}, {"shift": 28}),
        ({"shift": -4}, {"shift": -5}),
        ({"input_shift": 27}, {"input_shift": 28}),
        ({"input_shift": 0}, {"input_shift": -1}),  # over int16
        ({"weight": -127}, {"weight": -128}),
        ({"bias": 2**27 - 2, "weight": 0}, {"bias": 2**27 - 1, "weight": 0}),
        ({"multiplier": 32767}, {"multiplier": -1}),
    ],
)
def test_rows_of_windows_keep_the_bounds_of_the_numbers_page(groups, columns, good, bad):
    for given in (good, bad):
        given.setdefault("taps", 1)
    halved = [
        given | {"taps": max(1, given["taps"] // columns) + (given is bad and given["taps"] > 1)}
        for given in (good, bad)
    ]
    Runner(rows_of(columns=columns, groups=groups, **halved[0])).self_check()
    with pytest.raises(ImageError):
        Runner(rows_of(columns=columns, groups=groups, **halved[1]))


def test_integers_hold_what_their_page_says():
    large = QuantizedEmbedding("e", ("x",), ("y",), np.zeros((32769, 1), np.int16))
    with pytest.raises(ImageError):
        Runner(of_integers({"x": 1}, [large], ["y"]))
    long = QuantizedPool1d("p", ("x",), ("y",), "average", 32769)
    with pytest.raises(ImageError):
        Runner(of_integers({"x": 1}, [long], ["y"]))


# ---- descriptions ----


def test_costs_of_a_convolution():
    random = np.random.default_rng(0)
    cases = [
        (conv("c", "x", "y", 5, 3, 6, random, left=2), 90, 8 * 18 * 4, 16 + 2 * 32),
        (conv("c", "x", "y", 4, 2, 3, random, groups=2), 24, 2 * 8 * 6 * 4, 16 + 32),
        (conv("c", "x", "y", 6, 3, 1, random, groups=6, same=True), 18, 3 * 8 * 4, 0),
        (conv("c", "x", "y", 6, 1, 6, random, period=5), 36, 8 * 6 * 4, 16 + 5 * 32),
    ]
    for layer, macs, weights, state in cases:
        described = describe(pack(of({"x": 6}, [layer], ["y"]))).layers[0]
        assert (described.macs, described.parameters) == (macs, macs + layer.units)
        assert (described.weight_bytes, described.state_bytes) == (weights, state)


def test_state_is_as_described():
    """What the core keeps for a stream is the sum of what the layers are described to keep."""
    for name, model in (FLOATS | WILD).items():
        image, counted = pack(model), 16 * model.timing.uneven  # an uneven model counts its steps
        described = sum(layer.state_bytes for layer in describe(image).layers)
        assert len(Runner(image).state) == described + counted, name
    quantized = pack(quantize(reductions(), signal((2, 20, 3))))
    assert len(Runner(quantized).state) == sum(layer.state_bytes for layer in describe(quantized).layers)


def test_a_table_is_parameters_without_multiplications():
    table = describe(pack(FLOAT_ALONE["ids"])).layers[1]
    assert (table.parameters, table.macs, table.weight_bytes) == (21, 0, 0)
