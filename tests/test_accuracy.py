"""The accuracy laws: on every committed net, s8 stays within 0.5 dB of the same int8 weights with exact gates and sums,
and is never below TFLite's full int8 of the same samples."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measured_nets import CELLS, NETS, walk
from simulate import decibels, simulate

import edgelstm.importers
from edgelstm import peers, recording, reference, reference_s8
from edgelstm.errors import CheckpointError
from edgelstm.exporters import tflite, tflite_dense
from edgelstm.layers import Activate, Dense, Last, Lstm
from edgelstm.model import QuantizedModel
from edgelstm.quantization import quantize, quantize_with_rows

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"
ALLOWED = 0.5  # dB


def noisy_walks(model):
    """For checkpoints without data of their own: samples and data, a tuple of [N, T, width] each."""
    random = np.random.default_rng(1)
    return tuple(tuple(walk(random, count, 40, model.width(name)) for name in model.inputs) for count in (64, 48))


def temperatures(model):
    """Windows of the recording that forecasters were fitted to, scaled as then, and of the weeks they are scored on."""
    recorded = recording.load()
    low, high = recorded.values[recorded.fit].min(), recorded.values[recorded.fit].max()
    steps = model.meta.window
    windows = np.lib.stride_tricks.sliding_window_view((recorded.values - low) / (high - low), steps)[..., None]
    first, last = recorded.fit.start, recorded.fit.stop
    return (windows[first : last - steps : 97].astype(np.float32),), (windows[last::199].astype(np.float32),)


def digits(model):
    """Every sixth image to calibrate on; those of the test's writers to measure on."""
    with np.load(ROOT / "examples" / "tutorials" / "digits.npz") as stored:
        images = stored["images"].astype(np.float32) / 16
    return (images[:1437:6],), (images[1437:],)


DATA = {
    "digits.keras": digits,
    "digits.pt": digits,
    "machine_temp.keras": temperatures,
    "short_windows.keras": temperatures,
    "relu_cell.keras": temperatures,
    **dict.fromkeys([f"variant_{name}.keras" for name in ("masked", "stacked", "cnn_lstm", "gru")], digits),
}
"""What gives a checkpoint's (samples, data), by its name; noisy_walks for others."""

TWO_LINEAR = ("activity", "bfloat16", "double", "half", "training")
"""Checkpoints of tests/golden/torch with two Linear layers, by how their names begin: their head is relu,softmax."""

WHOLE = ("variant_attention.keras", "variant_bidirectional.keras")
"""Checkpoints whose answers need all steps; these laws are about every step."""

CHECKPOINTS = sorted(
    str(path.relative_to(ROOT))
    for folder in (GOLDEN / "keras", GOLDEN / "torch", ROOT / "examples", ROOT / "edgelstm" / "demo_data")
    for path in folder.rglob("*")
    if path.suffix in (".h5", ".keras", ".pt", ".safetensors")
    and path.name not in WHOLE
    and path.parent.name != "kinds"
)


@dataclass(frozen=True, eq=False)
class Case:
    model: Any
    samples: Any
    data: Any
    quantized: QuantizedModel
    rows: Any
    exact: Any  # of every step
    found: Any


def case_of(model, samples, data):
    quantized, rows = quantize_with_rows(model, samples)
    exact = reference.run(model, data, every_step=True)
    return Case(model, samples, data, quantized, rows, exact, reference_s8.run_float(quantized, data, every_step=True))


@cache
def net(name):
    model, samples, data = NETS[name]()
    return case_of(model, samples, (data,))


@cache
def cells(name):
    model, samples, data = CELLS[name]()
    return case_of(model, samples, data if isinstance(data, tuple) else (data,))


def read(path):
    """The model of a committed checkpoint."""
    two = (ROOT / path).parent == GOLDEN / "torch" and Path(path).name.startswith(TWO_LINEAR)
    return edgelstm.importers.read(ROOT / path, head="relu,softmax" if two else None)


@cache
def checkpoint(path):
    """The case of a committed checkpoint; None for one that is there to be refused, or repeats another's weights."""
    if Path(path).name.startswith("refused_"):
        with pytest.raises(CheckpointError):
            read(path)
        return None
    model = read(path)
    first = next(other for other in CHECKPOINTS if fingerprint(other) == fingerprint(path))
    return case_of(model, *DATA.get(Path(path).name, noisy_walks)(model)) if first == path else None


@cache
def fingerprint(path):
    """What tells two checkpoints' models apart; None for one that is refused."""
    try:
        model = read(path)
    except CheckpointError:
        return None
    weights = [layer for layer in model.layers if isinstance(layer, Lstm | Dense)]
    return tuple((type(w).__name__, w.kernel.tobytes(), w.bias.tobytes(), w.activation) for w in weights)


def beside_exact_gates(case):
    """Every output of every step; the mean over sequences, so that one chaotic sequence does not decide."""
    ideal = simulate(case.model, case.quantized, case.rows, case.data)
    for name, y, s8, simulated in zip(case.model.outputs, case.exact, case.found, ideal, strict=True):
        pairs = [(decibels(a, b), decibels(a, c)) for a, b, c in zip(y, s8, simulated, strict=True)]
        reached, possible = np.mean(pairs, axis=0)
        assert reached > possible - ALLOWED, f"{name}: {reached:.2f} dB, {possible:.2f} dB with exact gates"
        assert reached > 15, f"{name}: {reached:.2f} dB"


def beside_tflite(case):
    """Likewise. Where TFLite cannot express a net, it must be for its activations or kinds of layers."""
    if tflite.refusals(case.model, "int8", 1):
        lstms = [layer for layer in case.model.layers if isinstance(layer, Lstm)]
        others = [layer for layer in case.model.layers if hasattr(layer, "activation") and layer not in lstms]
        assert (
            any((w.activation.name, w.gate_activation.name) != ("tanh", "sigmoid") for w in lstms)
            or any(w.activation.name not in tflite_dense.INT8 or w.activation.alpha for w in others)
            or any(not isinstance(layer, Lstm | Dense | Activate | Last) for layer in case.model.layers)
        )
        return
    streaming = tflite.build(case.model, "int8", case.samples, steps=1)
    answers = peers.run_tflite(streaming, case.data, every_step=True)
    for name, y, s8, other in zip(case.model.outputs, case.exact, case.found, answers.ys, strict=True):
        pairs = [(decibels(a, b), decibels(a, c)) for a, b, c in zip(y, s8, other, strict=True)]
        ours, theirs = np.mean(pairs, axis=0)
        assert ours >= theirs, f"{name}: {ours:.2f} dB, {theirs:.2f} dB in {answers.peer}"


needs_tflite = pytest.mark.skipif(not peers.runtimes(), reason="no TFLite runtime has a wheel for this Python")


@pytest.mark.parametrize("name", NETS)
def test_exact_gates_on_measured_nets(name):
    beside_exact_gates(net(name))


@pytest.mark.parametrize("name", CELLS)
def test_exact_gates_on_other_cells(name):
    beside_exact_gates(cells(name))


@pytest.mark.parametrize("name", [name for name in CELLS if "GRU" in name])
def test_a_gru_needs_the_finer_state_behind_its_h(name):
    """On the mean over outputs and sequences no net does better with an int8 h that it goes on from."""
    case = cells(name)
    narrow = simulate(case.model, case.quantized, case.rows, case.data, narrow=True)
    for exact, s8, other in zip(case.exact, case.found, narrow, strict=True):
        pairs = [(decibels(a, b), decibels(a, c)) for a, b, c in zip(exact, s8, other, strict=True)]
        kept, lost = np.mean(pairs, axis=0)
        assert kept > lost + 1


@pytest.mark.parametrize("path", CHECKPOINTS)
def test_exact_gates_on_committed_checkpoints(path):
    case = checkpoint(path)
    if case is not None:
        beside_exact_gates(case)


@needs_tflite
@pytest.mark.parametrize("name", NETS)
def test_tflite_on_measured_nets(name):
    beside_tflite(net(name))


@needs_tflite
@pytest.mark.parametrize("path", CHECKPOINTS)
def test_tflite_on_committed_checkpoints(path):
    case = checkpoint(path)
    if case is not None:
        beside_tflite(case)


def gained(case):
    """What 16 bits of h gain, in dB, on the mean over outputs and sequences."""
    small = quantize(case.model, case.samples, hidden_bits=16)
    wide = reference_s8.run_float(small, case.data, every_step=True)
    gains = [
        decibels(a, c) - decibels(a, b)
        for y, s8, s16 in zip(case.exact, case.found, wide, strict=True)
        for a, b, c in zip(y, s8, s16, strict=True)
    ]
    return float(np.mean(gains))


@pytest.mark.parametrize("name", NETS)
def test_an_int16_h_gains_on_measured_nets(name):
    assert gained(net(name)) > 0.2


@pytest.mark.parametrize("name", CELLS)
def test_an_int16_h_gains_on_other_cells(name):
    assert gained(cells(name)) > 0.2


def test_an_int16_h_gains_on_committed_checkpoints():
    """On each, and half of them ten times less error energy."""
    gains = [gained(case) for case in map(checkpoint, CHECKPOINTS) if case is not None]
    assert min(gains) > 3 and np.median(gains) > 10


def test_the_laws_are_applied():
    """Enough nets are neither repeated nor refused."""
    cases = [*map(net, NETS), *(case for case in map(checkpoint, CHECKPOINTS) if case is not None)]
    assert len(cases) >= 35
    assert sum(not tflite.refusals(case.model, "int8", 1) for case in cases) >= 18
