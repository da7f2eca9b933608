"""The image: sizes, round trips, refusals."""

import struct
import zlib

import numpy as np
import pytest
from nets import stack

from edgelstm.description import describe
from edgelstm.errors import ImageError, InputError
from edgelstm.image import pack, save
from edgelstm.model import Meta, Port, Scaler
from edgelstm.quantization import quantize
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


def test_hostile_meta_is_an_image_error():
    image = bytearray(pack(stack(3, (4,))))
    offset, size = struct.unpack_from("<II", image, 64 + 8 * 4)
    image[offset : offset + size] = b"[" * size
    with pytest.raises(ImageError):
        Runner(mended(image))


def test_save_leaves_no_file_behind_when_it_fails(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        save(stack(3, (4,)), tmp_path / "missing" / "m.elstm")
    (tmp_path / "d.elstm").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        save(stack(3, (4,)), tmp_path / "d.elstm")
    assert [p.name for p in tmp_path.iterdir()] == ["d.elstm"]
