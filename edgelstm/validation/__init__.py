"""Whether an image answers as its checkpoint does: runs both on the same sequences, and TFLite beside them."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import arrays, peers
from .. import converter as official_converter
from ..comparison import DECIBELS, LIMIT, Difference, Row, above, also, compare, shown, within
from ..errors import InputError
from ..exporters import tflite
from ..meta import Array
from ..model import Model
from ..peer_process import TIMEOUT, Answers
from ..quantization import quantize
from ..report import REFERENCE, Arithmetic, Check, Drift, Report, Saturation, Task, Trace
from ..runner import Runner, Source
from . import beside, exactness, inspection, longrun, tasks
from .advice import Found, advice
from .data import Data, generated, given, is_path
from .meaning import meaning
from .references import BY, Asked, Reference, answered, paired, recognised
from .variants import Arrays, Variant, real

TRACED, CHANNELS = 400, 3  # steps, and channels of an output, that a report keeps for figures

Progress = Callable[[str, float], object]
"""Told what is being done and which share of it is done, 0 ... 1."""


def validate(
    model: Source,
    reference: Any,
    data: Any = None,
    *,
    samples: Any = None,
    labels: Any = None,
    task: str | None = None,
    raw: bool = False,
    by: str | None = None,
    kind: str | None = None,
    limit: float = LIMIT,
    decibels: float = DECIBELS,
    cosine: float | None = None,
    agreement: float | None = None,
    accuracy_drop: float | None = None,
    rmse_rise: float | None = None,
    saturation: float | None = None,
    drift: float | None = None,
    exact: bool = False,
    converter: bool = False,
    drift_steps: int | None = None,
    kernels: str | None = None,
    runtime: str | None = None,
    head: str | None = None,
    architecture: str | os.PathLike[str] | None = None,
    trust: bool = False,
    timeout: float = TIMEOUT,
    progress: Progress | None = None,
) -> Report:
    """Compare a model with its reference, every sequence from a reset state.

    model: what a Runner takes. reference: a checkpoint's path (its framework runs it; where that is not installed, or
    fails, this package's float64 reference stands in and a note says so), a .tflite path, recorded answers (array,
    tuple of arrays, .npy, or .npz without `architecture`), a live torch module or a Model. `head` and `architecture` as
    `read` takes them. trust: whether a checkpoint that `read` refuses may run in its framework, and whatever code it
    holds with it. by: who answers for a checkpoint, "framework" (nobody stands in for it), or a .tflite file of `kind`
    ("float", "dynamic" or "int8"): "tflite" one that our exporter writes of it, "converter" the one of TensorFlow's own
    converter, for Keras checkpoints. converter: whether files of that are shown beside; it takes long, and may die.
    data: what `Runner.run` takes, or a file; scaled as the model was trained, or with `raw` in the sensor's numbers,
    for the image's scalers; of a tfl8 image with int8 inputs real numbers or int8. None: seeded slow random walks,
    within the samples' range, or that of an int8 image, or -1 ... 1.
    samples: as `quantize` takes them, or a file; they make an s8 model of a float one, and give TFLite's int8 its
    ranges, which else come from the data.
    labels: of the data, as tasks.read takes them; numbers scaled as in training, or with `raw` in the sensor's unit.
    task: what they are, "classes" or "numbers", where their shape and values do not tell.
    Judged are f32, by `limit` times max(1, max|y|) on its largest error, s8 and tfl8, by `decibels` of signal to error
    (f32 too against a reference that computes in int8), and tfl8 beside the .tflite it was made of by whether the
    runtime has its bytes in some known way of rounding, or with `exact` in the image's own. `cosine` and `agreement`
    are the least of those, of every output; `accuracy_drop` and `rmse_rise` the most that a metric may be worse than
    the reference's, in points and as a share; `saturation` the largest share of any tensor's values; `drift` the
    least signal to error, in dB, over the long run.
    drift_steps: steps of the long run with carried state; as many as the data have unless given, 0 for none.
    """
    tell = progress or (lambda what, share: None)
    notes: list[str] = []
    runner = Runner(model, kernels)
    subject = Variant(runner.description.number_type, runner)
    against = recognised(reference, runner, head, architecture, notes)
    asked = _asked(by, kind, samples, runtime, trust, timeout, runner)
    if converter or by == "converter":
        if against.kind != "checkpoint":
            raise InputError("TensorFlow's converter takes a Keras checkpoint; the reference is none")
        official_converter.maker(against.source)
    floats = against.model or (model if isinstance(model, Model) else None)
    if asked.samples is not None and floats is None:
        raise InputError("samples need the float model: give its checkpoint as the reference")
    tell("quantizing", 0.0)
    variants = _variants(subject, floats, asked.samples)
    used = _data(data, raw, against, variants, subject, floats, asked.samples, notes)
    xs = used.xs
    tell("the reference", 0.0)
    official = beside.Official()
    if by == "converter":
        official = _official(against, xs, asked, (asked.kind,), notes)
        expected, remedy = beside.as_reference(official, asked.kind), ""
    else:
        expected, remedy = answered(against, xs, asked, notes)
    expected = _as_real(expected, runner)
    outputs = runner.description.output_names
    answers: dict[str, Arrays] = {}
    pairs: dict[str, list[tuple[str, Array, Array]]] = {}
    for done, variant in enumerate(variants):
        tell("our answers", done / len(variants))
        answers[variant.name] = variant.answers(xs)
        pairs[variant.name] = paired(outputs, expected.ys, answers[variant.name])
    ys = tuple(y for _, y, _ in pairs[subject.name])  # each with an axis of sequences

    arithmetic: tuple[Arithmetic, ...] = ()
    if subject.name == "tfl8" and against.integers is not None:
        arithmetic = exactness.measured(
            subject, answers["tfl8"], against.source, against.integers, xs, runtime, timeout, notes,
            lambda share: tell("ways of rounding", share),
        )  # fmt: skip
    own_rule = exactness.judging(arithmetic, expected.peer)
    rows: list[Row] = []
    for variant in variants:
        for output, y, z in pairs[variant.name]:
            difference = compare(y, z)
            if variant.name == "tfl8" and own_rule:
                row = _bytes(output, difference, own_rule[0], exact)
            elif variant.name == "f32" and not expected.integer:
                row = within(variant.name, output, difference, limit)
            else:
                row = above(variant.name, output, difference, decibels)
            rows.append(also(row, cosine, agreement))
    _applies(rows, cosine, agreement, exact, own_rule)
    if against.kind in ("checkpoint", "module", "model") and floats is not None:
        tell("TFLite", 0.0)
        left_out = asked.kind if asked.by == "tflite" else None
        for name, others in beside.variants(floats, xs, asked.samples, runtime, timeout, notes, left_out).items():
            answers[name] = others
            rows += [shown(name, output, compare(y, z)) for output, y, z in paired(outputs, ys, others)]
    if converter and by != "converter":
        tell("TensorFlow's converter", 0.0)
        official = _official(against, xs, asked, tflite.KINDS, notes, ys)
        for name, converted in official.answers.items():
            answers[name] = converted
            rows += [shown(name, output, compare(y, z)) for output, y, z in paired(outputs, ys, converted)]
    spoilt = list(official.spoilt)
    if against.kind == "tflite":
        path = Path(against.source)
        again = partial(beside.in_runtime, path, xs, runtime, timeout)
        truth = tuple(z for _, _, z in pairs["f32"]) if "f32" in pairs else ()
        spoilt = [
            f"{text}; take the checkpoint it was converted from as the reference"
            for text in beside.spoiled(path.read_bytes(), path.name, ys, again, notes, truth)
        ]
    measured = _tasks(labels, task, raw, runner, ys, answers, notes, (accuracy_drop, rmse_rise))

    real_model = floats
    if floats is None and against.integers is not None:
        real_model = meaning(against.integers)
        if real_model is not None:
            notes.append("layers and drift are beside the numbers that the file's integers stand for, in float64")
    tell("layers", 0.0)
    seen, own = _inside(variants, real_model, xs, expected, notes, tell)
    counted = tuple(one for part in seen for one in part.saturation)
    over_time = _drift(variants, real_model, used, drift_steps, notes, tell)
    notes.append(f"ours ran with {runner.kernels} kernels")
    layers = tuple(layer for part in seen for layer in part.layers)
    found = Found(
        subject.name, expected.peer, variants, rows, layers, counted, over_time, own_rule,
        None if remedy else own, xs, runner.description.input_names, used.generated, spoilt,
    )  # fmt: skip
    return Report(
        subject=_subject(model, runner),
        reference=expected.peer,
        data=used.name,
        sequences=used.sequences,
        steps=used.steps,
        rows=tuple(rows),
        layers=layers,
        drift=over_time,
        saturation=counted,
        tasks=tuple(measured),
        arithmetic=arithmetic,
        converted=official.converted,
        checks=(*_saturation_checks(counted, saturation), *_drift_checks(over_time, drift)),
        advice=advice(found),
        notes=tuple(notes),
        traces=_traces(runner, ys, answers, [variant.name for variant in variants]),
        independent=not remedy,
        remedy=remedy,
    )


# ---- what is run ----


def _asked(
    by: str | None, kind: str | None, samples: Any, runtime: str | None, trust: bool, timeout: float, runner: Runner
) -> Asked:
    if by is not None and by not in BY:
        raise InputError(f"unknown `by` {by!r}; known: {', '.join(BY)}")
    if kind is not None and by not in ("tflite", "converter"):
        raise InputError("`kind` is of a .tflite file that answers; it needs `by`")
    if kind is not None and kind not in tflite.KINDS:
        raise InputError(f"unknown kind {kind!r}; known: {', '.join(tflite.KINDS)}")
    loaded = arrays.load(samples, runner.description.input_names) if is_path(samples) else samples
    return Asked(by, kind or "float", loaded, runtime, trust, timeout)


def _variants(subject: Variant, floats: Model | None, samples: Any) -> list[Variant]:
    """The image, the float model it may have been made of, and one quantized here where there are samples."""
    kernels = subject.runner.kernels
    found = {subject.name: subject}
    if floats is not None and subject.name != "f32":
        found = {"f32": Variant("f32", Runner(floats, kernels)), **found}
    if floats is not None and samples is not None and subject.name != "s8":
        found["s8"] = Variant("s8", Runner(quantize(floats, samples), kernels))
    return list(found.values())


def _data(
    data: Any,
    raw: bool,
    against: Reference,
    variants: list[Variant],
    subject: Variant,
    floats: Model | None,
    samples: Any,
    notes: list[str],
) -> Data:
    if data is not None:
        return given(data, subject.runner, raw)
    if raw:
        raise InputError("`raw` is for data of yours; what is generated is scaled already")
    if against.kind == "recorded":
        raise InputError("recorded answers need the data they were recorded on")
    integer = next((v.runner for v in variants if v.name != "f32"), None)
    fixed = {}
    if floats is not None and against.kind in ("checkpoint", "tflite") and against.source is not None:
        fixed = peers.fixed_steps(Path(against.source), floats, against.architecture)
    made = generated(subject.runner, floats, samples, integer, fixed)
    notes.append(f"the data are {made.name}; data as in real use tells more")
    return made


def _as_real(answers: Answers, runner: Runner) -> Answers:
    """Recorded integers of a tfl8 image's outputs as the numbers they stand for."""
    described = runner.description
    if described.number_type != "tfl8" or len(answers.ys) != len(described.outputs):
        return answers
    tensors = [described.tensors[k] for k in described.outputs]
    ys = tuple(
        real(y, t.scale, t.zero_point) if np.asarray(y).dtype.kind in "iu" and t.type != "f32" else y
        for y, t in zip(answers.ys, tensors, strict=True)
    )
    return Answers(ys, answers.peer, answers.integer, answers.left_out)


def _official(
    against: Reference, xs: list[Array], asked: Asked, kinds: tuple[str, ...], notes: list[str], truth: Arrays = ()
) -> beside.Official:
    return beside.official(
        against,
        xs,
        asked.samples,
        asked.runtime,
        trust=asked.trust,
        timeout=asked.timeout,
        kinds=kinds,
        notes=notes,
        truth=truth,
    )


# ---- what is judged ----


def _bytes(output: str, difference: Difference, rule: Arithmetic, exact: bool) -> Row:
    """A tfl8 image beside a runtime on its .tflite."""
    whose = f"every byte of {rule.runtime}"
    if exact:
        return Row("tfl8", output, difference, whose, not rule.differing)
    passed = not rule.differing or bool(rule.exact)
    return Row("tfl8", output, difference, f"{whose} in a known way of rounding", passed)


def _applies(
    rows: list[Row], cosine: float | None, agreement: float | None, exact: bool, own_rule: list[Arithmetic]
) -> None:
    """InputError for a demand on what does not exist."""
    if agreement is not None and all(row.difference.agreement is None for row in rows):
        raise InputError("a limit on agreement of arg max needs an output of several values")
    if cosine is not None and not -1 <= cosine <= 1:
        raise InputError(f"the least cosine is {cosine:g}, expected -1 to 1")
    if agreement is not None and not 0 <= agreement <= 1:
        raise InputError(f"the least agreement is {agreement:g}, expected 0 to 1")
    if exact and not own_rule:
        raise InputError("`exact` compares a full-int8 image with its .tflite in a runtime; give that as the reference")


def _tasks(
    labels: Any,
    task: str | None,
    raw: bool,
    runner: Runner,
    ys: Arrays,
    answers: dict[str, Arrays],
    notes: list[str],
    demands: tuple[float | None, float | None],
) -> list[Task]:
    if labels is None:
        if task is not None or any(demand is not None for demand in demands):
            raise InputError("a task, and limits on its metrics, need labels")
        return []
    fitted = tasks.read(labels, runner, ys, task, raw, notes)
    found = tasks.measured(REFERENCE, fitted, ys)
    for name, others in answers.items():
        found += tasks.measured(name, fitted, others)
    return tasks.judged(found, *demands)


def _drift_checks(found: tuple[Drift, ...], least: float | None) -> tuple[Check, ...]:
    """Signal to error over the long run, where that is limited."""
    if least is None:
        return ()
    if not found:
        raise InputError("a limit on drift needs a long run, and there is none; the notes without that limit say why")
    return tuple(
        Check(
            f"{one.variant}: drift of output {one.output} over {one.points[-1].step:,} steps",
            f"{one.points[-1].decibels:.1f} dB",
            f"at least {least:g} dB",
            one.points[-1].decibels >= least,
        )
        for one in found
    )


def _saturation_checks(counted: tuple[Saturation, ...], most: float | None) -> tuple[Check, ...]:
    """Saturation, where it is limited."""
    if most is None:
        return ()
    if not 0 <= most <= 1:
        raise InputError(f"the largest share of saturated values is {most:g}, expected 0 to 1")
    checks = []
    for one in counted:
        place = f"{one.layer}, {one.tensor}" if one.layer else f"input {one.tensor}"
        found = f"{one.share:.3%} ({one.low + one.high:,} of {one.values:,})"
        checks.append(
            Check(f"{one.variant}: saturated values of {place}", found, f"at most {most:.3%}", one.share <= most)
        )
    return tuple(check for check in checks if not check.passed) or (
        Check("saturated values of all tensors", f"at most {max((o.share for o in counted), default=0):.3%}",
              f"at most {most:.3%}", True),
    )  # fmt: skip


# ---- inside, and over time ----


def _inside(
    variants: list[Variant],
    floats: Model | None,
    xs: list[Array],
    expected: Answers,
    notes: list[str],
    tell: Progress,
) -> tuple[list[inspection.Inside], Any]:
    """What stands in the tensors of each variant; and how far the float64 reference is from the answers."""
    some = inspection.chosen(floats, variants[0], xs)
    traced = {} if floats is None else inspection.trace(floats, some)
    if floats is None:
        notes.append("layers are not compared: there is no float model of the reference to compare them with")
    if len(some[0]) < len(xs[0]):
        notes.append(f"layers and saturation are of {len(some[0])} of the {len(xs[0])} sequences, at even distances")
    seen = []
    for done, variant in enumerate(variants):
        tell("layers", (done + 0.5) / (len(variants) + 0.5))
        seen.append(inspection.inspected(variant, floats, traced, some))
    if floats is None or not traced:
        return seen, None
    keep = np.linspace(0, len(xs[0]) - 1, len(some[0])).round().astype(int)
    single = floats.timing.single
    ours = [traced[name][:, -1] if name in single else traced[name] for name in floats.outputs if name in traced]
    theirs = [y[keep] for y in expected.ys if len(y) == len(xs[0])]
    if len(ours) != len(theirs) or any(y.shape != z.shape for y, z in zip(ours, theirs, strict=True)):
        return seen, None
    return seen, max((compare(y, z) for y, z in zip(theirs, ours, strict=True)), key=lambda d: d.max_error)


def _drift(
    variants: list[Variant],
    floats: Model | None,
    used: Data,
    steps: int | None,
    notes: list[str],
    tell: Progress,
) -> tuple[Drift, ...]:
    """The long run; why there is none becomes a note."""
    if steps == 0:
        return ()
    if steps is not None and steps < 0:
        raise InputError(f"drift_steps is {steps}, expected 0 or more")
    refused = longrun.refusal(variants, floats)
    if refused or floats is None:
        if steps is not None:
            raise InputError(f"no long run: {refused}")
        notes.append(f"no long run with carried state: {refused}")
        return ()
    total = max((x.shape[0] * x.shape[1] for x in used.xs if x.ndim == 3), default=1)
    count = steps or longrun.default_steps(floats, None if used.generated else total)
    xs = used.xs
    if used.generated and count > total:
        integer = next((v.runner for v in variants if v.name != "f32"), None)
        xs = generated(variants[0].runner, floats, None, integer, {}, count, 1).xs
    elif count > total:
        notes.append(f"the long run repeats the {total:,} steps of the data to have {count:,}")
    elif used.sequences > 1:
        notes.append(f"the long run joins the sequences end to end, {count:,} steps with carried state")
    tell("a long run", 0.0)
    found = longrun.measured(variants, floats, longrun.joined(xs, count), lambda share: tell("a long run", share))
    notes.append("drift is measured against this package's float64 reference, which carries its state as ours do")
    return found


# ---- for figures ----


def _traces(runner: Runner, ys: Arrays, answers: dict[str, Arrays], judged: list[str]) -> tuple[Trace, ...]:
    """The channels that are furthest off in the sequence whose answers are furthest off, a few of each output."""
    traces = []
    last = [name for name in judged if name in answers][-1]
    for k, (name, y) in enumerate(zip(runner.description.output_names, ys, strict=True)):
        error = np.abs(np.nan_to_num(answers[last][k] - y, nan=np.inf, posinf=np.inf, neginf=np.inf))
        worst = int(error.reshape(len(y), -1).max(axis=1).argmax())
        if y.ndim == 2:  # a row a sequence: the sequences are what there is to draw
            rows, off = y, error
            worst, found = 0, {who: others[k] for who, others in answers.items()}
        else:
            rows, off = y[worst], error[worst]
            found = {who: others[k][worst] for who, others in answers.items()}
        start = max(0, min(int(off.max(axis=1).argmax()) - TRACED // 2, len(rows) - TRACED))
        span = slice(start, start + TRACED)
        port = runner.meta.outputs[k] if runner.meta.outputs else None
        names = (port.channels or port.labels) if port is not None else ()
        for channel in sorted(np.argsort(-off.max(axis=0), kind="stable")[:CHANNELS].tolist()):
            title = names[channel] if len(names) == y.shape[-1] else str(channel)
            values = tuple((who, _floats(others[span, channel])) for who, others in found.items())
            along = "sequence" if y.ndim == 2 else "step"
            traces.append(Trace(name, title, worst, start, _floats(rows[span, channel]), values, along))
    return tuple(traces)


def _floats(values: Array) -> tuple[float, ...]:
    return tuple(map(float, values))


def _subject(model: Source, runner: Runner) -> str:
    """What is validated, so that it can be known again."""
    name = Path(model).name if isinstance(model, str | os.PathLike) else "the model"
    described = runner.description
    return f"{name}, {described.number_type}, {described.size:,} bytes, checksum {described.checksum:08x}"
