"""Measure what int8 costs: signal to error in dB of every net in tests/measured_nets.py, as a Markdown table.

From the root of the repository: PYTHONPATH=. python tools/measure_quantization.py
"""

import sys
from pathlib import Path

import numpy as np

from edgelstm import reference, reference_s8
from edgelstm.quantization import quantize_with_rows

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from measured_nets import NETS
from simulate import decibels, simulate


def measure(model, samples, data, compensate):
    """dB of s8 and of exact gates with exact gates: every step of all outputs, the mean over sequences."""
    quantized, rows = quantize_with_rows(model, samples, compensate=compensate)
    exact = joined(reference.run(model, (data,), every_step=True))
    s8 = joined(reference_s8.run_float(quantized, (data,), every_step=True))
    ideal = joined(simulate(model, quantized, rows, (data,)))
    return [np.mean([decibels(a, b) for a, b in zip(exact, found, strict=True)]) for found in (s8, ideal)]


def joined(ys):
    return np.concatenate(ys, axis=-1)


def main():
    print("| net | s8, plain rounding | exact gates | s8, compensated | exact gates |")
    print("|---|---|---|---|---|")
    for name, make in NETS.items():
        model, samples, data = make()
        figures = [f"{db:.1f}" for compensate in (False, True) for db in measure(model, samples, data, compensate)]
        print(f"| {name} | {' | '.join(figures)} |", flush=True)


if __name__ == "__main__":
    main()
