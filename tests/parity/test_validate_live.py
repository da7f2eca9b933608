"""Every variant of ours against every reference that is live here; what is planted is found."""

from pathlib import Path

import numpy as np
import pytest

from edgelstm import importers, peers, quantize, read, save, validate, variant
from edgelstm.exporters import tflite

ROOT = Path(__file__).parents[2]
KERAS = ROOT / "examples" / "tutorials" / "short_windows.keras"
X = np.random.default_rng(0).uniform(0, 1, (24, 10, 1)).cumsum(axis=1).astype(np.float32) / 5


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """An image of each kind, of one Keras checkpoint; the tfl8 one of an int8 .tflite."""
    folder = tmp_path_factory.mktemp("images")
    model = read(KERAS)
    save(quantize(model, X), folder / "s8.elstm")
    tflite.write(model, folder / "int8.tflite", "int8", X, steps=10)
    save(read(folder / "int8.tflite"), folder / "tfl8.elstm")
    return folder


@pytest.mark.parametrize("kind", ["s8", "tfl8"])
def test_against_keras(images, kind):
    pytest.importorskip("keras")
    report = validate(images / f"{kind}.elstm", KERAS, X, by="framework", labels=X[:, -1], rmse_rise=0.5)
    assert report.passed and report.independent and "keras 3" in report.reference and not report.advice
    assert {row.variant for row in report.rows} >= {kind, "f32", "TFLite int8"}
    own = {(one.layer, one.tensor): one.difference.decibels for one in report.layers if one.variant == kind}
    assert len(own) >= 5 and {tensor for _, tensor in own} == {"h", "c", "y"}
    assert min(own.values()) > {"s8": 30, "tfl8": 20}[kind]
    drift = next(one for one in report.drift if one.variant == kind)
    assert [point.step for point in drift.points] == [1, 10, 100, 240]
    assert {task.who for task in report.tasks} >= {"reference", kind}


def test_by_a_tflite_written_of_the_checkpoint(images):
    if not peers.runtimes():
        pytest.skip("no TFLite runtime is installed")
    report = validate(images / "s8.elstm", KERAS, X, by="tflite", kind="int8", samples=X, drift_steps=0)
    assert report.passed and "of int8 numbers" in report.reference and report.independent
    row = next(row for row in report.rows if row.variant == "f32")
    assert row.difference.decibels > 30 and "dB" in row.required
    assert {row.variant for row in report.rows} == {"f32", "s8", "TFLite float", "TFLite dynamic"}


@pytest.mark.parametrize("runtime", ["tflite-runtime", "ai-edge-litert"])
def test_an_int8_image_beside_its_tflite(images, runtime):
    if runtime not in peers.runtimes():
        pytest.skip(f"{runtime} is not installed")
    report = validate(images / "tfl8.elstm", images / "int8.tflite", X, runtime=runtime)
    assert report.passed and {one.resolver for one in report.arithmetic} == set(peers.RESOLVERS)
    assert all(one.exact and one.runtime.startswith(runtime) for one in report.arithmetic)
    assert report.saturation and {one.variant for one in (*report.layers, *report.drift)} == {"tfl8"}


def test_against_a_live_torch_module():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = torch.nn.LSTM(3, 8, 2, batch_first=True)
            self.head = torch.nn.Linear(8, 2)

        def forward(self, x):
            return self.head(self.lstm(x)[0])

    module, x = Net(), np.random.default_rng(1).uniform(-1, 1, (8, 15, 3)).astype(np.float32)
    model = importers.read(module)
    report = validate(model, module, x, samples=x, cosine=0.999)
    assert (
        report.passed and report.reference.startswith("torch") and {row.variant for row in report.rows} >= {"f32", "s8"}
    )
    assert {one.variant for one in report.drift} == {"f32", "s8"}
    with torch.no_grad():
        module.head.weight.mul_(-1)
    report = validate(model, module, x)
    assert not report.passed and "made of other weights" in report.advice[0]


def test_against_onnx_runtime():
    pytest.importorskip("onnxruntime")
    path = ROOT / "tests" / "golden" / "onnx" / "tf2onnx_bidirectional.onnx"
    report = validate(read(path), path, by="framework", drift_steps=0)
    assert report.passed and "onnxruntime" in report.reference and report.layers


@pytest.mark.skipif(not peers.has_micro(), reason="tflite-micro is not installed")
def test_an_image_for_micro_beside_micro(images):
    """Of its own arithmetic, that of Micro's runtime is exact, and judged by; of another's it is told."""
    file = images / "int8.tflite"
    model = variant(read(file), runtime="tflite-micro")
    report = validate(model, file, X[:4], exact=True, drift_steps=0)
    (row,) = [one for one in report.arithmetic if one.runtime.startswith("tflite-micro")]
    assert report.passed and row.differing == 0 and "flavour micro" in row.image
    assert report.rows[0].required.startswith("every byte of tflite-micro")
    report = validate(read(file), file, X[:4], drift_steps=0)
    (row,) = [one for one in report.arithmetic if one.runtime.startswith("tflite-micro")]
    assert "flavour micro" in row.exact or not row.differing
