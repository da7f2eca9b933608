"""The timing of steps: what it returns, not how fast the machine is."""

import pytest
from nets import stack

from edgelstm.bench import measure
from edgelstm.errors import InputError
from edgelstm.runner import kernels


def test_every_kernel_set_is_timed():
    shares = []
    rows = measure(stack(2, (4,)), steps=600, deadline=0.0, progress=shares.append)
    assert [row.kernels for row in rows] == kernels()
    assert all(row.steps == 600 and 0 < row.p50 <= row.p99 <= row.max for row in rows)
    assert all(row.misses == 600 for row in rows)  # no step takes 0 ns
    assert shares == sorted(shares) and shares[-1] == 1
    (one,) = measure(stack(2, (4,)), steps=3, names=["scalar"], deadline=1e12)
    assert one.kernels == "scalar" and one.misses == 0


def test_refusals():
    with pytest.raises(InputError, match="steps is 0"):
        measure(stack(2, (4,)), steps=0)
    with pytest.raises(InputError, match="kernels 'none' cannot run here"):
        measure(stack(2, (4,)), steps=1, names=["none"])
