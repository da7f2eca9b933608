"""Models drawn at random against live frameworks: the same ones each time. tools/draw_parity.py draws thousands."""

from __future__ import annotations

import numpy as np
import pytest
from draw_parity import FRAMEWORKS, apart

COUNT = 75  # of each of four frameworks


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_drawn_models(name: str) -> None:
    for module in FRAMEWORKS[name].needs:
        pytest.importorskip(module)
    tally = apart(name, COUNT)
    refused = sum(tally["refused"].values())
    assert tally["drawn"] + refused >= COUNT
    assert tally["unsteady"] <= 0.05 * COUNT and refused <= 0.15 * COUNT
    assert 0 < tally["worst"] <= 5e-6
    assert sum(tally["kinds"].values()) >= COUNT
    assert tally["losses"]
    for family, losses in tally["losses"].items():
        assert max(losses) <= 4, family
        if len(losses) >= 10:  # of fewer these are chance
            assert np.median(losses) <= 0.1 and np.mean(losses) <= 0.5, family
