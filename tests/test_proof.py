"""The framework proves a conversion, or has it refused; where it cannot answer, the conversion is unverified."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from nets import stack, two_heads
from tfl8_nets import tfl8_stack

from edgelstm import importers, peers, proof, reference, reference_tfl8
from edgelstm.cli import main
from edgelstm.errors import CheckpointError, InputError, MissingError, PeerError
from edgelstm.model import Meta
from edgelstm.peer_process import Answers
from edgelstm.proof import prove
from edgelstm.tfl8_model import variant

GOLDEN = Path(__file__).parent / "golden"
KERAS = GOLDEN / "keras" / "keras315_stack.keras"
TORCH = GOLDEN / "torch" / "activity.pt"


@pytest.fixture
def framework(monkeypatch):
    """Sets what answers in the framework's place: a function of the inputs, or an exception."""

    def answer_with(answer):
        def run(path, xs, **options):
            if isinstance(answer, Exception):
                raise answer
            return Answers(tuple(answer(xs)), "peer 1.0")

        monkeypatch.setattr(peers, "run_checkpoint", run)

    return answer_with


def test_a_framework_that_answers_alike_proves_it(framework):
    model = two_heads()
    framework(lambda xs: reference.run(model, xs))
    found = prove(model, "file")
    assert found.peer == "peer 1.0" and 0 < found.error < 5e-6
    assert str(found).startswith("proven: peer 1.0 answers alike on 3 random sequences")


def test_what_float32_itself_moves_is_allowed_and_told(framework, monkeypatch):
    model = two_heads()
    off = [0.0]
    framework(lambda xs: [y + off[0] for y in reference.run(model, xs)])
    monkeypatch.setattr(proof, "STEADY", 0.0)
    monkeypatch.setattr(proof, "ROUNDINGS", 1e9)
    off[0] = 5e-4
    assert "this model is unsteady: float32 alone moves its answers by" in str(prove(model, "file"))
    off[0] = 2e-3
    with pytest.raises(CheckpointError, match=r"at most 0.001 is allowed"):
        prove(model, "file")


def test_sequences_have_the_windows_length(framework):
    shapes = []

    def run(xs):
        shapes.extend(x.shape for x in xs)
        return reference.run(model, xs)

    framework(run)
    for window, steps in ((None, 24), (7, 7)):
        model = stack(2, (4,), meta=Meta(window=window))
        prove(model, "file")
        assert shapes.pop() == (3, steps, 2)


@pytest.mark.parametrize("output", [0, 1])
@pytest.mark.parametrize("off", [1e-5, -1e-3])
def test_one_wrong_number_is_refused(framework, output, off):
    model = two_heads()

    def wrong(xs):
        ys = reference.run(model, xs)
        ys[output][1].flat[1] += off * max(1, np.abs(ys[output]).max())
        return ys

    framework(wrong)
    with pytest.raises(CheckpointError, match=rf"does not answer as peer 1\.0 does: output {output} is off by"):
        prove(model, "file")


def test_swapped_gates_are_refused(framework):
    model = stack(2, (5,))
    cell = model.layers[0]
    swapped = replace(cell, kernel=cell.kernel[[1, 0, 2, 3]], recurrent=cell.recurrent[[1, 0, 2, 3]])
    framework(lambda xs: reference.run(replace(model, layers=(swapped, *model.layers[1:])), xs))
    with pytest.raises(CheckpointError, match="not converted"):
        prove(model, "file")


def test_other_shapes_and_answers_that_are_no_numbers_are_refused(framework):
    model = stack(2, (5,))
    framework(lambda xs: reference.run(model, xs, every_step=True))
    with pytest.raises(CheckpointError, match=r"shape \(3, 24, 2\), the model as read \(3, 2\)"):
        prove(model, "file")
    framework(lambda xs: [np.full((3, 2), np.nan)])
    with pytest.raises(CheckpointError, match="NaN"):
        prove(model, "file")


def test_what_cannot_run_is_unverified_and_says_how_to_verify(framework):
    model = stack(2, (5,))
    framework(MissingError("it needs keras (No module): pip install tensorflow; pip install --no-deps tf_keras"))
    found = prove(model, "file")
    assert not found.peer and str(found) == (
        "unverified: it needs keras (No module); to verify: pip install tensorflow && pip install --no-deps tf_keras, "
        "and convert again"
    )
    errors = (PeerError("the file crashed"), CheckpointError("it needs trust"), InputError("x: 24 steps, it is for 7"))
    for error in errors:
        framework(error)
        text = str(prove(model, "file", image="m.elstm"))
        assert text.startswith(
            f"unverified: {error}; to verify: edgelstm validate m.elstm --data X.npy --reference Y.npy"
        )


def test_a_state_dict_has_no_forward_of_its_own():
    text = str(prove(importers.read(TORCH, head="relu,softmax"), TORCH))
    assert "holds tensors and no code to run" in text and "edgelstm.validate('MODEL.elstm', module)" in text


# ---- convert ----


def convert(*arguments, code=0):
    result = CliRunner().invoke(main, ["convert", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


@pytest.fixture
def image(tmp_path):
    return tmp_path / "m.elstm"


def test_convert_says_what_proved_it(framework, image):
    model = importers.read(KERAS)
    framework(lambda xs: reference.run(model, xs))
    assert "conversion proven: peer 1.0" in convert(KERAS, "-o", image)


def test_convert_writes_nothing_where_the_framework_disagrees(framework, image):
    model = importers.read(KERAS)
    framework(lambda xs: [y + 1 for y in reference.run(model, xs)])
    assert "does not answer as peer 1.0" in convert(KERAS, "-o", image, code=2)
    assert not image.exists()
    said = convert(KERAS, "-o", image, "--no-verify")
    assert image.exists() and "conversion" not in said


def test_convert_says_that_it_is_unverified(framework, image):
    framework(MissingError("it needs keras: pip install tensorflow"))
    said = convert(KERAS, "-o", image)
    assert "conversion unverified" in said and "pip install tensorflow, and convert again" in said and image.exists()
    framework(PeerError("it crashed"))
    assert f"edgelstm validate {image}" in convert(KERAS, "-o", image)


def test_a_live_module_proves_itself(monkeypatch):
    model = stack(2, (3,))
    monkeypatch.setattr(peers, "is_module", lambda value: value is model)
    monkeypatch.setattr(peers, "run_torch", lambda module, xs, **options: Answers(reference.run(model, xs), "torch 2"))
    assert prove(model, model).peer == "torch 2"
    assert proof.SEQUENCES == 3


@pytest.mark.parametrize(
    "settings,said",
    [
        (
            {"rounding": "halfup", "factors": "double", "ties": "exact"},
            r"\(default kernels: [^)]*rounding halfup[^)]*\)",
        ),
        ({"rounding": "single", "ties": "even"}, r"\(default kernels: .*which ai-edge-litert:builtin:\S+ "),
        ({"flavour": "micro", "ties": "away"}, r"\), if it rounds likewise; the image has flavour micro.*tflite-micro"),
    ],
)
def test_an_images_own_bytes_are_told_from_a_runtimes(monkeypatch, settings, said):
    """One runtime, whose kernels are all those of x86: what it cannot prove it says, and who could."""
    model = tfl8_stack(9, (33,), 20, last=False, seed=4)
    there = variant(model, runtime="tflite-runtime:default:x86_64")

    def run(path, xs, runtime, *, resolver, timeout):
        return Answers(reference_tfl8.run(there, xs), "tflite-runtime 2.14.0")

    monkeypatch.setattr(peers, "runtimes", lambda: ["tflite-runtime"])
    monkeypatch.setattr(peers, "run_tflite", run)
    monkeypatch.setattr(proof.platform, "machine", lambda: "x86_64")
    found = prove(variant(model, **settings), "file")
    assert re.search(said, str(found)), str(found)
    assert bool(found.beside) == ("exact" not in settings.values())
    wrong = replace(model.layers[1], bias=model.layers[1].bias + 3000)
    with pytest.raises(CheckpointError, match="whatever its way of rounding"):
        prove(replace(model, layers=(model.layers[0], wrong, *model.layers[2:])), "file")


def test_without_a_runtime_int8_is_unverified(monkeypatch):
    monkeypatch.setattr(peers, "runtimes", list)
    assert "unverified: no TFLite runtime is installed" in str(prove(tfl8_stack(3, (5,), 2), "file"))
