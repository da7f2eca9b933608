"""Files of every layer, without a runtime: they read back to what was written, and what is not written says why.

tests/parity/test_tflite_export_parity.py runs them.
"""

import re
import typing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from written_models import (
    AROUND,
    CELLS,
    NUMBERS,
    REFUSED,
    STEPS,
    UNITS,
    WIDTH,
    data,
    dense,
    every_step,
    gru,
    lstm,
    net,
    rnn,
    streamed,
    w,
)

from edgelstm import importers, reference, save
from edgelstm.cli import main
from edgelstm.errors import ExportError, InputError
from edgelstm.exporters import tflite, tflite_states
from edgelstm.exporters.tflite_functions import reason
from edgelstm.importers import onnx_feeds
from edgelstm.importers import tflite as importer
from edgelstm.importers.tflite_file import parse
from edgelstm.layers import ACTIVATIONS, PARAMETERS, Activation, Gru, Layer, Lstm, Rnn

MODELS = CELLS | AROUND
LIMIT = 5e-6  # of max(1, max|y|)


def read_back(file, xs, expected):
    """The model of a file, and its largest error, of max(1, max|y|). Its axes may stand in another order."""
    made = importer.reading(file, "")
    ports = [port.name for port in made.graph.inputs]
    for order in ((0, 1, 2), (0, 2, 1)):
        turned = [x.transpose(order) if x.ndim == 3 else x for x in xs]
        try:
            back = onnx_feeds.given(made, turned)
        except (InputError, ValueError):
            continue
        if all(back[name].shape == x.shape and (back[name] == x).all() for name, x in zip(ports, xs, strict=True)):
            break
    answers = dict(zip((port.name for port in made.graph.outputs), expected, strict=True))
    wanted = onnx_feeds.taken(made, answers, len(xs[0]))
    worst = 0.0
    for y, z in zip(reference.run(made.model, turned), wanted, strict=True):
        assert y.shape == z.shape
        worst = max(worst, np.abs(y - z).max() / max(1, np.abs(z).max()))
    return made.model, worst


@pytest.mark.parametrize("name", MODELS)
def test_what_is_written_reads_back(name):
    model = MODELS[name]
    xs = data(model)
    expected = reference.run(model, xs)
    assert all(y.any() for y in expected)  # zeros would agree with anything
    _, error = read_back(tflite.build(model, steps=STEPS, batch=2), xs, expected)
    assert error <= LIMIT


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if streamed(model)])
def test_a_file_of_one_step_reads_back_as_the_model(name):
    """Its states and the steps that it keeps are those of a run."""
    model = MODELS[name]
    xs = data(model)
    again = importer.reading(tflite.build(model, steps=1), "").model
    for y, z in zip(reference.run(again, xs, every_step=True), every_step(model, xs), strict=True):
        assert np.abs((y[:, -1] if z.ndim < 3 else y) - z).max() <= LIMIT * max(1, np.abs(z).max())


@pytest.mark.parametrize("name", CELLS)
def test_cells_read_back_as_the_cells_they_are(name):
    model = CELLS[name]
    again = importer.reading(tflite.build(model, steps=STEPS), "").model
    written, read = ([layer for layer in m.layers if isinstance(layer, Lstm | Gru | Rnn)] for m in (model, again))
    assert sorted(type(layer).__name__ for layer in read) == sorted(type(layer).__name__ for layer in written)
    if len(read) == 1 and not read[0].masked and read[0].reads[0] == "x":
        for key in ("kernel", "recurrent", "bias", "reset_bias", "projection", "peephole", "norm"):
            mine, its = (getattr(layer, key, None) for layer in (written[0], read[0]))
            coupled = getattr(written[0], "coupled", False) and not read[0].coupled  # in a loop f is a gate of its own
            if not coupled:
                assert (mine is None) == (its is None) and (mine is None or np.allclose(mine, its, 1e-6, 1e-7)), key


@pytest.mark.parametrize("layer", [dense(), gru(), rnn()], ids=lambda layer: type(layer).__name__)
def test_elu_is_written_for_plain_kernels_and_reads_back(layer):
    """None has the operator ELU, and what is written for it is one function again."""
    model = net(replace(layer, activation=Activation("elu", 1.0)))
    file = tflite.build(model, steps=STEPS, batch=2)
    assert "ELU" not in operators(file)
    xs = data(model)
    again, error = read_back(file, xs, reference.run(model, xs))
    assert error <= LIMIT
    assert [type(made) for made in again.layers] == [type(layer)]
    assert again.layers[0].activation == Activation("elu", 1.0)


@pytest.mark.parametrize("name", ["lstm", "lstm gates", "gru", "gru reset before"])
def test_swapped_gates_are_seen(name):
    model = CELLS[name]
    (layer,) = model.layers
    order = [1, 0, *range(2, len(layer.kernel))]
    wrong = replace(model, layers=(replace(layer, kernel=layer.kernel[order]),))
    xs = data(model)
    _, error = read_back(tflite.build(wrong, steps=STEPS, batch=2), xs, reference.run(model, xs))
    assert error > 1000 * LIMIT


@pytest.mark.parametrize("name", ["lstm", "lstm all", "gru", "gru masked", "rnn", "conv", "conv of each value"])
def test_dynamic_range_is_the_model_with_rounded_weights(name):
    model = MODELS[name]
    xs = data(model)
    sizes = [len(tflite.build(model, kind, steps=STEPS, batch=2)) for kind in ("float", "dynamic")]
    again, error = read_back(tflite.build(model, "dynamic", steps=STEPS, batch=2), xs, reference.run(model, xs))
    assert again.notes[0].endswith("its answers differ by that rounding") and LIMIT < error < 0.02, sizes


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_operators_is_refused_by_name(name):
    model, words = REFUSED[name]
    with pytest.raises(ExportError, match=f"TFLite cannot express this model: .*{words}"):
        tflite.build(model, steps=STEPS)


def test_every_function_is_written_or_says_why():
    for name in ACTIVATIONS:
        numbers = NUMBERS.get(name, (0.3,) * PARAMETERS.get(name, 0))
        assert bool(reason(Activation(name, *numbers))) == (name in ("threshold", "squareplus"))


def test_int8_is_refused_by_name_where_there_are_no_operators():
    for name in ("gru", "rnn", "norm", "softmax over steps", "attention", "mask", "dense gelu", "lstm peepholes"):
        assert any("float or dynamic" in why for why in tflite.refusals(MODELS[name], "int8", STEPS)), name


# ---- the table in docs/tflite.md ----


def table():
    """Per row of the table: the operators it names, and whether it tells of int8."""
    text = (Path(__file__).parents[1] / "docs" / "tflite.md").read_text("utf-8")
    lines = text.split("| layer | operators | int8 |")[1].split("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    return {row[0]: (set(re.findall(r"\b[A-Z][A-Z0-9_]{2,}\b", row[1])), row[1], len(row) > 2) for row in rows}


def operators(file):
    return {operator.op for graph in parse(file).subgraphs for operator in graph.operators}


def test_the_table_tells_every_operator():
    rows, told, seen = table(), {"RESHAPE"}, set()
    assert set(rows) == {layer.__name__ for layer in typing.get_args(Layer)} | {"a function", "a loop"}
    for name, model in MODELS.items():
        kinds = {type(layer).__name__ for layer in model.layers}
        for more in ("a function", "a loop"):
            if any(more in rows[kind][1] for kind in kinds) or (more == "a function" and kinds & {"Conv1d", "Gru"}):
                kinds.add(more)
        allowed = set().union(*(rows[kind][0] for kind in kinds), {"RESHAPE"})
        if "a loop" in kinds:
            allowed |= rows["a function"][0]
        found = operators(tflite.build(model, steps=STEPS))
        assert found <= allowed, (name, found - allowed)
        seen |= found
        told |= allowed
    never = {"QUANTIZE"}  # of int8
    assert told - seen == never, told - seen - never


def test_the_table_tells_int8():
    rows = table()
    written = {
        type(layer).__name__
        for model in MODELS.values()
        if not tflite.refusals(model, "int8", STEPS)
        for layer in model.layers
    }
    assert written == {name for name, (_, _, int8) in rows.items() if int8} - {"a function"}


# ---- the command ----


def call(*arguments, code=0):
    result = CliRunner().invoke(main, ["export-tflite", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output + result.stderr
    if code:
        assert result.stderr.count("\n") == 1 and result.stderr.startswith("edgelstm: "), result.stderr
    return result.stderr if code else result.stdout


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.tflite").write_bytes(tflite.build(CELLS["lstm stacked"], steps=STEPS))
    np.save("X.npy", data(CELLS["lstm stacked"], 3, 20)[0])
    return tmp_path


def test_the_command_writes_each_kind(here):
    sizes = []
    for kind in ("float", "dynamic", "int8"):
        more = ("--samples", "X.npy") if kind == "int8" else ()
        said = call("m.tflite", "-o", "w.tflite", "--kind", kind, *more, "--no-verify")
        assert f"w.tflite: {kind}, 8 steps a call, " in said and "bytes" in said
        assert "proven" not in said and "run by" not in said
        sizes.append((here / "w.tflite").stat().st_size)
        assert type(importers.read("w.tflite")).__name__ == ("Tfl8Model" if kind == "int8" else "Model")
    said = call("m.tflite", "-o", "w.tflite", "--steps", 1, "--no-verify")
    assert "1 step a call, states are kept" in said and "note: before a new sequence call reset_all_variables()" in said
    assert importers.read("w.tflite").meta.window == 1
    (here / "meta.toml").write_text("window = 5\n")
    call("m.tflite", "-o", "w.tflite", "--meta", "meta.toml", "--batch", 3, "--no-verify")
    assert onnx_feeds.fixed_batch(importer.reading((here / "w.tflite").read_bytes(), "")) == 3
    assert importers.read("w.tflite").meta.window == 5


def told(model, kind="float", steps=1):
    plan = tflite.planned(model, kind, steps)
    return tflite_states.call(plan), list(tflite_states.notes(plan))


def test_who_runs_a_file_is_told_what_its_states_need():
    own = "before a new sequence call reset_all_variables(): lstm would carry on"
    assert told(CELLS["lstm"]) == ("1 step a call, states are kept", [own])
    assert told(CELLS["lstm"], steps=STEPS) == (f"{STEPS} steps a call", [own])
    new = "a new sequence needs a new interpreter: nothing else resets gru"
    assert told(CELLS["gru"]) == ("1 step a call, states are kept", [new])
    assert told(CELLS["gru"], steps=STEPS) == (f"{STEPS} steps a call", [])
    mixed = net(lstm(writes=("a",)), gru(reads=("a",), inputs=UNITS))
    assert told(mixed)[1] == [f"{new}, reset_all_variables() resets lstm alone"]
    assert told(net(dense())) == ("1 step a call, without states", [])
    assert told(AROUND["conv causal"])[1] == ["a new sequence needs a new interpreter: nothing else resets conv"]


def test_a_function_that_tflite_micro_does_not_compute_is_warned_of():
    relu = Activation("relu")
    _, (_, said) = told(net(lstm(activation=relu, cell_clip=0.3)))
    assert said.startswith("warning: not for TFLite Micro: it computes tanh where lstm has relu")
    other = net(lstm(activation=relu, peephole=w(3, UNITS)))
    for model in (net(lstm(activation=relu)), CELLS["lstm clip"], other):  # a loop, tanh, and what it refuses
        assert len(told(model)[1]) == 1


def test_states_that_are_inputs_are_to_be_fed_back():
    feed = "states are inputs, feed them back: y of a call is h of the next, last c of a call is c of the next"
    assert told(CELLS["lstm states"]) == ("1 step a call, states are inputs", [feed])
    _, (first, second) = told(CELLS["lstm from states"])
    assert first.startswith("warning: lstm starts from the input c in every call, and no output gives that state back")
    assert second == "states are inputs, feed them back: y of a call is h of the next"
    assert told(CELLS["lstm from states"], steps=STEPS) == (f"{STEPS} steps a call", [])
    hidden = net(gru(reads=("x", "h"), writes=("a",), initial=True), dense("a", inputs=UNITS), x=WIDTH, h=-UNITS)
    assert [note.split(",")[0] for note in told(hidden)[1]] == ["warning: gru starts from the input h in every call"]


def test_raw_samples_are_scaled(here):
    """Ranges are those of scaled values: of the same numbers scaled before."""
    (here / "meta.toml").write_text("[[inputs]]\nscaler = {mean = [0, 0, 0, 0], deviation = [2, 2, 2, 2]}\n")
    np.save("twice.npy", 2 * np.load("X.npy"))
    files = []
    for samples, more in (("X.npy", ()), ("twice.npy", ("--raw", "--meta", "meta.toml"))):
        call("m.tflite", "-o", "w.tflite", "--kind", "int8", "--samples", samples, "--steps", 8, *more, "--no-verify")
        files.append((here / "w.tflite").read_bytes())
    assert files[0] == files[1]


def test_the_command_refuses_in_words(here):
    assert "--kind int8 needs --samples" in call("m.tflite", "-o", "w.tflite", "--kind", "int8", code=2)
    assert "leave it out for float" in call("m.tflite", "-o", "w.tflite", "--samples", "X.npy", code=2)
    call("m.tflite", "-o", "w.tflite", "--kind", "int8", "--samples", "X.npy", "--no-verify")
    said = call("w.tflite", "-o", "v.tflite", code=2)
    assert "int8 .tflite already" in said
    save(CELLS["lstm"], "m.elstm")
    said = call("m.elstm", "-o", "v.tflite", code=2)
    assert "image" in said
    assert not (here / "v.tflite").exists()
