"""What stands in an image's tensors is what the NumPy references compute, c among it; and the image stays the same."""

from pathlib import Path

import numpy as np
import pytest
from cells import CASES, FLOATS, case, inputs_of, samples_of
from nets import signal, stack
from tfl8_nets import tfl8_stack

from edgelstm import Runner, pack, quantize, reference, reference_s8, reference_tfl8
from edgelstm.layers import SIGMOID
from edgelstm.meta import Port, Scaler
from edgelstm.model import Meta
from edgelstm.validation import probe

IMAGES = sorted((Path(__file__).parent / "golden" / "images").glob("*.elstm"))
MODEL, X = stack(3, (9, 5), 4), signal((6, 12, 3))


def written(model):
    """The reference's names of tensors, by layer and the probe's name."""
    names = {}
    for layer in model.layers:
        kind = type(layer).__name__.removeprefix("Quantized").removeprefix("Tfl8")
        first = "h" if kind in ("Lstm", "Gru", "Rnn") else "x" if kind == "Mask" else "y"
        names[layer.name, first] = layer.writes[0]
        names[layer.name, "mask"] = layer.writes[-1]
        names[layer.name, "c"] = f"{layer.name}.c"
    return names


def seen(model, xs, traced, most=0.0):
    """The tensors of a model's image, each compared with the trace of its reference."""
    names = written(model)
    found = []
    for tensor, values in probe.run(pack(model), xs):
        expected = traced[names[tensor.name, tensor.tensor]]
        assert values.shape == expected.shape and (values.dtype.kind == "f") == (tensor.type == "f32")
        assert np.abs(values.astype(np.float64) - expected).max() <= most
        found.append((tensor.name, tensor.tensor, tensor.type))
    return found


@pytest.mark.parametrize("name", sorted(CASES))
def test_cells_in_floats_and_integers(name):
    model = case(name)
    xs = inputs_of(model, 3, 9)
    traced = {}
    reference.run(model, xs, trace=traced)
    assert seen(model, xs, traced, 1e-5)
    if name in FLOATS:
        return
    small = quantize(model, samples_of(model))
    traced = {}
    integers = reference_s8.quantize_inputs(small, xs)
    reference_s8.run(small, integers, trace=traced)
    seen(small, integers, traced)


def test_every_lstm_shows_its_c():
    small = quantize(MODEL, X)
    integers, traced = reference_s8.quantize_inputs(small, (X,)), {}
    reference_s8.run(small, integers, trace=traced)
    found = seen(small, integers, traced)
    assert [one for one in found if one[0] == "lstm0"] == [("lstm0", "h", "s8"), ("lstm0", "c", "s16")]
    assert ("lstm1", "c", "s16") in found and found[-1] == ("dense", "y", "s16")
    scales = {(t.name, t.tensor): t.scale for t in probe.tensors(pack(small))}
    layers = {layer.name: layer for layer in small.layers}
    assert scales["lstm0", "c"] == np.float32(layers["lstm0"].cell_scale)

    given = tfl8_stack(3, (5, 4), 2)
    traced = {}
    reference_tfl8.run(given, [X], trace=traced)
    found = seen(given, (X,), traced)
    assert ("lstm0", "c", "s16") in found and ("lstm1", "h", "s8") in found
    cell = next(t for t in probe.tensors(pack(given)) if t.tensor == "c")
    assert cell.scale == 2.0**-12 and (cell.least, cell.most) == (-32767, 32767)


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.stem)
def test_its_outputs_are_the_images(path):
    """Of every kind of layer there is: what the copy shows of an output's tensor is what the image answers."""
    runner = Runner(path)
    described = runner.description
    random, steps = np.random.default_rng(0), described.example_steps or 8
    xs = []
    for k, (x, single) in enumerate(zip(runner.xs, runner._single, strict=True)):
        shape = (2, x.shape[1]) if single else (2, steps, x.shape[1])
        dtype = np.int16 if runner.integer else x.dtype
        if described.vocabularies[k]:
            xs.append(random.integers(0, min(described.vocabularies[k], 99), shape).astype(dtype))
        elif dtype == np.float32:
            xs.append(random.uniform(-1, 1, shape).astype(dtype))
        else:
            xs.append(random.integers(-100, 100, shape).astype(dtype))
    run = runner.run_integers if runner.integer else runner.run
    made = run(tuple(xs))
    answers = dict(zip(described.outputs, made if isinstance(made, tuple) else (made,), strict=True))
    writers = {k: (layer.name, place) for layer in described.layers for place, k in enumerate(layer.writes)}
    found: dict = {}
    for tensor, values in probe.run(runner.image, xs):
        found.setdefault(tensor.name, []).append(values)
    for k, y in answers.items():
        if k not in writers:  # an input
            continue
        name, place = writers[k]
        assert np.allclose(found[name][place].reshape(y.shape), y, rtol=1e-6, atol=1e-6 if y.dtype == np.float32 else 0)


def test_scalers_stay_where_they_are():
    port = Port(scaler=Scaler(np.full(4, 2.0), np.ones(4)))
    scaled = stack(3, (9, 5), 4, meta=Meta((Port(scaler=Scaler(np.full(3, 0.5), np.zeros(3))),), (port,)))
    plain = [values for _, values in probe.run(pack(MODEL), (X,))]
    found = [values for _, values in probe.run(pack(scaled), (X,))]
    assert len(plain) == 6 and all((a == b).all() for a, b in zip(plain, found, strict=True))


def test_ends_that_count():
    """Where a function ends by itself nothing saturates."""
    ends = {t.name: (t.least, t.most) for t in probe.tensors(pack(quantize(MODEL, X))) if t.tensor in ("y", "")}
    assert ends["x"] == (-32767, 32767) and ends["dense"] == (-32767, 32767)
    bounded = quantize(stack(3, (4,), 2, head_activation=SIGMOID), X)
    assert {t.name: t.most for t in probe.tensors(pack(bounded))}["dense"] is None
    assert all(t.most is None for t in probe.tensors(pack(MODEL)))
