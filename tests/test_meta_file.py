"""The meta file: three scalers, every key honoured or refused."""

import numpy as np
import pytest
from nets import stack

from edgelstm import meta_file
from edgelstm.description import describe
from edgelstm.errors import InputError
from edgelstm.image import pack

MODEL = stack(2, (3,), head=2)


def read(tmp_path, text, model=MODEL):
    path = tmp_path / "meta.toml"
    path.write_text(text, "utf-8")
    return meta_file.describe(model, path).meta


def test_everything_reaches_the_image(tmp_path):
    text = """
        window = 60
        hop = 5
        [[inputs]]
        channels = ["heat", "load"]
        units = ["°C", "kW"]
        scaler = { min = [0, -10], max = [100, 10], range = [-1, 1] }
        [[outputs]]
        labels = ["calm", "storm"]
    """
    path = tmp_path / "meta.toml"
    path.write_text(text, "utf-8")
    found = describe(pack(meta_file.describe(MODEL, path))).meta
    assert (found.window, found.hop) == (60, 5)
    assert found.inputs[0].channels == ("heat", "load") and found.inputs[0].units == ("°C", "kW")
    assert found.outputs[0].labels == ("calm", "storm") and found.outputs[0].scaler is None
    scaler = found.inputs[0].scaler
    np.testing.assert_allclose(np.array([[0, -10], [50, 0], [100, 10]]) * scaler.scale + scaler.offset,
                               [[-1, -1], [0, 0], [1, 1]], atol=1e-6)  # fmt: skip


@pytest.mark.parametrize(
    ("scaler", "raw", "seen"),
    [
        ("{ min = 10, max = 30 }", [10, 20], [0, 0.5]),
        ("{ mean = [1, 2], deviation = [2, 4] }", [5, 0], [2, -0.5]),
        ("{ scale = 0.5, offset = [1, -1] }", [2, 2], [2, 0]),
    ],
)
def test_scalers(tmp_path, scaler, raw, seen):
    found = read(tmp_path, f"[[inputs]]\nscaler = {scaler}").inputs[0].scaler
    np.testing.assert_allclose(np.array(raw) * found.scale + found.offset, seen, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("windows = 3", "unknown key 'windows'"),
        ("window = 0", "window is 0"),
        ("window = 'x'", "window is not a whole number"),
        ("[[inputs]]\nunit = ['C']", "unknown key 'unit'"),
        ("[[inputs]]\nunits = ['C']", "a list of 2 texts"),
        ("[[inputs]]\n[[inputs]]", "2 [[inputs]] tables, the model has 1 inputs"),
        ("inputs = [3]", "input 1 is not a table"),
        ("[[inputs]]\nscaler = { min = 1 }", "expected min and max"),
        ("[[inputs]]\nscaler = { min = 1, max = 1 }", "max must lie above min"),
        ("[[inputs]]\nscaler = { min = 1, max = 2, range = 3 }", "range is not a list of 2 numbers"),
        ("[[inputs]]\nscaler = { mean = 1, deviation = 0 }", "a deviation is not positive"),
        ("[[inputs]]\nscaler = { scale = nan, offset = 0 }", "NaN"),
        ("[[inputs]]\nscaler = { scale = 0, offset = 0 }", "could not be inverted"),
        ("[[inputs]]\nscaler = { scale = 1e300, offset = 0 }", "infinite"),
        ("[[inputs]]\nscaler = { scale = [1, 2, 3], offset = 0 }", "a list of 2 numbers"),
        ("[[inputs]]\nscaler = { scale = true, offset = 0 }", "numbers"),
        ("[[", "not valid TOML"),
    ],
)
def test_refusals_name_file_and_key(tmp_path, text, said):
    with pytest.raises(InputError) as error:
        read(tmp_path, text)
    assert "meta.toml" in str(error.value) and said in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.toml: cannot be read"):
        meta_file.describe(MODEL, tmp_path / "none.toml")
