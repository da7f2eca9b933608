"""Evaluate the committed activity net on the test volunteers, without torch.

    python evaluate.py PATH              # accuracy of float, int8 and TFLite, side by side, and as a stream
    python evaluate.py PATH --show 24    # and experiment 24 second by second

PATH: the data set's RawData folder, or the packed file of recordings.py.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import recordings as data

import edgelstm
from edgelstm import meta_file, peers
from edgelstm.errors import EdgeLstmError
from edgelstm.exporters import tflite

HERE = Path(__file__).parent
HEAD = "last,softmax"  # of the net's answers at every step the last counts, as a share of certainty
SAMPLES = 400  # training windows that set the ranges of int8
TIMED = 100  # windows a timing runs


@dataclass(frozen=True, slots=True)
class Result:
    """What a way of running the net comes to."""

    accuracy: float
    agreement: float  # share of windows answered as in float
    size: int  # bytes
    step: float  # microseconds


def read() -> edgelstm.Model:
    """The committed net, with scaler, units, labels and window."""
    return meta_file.describe(edgelstm.read(HERE / "activity.pt", head=HEAD), HERE / "activity.toml")


def quantized(model: edgelstm.Model, recordings: list[data.Recording]) -> tuple[edgelstm.QuantizedModel, np.ndarray]:
    """The int8 net, and the training windows that set its ranges."""
    x, _ = data.windows([r for r in recordings if not data.is_test(r)])
    chosen = np.random.default_rng(0).choice(len(x), min(SAMPLES, len(x)), replace=False)
    samples = model.meta.scale_inputs(x[chosen])
    return edgelstm.quantize(model, samples), samples


def compare(recordings: list[data.Recording]) -> dict[str, Result]:
    """All ways of running the net on the test volunteers' windows, each from a reset state."""
    model = read()
    small, samples = quantized(model, recordings)
    x, label = data.windows([r for r in recordings if data.is_test(r)])
    x = model.meta.scale_inputs(x)
    ways: dict[str, tuple[Callable, int]] = {}
    for name, made in (("EdgeLSTM f32", model), ("EdgeLSTM s8", small)):
        image = edgelstm.pack(made)
        ways[name] = edgelstm.Runner(image).run, len(image)
    for kind in ("float", "int8"):
        file = tflite.build(model, kind, samples if kind == "int8" else None)
        ways[f"TFLite {kind}"] = (lambda x, file=file: peers.run_tflite(file, [x]).ys[0]), len(file)
    results: dict[str, Result] = {}
    exact = None
    for name, (run, size) in ways.items():
        try:
            answers = run(x).argmax(axis=1)
        except EdgeLstmError as error:
            print(f"no {name}: {error}")
            continue
        exact = answers if exact is None else exact
        accuracy, agreement = float((answers == label).mean()), float((answers == exact).mean())
        results[name] = Result(accuracy, agreement, size, microseconds(run, x[:TIMED]))
    return results


def microseconds(run: Callable, x: np.ndarray) -> float:
    """The least of five timings, per step."""
    best = np.inf
    for _ in range(5):
        start = time.perf_counter()
        run(x)
        best = min(best, time.perf_counter() - start)
    return 1e6 * best / (x.shape[0] * x.shape[1])


def stream(model: edgelstm.Model | edgelstm.QuantizedModel, recording: data.Recording, carry: bool) -> np.ndarray:
    """A recording one sample at a time, in the sensors' own units: int [samples], -1 where there is no answer.

    carry: the state is carried from the first sample to the last. Otherwise windows of 128 samples, every 64.
    """
    answers = np.full(len(recording.label), -1)
    for answer in edgelstm.Stream(model, carry=carry)(recording.signal):
        answers[answer.sample] = answer.values.argmax()
    return answers


def right(recordings: list[data.Recording], answers: list[np.ndarray]) -> float:
    """Share of right answers where an activity is labelled. The first moments of each stretch count too."""
    pairs = [(r.label[asked], a[asked]) for r, a in zip(recordings, answers) for asked in [(r.label >= 0) & (a >= 0)]]
    return float(np.mean(np.concatenate([label == answer for label, answer in pairs])))


def show(recording: data.Recording, answers: np.ndarray) -> None:
    """Labels and answers, a letter a second and a line a minute; dots where nothing is labelled."""
    letters = np.array([*"WUDSTL", "."])  # walking, upstairs, downstairs, sitting, standing, laying
    print(f"experiment {recording.experiment}, volunteer {recording.volunteer}: W walking, U upstairs, D downstairs,")
    print("S sitting, T standing, L laying; above what was done, below what was answered")
    ends = np.arange(data.RATE - 1, len(answers), data.RATE)
    for first in range(0, len(ends), 60):
        for values in (recording.label, answers):
            print("  " + "".join(letters[values[ends[first : first + 60]]]))
        print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", help="the RawData folder, or the packed file")
    parser.add_argument("--show", type=int, metavar="EXPERIMENT", help="a recording second by second")
    options = parser.parse_args()
    recordings = data.read(options.path)
    test = [r for r in recordings if data.is_test(r)]
    print(f"{len(test)} recordings of {len({r.volunteer for r in test})} test volunteers")
    print(f"{'':16}{'accuracy':>10}{'as float':>10}{'bytes':>10}{'us a step':>11}")
    for name, r in compare(recordings).items():
        print(f"{name:16}{r.accuracy:10.4f}{r.agreement:10.4f}{r.size:10,}{r.step:11.2f}")
    model = read()
    small, _ = quantized(model, recordings)
    print(f"{'as a stream':16}{'f32':>10}{'s8':>10}")
    for name, carry in (("exact windows", False), ("state carried", True)):
        shares = [right(test, [stream(made, r, carry) for r in test]) for made in (model, small)]
        print(f"{name:16}{shares[0]:10.4f}{shares[1]:10.4f}")
    for recording in recordings:
        if recording.experiment == options.show:
            show(recording, stream(small, recording, carry=True))


if __name__ == "__main__":
    main()
