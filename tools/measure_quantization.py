"""Measure what int8 costs: signal to error in dB of every net in tests/measured_nets.py, as a Markdown table.

From the root of the repository: PYTHONPATH=. python tools/measure_quantization.py
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from measured_nets import NETS  # noqa: E402
from simulate import decibels, simulate  # noqa: E402

from edgelstm import reference, reference_s8  # noqa: E402
from edgelstm.quantize import quantize_with_rows  # noqa: E402


def measure(model, samples, data, compensate):
    """dB of s8 and of its simulation with exact gates, all outputs together, every step."""
    quantized, rows = quantize_with_rows(model, samples, compensate=compensate)
    exact = joined(reference.run(model, (data,), every_step=True))
    s8 = joined(reference_s8.run_float(quantized, (data,), every_step=True))
    return decibels(exact, s8), decibels(exact, joined(simulate(model, quantized, rows, (data,))))


def joined(ys):
    return np.concatenate(ys, axis=-1)


def main():
    print("| net | plain s8 | plain, exact gates | compensated s8 | compensated, exact gates |")
    print("|---|---|---|---|---|")
    for name, make in NETS.items():
        model, samples, data = make()
        plain, better = (measure(model, samples, data, compensate) for compensate in (False, True))
        print(f"| {name} | {plain[0]:.1f} | {plain[1]:.1f} | {better[0]:.1f} | {better[1]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
