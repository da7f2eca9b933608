"""One model, run every way there is: the device path in both number types, TFLite, and whatever trained it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import edgelstm
from edgelstm import peers, reference
from edgelstm.errors import EdgeLstmError
from edgelstm.exporters import tflite


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """A way to run the model, and what came of it."""

    name: str
    answers: np.ndarray  # float [N, outputs]
    size: int | None = None  # bytes of the image or file that ran


def run(model, x: np.ndarray, samples: np.ndarray, trained: dict[str, Callable]) -> list[Way]:
    """The answers to sequences x [N, T, inputs]. A way that is not to be had says why in one line.

    samples: training sequences, which set the ranges of int8. trained: the framework or program the weights come from.
    """
    ways = [Way("float64 reference", reference.run(model, [x])[0])]
    for name, program in trained.items():
        _add(ways, name, lambda program=program: (program(x), None))
    for kind, make in (("f32", lambda: model), ("s8", lambda: edgelstm.quantize(model, samples))):
        _add(ways, f"EdgeLSTM {kind}", lambda make=make: _image(make(), x))
    for kind in ("float", "int8"):
        _add(ways, f"TFLite {kind}", lambda kind=kind: _tflite(model, kind, x, samples))
    return ways


def _image(model, x: np.ndarray) -> tuple[np.ndarray, int]:
    image = edgelstm.pack(model)
    return edgelstm.Runner(image).run(x), len(image)


def _tflite(model, kind: str, x: np.ndarray, samples: np.ndarray) -> tuple[np.ndarray, int]:
    file = tflite.build(model, kind, samples if kind == "int8" else None)
    return peers.run_tflite(file, [x]).ys[0], len(file)


def _add(ways: list[Way], name: str, answer: Callable) -> None:
    try:
        ways.append(Way(name, *answer()))
    except EdgeLstmError as error:
        print(f"no {name}: {error}")


def keras(checkpoint):
    """A program for `run`: the checkpoint in Keras itself."""
    return lambda x: peers.run_keras(checkpoint, [x]).ys[0]


def table(ways: list[Way], metrics: dict[str, Callable]) -> dict[str, dict[str, float]]:
    """Print a line a way: its metrics, its largest difference from the float64 reference, its size. Returns them."""
    exact = ways[0].answers
    titles = [*metrics, "difference", "bytes"]
    print(f"{'':24}" + "".join(f"{title:>14}" for title in titles))
    results = {}
    for way in ways:
        row = {title: float(metric(way.answers)) for title, metric in metrics.items()}
        row["difference"] = float(np.abs(way.answers - exact).max())
        line = f"{way.name:24}" + "".join(f"{row[title]:14.6f}" for title in metrics) + f"{row['difference']:14.1e}"
        print(line + (f"{way.size:14,}" if way.size else ""))
        results[way.name] = row
    return results
