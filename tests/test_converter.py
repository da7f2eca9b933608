"""TensorFlow's converter as seen from here: whatever it does is a result, and no file of it is mistaken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelstm import converter, importers, peer_process, peers
from edgelstm.errors import CheckpointError, MissingError, PeerError
from edgelstm.peer_process import Answers, Died

GOLDEN = Path(__file__).parent / "golden"
KERAS = GOLDEN / "keras" / "keras315_stack.keras"
FILE = GOLDEN / "tflite" / "keras2_activations.tflite"
X = [np.zeros((3, 6, 2), np.float32)]


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the child does with each kind: bytes it writes, words it leaves, or an error at which it ends."""
    acts: dict[str, Any] = {"calls": []}

    def call(
        function: str, path: Path, xs: Any, timeout: float, *rest: Any, folder: str, kinds: list[str], **more: Any
    ):  # type: ignore[no-untyped-def]
        acts["calls"].append(kinds)
        for kind in kinds:
            act = acts[kind]
            if isinstance(act, Exception):
                raise act
            if isinstance(act, bytes):
                (Path(folder) / f"{kind}.tflite").write_bytes(act)
            elif act:
                (Path(folder) / f"{kind}.txt").write_text(act)
        return Answers((), "")

    monkeypatch.setattr(converter, "call", call)
    monkeypatch.setattr(converter, "_version", lambda: "9.9")
    return acts


def test_whatever_it_does_is_a_result(child: dict[str, Any]) -> None:
    data = FILE.read_bytes()
    child |= {
        "float": data,
        "dynamic": Died("", "died by signal 11 (Segmentation fault)"),
        "int8": "failed on kind int8",
    }
    made = converter.convert(KERAS, X)
    assert child["calls"] == [["float", "dynamic", "int8"], ["int8"]]  # after a death the rest is tried again
    assert [one.kind for one in made.values()] == list(converter.KINDS)
    assert made["float"].file == data and made["float"].failure == ""
    assert made["dynamic"].failure == (
        "TensorFlow 9.9's converter died by signal 11 (Segmentation fault) on kind dynamic"
    )
    assert made["int8"].failure == "TensorFlow 9.9's converter failed on kind int8"
    with pytest.raises(PeerError, match="died by signal 11"):
        converter.run(made["dynamic"], X)


def test_a_child_that_leaves_nothing_ends_the_search(child: dict[str, Any]) -> None:
    child |= dict.fromkeys(converter.KINDS, "")
    made = converter.convert(KERAS, X)
    assert all("ended without a word" in one.failure for one in made.values()) and len(child["calls"]) == 3


def test_errors_of_the_checkpoint_are_errors(child: dict[str, Any]) -> None:
    child |= {"float": MissingError("needs tf_keras")}
    with pytest.raises(MissingError, match="tf_keras"):
        converter.convert(KERAS, X, ["float"])


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("a\n'tf.TensorListReserve' op ... Please consider using Select TF op", "own operators (TensorListReserve)"),
        ("needs SELECT_TF_OPS", "asks for TensorFlow's own operators on kind int8"),
        ("first\nsecond", "failed on kind int8: ValueError: first"),
        ("", "failed on kind int8: ValueError: no message"),
        ("x" * 999, "xxx..."),
    ],
)  # fmt: skip
def test_a_failure_is_one_line(said: str, told: str) -> None:
    text = converter._failure("int8", ValueError(said))
    assert told in text and "\n" not in text and len(text) < 300


def test_ports_are_found_by_their_numbers() -> None:
    assert converter._numbers(["output_1", "output_0", "output_10"]) == (0, 1, 2)  # not each number once
    assert converter._numbers(["output_1", "output_2", "output_0"]) == (1, 2, 0)
    assert converter._numbers(["a", "b"]) == (0, 1) and converter._numbers([]) == ()


def test_answers_stand_in_the_checkpoints_order(monkeypatch: pytest.MonkeyPatch) -> None:
    made = converter.Conversion("float", "TensorFlow 9.9's converter", b"TFL3", "", (1, 0), (2, 0, 1))
    seen: list[Any] = []

    def run(path: Path, xs: Any, **options: Any) -> Answers:
        seen.extend(float(x[0]) for x in xs)
        return Answers(tuple(np.full(1, k) for k in (2, 0, 1)), "a runtime")

    monkeypatch.setattr(peers, "any_runtime", run)
    answers = converter.run(made, [np.zeros(1), np.ones(1)])
    assert seen == [1, 0] and [int(y[0]) for y in answers.ys] == [0, 1, 2]
    with pytest.raises(PeerError, match="3 outputs"):
        converter.run(converter.Conversion("float", "it", b"TFL3", "", (0, 1), (0,)), [np.zeros(1), np.ones(1)])


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "died by signal 11 (Segmentation fault)"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "as a system does that runs out of memory)"),
        ("import sys; print('a', file=sys.stderr); sys.exit(3)", "ended with code 3: a"),
        ("import time; time.sleep(60)", "was still running after 1 s and was stopped"),
    ],
)
def test_how_a_process_ended_is_told(start: str, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_process, "_START", start)
    monkeypatch.setattr(converter, "_version", lambda: "9.9")
    made = converter.convert(KERAS, X, ["int8"], timeout=1.0 if "sleep" in start else 60.0)
    assert made["int8"].failure.startswith("TensorFlow 9.9's converter ") and end in made["int8"].failure
    assert made["int8"].failure.endswith(" on kind int8")


def test_what_is_not_keras_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, word in (("torch", "ai-edge-torch"), ("onnx", "Keras models alone"), (None, "Keras models alone")):
        monkeypatch.setattr(importers, "recognise", lambda path, kind=kind: kind)
        with pytest.raises(PeerError, match=word):
            converter.convert(KERAS, X)
    with pytest.raises(PeerError, match="not what it reads"):
        converter.convert(FILE, X)


def test_without_tensorflow_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converter.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match="pip install tensorflow"):
        converter.convert(KERAS, X)


def test_a_checkpoint_that_might_run_code_does_not(child: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    path.write_bytes(KERAS.read_bytes()[:-40])
    with pytest.raises(CheckpointError):
        converter.convert(path, X)
    assert child["calls"] == []
