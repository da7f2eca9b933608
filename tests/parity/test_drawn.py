"""Models drawn at random against live frameworks: the same ones each time. tools/draw_parity.py draws thousands."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
from draw_parity import FRAMEWORKS, draw

COUNT = 300


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_drawn_models(name: str, tmp_path: Path) -> None:
    for module in FRAMEWORKS[name].needs:
        pytest.importorskip(module)
    tally = draw(name, COUNT, tmp_path)
    assert tally.drawn + sum(tally.refused.values()) >= COUNT
    assert tally.unsteady <= 0.05 * COUNT and sum(tally.refused.values()) <= 0.15 * COUNT
    assert 0 < tally.worst <= 5e-6
    assert sum(tally.kinds.values()) >= 1.5 * COUNT
