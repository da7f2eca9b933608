"""EdgeLSTM from Python."""

from __future__ import annotations

from pathlib import Path

from edgelstm import Runner

from . import nets

FORMS = (nets.Form("s8", True), nets.Form("f32", False))


def load(peer: str, folder: Path, form: str, mode: str) -> nets.Steps | nets.Sequence:
    runner = Runner(folder / f"{form}.edgelstm")
    width = runner.input_widths[0]
    if mode == nets.STREAM:
        return nets.Steps((width,), runner.step, runner.reset)
    return nets.Sequence((nets.STEPS, width), lambda xs: runner.run(xs, every_step=True))
