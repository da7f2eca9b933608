"""Peers: what runs in which process, what a crash or a hang there does here, and what is refused."""

import json
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from nets import signal, stack

from edgelstm import importers, peer_process, peers, reference
from edgelstm.errors import CheckpointError, InputError, MissingError, PeerError
from edgelstm.exporters import tflite
from edgelstm.importers.keras_bare import bare

GOLDEN = Path(__file__).parent / "golden"
KERAS = GOLDEN / "keras" / "keras315_stack.keras"
needs_runtime = pytest.mark.skipif(not peers.runtimes(), reason="no TFLite runtime has a wheel for this Python")

MODEL = stack(3, (9,), 4)
X = signal((5, 12, 3))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.tflite"
    tflite.write(MODEL, path, steps=12)
    return path


# ---- TFLite ----


@needs_runtime
def test_bytes_here_and_files_in_a_process_of_their_own_answer_alike(file):
    here = peers.run_tflite(file.read_bytes(), [X])
    there = peers.run_checkpoint(file, [X])
    assert np.array_equal(here.ys[0], there.ys[0]) and here.peer == there.peer
    name, version = here.peer.split()
    assert name == peers.runtimes()[0] and version[0].isdigit() and not here.integer and not there.integer
    assert np.abs(here.ys[0] - reference.run(MODEL, [X])[0]).max() < 5e-6
    assert peers.run_tflite(tflite.build(MODEL, "int8", X), [X]).integer


@needs_runtime
@pytest.mark.parametrize("size", [8, 40, 700])
def test_damaged_file_ends_its_own_process_alone(file, size):
    """A cut file ends the runtime by a signal, or it complains; this process lives on and says which file it was."""
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises((PeerError, InputError), match=r"model\.tflite"):
        peers.run_tflite(file, [X])


@needs_runtime
def test_crash_is_reported_with_its_signal(file, monkeypatch):
    monkeypatch.setattr(peer_process, "_START", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(PeerError, match="SIGSEGV"):
        peers.run_tflite(file, [X])


@needs_runtime
def test_hang_is_stopped(file, monkeypatch):
    monkeypatch.setattr(peer_process, "_START", "import time; time.sleep(60)")
    start = time.monotonic()
    with pytest.raises(PeerError, match="still running after 1 s"):
        peers.run_tflite(file, [X], timeout=1)
    assert time.monotonic() - start < 30


@needs_runtime
def test_wrong_data_names_both_shapes(file):
    for model in (file, file.read_bytes()):
        with pytest.raises(InputError, match=r"12, 3.*N, T, 2"):
            peers.run_tflite(model, [X[..., :2]])
        with pytest.raises(InputError):
            peers.run_tflite(model, [X, X])


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="ai-edge-litert"):
        peers.run_tflite(b"", [X], "tensorflow")
    if peers.runtimes():
        with pytest.raises(InputError, match="builtin"):
            peers.run_tflite(b"", [X], resolver="fast")


def test_missing_runtime_names_the_command(monkeypatch):
    monkeypatch.setattr(peers, "_usable", lambda name: False)
    assert peers.runtimes() == []
    with pytest.raises(MissingError, match=r'pip install "edgelstm\[tflite\]"') as caught:
        peers.run_tflite(b"", [X])
    assert "\n" not in str(caught.value)
    with pytest.raises(MissingError, match="pip install ai-edge-litert"):
        peers.run_tflite(b"", [X], "ai-edge-litert")


def test_tflite_runtime_is_left_out_under_numpy_2(monkeypatch):
    """Its last release was built for NumPy 1 and would fail with pages of text."""
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(np, "__version__", "2.1.0")
    assert peers.runtimes() == ["ai-edge-litert"]
    monkeypatch.setattr(np, "__version__", "1.26.4")
    assert peers.runtimes() == ["tflite-runtime", "ai-edge-litert"]


@needs_runtime
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_integer_doors_are_scaled(dtype):
    """A runtime's integer inputs and outputs, as a file converted with int8 doors has them."""
    row = {"dtype": dtype, "quantization": (0.5, 3)}
    x = np.array([-200.0, -1.5, 0.0, 0.26, 200.0])
    q = peers._integers(x, row)
    bounds = np.iinfo(dtype)
    assert q.dtype == dtype
    assert q.tolist() == [bounds.min, 0, 3, 4, bounds.max]
    assert peers._real(np.array([0, 3, 4], dtype), row).tolist() == [-1.5, 0.0, 0.5]


# ---- other frameworks ----


@pytest.mark.parametrize("name", ["forecast.pt", "forecast.safetensors", "training_legacy.pt"])
def test_state_dict_holds_no_code(name):
    with pytest.raises(PeerError, match="no code to run"):
        peers.run_checkpoint(GOLDEN / "torch" / name, [X])


def test_unknown_and_absent_files_are_refused(tmp_path):
    path = tmp_path / "readme.txt"
    path.write_text("hello, this is text")
    with pytest.raises(PeerError, match=r"readme\.txt"):
        peers.run_checkpoint(path, [X])
    with pytest.raises(CheckpointError, match="No such file"):
        peers.run_checkpoint(tmp_path / "none", [X])
    with pytest.raises(CheckpointError, match="directory"):
        peers.run_checkpoint(tmp_path, [X])


@pytest.mark.parametrize(("generation", "name"), [("3", "keras"), ("2", "tf_keras"), ("1", "tf_keras")])
def test_missing_keras_names_the_command(generation, name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingError, match="pip install") as caught:
        peers._keras(generation)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_keras_of_another_generation_does_not_stand_in(monkeypatch):
    """hard_sigmoid is another function in Keras 2 than in Keras 3."""
    monkeypatch.setitem(sys.modules, "keras", SimpleNamespace(__name__="keras", __version__="2.15.0"))
    with pytest.raises(MissingError, match="keras>=3"):
        peers._keras("3")


def test_errors_of_the_child_arrive_as_they_were(monkeypatch):
    """A MissingError stays one; any other exception becomes a PeerError of one line."""
    script = "import sys; from edgelstm import peers, peer_process, errors\n"
    for body, kind in (
        ("raise errors.MissingError('pip install that')", MissingError),
        ("raise KeyError('odd\\nlines')", PeerError),
    ):
        text = f"{script}def keras_file(*a, **k):\n    {body}\npeers.keras_file = keras_file\n"
        monkeypatch.setattr(peer_process, "_START", text + "peer_process.serve(sys.argv[1], sys.argv[2])")
        with pytest.raises(kind) as caught:
            peers.run_keras(KERAS, [X])
        assert type(caught.value) is kind and "\n" not in str(caught.value)
    monkeypatch.setattr(peer_process, "_START", "import sys; print('a\\nlast words', file=sys.stderr); sys.exit(3)")
    with pytest.raises(PeerError, match=r"keras315_stack\.keras.*code 3: last words"):
        peers.run_keras(KERAS, [X])


# ---- code in files ----

LAMBDA = {"class_name": "Lambda", "module": "keras.layers", "config": {"name": "l", "function": ["4wEA", None, None]}}


@pytest.fixture
def handed_on(monkeypatch):
    """What would be given to a framework's process: function, file, its content, configuration and options."""
    given: list[Any] = []

    def call(function, path, xs, timeout, name=None, **options):
        config = None
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                config = json.loads(archive.read("config.json"))
        elif (path.parent / "config.json").exists():
            config = json.loads((path.parent / "config.json").read_text())
        given.append((function, path, path.read_bytes(), config, options))
        return peer_process.Answers((), "nobody")

    monkeypatch.setattr(peers, "call", call)
    return given


def edited(source, path, change):
    """A copy of a .keras or .h5 checkpoint with another configuration."""
    if source.suffix == ".keras":
        with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
            for name in old.namelist():
                content = old.read(name)
                if name == "config.json":
                    config = json.loads(content)
                    change(config)
                    content = json.dumps(config).encode()
                new.writestr(name, content)
        return path
    path.write_bytes(source.read_bytes())
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        change(config)
        file.attrs["model_config"] = json.dumps(config)
    return path


@pytest.mark.parametrize("name", ["keras315_stack.keras", "keras315_stack.h5", "tf115_stack.h5", "keras1_stack.h5"])
def test_a_lambda_is_refused_before_any_framework_starts(name, tmp_path, handed_on):
    source = GOLDEN / "keras" / name

    def change(config):
        layers = config["config"]["layers"] if isinstance(config["config"], dict) else config["config"]
        layers.append(LAMBDA)

    path = edited(source, tmp_path / name, change)
    with pytest.raises(CheckpointError, match=r"'Lambda' layers are not supported.*trust=True \(--trust\)") as caught:
        peers.run_checkpoint(path, [X])
    assert not handed_on and "\n" not in str(caught.value)
    peers.run_checkpoint(path, [X], trust=True)
    ((function, _, content, _, options),) = handed_on
    assert function == "keras_file" and options["whole"] and not options["safe"] and content == path.read_bytes()
    assert options["generation"] == ("3" if "315" in name else "2" if "115" in name else "1")


HIDDEN = {
    "regularizer": ("kernel_regularizer", LAMBDA),
    "initializer": ("kernel_initializer", {"module": "os", "class_name": "system", "config": {"command": "x"}}),
    "initializer by name": ("kernel_initializer", "evil>init"),
    "constraint": ("bias_constraint", {"class_name": "__lambda__", "config": {"value": "4wEA"}}),
    "weights": ("weights", [LAMBDA]),
    "seed": ("seed", {"class_name": "function", "module": "os", "config": "system"}),
    "dtype": ("dtype", {"module": "evil", "class_name": "DTypePolicy", "config": {"name": "float32"}}),
    "activation": ("activation", {"module": "keras.layers", "class_name": "ReLU", "config": {"trainable": LAMBDA}}),
}


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("name", ["keras315_stack.keras", "keras315_stack.h5", "tf115_stack.h5"])
def test_what_the_importer_passes_over_does_not_reach_keras(name, hidden, tmp_path, handed_on):
    """Settings of training change no answer, so the importer reads past them; Keras would build what they name."""
    key, value = HIDDEN[hidden]
    found = []

    def change(config):
        found[:] = [layer["class_name"] for layer in config["config"]["layers"]]
        last = [layer for layer in config["config"]["layers"] if layer["class_name"] == "Dense"][-1]
        last["config"][key] = value
        last["build_config"] = {"input_shape": [None, 4], "thing": LAMBDA}
        config["compile_config"] = {"loss": LAMBDA, "optimizer": "evil"}

    path = edited(GOLDEN / "keras" / name, tmp_path / name, change)
    importers.read(path)
    peers.run_checkpoint(path, [X])
    ((_, file, _, config, options),) = handed_on
    text = json.dumps(config)
    for word in ("Lambda", "lambda", "evil", "system", "compile_config", "4wEA", "initializer", '"os"'):
        assert word not in text
    assert [layer["class_name"] for layer in config["config"]["layers"]] == found
    assert options["safe"] and options["whole"] is name.endswith(".keras") and file.parent != path.parent


def test_a_bare_configuration_names_known_classes_alone():
    for value in (LAMBDA, {"class_name": ["Dense"]}, {"class_name": None}, {"class_name": "l2", "config": {}}):
        with pytest.raises(CheckpointError):
            bare([{"class_name": "Dense", "config": {"units": value}}])
    assert bare({"alpha": {"class_name": "__numpy__", "config": {"value": 0.5, "dtype": "float32"}}}) == {"alpha": 0.5}
    assert bare({"alpha": {"type": "ndarray", "value": 0.5}}) == {"alpha": 0.5}
    with pytest.raises(CheckpointError):
        bare({"class_name": "__numpy__", "config": {"value": LAMBDA}})
    for foreign in ({"module": "my", "registered_name": "ReLU"}, {"module": None, "registered_name": "my>ReLU"}):
        with pytest.raises(CheckpointError, match="a class of the model's author"):
            bare({"activation": {"class_name": "ReLU", "config": {}, **foreign}})


def test_a_layer_built_of_several_shapes_has_no_one_input_shape():
    layer = {"class_name": "LSTM", "config": {"units": 4}}
    assert bare({**layer, "build_config": {"input_shape": [None, 5, 3]}})["build_config"] == {
        "input_shape": [None, 5, 3]
    }
    for shapes in ({"shapes_dict": {"sequences_shape": [None, 5, 3]}}, {"input_shape": None}):
        assert "build_config" not in bare({**layer, "build_config": shapes})


def test_a_script_is_refused_before_any_framework_starts(handed_on):
    path = GOLDEN / "torch" / "refused_script.pt"
    with pytest.raises(CheckpointError, match=r"TorchScript.*trust=True \(--trust\)"):
        peers.run_checkpoint(path, [X])
    assert not handed_on
    peers.run_checkpoint(path, [X], trust=True)
    assert handed_on[0][:2] == ("torch_file", path)


def test_a_configuration_without_end_is_refused(tmp_path, handed_on):
    def change(config):
        nested: Any = []
        for _ in range(700):
            nested = [nested]
        config["config"]["layers"][-1]["config"]["seed"] = nested

    path = edited(KERAS, tmp_path / "m.keras", change)
    with pytest.raises(CheckpointError, match="nests too deep|not valid JSON"):
        peers.run_checkpoint(path, [X])
    assert not handed_on
