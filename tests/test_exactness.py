"""The ways of rounding: which an image has, which the runtimes at hand have, and what is said of both."""

import platform
from dataclasses import replace

import numpy as np
import pytest
from nets import signal, stack
from tfl8_nets import tfl8_stack

from edgelstm import Runner, pack, peers, read, save, variant
from edgelstm.errors import InputError
from edgelstm.exporters import tflite
from edgelstm.tfl8_model import ARITHMETIC
from edgelstm.validation import exactness, validate

needs_runtime = pytest.mark.skipif(not peers.runtimes(), reason="no TFLite runtime has a wheel for this Python")
X = signal((40, 12, 3))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("int8") / "m.tflite"
    tflite.write(stack(3, (9,), 16, last=False), path, "int8", X, steps=12)
    return path


def test_an_image_tells_its_way(file):
    model = read(file)
    assert len(exactness.ways(model)) > 3
    for way in exactness.ways(model):
        assert exactness.own_way(pack(variant(model, **way)), model) == way
    other = read(file)
    changed = other.layers[1].kernel.copy()
    changed[0, 0, 0] ^= 1
    layers = (other.layers[0], replace(other.layers[1], kernel=changed), *other.layers[2:])
    assert exactness.own_way(pack(replace(other, layers=layers)), model) is None


@needs_runtime
def test_which_way_is_exact(file, tmp_path, monkeypatch):
    """An image that rounds as the runtime does has its bytes; one that rounds otherwise is told whose it has."""
    runtime = peers.runtimes()[0]
    own = ARITHMETIC.get((runtime, "default", platform.machine()))
    if own is None:
        pytest.skip(f"how {runtime} rounds on {platform.machine()} is not known")
    model, quick = read(file), {"runtime": runtime, "drift_steps": 0}
    save(variant(model, **own), tmp_path / "own.elstm")
    report = validate(tmp_path / "own.elstm", file, X, exact=True, **quick)
    assert report.passed and report.rows[0].variant == "tfl8" and report.rows[0].required.startswith("every byte of")
    row = next(one for one in report.arithmetic if one.resolver == "default" and one.runtime.startswith(runtime))
    assert row.differing == 0 and row.values == 40 * 12 * 16 and row.exact == row.image
    assert {one.resolver for one in report.arithmetic} == set(peers.RESOLVERS)

    monkeypatch.setattr(peers, "RESOLVERS", {"default": "AUTO"})
    rounding = next(one for one in ("double", "halfup", "single") if one != own["rounding"])
    save(variant(model, **own | {"rounding": rounding}), tmp_path / "other.elstm")
    report = validate(tmp_path / "other.elstm", file, X, **quick)
    row = next(one for one in report.arithmetic if one.resolver == "default")
    assert f"rounding {rounding}" in row.image and row.exact and report.passed
    assert 0 < row.differing < 0.01 * row.values and f"rounding {own['rounding']}" in row.exact
    assert any(f"--for {runtime}:default:{platform.machine()}" in text for text in report.advice)
    assert not validate(tmp_path / "other.elstm", file, X, exact=True, **quick).passed


@needs_runtime
def test_an_image_of_another_file_fails(file, tmp_path, monkeypatch):
    """Other weights, all of them or one alone; which way of rounding the file has saves none."""
    monkeypatch.setattr(peers, "RESOLVERS", {"default": "AUTO"})
    other = tmp_path / "m.tflite"
    tflite.write(stack(3, (9,), 16, seed=1, last=False), other, "int8", X, steps=12)
    model = read(file)
    kernel = model.layers[1].kernel.copy()
    kernel[0, 0, 0] ^= 64
    layers = (model.layers[0], replace(model.layers[1], kernel=kernel), *model.layers[2:])
    for image in (read(other), replace(model, layers=layers)):
        report = validate(image, file, X, runtime=peers.runtimes()[0], drift_steps=0)
        (row,) = report.arithmetic
        assert row.image == "unknown" and not row.same and row.differing and row.exact
        assert not report.passed and not report.rows[0].passed
        assert any("another file" in note for note in report.notes)
        assert "was made of another file" in report.advice[0] and not any("--for" in text for text in report.advice)
    with pytest.raises(InputError, match="full-int8"):
        validate(stack(3, (9,), 16, last=False), file, X, exact=True)


def test_int8_doors_take_reals_and_integers():
    model = tfl8_stack(3, (5,), 2, floats=False)
    q = np.random.default_rng(0).integers(-100, 100, (4, 9, 3)).astype(np.int8)
    y = Runner(model).run(q)
    real = (0.02 * (q.astype(np.float64) + 5)).astype(np.float32)
    for data in (q, real):
        for recorded in (y, (np.float32(0.03) * (y.astype(np.int32) - 11)).astype(np.float32)):
            report = validate(model, recorded, data)
            assert report.rows[0].difference.max_error == 0 and report.rows[0].passed
    with pytest.raises(InputError, match="NaN"):
        validate(model, y, real * np.nan)
