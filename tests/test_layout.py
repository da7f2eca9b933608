"""layout.py: the weights' second layout. That C reads it is `python tools/test_c.py --rows`."""

from pathlib import Path

import numpy as np
import pytest
from nets import signal, stack

from edgelstm.description import LAYOUTS, checksum, describe
from edgelstm.errors import ImageError, ModelError
from edgelstm.image import pack
from edgelstm.layout import in_layout
from edgelstm.quantization import quantize
from edgelstm.runner import Runner

IMAGES = sorted((Path(__file__).parent / "golden" / "images").glob("*.elstm"))


def test_rows_are_contiguous():
    model = quantize(stack(3, (9,), head=2), signal((4, 9, 3)))
    image = pack(model, layout="rows")
    d = describe(image)
    assert d.layout == "g8r4ifgo" and d.layers == describe(pack(model)).layers
    for layer in model.layers:
        for name in ("kernel", "recurrent"):
            matrix = getattr(layer, name, None)
            for row in () if matrix is None else matrix.reshape(-1, matrix.shape[-1]):
                assert row.tobytes() in image


def test_every_golden_image_there_and_back():
    moved = 0
    for path in IMAGES:
        image = path.read_bytes()
        if describe(image).number_type == "f32":
            continue
        there = in_layout(image, "rows")
        assert len(there) == len(image) and in_layout(there, "rows") == there
        assert in_layout(there, "standard") == image, path.name
        moved += sum(a != b for a, b in zip(there, image, strict=True)) > 12
    assert moved >= 30  # those with a matrix of more than a quad of columns


def test_what_has_no_such_layout_is_refused():
    model = stack(3, (4,))
    with pytest.raises(ModelError, match="f32 model has no rows layout"):
        pack(model, layout="rows")
    with pytest.raises(ModelError, match="expected one of standard, rows"):
        pack(model, layout="columns")


def test_this_machine_reads_the_standard_layout_alone():
    image = pack(quantize(stack(3, (4,)), signal((4, 9, 3))), layout="rows")
    with pytest.raises(ImageError, match=r"build|support"):
        Runner(image)


def test_an_inconsistent_image_is_refused():
    image = bytearray(pack(quantize(stack(3, (4,)), signal((4, 9, 3)))))
    tensors, ops = (int.from_bytes(image[at : at + 4], "little") for at in (64, 72))
    for at, value in ((tensors + 20, 255), (ops + 2, 4), (ops + 20, 9)):  # a width; the record's size; a function
        changed = image.copy()
        changed[at] = value
        changed[16:20] = checksum(changed).to_bytes(4, "little")
        with pytest.raises(ImageError):
            in_layout(bytes(changed), "rows")


def test_layouts_are_told_apart():
    assert len({*LAYOUTS.values()}) == 2 and all(len(name) == 8 for name in LAYOUTS.values())
    assert np.array_equal(sorted(LAYOUTS), ["rows", "standard"])
