"""The image: sizes, round trips, refusals."""

import struct
import zlib
from dataclasses import replace

import around
import numpy as np
import pytest
from cells import case
from golden_models import PLAIN, quantized_model, wild_lstm
from nets import signal, stack

from edgelstm.blocks import blocks_f32, blocks_s8
from edgelstm.description import describe
from edgelstm.errors import ImageError, InputError, ModelError
from edgelstm.image import pack, save
from edgelstm.layers import Dense
from edgelstm.model import Meta, Port, Scaler
from edgelstm.quantization import quantize
from edgelstm.quantized import QuantizedActivation, QuantizedDense
from edgelstm.runner import Runner


def test_padding_of_a_small_sensor_layer_stays_below_30_percent():
    model = stack(3, (20,), head=None)
    samples = np.random.default_rng(0).standard_normal((4, 16, 3))
    plain = {"f32": 4 * (4 * 20 * 23 + 80), "s8": 4 * 20 * 23 + 80 * (4 + 1 + 1 + 2)}
    for kind, m in (("f32", model), ("s8", quantize(model, samples))):
        weights = describe(pack(m)).sections["weights"]
        assert weights <= 1.3 * plain[kind], (kind, weights, plain[kind])


def test_everything_a_person_knows_comes_back(tmp_path):
    scaler = Scaler(np.array([0.5, 2.0]), np.array([-1.0, 0.25]))
    meta = Meta(
        (Port(("a", "b"), ("g", "rad/s"), (), scaler),),
        (Port((), (), ("walk", "sit", "l\u00e4uft"), Scaler(np.ones(3), np.zeros(3))),),
        window=60,
        hop=30,
    )
    model = stack(2, (5, 4), head=3, meta=meta)
    path = tmp_path / "m.elstm"
    size = save(model, path)
    image = path.read_bytes()
    assert size == len(image)
    d = describe(image)
    assert (d.number_type, d.meta.window, d.meta.hop) == ("f32", 60, 30)
    assert d.meta.inputs[0].units == ("g", "rad/s") and d.meta.outputs[0].labels == ("walk", "sit", "l\u00e4uft")
    np.testing.assert_array_equal(d.meta.inputs[0].scaler.scale, scaler.scale)
    np.testing.assert_array_equal(d.meta.inputs[0].scaler.offset, scaler.offset)
    np.testing.assert_array_equal(d.meta.outputs[0].scaler.scale, np.ones(3))
    assert [layer.kind for layer in d.layers] == ["lstm_f32", "lstm_f32", "last", "dense_f32"]
    assert d.layers[0].macs == 4 * 5 * 7 and d.layers[0].parameters == 4 * 5 * 8
    Runner(path).self_check()


def test_bytes_of_weights_are_those_of_the_blocks():
    model = stack(3, (5, 9), head=3)
    for m, blocks in ((model, blocks_f32), (quantize(model, signal((4, 9, 3))), blocks_s8)):
        for layer, described in zip(m.layers, describe(pack(m)).layers, strict=True):
            matrices = [getattr(layer, name) for name in ("kernel", "recurrent") if hasattr(layer, name)]
            expected = sum(blocks(w if w.ndim == 3 else w[None]).nbytes for w in matrices)
            assert described.weight_bytes == expected, described.name


def test_the_same_model_gives_the_same_bytes():
    assert pack(stack(3, (4,))) == pack(stack(3, (4,)))


@pytest.mark.parametrize("cut", [0, 1, 7, 64, 127, 128, 500, -1])
def test_a_cut_image_is_refused(cut):
    image = pack(stack(3, (4,)))
    for opener in (describe, Runner):
        with pytest.raises(ImageError):
            opener(image[:cut])


def test_a_flipped_byte_is_refused():
    image = bytearray(pack(stack(3, (4,))))
    for at in range(0, len(image), 37):
        image[at] ^= 0x10
        with pytest.raises(ImageError):
            Runner(bytes(image))
        image[at] ^= 0x10


def mended(image):
    image = bytearray(image)
    struct.pack_into("<I", image, 16, zlib.crc32(image[20:], zlib.crc32(image[:16])))
    return bytes(image)


def test_a_later_version_is_named():
    image = bytearray(pack(stack(3, (4,))))
    image[8] = 9
    with pytest.raises(ImageError, match="version"):
        Runner(mended(image))
    with pytest.raises(ImageError, match="version 9"):
        describe(mended(image))


@pytest.mark.parametrize(
    ("field", "form", "value"),
    [
        ("options", "<I", 128 + 512),  # a clip of a projection that is not there
        ("options", "<I", 128 + 256),
        ("options", "<I", 16 + 512),  # no epsilon, and no bytes left for the clip
        ("options", "<I", 1024),
        ("epsilon", "<f", 0.0),
        ("epsilon", "<f", -1.0),
        ("epsilon", "<f", np.inf),
        ("epsilon", "<I", 1),  # not normal
        ("clip", "<f", 0.0),
        ("clip", "<f", np.nan),
        ("clip", "<f", -0.5),
    ],
)
def test_the_tail_of_an_lstm_with_norms_is_checked(field, form, value):
    image = bytearray(pack(case("lstm, norm and all options")))
    offset, size = struct.unpack_from("<II", image, 64 + 8)
    end = offset + size  # of the one record: options, period, epsilon, clip
    at = {"options": end - 16, "epsilon": end - 8, "clip": end - 4}[field]
    assert struct.unpack_from("<IIff", image, end - 16) == (1023 - 32, 7, np.float32(1e-8), np.float32(0.2))
    Runner(bytes(image))
    struct.pack_into(form, image, at, value)
    with pytest.raises(ImageError):
        Runner(mended(image))


def test_parameters_of_norms_and_projections_are_counted():
    plain = describe(pack(case("lstm, norm and all options"))).layers[0]
    layer = case("lstm, norm and all options").layers[0]
    arrays = (layer.kernel, layer.recurrent, layer.bias, layer.peephole, layer.projection)
    arrays += (layer.norm, layer.projection_bias)
    assert plain.parameters == sum(array.size for array in arrays)


def test_hostile_meta_is_an_image_error():
    image = bytearray(pack(stack(3, (4,))))
    offset, size = struct.unpack_from("<II", image, 64 + 8 * 4)
    image[offset : offset + size] = b"[" * size
    with pytest.raises(ImageError):
        Runner(mended(image))


def test_more_outputs_than_an_image_holds_are_told():
    dense = [Dense(f"d{k}", ("x",), (f"y{k}",), np.ones((1, 2)), np.zeros(1)) for k in range(9)]
    with pytest.raises(ModelError, match="the model has 9 outputs, and an image holds at most 8"):
        pack(around.of({"x": 2}, dense, [f"y{k}" for k in range(9)]))


def test_a_convolution_of_no_groups_is_an_image_error():
    layer = around.conv("c", "x", "y", 8, 3, 4, np.random.default_rng(0))
    image = bytearray(pack(around.of({"x": 4}, [layer], ["y"])))
    (ops,) = struct.unpack_from("<I", image, 64 + 8 * 1)
    units, taps, groups = struct.unpack_from("<3I", image, ops + 12)
    assert (units, taps, groups) == (8, 3, 1)
    struct.pack_into("<I", image, ops + 12 + 8, 0)
    with pytest.raises(ImageError):
        Runner(mended(image))
    with pytest.raises(ImageError, match="inconsistent"):
        describe(mended(image))


def test_save_leaves_no_file_behind_when_it_fails(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        save(stack(3, (4,)), tmp_path / "missing" / "m.elstm")
    (tmp_path / "d.elstm").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        save(stack(3, (4,)), tmp_path / "d.elstm")
    assert [p.name for p in tmp_path.iterdir()] == ["d.elstm"]


def one_row(sum_of_weights, *, weight=127, **fields):
    """A Dense layer of one unit over int16 whose weights' sizes add up to the sum given."""
    count, rest = divmod(sum_of_weights, abs(weight))
    kernel = np.array([[weight] * count + [rest]], np.int8)
    chosen = {"bias": 0, "input_shift": 27, "shift": 0, "multiplier": 0} | fields
    rows = {
        "bias": np.array([chosen["bias"]], np.int32),
        "input_shift": np.array([chosen["input_shift"]], np.int8),
        "shift": np.array([chosen["shift"]], np.int8),
        "multiplier": np.array([chosen["multiplier"]], np.int16),
    }
    layer = QuantizedDense("d", ("x",), ("y",), kernel, activation=QuantizedActivation("linear"), **rows)
    return quantized_model({"x": kernel.shape[1]}, [layer], ["y"])


def recurrent_row(sum_of_weights, hidden_multiplier, *, weight=0, inputs=1, kx=0, hidden="s16"):
    """An LSTM of 33 units over int16, all its W and kx alike; its first row's recurrent weights add up to the sum."""
    random = np.random.default_rng(1)
    layer = wild_lstm("l", "x", "h", inputs, 33, random, PLAIN, hidden_multiplier=hidden_multiplier)
    recurrent = np.zeros((4, 33, 33), np.int8)
    recurrent[0, 0] = np.diff(np.minimum(np.arange(34) * 127, sum_of_weights))
    kernel, bias = np.full((4, 33, inputs), weight, np.int8), np.zeros((4, 33), np.int32)
    layer = replace(layer, recurrent=recurrent, kernel=kernel, bias=bias, input_shift=np.full((4, 33), kx))
    return quantized_model({"x": inputs}, [layer], ["h"], hidden)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (one_row(65535), one_row(65536)),  # |ax| < 2^31
        (one_row(4095, input_shift=0), one_row(4096, input_shift=0)),  # |sh(ax, kx)| + |bias| < 2^27
        (one_row(127, bias=2**27 - 2), one_row(127, bias=2**27 - 1)),  # a shift may round down by 1
        (one_row(0, bias=2 - 2**27), one_row(0, bias=1 - 2**27)),
        (one_row(127, weight=-127), one_row(128, weight=-128)),
        (one_row(127, shift=27), one_row(127, shift=28)),
        (one_row(127, shift=-4), one_row(127, shift=-5)),
        (one_row(127, input_shift=0), one_row(127, input_shift=-1)),  # over int16
        (recurrent_row(0, 127, kx=-4), recurrent_row(0, 127, kx=-5)),
        (recurrent_row(0, 127, kx=-4), recurrent_row(0, 127, kx=-4, hidden="s8")),
        (recurrent_row(0, 127, weight=127, kx=-4), recurrent_row(0, 127, weight=127, kx=-4, inputs=3)),  # < 2^27
        (recurrent_row(4096, 32766), recurrent_row(4097, 32766)),  # |ah| < 2^27
        (one_row(127, multiplier=32767), one_row(127, multiplier=-1)),
    ],
)
def test_rows_beyond_the_bounds_of_the_numbers_page_are_refused(good, bad):
    Runner(good).self_check()
    with pytest.raises(ImageError):
        Runner(bad)
