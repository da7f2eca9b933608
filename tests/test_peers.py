"""Peers: what runs in which process, what a crash or a hang there does here, and what is refused."""

import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from nets import signal, stack

from edgelstm import peer_process, peers, reference
from edgelstm.errors import CheckpointError, InputError, MissingError, PeerError
from edgelstm.exporters import tflite

GOLDEN = Path(__file__).parent / "golden"
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


def test_errors_of_the_child_arrive_as_they_were(tmp_path, monkeypatch):
    """A MissingError stays one; any other exception becomes a PeerError of one line."""
    script = "import sys; from edgelstm import peers, peer_process, errors\n"
    for body, kind in (
        ("raise errors.MissingError('pip install that')", MissingError),
        ("raise KeyError('odd\\nlines')", PeerError),
    ):
        text = f"{script}def keras_file(*a, **k):\n    {body}\npeers.keras_file = keras_file\n"
        monkeypatch.setattr(peer_process, "_START", text + "peer_process.serve(sys.argv[1], sys.argv[2])")
        with pytest.raises(kind) as caught:
            peers.run_keras(tmp_path / "m.keras", [X])
        assert type(caught.value) is kind and "\n" not in str(caught.value)
    monkeypatch.setattr(peer_process, "_START", "import sys; print('a\\nlast words', file=sys.stderr); sys.exit(3)")
    with pytest.raises(PeerError, match="code 3: last words"):
        peers.run_keras(tmp_path / "m.keras", [X])
