"""Random graphs of all layers: the core's runs are the reference's, or both refuse them; and steps emit what a run of
every step gives, however it is cut."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nets import lstm

from edgelstm import reference, reference_s8
from edgelstm.errors import InputError, ModelError, QuantizeError
from edgelstm.image import pack
from edgelstm.layers import (
    COMBINATIONS,
    Activate,
    Activation,
    Attention,
    Combine,
    Constant,
    Conv1d,
    Crop,
    Dense,
    Group,
    Gru,
    Last,
    LayerNorm,
    Mask,
    Pad,
    Pool1d,
    Reduce,
    Repeat,
    Reverse,
    Rnn,
    SoftmaxSteps,
    Split,
    Transpose,
)
from edgelstm.model import Model, Tensor
from edgelstm.quantization import quantize
from edgelstm.runner import Runner

WIDTH = 4


def uniform(random, *shape):
    return random.uniform(-0.7, 0.7, shape)


def window(random, taps):
    """Options of a window: causal, valid, strided, ahead, or as a period of four."""
    kind = random.integers(5)
    stride = int(random.integers(1, 3))
    if kind == 0:
        return {"left": taps - 1}
    if kind == 1:
        return {"stride": stride, "left": int(random.integers(0, taps))}
    if kind == 2:
        return {"stride": stride, "same": True}
    if kind == 3:
        return {"right": int(random.integers(0, taps))}
    return {"period": 4, "same": True}


def made(random, name, x, y, mask, initial, integers):
    """A layer that reads x, maybe y, a mask and an initial state, and keeps the width; None for a pair of them."""
    write, w = (name,), WIDTH
    masked = mask is not None and random.random() < 0.5
    started = initial is not None and random.random() < 0.3
    read = (x, *((mask,) if masked else ()), *((initial,) if started else ()))
    period = int(random.integers(3) == 0) * int(random.integers(1, 4))
    options = {"masked": masked, "initial": started, "period": period}
    taps = int(random.integers(1, 4))
    kind = random.integers(23)
    match 3 if integers and kind in (8, 19, 20) else kind:
        case 0:
            return lstm(name, x, name, w, w, random)
        case 1:
            return Gru(
                name, read, write, uniform(random, 3, w, w), uniform(random, 3, w, w), uniform(random, 3, w), **options
            )
        case 2:
            return Rnn(name, read, write, uniform(random, w, w), uniform(random, w, w), uniform(random, w), **options)
        case 3:
            return Dense(name, (x,), write, uniform(random, w, w), uniform(random, w))
        case 4:
            return Activate(name, (x,), write, Activation("tanh"))
        case 5:
            return Mask(name, (x,), (name, f"{name}.mask"), 0.0)
        case 6 | 7:
            kind = [k for k in COMBINATIONS if k != "concatenate"][random.integers(len(COMBINATIONS) - 1)]
            return Combine(name, (x, y), write, kind)
        case 8:
            return LayerNorm(name, (x,), write, uniform(random, w), uniform(random, w), 0.01)
        case 9 | 10:
            return Conv1d(name, (x,), write, uniform(random, w, taps, w), uniform(random, w), **window(random, taps))
        case 11:
            return Pool1d(name, (x,), write, ["max", "average"][random.integers(2)], taps, **window(random, taps))
        case 12:
            return Last(name, (x,), write, period)
        case 13:
            return Reduce(
                name, (x,), write, ["mean", "max", "sum"][random.integers(3)], period=int(random.integers(2) * 3)
            )
        case 14:
            return Reverse(name, (x,), write, period)
        case 15:
            return Crop(name, (x,), write, *map(int, random.integers(0, 3, 2)))
        case 16:
            return Pad(name, (x,), write, int(random.integers(0, 3)), int(random.integers(0, 2)))
        case 17:
            return Repeat(name, (x,), write, int(random.integers(1, 4)))
        case 18:
            return Transpose(name, (x,), write, WIDTH)  # fits where there are WIDTH steps
        case 19:
            return SoftmaxSteps(name, (x,), write)
        case 20:
            return Attention(name, (x, y, y), write, 0.5, causal=bool(random.integers(2)))
        case 21:
            return Constant(name, (x,), write, uniform(random, w))
    return None


def graph(seed, size, integers=False):
    """A model of about so many layers; its tensors have one width, but for masks and rows split."""
    random = np.random.default_rng(seed)
    tensors = [Tensor("x", WIDTH), Tensor("u", WIDTH)]
    inputs, initial = ["x", "u"], None
    if random.random() < 0.3:
        tensors.append(Tensor("start", WIDTH, True))
        inputs.append("start")
        initial = "start"
    layers, wide, mask = [], ["x", "u"], None
    for k in range(size):
        x, y = (wide[max(0, len(wide) - 1 - int(random.exponential(1.5)))] for _ in range(2))
        layer = made(random, f"t{k}", x, y, mask, initial, integers)
        if layer is None:  # a few rows as one and back, or the other way round
            count = int(random.integers(1, 3))
            parts = [Group(f"t{k}a", (x,), (f"t{k}a",), count), Split(f"t{k}", (f"t{k}a",), (f"t{k}",), count)]
            if random.random() < 0.5:
                parts = [Split(f"t{k}a", (x,), (f"t{k}a",), 2), Group(f"t{k}", (f"t{k}a",), (f"t{k}",), 2)]
            widths = (WIDTH * count if isinstance(parts[0], Group) else WIDTH // 2, WIDTH)
        else:
            parts, widths = [layer], (WIDTH, 1)
        written = [name for part in parts for name in part.writes]
        added = [Tensor(name, width) for name, width in zip(written, widths, strict=False)]
        try:
            model = Model((*tensors, *added), (*layers, *parts), tuple(inputs), (f"t{k}",))
        except ModelError:
            continue
        tensors, layers = list(model.tensors), list(model.layers)
        wide.append(f"t{k}")
        mask = f"t{k}.mask" if isinstance(layer, Mask) else mask
        initial = f"t{k}" if isinstance(layer, Constant) else initial
    assume(layers)
    outputs = tuple(wide[2:][-3:])
    return Model(tuple(tensors), tuple(layers), tuple(inputs), outputs)


def inputs(model, steps, seed):
    random = np.random.default_rng(seed)
    single = {t.name for t in model.tensors if t.single}
    shapes = [(1, WIDTH) if name in single else (1, steps, WIDTH) for name in model.inputs]
    return tuple(random.uniform(-1, 1, shape).astype(np.float32) for shape in shapes)


def as_tuple(y):
    return y if isinstance(y, tuple) else (y,)


def close(found, expected, tolerance, what):
    for k, (a, b) in enumerate(zip(as_tuple(found), as_tuple(expected), strict=True)):
        size = tolerance * max(1.0, float(np.abs(b).max())) if b.size else 0
        np.testing.assert_allclose(a, b, atol=size, rtol=0, err_msg=f"{what}, output {k}")


def has_period(model):
    """Of layers that need whole periods, as cells do not."""
    return any(getattr(layer, "period", 0) and not hasattr(layer, "recurrent") for layer in model.layers)


def part(xs, at, end):
    """Steps `at` to `end` of one sequence."""
    return tuple(x[0] if x.ndim == 2 else x[0, at:end] for x in xs)


def check(model, image_of, answers, xs, steps, max_steps, tolerance):
    """`answers(xs, every_step)`: the reference's."""
    runner = Runner(image_of, max_steps=max_steps)
    timing = model.timing
    assert (runner.causal, runner.uneven) == (timing.causal, len(timing.table) > 1)
    try:
        expected = answers(xs, False)
    except InputError as error:
        with pytest.raises(InputError) as raised:
            runner.run(xs)
        assert str(raised.value) == str(error)
    else:
        close(runner.run(xs), expected, tolerance, "a run")
    runner.self_check()
    if not timing.causal:
        return
    try:
        expected = tuple(y[0] for y in answers(xs, True))
    except InputError as error:
        with pytest.raises(InputError) as raised:
            runner.run(xs, every_step=True)
        assert str(raised.value) == str(error)
        return
    close(runner.run(part(xs, 0, steps), every_step=True), expected, tolerance, "every step")
    stranger = Runner(image_of, max_steps=max_steps)  # whatever is put back as state, nothing breaks
    stranger.state = np.random.default_rng(steps).bytes(len(stranger.state))
    stranger.step(tuple(x[0] if x.ndim == 2 else x[0, 0] for x in xs))
    if has_period(model):
        return  # a run may not end within a period
    stranger.run(part(xs, 0, steps), every_step=True, carry=True)
    constant = [name in timing.constant for name in model.outputs]
    runner.reset()
    rows = [as_tuple(runner.run(part(xs, n, n + 1), every_step=True, carry=True)) for n in range(steps)]
    emitted = tuple(
        one[0] if same else np.concatenate(one) for one, same in zip(zip(*rows, strict=True), constant, strict=True)
    )
    close(emitted, expected, tolerance, "runs of a step")
    runner.reset()
    for n, wrote in enumerate(rows):
        answer = as_tuple(runner.step(tuple(x[0] if x.ndim == 2 else x[0, n] for x in xs)))
        assert as_tuple(runner.rows) == tuple(len(y) for y in wrote)
        for a, b in zip(answer, wrote, strict=True):
            if len(b):
                close(a, b[-1], tolerance, f"step {n}")


CASES = {
    "seed": st.integers(0, 2**32 - 1),
    "size": st.integers(1, 9),
    "steps": st.sampled_from([1, 2, 3, 4, 4, 8, 12, 17]),
    "max_steps": st.sampled_from([1, 3, 64]),
}


@settings(max_examples=150, deadline=None)
@given(**CASES)
def test_random_graphs_of_floats(seed, size, steps, max_steps):
    model = graph(seed, size)
    xs = inputs(model, steps, seed)
    check(model, pack(model), lambda xs, every: reference.run(model, xs, every), xs, steps, max_steps, 2e-5)


@settings(max_examples=60, deadline=None)
@given(**CASES)
def test_random_graphs_of_integers(seed, size, steps, max_steps):
    model = graph(seed, size, integers=True)
    samples = [np.concatenate(x) for x in zip(*(inputs(model, steps, seed + k) for k in range(4)), strict=True)]
    try:
        quantized = quantize(model, tuple(samples))
    except QuantizeError:  # samples that do not fit the model
        assume(False)
    xs = inputs(model, steps, seed)
    check(
        quantized,
        pack(quantized),
        lambda xs, every: reference_s8.run_float(quantized, xs, every),
        xs,
        steps,
        max_steps,
        1e-6,
    )
