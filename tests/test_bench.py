"""The timing of steps: what it returns, not how fast the machine is."""

import pytest
from nets import signal, stack, two_heads

from edgelstm.bench import measure, measure_layers
from edgelstm.errors import InputError
from edgelstm.quantization import quantize
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


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("model", [stack(2, (4, 9), activate="softsign"), two_heads()], ids=["stack", "two heads"])
def test_every_layer_is_timed(model, int8):
    samples = tuple(signal((4, 9, model.width(name))) for name in model.inputs)
    shares = []
    names = [layer.name for layer in model.layers]
    timed = quantize(model, samples if len(samples) > 1 else samples[0]) if int8 else model
    rows = measure_layers(timed, steps=600, progress=shares.append)
    assert [row.kernels for row in rows] == kernels()
    assert shares == sorted(shares) and shares[-1] == 1
    for row in rows:
        assert [part.name for part in row.parts] == ["inputs", *names, "outputs"]
        assert row.parts[0].units == sum(map(model.width, model.inputs))
        assert row.parts[-1].inputs == sum(map(model.width, model.outputs))
        assert row.step > 0 and all(part.nanoseconds > 0 for part in row.parts)
        assert row.sum == pytest.approx(sum(part.nanoseconds for part in row.parts))
        assert sum(part.share for part in row.parts) == pytest.approx(1)


def test_the_larger_layer_takes_the_larger_share_and_the_parts_make_a_step():
    (row,) = measure_layers(stack(4, (8, 128)), steps=600, names=["scalar"])
    share = {part.name: part.share for part in row.parts}
    assert share["lstm1"] > 0.8 and 0 < share["lstm0"] < 0.1  # 69,632 multiplications and 384
    assert 0.5 < row.sum / row.step < 2


def test_refusals():
    with pytest.raises(InputError, match="steps is 0"):
        measure(stack(2, (4,)), steps=0)
    with pytest.raises(InputError, match="kernels 'none' cannot run here"):
        measure(stack(2, (4,)), steps=1, names=["none"])
    with pytest.raises(InputError, match="steps is 0"):
        measure_layers(stack(2, (4,)), steps=0)
    with pytest.raises(InputError, match="kernels 'none' cannot run here"):
        measure_layers(stack(2, (4,)), steps=1, names=["none"])
