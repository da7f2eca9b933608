"""Measure what int8 costs and how far wrong models are off, in dB of signal to error, as seven Markdown tables.

Nets and data: tests/measured_nets.py. From the root of the repository, with a TFLite runtime installed:
PYTHONPATH=. python tools/measure_quantization.py
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgelstm import peers, reference, reference_s8
from edgelstm.exporters import tflite
from edgelstm.horizon import HORIZONS, horizon
from edgelstm.layers import Gru, Lstm
from edgelstm.quantization import quantize, quantize_with_rows

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from measured_nets import CELLS, NETS, regimes
from simulate import decibels, simulate
from test_accuracy import CHECKPOINTS, cells, checkpoint, net


def measure(model, samples, data, compensate):
    """dB of s8 and of exact gates: every step of all outputs, the mean over sequences."""
    quantized, rows = quantize_with_rows(model, samples, compensate=compensate)
    s8 = reference_s8.run_float(quantized, (data,), every_step=True)
    return [beside(model, data, ys) for ys in (s8, simulate(model, quantized, rows, (data,)))]


def forms_of_h(case):
    """dB of an int8 h, as it is and with exact gates, then with exact gates and steps halved anew at each step as far
    as h lets them; and of an int16 h, as it is and with exact gates."""
    narrow = simulate(case.model, case.quantized, case.rows, case.data)
    halved = simulate(case.model, case.quantized, case.rows, case.data, doublings=7)
    quantized, rows = quantize_with_rows(case.model, case.samples, hidden_bits=16)
    found = reference_s8.run_float(quantized, case.data, every_step=True)
    wide = simulate(case.model, quantized, rows, case.data)
    return [beside_all(case.exact, ys) for ys in (case.found, narrow, halved, found, wide)]


def other_cells(case):
    """dB of an int8 h, as it is and with exact gates, of an int16 h likewise, and of a GRU that goes on from its
    int8 h, with exact gates."""
    quantized, rows = quantize_with_rows(case.model, case.samples, hidden_bits=16)
    found = [case.found, simulate(case.model, case.quantized, case.rows, case.data)]
    found += [reference_s8.run_float(quantized, case.data, every_step=True)]
    found += [simulate(case.model, quantized, rows, case.data)]
    if any(isinstance(layer, Gru) for layer in case.model.layers):
        found += [simulate(case.model, case.quantized, case.rows, case.data, narrow=True)]
    return [beside_all(case.exact, ys) for ys in found]


def chosen_ranges(model, samples, data):
    """dB with ranges that cover the samples and with those that the answers ask for, of an int8 h and of an int16 one;
    and whether any range was narrowed."""
    exact, figures, narrowed = reference.run(model, data, every_step=True), [], False
    for bits in (8, 16):
        for ranges in ("covering", "output"):
            quantized = quantize(model, samples, hidden_bits=bits, ranges=ranges)
            figures.append(beside_all(exact, reference_s8.run_float(quantized, data, every_step=True)))
            narrowed |= any("saturates beyond" in note for note in quantized.notes)
    return figures, narrowed


def long_runs():
    """dB after more and more steps of the trained regimes' samples, by how ranges are chosen."""
    model, samples, _ = regimes()
    windows = replace(model, meta=replace(model.meta, window=samples.shape[1]))
    ways = {
        "covering": quantize(model, samples, ranges="covering"),
        "by the answers": quantize(model, samples),
        "by the answers from resets alone": quantize(windows, samples),
    }
    return {
        way: [row.difference.decibels for row in horizon(model, small, samples).rows] for way, small in ways.items()
    }


BEYOND = ("random 9-64", "relu cell 3-50-1", "trained sines 1-32-32-1")  # a bounded h, an unbounded one, a trained net
TIMES = (1, 2, 4, 10)


def beyond(model, samples, data):
    """dB of s8 on data of TIMES their size, calibrated on the samples as they are."""
    quantized = quantize(model, samples)
    larger = [np.float32(times) * data for times in TIMES]
    return [beside(model, x, reference_s8.run_float(quantized, (x,), every_step=True)) for x in larger]


def tflite_kinds(model, samples, data):
    """dB of TFLite's int8 and of its dynamic range; none where it has no such LSTM."""
    if tflite.refusals(model, "int8", 1) or tflite.refusals(model, "dynamic", 1):
        return []
    files = (tflite.build(model, "int8", samples, steps=1), tflite.build(model, "dynamic", steps=1))
    return [beside(model, data, peers.run_tflite(file, (data,), every_step=True).ys) for file in files]


def wrong(model, data):
    """dB of the float model with a typical fault of conversion, by the fault's name."""
    faults = {
        "f and g swapped": lambda w: changed(w, lambda a: a[[0, 2, 1, 3]]),
        "g and o swapped": lambda w: changed(w, lambda a: a[[0, 1, 3, 2]]),
        "no biases": lambda w: replace(w, bias=np.zeros_like(w.bias)),
        "half the biases": lambda w: replace(w, bias=w.bias / 2),
        "R transposed": lambda w: replace(w, recurrent=w.recurrent.transpose(0, 2, 1)),
    }
    found = {
        name: beside(model, data, reference.run(rebuilt(model, fault), (data,), every_step=True))
        for name, fault in faults.items()
    }
    steps = data.shape[1]
    carried = reference.run(model, (np.concatenate([data[::-1], data], axis=1),), every_step=True)
    return found | {"state not reset": beside(model, data, [y[:, steps:] for y in carried])}


def changed(layer, change):
    return replace(layer, kernel=change(layer.kernel), recurrent=change(layer.recurrent), bias=change(layer.bias))


def rebuilt(model, fault):
    return replace(model, layers=tuple(fault(w) if isinstance(w, Lstm) else w for w in model.layers))


def beside(model, data, ys):
    return beside_all(reference.run(model, (data,), every_step=True), ys)


def beside_all(exact, ys):
    pairs = zip(np.concatenate(exact, axis=-1), np.concatenate(ys, axis=-1), strict=True)
    return float(np.mean([decibels(a, b) for a, b in pairs]))


def main():
    columns = ("s8, plain rounding", "exact gates", "s8, compensated", "exact gates", "TFLite int8", "TFLite dynamic")
    print(f"| net | {' | '.join(columns)} |")
    print("|" + "---|" * (len(columns) + 1))
    broken = {}
    for name, make in NETS.items():
        model, samples, data = make()
        figures = [db for compensate in (False, True) for db in measure(model, samples, data, compensate)]
        texts = [f"{db:.1f}" for db in (figures + tflite_kinds(model, samples, data))]
        print(f"| {name} | {' | '.join([*texts, '-', '-'][:6])} |", flush=True)
        for fault, db in wrong(model, data).items():
            broken.setdefault(fault, []).append(db)
    print("\n| fault | best net | median net |\n|---|---|---|")
    for fault, found in broken.items():
        print(f"| {fault} | {max(found):.1f} | {np.median(found):.1f} |")
    print(f"\n| net | {' | '.join(f'{times} times' for times in TIMES)} |\n|{'---|' * (len(TIMES) + 1)}")
    for name in BEYOND:
        print(f"| {name} | {' | '.join(f'{db:.1f}' for db in beyond(*NETS[name]()))} |", flush=True)
    columns = ("8 bits", "exact gates", "exact gates, steps halved at will", "16 bits", "exact gates")
    print(f"\n| net | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    cases = [(name, net(name)) for name in NETS]
    cases += [(Path(path).relative_to(Path(path).parents[1]), checkpoint(path)) for path in CHECKPOINTS]
    for name, case in cases:
        if case is not None:
            print(f"| {name} | {' | '.join(f'{db:.1f}' for db in forms_of_h(case))} |", flush=True)
    columns = ("8 bits", "exact gates", "16 bits", "exact gates", "8 bits and no finer state, exact gates")
    print(f"\n| net | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for name in CELLS:
        texts = [f"{db:.1f}" for db in other_cells(cells(name))]
        print(f"| {name} | {' | '.join([*texts, '-'][:5])} |", flush=True)
    both = [("trained regimes 3-24-24-6", regimes()), *((name, make()) for name, make in (NETS | CELLS).items())]
    both += [(name, (case.model, case.samples, case.data)) for name, case in cases[len(NETS) :] if case is not None]
    columns = ("8 bits, covering", "by the answers", "16 bits, covering", "by the answers")
    print(f"\n| net | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    gains = []
    for name, (model, samples, data) in both:
        figures, narrowed = chosen_ranges(model, samples, data if isinstance(data, tuple) else (data,))
        gains.append((figures[1] - figures[0], figures[3] - figures[2]))
        if narrowed:
            print(f"| {name} | {' | '.join(f'{db:.1f}' for db in figures)} |", flush=True)
    for bits, found in zip((8, 16), np.transpose(gains), strict=True):
        reached = f"{min(found):.2f} to {max(found):.2f}, median {np.median(found):.2f}"
        print(f"\n{bits} bits, {len(found)} nets: gain {reached}")
    print(f"\n| ranges | {' | '.join(f'{steps:,}' for steps in HORIZONS)} |\n|{'---|' * (len(HORIZONS) + 1)}")
    for way, found in long_runs().items():
        print(f"| {way} | {' | '.join(f'{db:.1f}' for db in found)} |", flush=True)


if __name__ == "__main__":
    main()
