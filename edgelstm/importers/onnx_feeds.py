"""The arrays that a model takes and gives as the file's own graph takes and gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import InputError
from ..model import Array
from .onnx import Reading
from .onnx_sizes import Dim, Size, divided
from .onnx_values import Atom, Data

_KINDS = {"float": "float32", "double": "float64"}


def fixed_batch(reading: Reading) -> int | None:
    """The number of sequences that the file's graph takes at once, None where any may be given."""
    return reading.batch.size if isinstance(reading.batch.size, int) else None


def fixed_steps(reading: Reading) -> dict[str, int]:
    """The numbers of steps that the file's graph fixes, by the model's inputs."""
    return {
        feed.tensor: atom.size for feed in reading.feeds if feed.data for atom in feed.data.steps
        if isinstance(atom.size, int) and atom.size != 1
    }  # fmt: skip


def given(reading: Reading, xs: Sequence[Array]) -> dict[str, Array]:
    """Arrays for the graph's inputs, of sequences [N, T, width] and single rows [N, width] for the model's.
    InputError where the graph is for another number of steps."""
    arrays: dict[str, Array] = {}
    sizes: dict[Size, int] = {}
    for feed, x in zip(reading.feeds, xs, strict=True):
        dtype = _KINDS.get(feed.dtype, feed.dtype)
        if feed.data is None:
            counts = x[:, :, 0] != 0
            lengths = counts.sum(axis=1)
            if (counts != (np.arange(counts.shape[1]) < lengths[:, None])).any():
                raise InputError(f"{feed.tensor}: the steps that count do not stand in front of the others")
            arrays[feed.name] = lengths.astype(dtype)
        else:
            arrays[feed.name] = _seen(feed.data, reading.batch, x, feed.tensor, sizes).astype(dtype)
    for port in reading.graph.inputs:
        if port.name not in arrays:  # nothing depends on it
            shape = [size if isinstance(size, int) else 1 for size in port.shape or ()]
            arrays[port.name] = np.zeros(shape, _KINDS.get(port.dtype, port.dtype))
    return arrays


def _seen(data: Data, batch: Atom, x: Array, name: str, sizes: dict[Size, int]) -> Array:
    """A model's array in the order of a view."""
    atoms = [batch, *(atom for atom in data.order if atom.size != 1)]
    shape = [len(x)]
    for atom in atoms[1:]:
        if atom in data.steps:
            if isinstance(atom.size, int) and atom.size != x.shape[1]:
                raise InputError(f"{name}: {x.shape[1]} steps, the file's graph is for {atom.size}")
            shape.append(x.shape[1])
            if isinstance(atom.size, Size):
                sizes[atom.size] = x.shape[1]
        else:
            shape.append(atom.number)
    grid = x.reshape(shape)
    seen = [atom for axis in data.axes for atom in axis]
    grid = grid.transpose([atoms.index(atom) for atom in ([] if batch in seen else [batch]) + seen])
    sides = dict(zip(atoms, shape, strict=True))
    return grid.reshape([int(np.prod([sides[atom] for atom in axis], dtype=int)) for axis in data.axes])


def taken(reading: Reading, answers: Mapping[str, Array], count: int) -> list[Array]:
    """The graph's answers to `count` sequences as the model gives them: [N, T, width], or [N, width] where it gives
    one row a run."""
    return [plain(data, reading.batch, np.asarray(answers[name]), count) for name, data in reading.outputs]


def plain(data: Data, batch: Atom, y: Array, count: int) -> Array:
    """An array of the graph's as the model has it."""
    known: dict[Atom, int] = {batch: count}
    for axis, size in zip(data.axes, y.shape, strict=True):
        rest: Dim = size
        unknown = [atom for atom in axis if not isinstance(known.get(atom, atom.size), int)]
        for atom in axis:
            if atom not in unknown:
                rest = divided(rest, known.get(atom, atom.size)) or 0
        if unknown:
            known[unknown[0]] = Atom(rest).number
    seen = [atom for axis in data.axes for atom in axis]
    grid = y.reshape([known.get(atom) or atom.number for atom in seen])
    if batch not in seen:
        seen, grid = [batch, *seen], grid[None]
    wanted = [batch, *(atom for atom in data.order if atom.size != 1)]
    grid = grid.transpose([seen.index(atom) for atom in wanted])
    return grid.reshape(count, -1, data.width) if data.steps else grid.reshape(count, data.width)
