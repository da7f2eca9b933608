"""The figure: time of a step over the size of the net."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import OURS, PEERS, nets

TITLES = {nets.STREAM: "one step from Python", nets.SEQ: "sequences, a step"}


def draw(result: dict[str, Any], path: Path) -> None:
    """EdgeLSTM and each peer in its fastest form, quantized and float, on the grid."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    grid = [case for case in result["cases"] if case[0].isdigit()]
    colors = {peer.name: f"C{k}" for k, peer in enumerate(PEERS)} | {OURS: "black"}
    matplotlib.rcParams.update({"svg.hashsalt": "peers", "svg.fonttype": "none", "font.size": 8})
    made, axes = pyplot.subplots(2, 2, figsize=(9, 7), sharex=True, sharey=True, layout="constrained")
    for row, mode in zip(axes, (nets.STREAM, nets.SEQ), strict=True):
        for axis, quantized in zip(row, (True, False), strict=True):
            for peer, times in lines(result, grid, mode, quantized).items():
                width, layer = (2.5, 3) if peer == OURS else (1, 2)
                color = colors.get(peer)
                axis.plot(range(len(grid)), times, ".-", label=peer, color=color, linewidth=width, zorder=layer)
            axis.set(title=f"{TITLES[mode]}, {'quantized' if quantized else 'float'}", yscale="log")
            axis.set_xticks(range(len(grid)), grid)
            axis.grid(alpha=0.3)
            if axis.lines:
                axis.legend(fontsize=7)
    for axis in axes[:, 0]:
        axis.set_ylabel("microseconds")
    for axis in axes[1]:
        axis.set_xlabel("inputs-units")
    made.savefig(path, metadata={"Date": None})
    pyplot.close(made)


def lines(result: dict[str, Any], grid: list[str], mode: str, quantized: bool) -> dict[str, list[float]]:
    """Of each peer its fastest time at each size; NaN where it has none."""
    found: dict[str, list[float]] = {}
    for k, case in enumerate(grid):
        for row in result["cases"][case]:
            if row["mode"] == mode and row["quantized"] == quantized and "median" in row:
                times = found.setdefault(row["peer"], [float("nan")] * len(grid))
                times[k] = row["median"] if times[k] != times[k] else min(times[k], row["median"])
    return found
