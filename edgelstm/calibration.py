"""What a float model does on a person's samples: the evidence `quantize` chooses its scales by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import reference
from .description import one_id_a_step
from .errors import InputError, QuantizeError
from .layers import Dense, Lstm, Mask
from .model import Array, Model
from .timing import check_run
from .whole import id_inputs, whole_inputs

MOST_STEPS = 16384  # enough for maxima and covariances of any layer we have measured
MOST_VALUES = 1 << 25  # numbers kept in all, 256 MiB as float64
MOST_WHOLE = 1 << 20  # steps of a sequence that cannot be cut
LONGEST = 2048  # steps of one sequence; longer ones are cut into pieces
FAINT = 256  # a channel so many times smaller than its input has half the input's 16 bits or fewer
LARGEST = 2.0**60  # the runner's door clamps here


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Traces of the float reference over the samples, a batch per sequence length, or lengths where inputs differ."""

    inputs: tuple[tuple[Array, ...], ...]  # per batch, one array [N, T, width] per model input
    traces: tuple[dict[str, Array], ...]  # per batch, what reference.run's `trace` receives, every step if there is one
    ranges: dict[str, tuple[float, float]]  # per input, least and largest x of all samples but what a Mask leaves out
    whole: frozenset[str]  # inputs of ids and masks, whole numbers in all samples
    notes: tuple[str, ...]  # those of what should not stay as it is start with "warning:"

    def reach(self, name: str) -> float:
        """The largest |x| of a model input over all samples."""
        return max(map(abs, self.ranges[name]))

    def each(self, name: str) -> Iterator[Array]:
        """The trace `name` of every batch, [N, T, ...]."""
        return (trace[name] for trace in self.traces)

    def copied(self, names: dict[str, str]) -> Calibration:
        """With the traces of these tensors under second names too."""
        traces = (trace | {new: trace[name] for name, new in names.items()} for trace in self.traces)
        return replace(self, traces=tuple(traces))

    def rows(self, name: str) -> Array:
        """A tensor's values of all steps, [steps, width]."""
        return np.concatenate([values.reshape(-1, values.shape[-1]) for values in self.each(name)])

    def rows_before(self, name: str) -> Array:
        """The same a step earlier, zeros before the first: what an LSTM's recurrent weights see of its own h."""
        return np.concatenate([before(values).reshape(-1, values.shape[-1]) for values in self.each(name)])


def before(values: Array) -> Array:
    """[N, T, width] shifted one step later, zeros first."""
    shifted = np.zeros_like(values)
    shifted[:, 1:] = values[:, :-1]
    return shifted


def calibrate(model: Model, samples: Any) -> Calibration:
    """Run the float reference over the samples. QuantizeError if they do not fit or the model overflows on them."""
    given = sequences(model, samples)
    columns = {name: [s[k] for s in given] for k, name in enumerate(model.inputs)}
    ranges = {name: _range(model, name, arrays) for name, arrays in columns.items()}
    whole = frozenset(name for name in whole_inputs(model) if _all_whole(model, name, columns[name]))
    lead, every_step = _lead(model), model.timing.causal
    chosen, notes = _choose(model, given)
    for name, arrays in columns.items():
        if name not in whole:
            notes += _poor_channels(name, arrays)
    own = _own(model)
    batches: dict[tuple[int, ...], list[tuple[Array, ...]]] = {}
    for sequence in chosen:
        batches.setdefault(tuple(map(len, sequence)), []).append(sequence)
    inputs, traces = [], []
    for steps, batch in batches.items():
        xs = tuple(np.stack([sequence[k] for sequence in batch]) for k in range(len(model.inputs)))
        trace: dict[str, Array] = {}
        with np.errstate(over="ignore", invalid="ignore"):
            try:
                # every layer must have a row to be measured on
                check_run(model, steps[lead], lengths={k: steps[k] for k in own})
                reference.run(model, xs, every_step, trace=trace)
            except InputError as error:
                raise QuantizeError(f"samples of {_listed(model, steps)} steps: {error}") from None
        for layer in model.layers:
            for name in (*layer.writes, f"{layer.name}.z", f"{layer.name}.c"):
                values = trace.get(name)
                if values is not None and not np.abs(values).max(initial=0) < LARGEST:
                    raise QuantizeError(f"{layer.name}: its values grow beyond 2^60 on the samples; it cannot be int8")
        inputs.append(xs)
        traces.append(trace)
    return Calibration(tuple(inputs), tuple(traces), ranges, whole, notes)


def _own(model: Model) -> frozenset[int]:
    """The inputs, by number, that may have other numbers of steps than the first."""
    return frozenset(k for k, name in enumerate(model.inputs) if model.timing.clocks[name])


def _listed(model: Model, steps: tuple[int, ...]) -> str:
    """The numbers of steps of the inputs that are sequences."""
    lead, own = _lead(model), _own(model)
    return " and ".join(str(n) for k, n in enumerate(steps) if k == lead or k in own)


def _lead(model: Model) -> int:
    """The first input that is a sequence; 0 where none is."""
    single = {t.name for t in model.tensors if t.single}
    return next((k for k, name in enumerate(model.inputs) if name not in single), 0)


def _range(model: Model, name: str, arrays: list[Array]) -> tuple[float, float]:
    """Least and largest x. The value by which a Mask knows missing steps needs no room: it may saturate."""
    left_out = [
        float(np.float32(layer.value)) for layer in model.layers if isinstance(layer, Mask) and layer.reads[0] == name
    ]
    kept = [x[~np.isin(x, left_out)] for x in arrays] if left_out else arrays
    some = [x for x in kept if x.size] or [np.zeros(1)]
    return float(min(x.min() for x in some)), float(max(x.max() for x in some))


def _all_whole(model: Model, name: str, arrays: list[Array]) -> bool:
    """Whether an input for ids or masks holds such; QuantizeError for ids that are none."""
    whole = all((x == np.rint(x)).all() and np.abs(x).max(initial=0) <= 32767 for x in arrays)
    if not whole and name in id_inputs(model):
        raise QuantizeError(f"samples of {name} are ids of an embedding and must be whole numbers from 0 to 32767")
    return whole


def _poor_channels(name: str, arrays: list[Array]) -> tuple[str, ...]:
    """Warnings of an input's channels that the samples say too little of, or that its one scale leaves few bits."""
    least = np.min([x.min(axis=0) for x in arrays], axis=0)
    largest = np.max([x.max(axis=0) for x in arrays], axis=0)
    reach = np.maximum(-least, largest)
    still = least == largest
    faint = ~still & (reach < reach.max() / FAINT)
    notes = []
    if still.any():
        what, verb = _channels(name, still, "never changes", "never change")
        notes.append(
            f"warning: {what} {verb} in the samples, so no range and no rounding was chosen for changes; "
            "give samples in which all channels move, or train without those that cannot"
        )
    if faint.any():
        what, verb = _channels(name, faint, "uses few of its 16 bits", "use few of their 16 bits")
        notes.append(
            f"warning: {what} {verb}: at most {reach[faint].max():.2g} where the input reaches {reach.max():.2g}; "
            "scale the channels to like sizes before training"
        )
    return tuple(notes)


def _channels(name: str, chosen: Array, one: str, several: str) -> tuple[str, str]:
    """Channels named, and the form of the verb for as many."""
    numbers = [str(k) for k in np.flatnonzero(chosen)]
    if len(numbers) == 1:
        return f"input {name}, channel {numbers[0]}", one
    listed = ", ".join(numbers[:8]) + (f" and {len(numbers) - 8} more" if len(numbers) > 8 else "")
    return f"input {name}, channels {listed}", several


def sequences(model: Model, samples: Any) -> list[tuple[Array, ...]]:
    """The samples as sequences of one array [T, width] per input, checked."""
    count = len(model.inputs)
    if count == 1:
        per_input: tuple[Any, ...] = samples if isinstance(samples, tuple) and len(samples) == 1 else (samples,)
    elif isinstance(samples, tuple) and len(samples) == count:
        per_input = samples
    else:
        raise QuantizeError(f"the model has {count} inputs; give the samples as a tuple of {count}, one per input")
    single = {t.name for t in model.tensors if t.single}
    ids = {name for name in id_inputs(model) if name not in single and model.width(name) == 1}
    columns = [
        (_single_rows if name in single else _arrays)(
            _of_ids(given, name) if name in ids else given, name, model.width(name)
        )
        for given, name in zip(per_input, model.inputs, strict=True)
    ]
    lengths = [[len(array) for array in column] for column in columns]
    lead, own = _lead(model), _own(model)
    for k, (name, length) in enumerate(zip(model.inputs, lengths, strict=True)):
        apart = name in single or k in own  # its number of steps is its own
        if length != lengths[lead] and not (apart and len(length) == len(lengths[lead])):
            raise QuantizeError("the samples of the inputs differ in number or in steps; each input needs the same")
    found = [sequence for sequence in zip(*columns, strict=True) if all(map(len, sequence))]
    if not found:
        raise QuantizeError("the samples hold no step; give at least one sequence that looks like real use")
    return found


def _of_ids(given: Any, name: str) -> Any:
    """Samples of one id a step, where they are an array (sequences, steps) with an axis of one value more."""
    return given if isinstance(given, (list, tuple)) else one_id_a_step(_numbers(given, name), 1)


def _single_rows(given: Any, name: str, width: int) -> list[Array]:
    """A single input's samples as float64 arrays [1, width]; given as (sequences, width) or (sequences, 1, width)."""
    rows = given if isinstance(given, (list, tuple)) else _numbers(given, name)
    return _arrays([np.atleast_2d(row) for row in rows], name, width)


def _arrays(given: Any, name: str, width: int) -> list[Array]:
    """One input's samples as float64 arrays [T, width]."""
    expected = f"expected (steps, {width}), (sequences, steps, {width}) or a list of (steps, {width})"
    if isinstance(given, (list, tuple)):
        arrays = [_numbers(item, name) for item in given]
    else:
        whole = _numbers(given, name)
        if whole.ndim not in (2, 3):
            raise QuantizeError(f"samples of {name} have shape {whole.shape}, {expected}")
        arrays = [whole] if whole.ndim == 2 else list(whole)
    for array in arrays:
        if array.ndim != 2 or array.shape[1] != width:
            raise QuantizeError(f"samples of {name} hold a sequence of shape {array.shape}, {expected}")
        if not np.isfinite(array).all():
            raise QuantizeError(f"samples of {name} hold NaN or infinite values; drop or fill them first")
        if np.abs(array).max(initial=0) > LARGEST:
            raise QuantizeError(f"samples of {name} reach beyond 2^60; scale them as the model was trained")
    return arrays


def _numbers(values: Any, name: str) -> Array:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise QuantizeError(f"samples of {name} are not arrays of numbers: {error}") from error
    if array.dtype.kind not in "fiu":
        raise QuantizeError(f"samples of {name} are of type {array.dtype}, expected numbers")
    # float32 first: the runner's inputs are float32.
    return array.astype(np.float32).astype(np.float64)


def _steps(sequence: tuple[Array, ...]) -> int:
    """Of the longest input."""
    return max(map(len, sequence))


def _choose(model: Model, given: list[tuple[Array, ...]]) -> tuple[list[tuple[Array, ...]], tuple[str, ...]]:
    """Bound the work: long sequences are cut into pieces, then pieces chosen at even distances. Says what it did."""
    widths = sum(t.width for t in model.tensors)
    widths += sum(5 * layer.units for layer in model.layers if isinstance(layer, Lstm))
    widths += sum(layer.units for layer in model.layers if isinstance(layer, Dense))
    most = max(64, min(MOST_STEPS, MOST_VALUES // widths))
    longest = min(LONGEST, most)
    whole = not model.timing.causal or model.timing.uneven  # such a model must see its sequences as they are
    total, count = sum(map(_steps, given)), len(given)
    pieces: list[tuple[Array, ...]] = []
    for sequence in given:
        parts = 1 if whole else -(-_steps(sequence) // longest)
        cut = ([a] * parts if len(a) == 1 else np.array_split(a, parts) for a in sequence)  # a single row serves all
        pieces.extend(zip(*cut, strict=True))
    keep = max(1, min(len(pieces), most * len(pieces) // total))
    chosen = [pieces[k] for k in np.linspace(0, len(pieces) - 1, keep).round().astype(int)]
    while len(chosen) > 1 and sum(map(_steps, chosen)) > most:
        chosen = chosen[: len(chosen) // 2] + chosen[len(chosen) // 2 + 1 :]
    used = sum(map(_steps, chosen))
    if used > MOST_WHOLE:
        raise QuantizeError(f"the model needs whole sequences, and one has {used} steps; give shorter samples")
    notes = [f"calibrated on {used} of {total} steps, {count} sequence{'s' if count > 1 else ''}"]
    if len(pieces) > count:
        notes.append(f"sequences longer than {longest} steps were cut into pieces, each started from a reset state")
    if len(chosen) < len(pieces):
        what = "pieces" if len(pieces) > count else "sequences"
        notes.append(f"{len(chosen)} of {len(pieces)} {what} were run, at even distances")
    return chosen, tuple(notes)
