"""Whether an image answers as its checkpoint does: runs both on the same sequences, and TFLite beside them."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import arrays, peers
from .. import converter as official_converter
from ..comparison import DECIBELS, LIMIT, Row, above, also, compare, shown, within
from ..errors import InputError
from ..exporters import tflite
from ..meta import Array
from ..model import Model
from ..peer_process import TIMEOUT, Answers
from ..quantization import quantize
from ..report import REFERENCE, Arithmetic, Report, Task
from ..runner import Runner, Source
from . import beside, exactness, inspection, judging, longrun, tasks
from .advice import Found, advice, beyond_windows
from .data import Data, generated, given, is_path, scaled
from .meaning import meaning
from .references import BY, Asked, Reference, answered, paired, recognised
from .traces import traced
from .variants import Arrays, Progress, Variant, real


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
    limit: float | None = None,
    decibels: float | None = None,
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
    samples: as `quantize` takes them, or a file, scaled as the data are; they make an s8 model of a float one, and give
    TFLite's int8 its ranges, which else come from the data.
    labels: of the data, as tasks.read takes them; numbers scaled as in training, or with `raw` in the sensor's unit.
    task: what they are, "classes" or "numbers", where their shape and values do not tell.
    Judged are f32, by `limit` (5e-6) times max(1, max|y|) on its largest error, s8 and tfl8, by `decibels` (20) of
    signal to error (f32 too against a reference that computes in int8), and tfl8 beside the .tflite it was made of by
    whether the runtime has its bytes in some known way of rounding, or with `exact` in the image's own. `cosine` and
    `agreement` are the least of those, of every output; `accuracy_drop` and `rmse_rise` the most that a metric may be
    worse than the reference's, in points and as a share; `saturation` the largest share of any tensor's values; `drift`
    the least signal to error, in dB, over the long run. A demand that is given and would judge nothing is refused.
    drift_steps: steps of the long run with carried state; as many as the data have unless given, 0 for none.
    """
    judging.check(limit=limit, decibels=decibels, cosine=cosine, agreement=agreement, accuracy_drop=accuracy_drop,
                  rmse_rise=rmse_rise, saturation=saturation, drift=drift, timeout=timeout)  # fmt: skip
    tell = progress or (lambda what, share: None)
    notes: list[str] = []
    runner = Runner(model, kernels)
    subject = Variant(runner.description.number_type, runner)
    against = recognised(reference, runner, head, architecture, notes)
    asked = _asked(by, kind, samples, raw, runtime, trust, timeout, runner)
    floats = against.model or (model if isinstance(model, Model) else None)
    _refuse_unused(against, asked, floats, converter)
    if converter or by == "converter":
        if against.kind != "checkpoint":
            raise InputError("TensorFlow's converter takes a Keras checkpoint; the reference is none")
        official_converter.maker(against.source)
    if asked.samples is not None and floats is None:
        raise InputError("samples need the float model: give its checkpoint as the reference")
    tell("quantizing", 0.0)
    variants = _variants(subject, floats, asked.samples)
    if not raw and (data is not None or samples is not None) and any(port.scaler for port in runner.meta.inputs):
        notes.append(
            "what was given was taken as scaled already; `raw` is for data, labels and samples of the sensor's"
        )
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
    for output, y, _ in pairs[subject.name]:
        if not np.isfinite(np.asarray(y, np.float64)).all():
            raise InputError(f"output {output}: the answers of {expected.peer} hold NaN or infinite values")
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
                row = judging.beside_its_file(output, difference, own_rule[0], exact)
            elif variant.name == "f32" and not expected.integer:
                row = within(variant.name, output, difference, LIMIT if limit is None else limit)
            else:
                row = above(variant.name, output, difference, DECIBELS if decibels is None else decibels)
            rows.append(also(row, cosine, agreement))
    judging.refuse(rows, limit, decibels, agreement, exact, own_rule)
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
    seen, own = inspection.all_of(variants, real_model, xs, expected, notes, tell)
    counted = tuple(one for part in seen for one in part.saturation)
    over_time = longrun.all_of(variants, real_model, used, drift_steps, notes, tell)
    notes.append(f"ours ran with {runner.kernels} kernels")
    layers = tuple(layer for part in seen for layer in part.layers)
    found = Found(
        subject.name, expected.peer, variants, rows, layers, counted, over_time, own_rule,
        None if remedy else own, xs, runner.description.input_names, used.generated, spoilt,
        _window(runner, against, floats),
    )  # fmt: skip
    notes += beyond_windows(found)
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
        checks=(*judging.saturation(counted, saturation), *judging.drift(over_time, drift)),
        advice=advice(found),
        notes=tuple(notes),
        traces=traced(runner, ys, answers, [variant.name for variant in variants]),
        independent=not remedy,
        remedy=remedy,
    )


# ---- what is run ----


def _asked(
    by: str | None,
    kind: str | None,
    samples: Any,
    raw: bool,
    runtime: str | None,
    trust: bool,
    timeout: float,
    runner: Runner,
) -> Asked:
    if by is not None and by not in BY:
        raise InputError(f"unknown `by` {by!r}; known: {', '.join(BY)}")
    if kind is not None and by not in ("tflite", "converter"):
        raise InputError("`kind` is of a .tflite file that answers; it needs `by`")
    if kind is not None and kind not in tflite.KINDS:
        raise InputError(f"unknown kind {kind!r}; known: {', '.join(tflite.KINDS)}")
    if runtime is not None and runtime not in peers.RUNTIMES:
        raise InputError(f"unknown TFLite runtime {runtime!r}; known: {', '.join(peers.RUNTIMES)}")
    loaded = arrays.load(samples, runner.description.input_names) if is_path(samples) else samples
    if raw and loaded is not None:
        loaded = scaled(loaded, runner.meta)
    return Asked(by, kind or "float", loaded, runtime, trust, timeout)


def _refuse_unused(against: Reference, asked: Asked, floats: Model | None, converter: bool) -> None:
    """InputError for what is asked of somebody who does not answer."""
    written = against.kind in ("checkpoint", "module", "model") and floats is not None
    if asked.runtime is not None and not (written or against.kind == "tflite" or converter or asked.by == "converter"):
        raise InputError("`runtime` chooses what runs .tflite files, and beside this reference there are none")
    if asked.trust and (against.kind != "checkpoint" or (asked.by == "tflite" and not converter)):
        raise InputError("`trust` lets a checkpoint run in its framework; here none does")


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
    if raw and samples is None:
        raise InputError("`raw` is for data of yours; what is generated is scaled already")
    if against.kind == "recorded":
        raise InputError("recorded answers need the data they were recorded on")
    integer = next((v.runner for v in variants if v.name != "f32"), None)
    made = generated(subject.runner, floats, samples, integer, _fixed(against, floats))
    notes.append(f"the data are {made.name}; data as in real use tells more")
    return made


def _fixed(against: Reference, floats: Model | None) -> dict[str, int]:
    """The numbers of steps that the reference's file fixes, by input."""
    if floats is None or against.kind not in ("checkpoint", "tflite"):
        return {}
    return peers.fixed_steps(Path(against.source), floats, against.architecture)


def _window(runner: Runner, against: Reference, floats: Model | None) -> int | None:
    """How many steps the model was made to run from a reset state; None where nothing says so."""
    own = None if floats is None else floats.meta.window
    counts = (runner.meta.window, own, *_fixed(against, floats).values())
    return next((count for count in counts if count is not None and count > 1), None)  # a file of one step streams


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


def _subject(model: Source, runner: Runner) -> str:
    """What is validated, so that it can be known again."""
    name = Path(model).name if isinstance(model, str | os.PathLike) else "the model"
    described = runner.description
    return f"{name}, {described.number_type}, {described.size:,} bytes, checksum {described.checksum:08x}"
