"""Metrics by labels on constructed answers, in the unit of the image's scaler; unclear labels are refused in words."""

import math

import numpy as np
import pytest
from nets import signal, stack, two_heads

from edgelstm import Runner, peers
from edgelstm.errors import InputError
from edgelstm.layers import SIGMOID, Activation
from edgelstm.meta import Port, Scaler
from edgelstm.model import Meta
from edgelstm.report import REFERENCE
from edgelstm.validation import tasks, validate

X = signal((6, 12, 3))
CLASSES = stack(3, (5,), 4, head_activation=Activation("softmax"))
PORT = Port(units=("°C",), scaler=Scaler(np.array([0.5]), np.array([1.0])))
SCALED = stack(3, (5,), 1, meta=Meta((Port(),), (PORT,)))
ANSWERS = np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.2, 0.3, 0.4], [0.25, 0.4, 0.25, 0.1]])


def fitted(labels, answers, model=CLASSES, task=None, raw=False, notes=None):
    return tasks.read(labels, Runner(model), (np.asarray(answers),), task, raw, [] if notes is None else notes)


def metrics(labels, answers, **options):
    return {one.metric: one for one in tasks.measured("s8", fitted(labels, answers, **options), (answers,))}


@pytest.mark.parametrize("labels", [np.array([0, 2, 1]), np.array([[0], [2], [1]]), np.eye(4)[[0, 2, 1]]])
def test_classes_by_number_and_one_hot(labels):
    found = metrics(labels, ANSWERS)
    assert math.isclose(found["accuracy"].value, 2 / 3)
    assert math.isclose(found["cross-entropy"].value, -np.log([0.7, 0.3, 0.4]).mean())
    assert found["accuracy"].who == "s8" and found["accuracy"].output == "y"


def test_classes_of_every_step_and_of_one_sequence():
    steps = np.stack([ANSWERS, ANSWERS[::-1]])
    assert math.isclose(metrics(np.array([[0, 3, 1], [1, 3, 1]]), steps)["accuracy"].value, 5 / 6)
    assert metrics(np.array([0, 3, 1]), ANSWERS[None])["accuracy"].value == 1


def test_answers_that_are_no_probabilities():
    notes = []
    logits = np.log(ANSWERS) + 3
    found = metrics(np.array([0, 2, 1]), logits, notes=notes)
    assert math.isclose(found["cross-entropy"].value, -np.log([0.7, 0.3, 0.4]).mean()) and "softmax" in notes[0]
    notes.clear()
    assert math.isclose(metrics(np.array([0, 2, 1]), np.log(ANSWERS), notes=notes)["cross-entropy"].value,
                        found["cross-entropy"].value) and not notes  # fmt: skip


def test_answers_that_are_no_numbers_are_wrong():
    labels, answers = np.array([0, 3, 1]), ANSWERS.copy()
    assert metrics(labels, answers)["accuracy"].value == 1
    answers[0, 0] = np.nan
    found = tasks.measured("s8", fitted(labels, ANSWERS), (answers,))[0]
    assert found.metric == "accuracy" and math.isclose(found.value, 2 / 3)


def test_two_classes_of_one_value():
    model = stack(3, (5,), 1, head_activation=SIGMOID)
    y = np.array([[0.9], [0.2], [0.6]])
    found = metrics(np.array([1, 0, 0]), y, model=model)
    assert math.isclose(found["accuracy"].value, 2 / 3)
    assert math.isclose(found["cross-entropy"].value, -np.log([0.9, 0.8, 0.4]).mean())
    assert set(metrics(np.array([0.3, 0.9, 1.0]), y, model=model)) == {"RMSE", "MSE", "MAE"}
    assert set(metrics(np.array([1.0, 0, 0]), y, model=model, task="numbers")) == {"RMSE", "MSE", "MAE"}


def test_numbers_in_the_sensors_unit():
    """The model's 1 is 2 °C: what it sees = raw / 2 + 1."""
    y = np.array([[1.5], [2.0]])  # 1 and 2 °C
    for labels, raw in ((np.array([[1.5], [3.0]]), False), (np.array([1.0, 4.0]), True)):
        found = metrics(labels, y, model=SCALED, raw=raw)
        assert math.isclose(found["RMSE"].value, math.sqrt(2)) and math.isclose(found["MAE"].value, 1)
        assert found["RMSE"].unit == "°C" and found["MSE"].unit == "°C²" and math.isclose(found["MSE"].value, 2)


def test_several_outputs_by_name(tmp_path):
    model = two_heads()
    runner = Runner(model)
    xs = (signal((5, 8, 4)), signal((5, 8, 2), 1))
    ys = runner.run(xs)
    path = tmp_path / "l.npz"
    np.savez(path, y2=ys[1])
    (one,) = tasks.read(path, runner, ys, "numbers", False, [])
    assert one.name == "y2" and one.output == 1
    assert all(task.value == 0 for task in tasks.measured("f32", [one], ys))
    for wrong, said in (({"y3": ys[0]}, "y3"), (ys[0], "2: y1, y2")):
        with pytest.raises(InputError, match=said):
            tasks.read(wrong, runner, ys, None, False, [])


@pytest.mark.parametrize(
    ("labels", "task", "said"),
    [
        (np.array([0, 2]), None, r"shape \(2,\), expected \(3,\) for classes"),
        (np.array([0, 2, 4]), None, "whole numbers from 0 to 3"),
        (np.array([0, 2, -1]), None, "whole numbers from 0 to 3"),
        (np.array([0.5, 2, 1]), None, "class numbers must be whole"),
        (np.array([0, 2, 1]), "numbers", "numbers need"),
        (ANSWERS, "classes", "one-hot"),
        (np.array([0, 2, np.nan]), None, "NaN"),
        (np.array(["a", "b", "c"]), None, "expected numbers"),
        (np.array([0, 2, 1]), "regression", "unknown task"),
    ],
)
def test_unclear_labels_are_refused(labels, task, said):
    with pytest.raises(InputError, match=said):
        fitted(labels, ANSWERS, task=task)


def test_what_is_demanded_is_beside_the_reference():
    labels = fitted(np.array([0, 3, 1]), ANSWERS)
    worse = ANSWERS[[0, 0, 2]]
    found = [*tasks.measured(REFERENCE, labels, (ANSWERS,)), *tasks.measured("s8", labels, (worse,)),
             *tasks.measured("TFLite int8", labels, (worse,))]  # fmt: skip
    for drop, passed in ((0.3, False), (0.34, True)):
        judged = [task for task in tasks.judged(found, drop, None) if task.passed is not None]
        assert [(task.who, task.metric, task.passed) for task in judged] == [("s8", "accuracy", passed)]
    with pytest.raises(InputError, match="numbers"):
        tasks.judged(found, None, 0.1)
    numbers = fitted(np.array([[1.0], [4.0]]), np.array([[1.0], [2.0]]), model=SCALED)
    found = [*tasks.measured(REFERENCE, numbers, (np.array([[1.0], [2.0]]),)),
             *tasks.measured("f32", numbers, (np.array([[1.0], [1.9]]),))]  # fmt: skip
    assert [t.passed for t in tasks.judged(found, None, 0.04) if t.metric == "RMSE"] == [None, False]
    assert [t.passed for t in tasks.judged(found, None, 0.06) if t.metric == "RMSE"] == [None, True]


def test_in_a_validation(monkeypatch):
    monkeypatch.setattr(peers, "_usable", lambda name: False)
    options = {"drift_steps": 0}
    y = Runner(CLASSES).run(X)
    right = y.argmax(-1)
    report = validate(CLASSES, CLASSES, X, labels=right, accuracy_drop=0.0, **options)
    assert report.passed and next(t.value for t in report.tasks if t.metric == "accuracy") == 1
    assert {t.who for t in report.tasks} >= {REFERENCE, "f32"}
    for wrong in ({"accuracy_drop": 0.1}, {"task": "classes"}):
        with pytest.raises(InputError, match="need labels"):
            validate(CLASSES, CLASSES, X, **wrong, **options)
