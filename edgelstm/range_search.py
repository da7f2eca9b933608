"""Which ranges to narrow: those whose narrowing makes the model's answers better, its state carried over the samples.

Coordinate descent, range by range in the order of the layers, each candidate judged by what the whole integer model
answers. Half of the sequences choose; the other half must not lose by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from . import reference_s8
from .calibration import LARGEST, Calibration
from .errors import EdgeLstmError
from .image import pack
from .model import Array, Model, QuantizedModel
from .quantization_layers import MadeModel, Maker
from .ranges import Plan, Span
from .runner import Runner

PASSES = 3  # over all ranges; one that changes none is the last
MOST_PRODUCTS = 1 << 30  # that one judgement may take: 0.1 to 0.2 s on a desk computer
HARDLY_WORSE = 1.02  # the widest range whose error is within this factor of the least is taken
STEEP = 1.5  # an error so many times the least: still narrower ranges are worse
FINE, COARSE = 0.8, 0.5  # from one candidate to the next
GROWING, PASSING = 1e4, 100.0  # how much larger rounding errors may become, which add up from step to step or do not
LEAST = 1e-30  # of an error's energy over that of all answers
SMALL = 0.05  # of the error: what is not worth a look


@dataclass(frozen=True, slots=True)
class Errors:
    """Energy of the error over that of the answers, the mean over outputs: of the sequences that choose, of those that
    check, and of all. Where sequences were also run end to end, the geometric mean of both ways."""

    chosen: float
    checked: float
    all: float
    fresh: float  # of all, each sequence from a reset state
    typical: float  # likewise, the geometric mean over the sequences, in which no single one counts for much


@dataclass(frozen=True, slots=True)
class Narrowed:
    """A range that was made narrower than what covers the samples."""

    span: Span  # as it covers them
    factor: float  # what of it is kept
    full: float  # real value where it saturates now
    gain: float  # what taking it back would multiply the error by; no more than what taking back all would


_Batch: TypeAlias = "tuple[list[Array], dict[str, Array]]"
"""The inputs of sequences of one length, [N, T, width] each, and by name what the float model answers."""


class Judge:
    """Runs integer models over the samples: each sequence from a reset state; and where a model may carry its state on,
    all of them end to end too."""

    def __init__(self, exact: Model, calibration: Calibration, most: float = np.inf) -> None:
        """`most`: products that a judgement may take; a larger model is judged on fewer sequences."""
        weights = [getattr(layer, name, None) for layer in exact.layers for name in ("kernel", "recurrent")]
        products = sum(w.size for w in weights if w is not None)
        steps = sum(max(x.shape[0] * x.shape[1] for x in xs) for xs in calibration.inputs)
        carries = _carries(exact)
        every = max(1, round((1 + carries) * products * steps / most))
        self.batches: list[_Batch] = [
            ([x[::every] for x in xs], {name: trace[name][::every] for name in exact.outputs})
            for xs, trace in zip(calibration.inputs, calibration.traces, strict=True)
        ]
        self.energies = _energies(self.batches, exact)
        self.sequences = sum(len(xs[0]) for xs, _ in self.batches)
        self.joined = _joined(exact, self.batches) if carries and self.sequences > 1 else None
        self.joined_energies = _energies([self.joined] if self.joined else [], exact)

    def __call__(self, model: QuantizedModel) -> Errors:
        runner = Runner(pack(replace(model, notes=()), example=False))
        halves, before = np.zeros(2), 0
        each = []
        for batch in self.batches:
            own = np.zeros(len(batch[0][0]))
            for energy in _errors(runner, model, batch, self.energies):
                halves += self._halves(energy, before)
                own += energy.sum(axis=1)
            each.append(own)
            before += len(own)
        fresh = total = float(halves.sum())
        if self.joined is not None:
            carried = np.zeros(2)
            for energy in _errors(runner, model, self.joined, self.joined_energies):
                carried += self._parts(energy[0])
            halves, total = np.sqrt(halves * carried), float(np.sqrt(total * carried.sum()))
        chosen, checked = (halves if halves.all() else np.full(2, total / 2)).tolist()
        typical = float(np.exp(np.log(np.maximum(np.concatenate(each), LEAST)).mean()))
        return Errors(chosen, checked, total, fresh, typical)

    def _halves(self, energy: Array, before: int) -> Array:
        """Energies [N, rows] of sequences after so many others, summed over every other sequence; of a single one over
        its first and its second half."""
        if self.sequences == 1:
            middle = energy.shape[1] // 2
            return np.array([energy[:, :middle].sum(), energy[:, middle:].sum()])
        even = (np.arange(len(energy)) + before) % 2 == 0
        return np.array([energy[even].sum(), energy[~even].sum()])

    def _parts(self, energy: Array) -> Array:
        """Energies [rows] of all sequences end to end, likewise."""
        lengths = [max(x.shape[1] for x in xs) for xs, _ in self.batches for _ in range(len(xs[0]))]
        even = np.repeat(np.arange(self.sequences) % 2 == 0, lengths)[: len(energy)]
        return np.array([energy[even].sum(), energy[~even].sum()])


def _carries(model: Model) -> bool:
    """Whether the model may run on and on: it answers every step, and was not made for windows."""
    sequences = set(model.inputs) - {t.name for t in model.tensors if t.single}
    plain = model.timing.causal and not model.timing.uneven and model.meta.window is None
    return plain and bool(sequences) and not set(model.outputs) <= model.timing.single


def _joined(model: Model, batches: list[_Batch]) -> _Batch | None:
    """All sequences end to end, and what the float model answers; None where it leaves all bounds. Of an input with one
    row a run the first sequence's counts."""
    single = {t.name for t in model.tensors if t.single}
    xs = []
    for k, name in enumerate(model.inputs):
        parts = [x[k] for x, _ in batches]
        joined = [part.reshape(1, -1, part.shape[2]) for part in parts]
        xs.append(parts[0][:1] if name in single else np.concatenate(joined, axis=1))
    given = tuple(x[:, 0] if name in single else x for x, name in zip(xs, model.inputs, strict=True))
    try:
        ys = Runner(pack(model, example=False)).run(given, every_step=True)
    except EdgeLstmError:  # ids beyond their vocabulary
        return None
    wanted = dict(zip(model.outputs, ys if isinstance(ys, tuple) else (ys,), strict=True))
    fine = all(np.abs(y).max() < LARGEST for y in wanted.values())
    return (xs, {name: y.astype(np.float64) for name, y in wanted.items()}) if fine else None


def _energies(batches: list[_Batch], model: Model) -> dict[str, float]:
    """Of the answers of each output that is not always zero."""
    sums = {name: sum(float(np.square(wanted[name]).sum()) for _, wanted in batches) for name in model.outputs}
    return {name: energy for name, energy in sums.items() if energy}


def _errors(runner: Runner, model: QuantizedModel, batch: _Batch, energies: dict[str, float]) -> Iterator[Array]:
    """Energies of the errors of each output, [N, rows], as shares of all that count."""
    xs, wanted = batch
    for name, y in zip(model.outputs, answers(runner, model, xs), strict=True):
        if name in energies:
            real = y.reshape(wanted[name].shape) * reference_s8.tensor(model, name).scale
            yield np.square(real - wanted[name]).sum(axis=2) / energies[name] / len(energies)


def answers(runner: Runner, model: QuantizedModel, xs: list[Array]) -> tuple[Array, ...]:
    """The integers of each output, every step where the model has one a step: the core's, which are the reference's.
    What its door refuses, ids beyond their vocabulary, the reference runs."""
    every, integers = model.timing.causal, reference_s8.quantize_inputs(model, xs)
    single = [reference_s8.tensor(model, name).single for name in model.inputs]
    given = tuple(x[:, 0] if one else x for x, one in zip(integers, single, strict=True))
    try:
        ys = runner.run_integers(given, every_step=every)
    except EdgeLstmError:
        return reference_s8.run(model, integers, every)
    return ys if isinstance(ys, tuple) else (ys,)


class Search:
    """The descent over one model."""

    def __init__(self, maker: Maker, covering: MadeModel, plan: Plan) -> None:
        self.maker, self.plan = maker, replace(plan, narrowed={})
        self.judge = Judge(maker.model, maker.calibration, MOST_PRODUCTS)
        self.known: dict[tuple[tuple[tuple[str, str], float], ...], Errors] = {}
        spans = [span for span in covering.spans if span.noise and span.most * _step(span) >= 1]
        error = self.judge(covering.model).all if spans else 0.0
        self.spans = [span for span in spans if _noise(span, covering.model) > SMALL * error > 0]

    def run(self, progress: Callable[[float], None] | None = None) -> tuple[Narrowed, ...]:
        """The ranges that were narrowed."""
        now: dict[tuple[str, str], float] = {}
        for number in range(PASSES):
            before = dict(now)
            for k, span in enumerate(self.spans):
                factor = self._best(span, now)
                now.pop(span.key, None)
                if factor < 1:
                    now[span.key] = factor
                if progress is not None:
                    progress((number + (k + 1) / len(self.spans)) / PASSES)
            if now == before:
                break
        kept = []
        for span in self.spans:
            if span.key in now:
                without = {key: factor for key, factor in now.items() if key != span.key}
                gain = self._gain(without, now)
                if gain < span.worth:
                    now = without
                else:
                    kept.append((span, gain))
        spans = {span.key: span for span in self.maker.make(replace(self.plan, narrowed=now)).spans}
        if progress is not None:
            progress(1.0)
        most = self._gain({}, now)
        return tuple(Narrowed(span, now[span.key], spans[span.key].full, min(gain, most)) for span, gain in kept)

    def _gain(self, wide: dict[tuple[str, str], float], narrow: dict[tuple[str, str], float]) -> float:
        """What the error of one plan is of another's."""
        return self._error(wide).all / max(self._error(narrow).all, 1e-300)

    def _error(self, narrowed: dict[tuple[str, str], float]) -> Errors:
        key = tuple(sorted(narrowed.items()))
        if key not in self.known:
            made = self.maker.make(replace(self.plan, narrowed=dict(narrowed)))
            self.known[key] = self.judge(made.model)
        return self.known[key]

    def _best(self, span: Span, now: dict[tuple[str, str], float]) -> float:
        """What of one range to keep, the others as they are now; 1 where nothing narrower is worth it."""
        tried: dict[float, Errors] = {}
        factor = 1.0
        while factor * span.most >= 1:
            others = {key: kept for key, kept in now.items() if key != span.key}
            tried[factor] = self._error(others if factor == 1 else others | {span.key: factor})
            if tried[factor].chosen > STEEP * min(errors.chosen for errors in tried.values()):
                break
            factor *= _step(span)
        most = HARDLY_WORSE * min(errors.chosen for errors in tried.values())
        best = max(factor for factor, errors in tried.items() if errors.chosen <= most)
        wide, narrow = tried[1.0], tried[best]
        agreed = narrow.checked <= HARDLY_WORSE * wide.checked and wide.all >= span.worth * narrow.all
        agreed &= wide.typical >= span.worth * narrow.typical
        return best if agreed else 1.0


def _step(span: Span) -> float:
    return COARSE if span.coarse else FINE


def _noise(span: Span, model: QuantizedModel) -> float:
    """What the rounding of a range may be of the answers' error."""
    writes = next(layer.writes for layer in model.layers if layer.name == span.layer)
    passed_on = span.what != "output" or any(name in layer.reads for name in writes for layer in model.layers)
    return span.noise * (GROWING if span.grows else PASSING if passed_on else 1.0)
