"""Seeded models of the layers around the cells, for the tests."""

from __future__ import annotations

import numpy as np

from edgelstm.layers import LINEAR, Conv1d
from edgelstm.model import Model, Tensor


def of(inputs, layers, outputs, single=()):
    """A model from its layers; `inputs`: tensor name to width; `single`: the inputs of one row a run."""
    widths = dict(inputs)
    for layer in layers:
        made = layer.widths(tuple(widths[name] for name in layer.reads))
        widths.update(zip(layer.writes, made, strict=True))
    tensors = tuple(Tensor(name, width, name in single) for name, width in widths.items())
    return Model(tensors, tuple(layers), tuple(inputs), tuple(outputs))


def uniform(random, *shape, bound=1.0):
    return random.uniform(-bound, bound, shape).astype(np.float32)


def conv(name, read, write, units, taps, columns, random, *, activation=LINEAR, **options):
    """A convolution with uniform weights of a trained layer's size; `columns`: inputs of a group."""
    kernel = uniform(random, units, taps, columns, bound=1.5 / np.sqrt(taps * columns))
    return Conv1d(name, (read,), (write,), kernel, uniform(random, units, bound=0.5), activation, **options)
