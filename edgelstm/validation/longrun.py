"""A long run from one reset state: the user's sequences joined end to end, or a long generated one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .. import reference as float64
from ..drift import curve, drift
from ..errors import InputError
from ..model import Array, Model
from ..report import Drift
from .data import Data, generated
from .variants import Arrays, Progress, Variant

STEPS = 10_000  # unless told others, or fewer that are round
MOST = 1 << 28  # multiplications of the reference that this default may cost in all; a second or two


def default_steps(model: Model, given: int | None) -> int:
    """How many steps a long run has where nobody says: those that the data have, but no more than can be waited for."""
    widths = {t.name: t.width for t in model.tensors}
    work = sum(sum(widths[name] for name in layer.reads) * widths[layer.writes[0]] * 4 for layer in model.layers)
    most = MOST // max(1, work)
    most = next((steps for steps in (STEPS, 3000, 1000, 300) if steps <= min(STEPS, most)), min(STEPS, 100))
    return most if given is None else min(given, most)


def refusal(variants: Sequence[Variant], model: Model | None) -> str:
    """Why there can be no long run; "" if there can."""
    if model is None:
        return "there is no float model to compare every step with"
    runner = variants[0].runner
    if not runner.causal:
        waits = runner.description.waits
        return f"the model cannot carry its state on ({': '.join(waits[0]) if waits else 'it needs steps to come'})"
    if runner.uneven:
        return "not every step of the model has a row of answers"
    if not model.timing.causal:
        return "the reference cannot carry its state on"
    return ""


def joined(xs: Sequence[Array], steps: int) -> list[Array]:
    """The sequences end to end, from the first again where they are too few; of a single row the first."""
    made = []
    for x in xs:
        if x.ndim == 2:
            made.append(x[:1])
            continue
        line = x.reshape(-1, x.shape[2])
        line = np.concatenate([line] * -(-steps // len(line)))[:steps]
        made.append(line[None])
    return made


def measured(
    variants: Sequence[Variant],
    model: Model,
    xs: Sequence[Array],
    progress: Callable[[float], object],
) -> tuple[Drift, ...]:
    """How far every output of every variant is from the float64 reference, step after step."""
    found: list[Drift] = []
    expected = float64.run(model, xs, every_step=True)
    progress(0.7)
    for done, variant in enumerate(variants):
        answers: Arrays = variant.answers(xs, every_step=True)
        names = variant.runner.description.output_names
        for name, y, z in zip(names, expected, answers, strict=True):
            if y.shape != z.shape or not np.isfinite(y).all():
                continue
            count = y.shape[1]
            found.append(Drift(variant.name, name, drift(y, z), drift(y, z, curve(count))))
        progress(0.7 + 0.3 * (done + 1) / len(variants))
    return tuple(found)


def all_of(
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
    refused = refusal(variants, floats)
    if refused or floats is None:
        if steps is not None:
            raise InputError(f"no long run: {refused}")
        notes.append(f"no long run with carried state: {refused}")
        return ()
    total = max((x.shape[0] * x.shape[1] for x in used.xs if x.ndim == 3), default=1)
    count = steps or default_steps(floats, None if used.generated else total)
    xs = used.xs
    if used.generated and count > total:
        integer = next((v.runner for v in variants if v.name != "f32"), None)
        xs = generated(variants[0].runner, floats, None, integer, {}, count, 1).xs
    elif count > total:
        notes.append(f"the long run repeats the {total:,} steps of the data to have {count:,}")
    elif used.sequences > 1:
        notes.append(f"the long run joins the sequences end to end, {count:,} steps with carried state")
    tell("a long run", 0.0)
    found = measured(variants, floats, joined(xs, count), lambda share: tell("a long run", share))
    notes.append("drift is measured against this package's float64 reference, which carries its state as ours do")
    return found
