"""The accuracy law: on every net, s8 stays within 0.5 dB of the same int8 weights with exact gates and sums."""

from pathlib import Path

import numpy as np
import pytest
from measured_nets import NETS, walk
from simulate import decibels, simulate

import edgelstm.importers
from edgelstm import reference, reference_s8
from edgelstm.quantization import quantize_with_rows

HERE = Path(__file__).parent
ALLOWED = 0.5  # dB


def random_walks(model):
    """For checkpoints without data of their own: samples and data, a tuple of [N, T, width] each."""
    random = np.random.default_rng(1)
    return tuple(tuple(walk(random, count, 40, model.width(name)) for name in model.inputs) for count in (64, 48))


CHECKPOINTS = {
    "golden/keras/keras1_relu.h5": random_walks,
    "golden/keras/keras1_sequence.h5": random_walks,
    "golden/keras/keras1_stack.h5": random_walks,
    "golden/keras/keras22_siamese.h5": random_walks,
    "golden/keras/keras315_outputs.keras": random_walks,
    "golden/keras/keras315_siamese.keras": random_walks,
}
"""Committed checkpoints, relative to this folder, and what gives (samples, data) for their model. Add new ones here."""


def check(model, samples, data):
    """Every output of every step; the mean over sequences, so that one chaotic sequence does not decide."""
    quantized, rows = quantize_with_rows(model, samples)
    exact = reference.run(model, data, every_step=True)
    found = reference_s8.run_float(quantized, data, every_step=True)
    ideal = simulate(model, quantized, rows, data)
    for name, y, s8, simulated in zip(model.outputs, exact, found, ideal, strict=True):
        pairs = [(decibels(a, b), decibels(a, c)) for a, b, c in zip(y, s8, simulated, strict=True)]
        reached, possible = np.mean(pairs, axis=0)
        assert reached > possible - ALLOWED, f"{name}: {reached:.2f} dB, {possible:.2f} dB with exact gates"
        assert reached > 15, f"{name}: {reached:.2f} dB"


@pytest.mark.parametrize("name", NETS)
def test_law_on_measured_nets(name):
    model, samples, data = NETS[name]()
    check(model, samples, (data,))


@pytest.mark.parametrize("path", CHECKPOINTS)
def test_law_on_committed_checkpoints(path):
    model = edgelstm.importers.read(HERE / path)
    samples, data = CHECKPOINTS[path](model)
    check(model, samples, data)
