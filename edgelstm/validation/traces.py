"""Numbers for a report's figures: the channels that are furthest off."""

from __future__ import annotations

import numpy as np

from ..model import Array
from ..report import Trace
from ..runner import Runner
from .variants import Arrays

TRACED, CHANNELS = 400, 3  # steps, and channels of an output, that a report keeps


def traced(runner: Runner, ys: Arrays, answers: dict[str, Arrays], judged: list[str]) -> tuple[Trace, ...]:
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
