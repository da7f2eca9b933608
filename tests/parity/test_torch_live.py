"""Live PyTorch modules: what people write in forward(), each idiom alone, against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import edgelstm
from edgelstm import reference, reference_s8
from edgelstm.errors import CheckpointError
from edgelstm.layers import Conv1d

torch = pytest.importorskip("torch")
nn = torch.nn
F = nn.functional


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Forward(nn.Module):  # type: ignore[misc, name-defined]
    """Modules by name, every weight random, and what is done with them."""

    def __init__(self, function: Any, modules: dict[str, Any]):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.function = function
        generator = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.4
        for name, buffer in self.named_buffers():
            if "running" in name:
                buffer.data = torch.rand(buffer.shape, generator=generator) + 0.5
        self.eval()

    def forward(self, *xs: Any) -> Any:
        return self.function(self, *xs)


def rnn(kind: str, inputs: int = 3, layers: int = 1, **more: Any) -> Any:
    return getattr(nn, kind)(inputs, 4, layers, **{"batch_first": True, **more})


def tops(h: Any) -> Any:
    return torch.cat([h[-2], h[-1]], dim=1)


def cells(m: Any, x: Any) -> Any:
    state, g, r, made = None, torch.zeros(x.size(0), 5), None, []
    for t in range(x.shape[1]):
        state = m.c(x[:, t], state)
        g = m.g(torch.relu(state[0]), g)
        r = m.r(g, r)
        made.append(m.fc(r))
    return torch.stack(made, 1), state[0], state[1]


def cells_backwards(m: Any, x: Any) -> Any:
    state, made = None, []
    for t in reversed(range(x.shape[1])):
        state = m.c(x[:, t], state)
        made.insert(0, state.unsqueeze(1))
    return state, torch.cat(made, dim=1)


def pooled_by_attention(m: Any, x: Any) -> Any:
    y = m.r(x)[0]
    weights = torch.softmax(m.a(torch.tanh(y)), dim=1)
    product = torch.bmm(torch.softmax(m.a(y).squeeze(2), dim=1).unsqueeze(1), y).squeeze(1)
    return m.fc((y * weights).sum(1)), product


def dot_attention(m: Any, x: Any) -> Any:
    y, (h, _) = m.r(x)
    weights = torch.softmax(torch.bmm(y, h[-1].unsqueeze(2)).squeeze(2), 1)
    return torch.bmm(y.transpose(1, 2), weights.unsqueeze(2)).squeeze(2)


def scores(m: Any, x: Any) -> Any:
    return m.q(x) @ m.k(x).transpose(-2, -1)


def hidden(x: Any) -> Any:
    return torch.triu(torch.ones(x.size(1), x.size(1)), 1).bool()


def elementwise(m: Any, x: Any) -> Any:
    made = [
        F.softsign(x), F.hardswish(x), F.mish(x), F.logsigmoid(x), F.glu(torch.cat([x, x], -1)), F.hardtanh(x),
        F.elu(x, 0.7), F.leaky_relu(x, 0.2), F.softplus(x, 2), F.relu6(x), x.abs(), x.clamp(min=0), 1 - x, x * x, x**2,
        F.celu(x, 0.7), F.softplus(x, 2, 0.5), F.softplus(x, -1), F.threshold(x, 0.1, 0.7), F.hardshrink(x, 0.3),
        F.softshrink(x, 0.3), F.tanhshrink(x), F.rrelu(x), F.log_softmax(x, -1), F.hardtanh(x, -0.2, 0.3), F.selu(x),
        torch.log(torch.softmax(x, -1)), torch.log(torch.sigmoid(x)), F.softmin(x, -1), F.rrelu(x, 0.1, 0.4),
        -x, 2 / torch.tensor([1.0, 2.0, 4.0]) * x, m.p(x.transpose(1, 2)).transpose(1, 2), m.p1(x), m.n(x),
    ]  # fmt: skip
    return torch.cat(made, -1)


def learned(*shapes: tuple[int, ...]) -> Any:
    return nn.ParameterList([torch.zeros(shape) for shape in shapes])


def decoder(m: Any, x: Any) -> Any:
    """Starts from the state of another and a cell of zeros."""
    h = m.e(x)[1]
    return m.d(x, (h, torch.zeros_like(h)))[0]


def cells_that_start(m: Any, x: Any) -> Any:
    state, g, made = (m.s[0].expand(x.size(0), -1), m.s[1].repeat(x.size(0), 1)), m.s[2].expand(len(x), 5), []
    for t in range(x.shape[1]):
        state = m.c(x[:, t], state)
        g = m.g(state[0], g)
        made.append(g)
    return torch.stack(made, 1), state[1]


FC = lambda n, units=2: nn.Linear(n, units)  # noqa: E731
QKV: Callable[[], dict[str, Any]] = lambda: {"q": FC(3, 4), "k": FC(3, 4), "v": FC(3, 5)}  # noqa: E731
CASES: dict[str, tuple[Any, Callable[[], dict[str, Any]]]] = {
    "last step": (lambda m, x: m.fc(m.r(x)[0][:, -1, :]), lambda: {"r": rnn("LSTM"), "fc": FC(4)}),
    "last step by size": (lambda m, x: m.fc(m.r(x)[0][:, x.size(1) - 1]), lambda: {"r": rnn("LSTM"), "fc": FC(4)}),
    "last step by slice": (lambda m, x: m.fc(m.r(x)[0][:, -1:]).squeeze(1), lambda: {"r": rnn("GRU"), "fc": FC(4)}),
    "first step": (lambda m, x: m.r(x)[0][:, 0], lambda: {"r": rnn("RNN", bidirectional=True)}),
    "h_n": (lambda m, x: m.fc(m.r(x)[1][0][-1]), lambda: {"r": rnn("LSTM", layers=2), "fc": FC(4)}),
    "h_n squeezed": (lambda m, x: m.fc(m.r(x)[1].squeeze(0)), lambda: {"r": rnn("GRU"), "fc": FC(4)}),
    "h_n of both": (lambda m, x: tops(m.r(x)[1][0]), lambda: {"r": rnn("LSTM", layers=2, bidirectional=True)}),
    "h_n viewed": (
        lambda m, x: m.r(x)[1].view(2, 2, x.size(0), 4)[-1].permute(1, 0, 2).reshape(x.size(0), -1),
        lambda: {"r": rnn("GRU", layers=2, bidirectional=True)},
    ),
    "h_n and c_n": (
        lambda m, x: (m.r(x)[0], m.r(x)[1][0][0], m.r(x)[1][1][1]),
        lambda: {"r": rnn("LSTM", layers=2, proj_size=2)},
    ),
    "both ends": (
        lambda m, x: torch.cat([m.r(x)[0][:, -1, :4], m.r(x)[0][:, 0, 4:]], -1),
        lambda: {"r": rnn("LSTM", bidirectional=True)},
    ),
    "zeros given": (
        lambda m, x: m.r(x, (torch.zeros(2, x.size(0), 4), x.new_zeros(2, x.size(0), 4)))[0],
        lambda: {"r": rnn("LSTM", layers=2)},
    ),
    "learned states": (
        lambda m, x: m.r(x, tuple(s.expand(-1, x.size(0), -1).contiguous() for s in m.s))[0],
        lambda: {"r": rnn("LSTM", layers=2, bidirectional=True, proj_size=3), "s": learned((4, 1, 3), (4, 1, 4))},
    ),
    "a learned state of a GRU": (
        lambda m, x: m.fc(m.r(x, torch.tanh(m.s[0]).repeat(1, x.shape[0], 1))[1][-1]),
        lambda: {"r": rnn("GRU", layers=2), "s": learned((2, 1, 4)), "fc": FC(4)},
    ),
    "a state of ones": (
        lambda m, x: m.r(x, torch.ones(1, x.size(0), 4))[0], lambda: {"r": rnn("RNN", bidirectional=False)},
    ),
    "one state learned": (
        lambda m, x: m.r(x, (torch.zeros(1, x.size(0), 4), m.s[0].expand(1, x.size(0), 4).contiguous()))[0],
        lambda: {"r": rnn("LSTM"), "s": learned((4,))},
    ),
    "a decoder's state": (decoder, lambda: {"e": rnn("GRU"), "d": rnn("LSTM")}),
    "cells that start": (
        cells_that_start,
        lambda: {"c": nn.LSTMCell(3, 4), "g": nn.GRUCell(4, 5), "s": learned((1, 4), (1, 4), (5,))},
    ),
    "permuted": (lambda m, x: m.r(x.permute(1, 0, 2))[0][-1], lambda: {"r": rnn("LSTM", batch_first=False)}),
    "mean": (lambda m, x: m.r(x)[0].mean(1), lambda: {"r": rnn("RNN", nonlinearity="relu")}),
    "max": (lambda m, x: m.r(x)[0].max(dim=1)[0], lambda: {"r": rnn("RNN")}),
    "convolution": (
        lambda m, x: m.r(F.relu(m.b(m.c(x.transpose(1, 2)))).transpose(1, 2))[0],
        lambda: {"c": nn.Conv1d(3, 4, 3, padding=1), "b": nn.BatchNorm1d(4), "r": rnn("LSTM", 4)},
    ),
    "pools": (
        lambda m, x: F.adaptive_max_pool1d(
            F.avg_pool1d(F.max_pool1d(m.c(x.transpose(1, 2)), 3, 2, 1), 2), 1).squeeze(-1),
        lambda: {"c": nn.Conv1d(3, 4, 3, stride=2, dilation=2)},
    ),
    "padded": (
        lambda m, x: m.c(F.pad(x.transpose(1, 2), (2, 0))).transpose(1, 2),
        lambda: {"c": nn.Conv1d(3, 4, 3)},
    ),
    "attention pooling": (pooled_by_attention, lambda: {"r": rnn("LSTM"), "a": FC(4, 1), "fc": FC(4)}),
    "dot attention": (dot_attention, lambda: {"r": rnn("LSTM")}),
    "scaled attention": (lambda m, x: torch.softmax(scores(m, x) / 2.0, -1) @ m.v(x), QKV),
    "causal attention": (lambda m, x: F.scaled_dot_product_attention(m.q(x), m.k(x), m.v(x), is_causal=True), QKV),
    "masked attention": (
        lambda m, x: torch.softmax(scores(m, x).masked_fill(hidden(x), float("-inf")) * 0.5, -1) @ m.v(x), QKV,
    ),
    "several heads": (
        lambda m, x: m.m(m.i(x), m.i(x), m.i(x))[0],
        lambda: {"i": FC(3, 4), "m": nn.MultiheadAttention(4, 2, batch_first=True)},
    ),
    "one query": (
        lambda m, x: m.m(m.i(x)[:, -1:], m.i(x), m.i(x), need_weights=False)[0].squeeze(1),
        lambda: {"i": FC(3, 4), "m": nn.MultiheadAttention(4, 2, batch_first=True)},
    ),
    "transformer": (
        lambda m, x: m.e(m.i(x)).mean(1),
        lambda: {"i": FC(3, 4), "e": nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, activation="gelu")},
    ),
    "cells": (cells, lambda: {"c": nn.LSTMCell(3, 4), "g": nn.GRUCell(4, 5), "r": nn.RNNCell(5, 4), "fc": FC(4)}),
    "cells backwards": (cells_backwards, lambda: {"c": nn.RNNCell(3, 4, nonlinearity="relu")}),
    "encoder and decoder": (
        lambda m, x: m.d(m.e(x)[1][0][-1].unsqueeze(1).repeat(1, 10, 1))[0],
        lambda: {"e": rnn("LSTM"), "d": rnn("LSTM", 4)},
    ),
    "state handed on": (
        lambda m, x: m.d(x, m.e(x)[1])[0],
        lambda: {"e": rnn("LSTM", layers=2), "d": rnn("LSTM", layers=2)},
    ),
    "residual": (lambda m, x: m.n(m.i(x) + m.r(m.i(x))[0]) * 2 - 1, lambda: {
        "i": FC(3, 4), "r": rnn("LSTM", 4), "n": nn.LayerNorm(4)}),
    "normalized": (
        lambda m, x: m.r((x - torch.tensor([1.0, 2, 3])) / torch.tensor([2.0, 3, 4]))[0], lambda: {"r": rnn("GRU")},
    ),
    "flipped": (lambda m, x: m.r(x.flip(1))[0].flip([1]), lambda: {"r": rnn("LSTM")}),
    "cropped": (lambda m, x: m.r(x[:, 2:])[0][:, :-1], lambda: {"r": rnn("LSTM")}),
    "columns": (lambda m, x: m.r(x[:, :, [2, 0]])[0] * torch.sigmoid(x[..., 1:2]), lambda: {"r": rnn("LSTM", 2)}),
    "in place": (lambda m, x: F.relu(m.r(x)[0].add_(1), inplace=True), lambda: {"r": rnn("LSTM")}),
    "weight norm": (
        lambda m, x: m.r(m.i(x))[0],
        lambda: {"i": nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)), "r": rnn("LSTM", 4)},
    ),
    "elementwise": (elementwise, lambda: {
        "p": nn.PReLU(3), "p1": nn.PReLU(), "n": nn.RMSNorm(3), "r": rnn("LSTM")}),
}  # fmt: skip


def compare(model: Any, xs: tuple[Any, ...], expected: Any, what: str) -> None:
    expected = expected if isinstance(expected, tuple | list) else (expected,)
    answers = reference.run(model, tuple(x.numpy() for x in xs))
    assert len(answers) == len(expected), what
    for y, want in zip(answers, expected, strict=True):
        want = want.detach().numpy()
        assert y.shape == want.shape, what
        bound = 5e-6 * max(1.0, float(np.abs(want).max()))
        assert np.abs(y - want).max() <= bound, f"{what}: {np.abs(y - want).max()} > {bound}"


def noise(*shape: int) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_idioms(name: str) -> None:
    function, modules = CASES[name]
    net = Forward(function, modules())
    model = edgelstm.read(net, example=noise(1, 18, 3) if name == "columns" else None)
    for steps in (16, 21):
        x = noise(2, steps, 3)
        compare(model, (x,), net(x), f"{name}, {steps} steps")
    assert model.notes[0].startswith("read as: 3 values -> ")


def flat(h: Any) -> Any:
    """(layers, batch, units) as a row for each of the batch."""
    return h.permute(1, 0, 2).reshape(h.shape[1], -1)


def test_steps_first() -> None:
    for net in (nn.LSTM(3, 4), Forward(lambda m, x: m.m(x, x, x)[0], {"m": nn.MultiheadAttention(4, 2)})):
        x = noise(9, 2, 3 if isinstance(net, nn.LSTM) else 4)
        answer = net(x)
        answer = answer[0] if isinstance(answer, tuple) else answer
        model = edgelstm.read(net)
        compare(model, (x.transpose(0, 1),), answer.transpose(0, 1), "steps first")
        assert "PyTorch's is (steps, batch" in " ".join(model.notes)


def test_channels_first_and_causal_convolutions() -> None:
    modules = {"c": nn.Conv1d(3, 4, 3, padding=2), "d": nn.Conv1d(4, 4, 3, padding=4, dilation=2, groups=2)}
    net = Forward(lambda m, x: F.relu(m.d(F.relu(m.c(x)[:, :, :-2]))[:, :, :-4]), modules)
    x = noise(2, 3, 16)
    model = edgelstm.read(net)
    compare(model, (x.transpose(1, 2),), net(x).transpose(1, 2), "channels first")
    assert [type(layer) for layer in model.layers] == [Conv1d, Conv1d] and model.timing.causal


class Started(nn.Module):  # type: ignore[misc, name-defined]
    """A state among the module's own parameters, as people write it."""

    def __init__(self) -> None:
        super().__init__()
        self.h0 = nn.Parameter(torch.randn(1, 1, 5, generator=torch.Generator().manual_seed(2)))
        self.rnn = nn.GRU(3, 5, batch_first=True)
        self.fc = nn.Linear(5, 2)

    def forward(self, x: Any) -> Any:
        return self.fc(self.rnn(x, self.h0.expand(-1, x.size(0), -1).contiguous())[0])


def test_a_parameter_is_a_state_of_int8_models_too() -> None:
    net, x = Started().eval(), noise(8, 20, 3)
    model = edgelstm.read(net)
    compare(model, (x,), net(x), "learned")
    quantized = edgelstm.quantize(model, x.numpy())
    exact, found = net(x).detach().numpy(), reference_s8.run_float(quantized, (x.numpy(),))[0]
    assert 10 * np.log10(np.square(exact).sum() / np.square(found - exact).sum()) > 30


def test_initial_states_as_inputs() -> None:
    net = Forward(lambda m, x, h, c: (lambda y, s: (y, *s))(*m.r(x, (h, c))), {
        "r": rnn("LSTM", layers=2, bidirectional=True, proj_size=2)})  # fmt: skip
    x, h, c = noise(2, 9, 3), noise(4, 2, 2), noise(4, 2, 4)
    y, h_n, c_n = net(x, h, c)
    model = edgelstm.read(net, example=(x, h, c))
    compare(model, (x, flat(h), flat(c)), (y, flat(h_n), flat(c_n)), "states")
    assert "input x1: PyTorch's is (4, batch, 2)" in " ".join(model.notes)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("is_sorted", [False, True])
def test_packed_sequences(both: bool, is_sorted: bool) -> None:
    def forward(m: Any, x: Any, lengths: Any) -> Any:
        pack = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=is_sorted)
        y, h = m.r(pack)
        return nn.utils.rnn.pad_packed_sequence(y, batch_first=True)[0], tops(h)

    net = Forward(forward, {"r": rnn("GRU", layers=2, bidirectional=both)})
    x, lengths = noise(2, 9, 3), torch.tensor([9, 5])
    model = edgelstm.read(net, example=(x, lengths))
    mask = (torch.arange(9) < lengths[:, None]).float()[..., None]
    compare(model, (x, mask), net(x, lengths), "packed")
    assert model.inputs == ("x", "mask")


def test_several_inputs() -> None:
    net = Forward(lambda m, a, b, c: m.fc(torch.cat([m.r(a)[0], m.q(b)[0], F.relu(c).unsqueeze(1).expand(
        -1, a.size(1), -1)], -1)), {"r": rnn("LSTM"), "q": rnn("GRU", 2), "fc": FC(13)})  # fmt: skip
    xs = noise(2, 9, 3), noise(2, 9, 2), noise(2, 5)
    compare(edgelstm.read(net, example=xs), xs, net(*xs), "several inputs")
    with pytest.raises(CheckpointError, match="give one of each|cannot trace it"):
        edgelstm.read(net)


def test_sequences_of_different_numbers_of_steps() -> None:
    def forward(m: Any, a: Any, b: Any) -> Any:
        return m.fc(m.d(b, m.e(a)[1])[0])

    def attended(m: Any, a: Any, b: Any) -> Any:
        keys, queries = m.e(a)[0], m.d(b)[0]
        return m.fc(torch.softmax(queries @ keys.transpose(1, 2), -1) @ keys)

    for count, function, steps in (
        (2, forward, 4),
        (3, attended, 4),
        (2, forward, 2),
        (1, forward, 1),
        (1, attended, 9),
    ):
        net = Forward(function, {"e": rnn("LSTM"), "d": rnn("LSTM", 2), "fc": FC(4)})
        model = edgelstm.read(net, example=(noise(count, 7, 3), noise(count, steps, 2)))
        for first, second in ((7, steps), (5, steps)):
            xs = noise(2, first, 3), noise(2, second, 2)
            compare(model, xs, net(*xs), f"{steps} of {count}")
    cut = Forward(lambda m, a, b: m.e(a)[0][:, : b.size(1)] + m.d(b)[0], {"e": rnn("LSTM"), "d": rnn("LSTM", 2)})
    with pytest.raises(CheckpointError, match="x, x1 differ in their number of steps"):
        edgelstm.read(cut, example=(noise(2, 7, 3), noise(2, 4, 2)))


BOUNDS = ((-1, 1), (0.25, 0.5), (-1e4, 1e4), (-1e-3, 1e9), (None, 3), (None, 0), (-2, None), (0, 5), (2, -2), (3, 3))


@pytest.mark.parametrize("bounds", BOUNDS)
def test_clamps_to_the_last_bit(bounds: tuple[float | None, float | None]) -> None:
    far = torch.tensor([-3e38, -1e5, -1.1, -1.0, -0.3, 1e-6, 0.0, 0.3, 0.9999, 4.9, 1e5, 3e38])
    net = Forward(lambda m, x: torch.clamp(x, *bounds), {"fc": FC(3)})
    for x in (far.view(1, 4, 3), far.view(4, 3)):
        model = edgelstm.read(net, example=x)
        np.testing.assert_array_equal(
            np.squeeze(reference.run(model, (x.numpy().reshape(1, 4, 3),))[0]), net(x).squeeze()
        )


def test_clamps_in_int8() -> None:
    net = Forward(lambda m, x: F.hardtanh(m.fc(x), -0.5, 0.75).clamp(max=0.6), {"fc": FC(3)})
    model, x = edgelstm.read(net, example=noise(1, 9, 3)), noise(4, 60, 3)
    made = edgelstm.quantize(model, x.numpy())
    np.testing.assert_allclose(reference_s8.run_float(made, (x.numpy(),))[0], net(x).detach(), rtol=0, atol=0.02)


def test_whole_numbers() -> None:
    ids = torch.randint(0, 7, (2, 9), generator=torch.Generator().manual_seed(0))
    modules = {"e": nn.Embedding(7, 3, padding_idx=0), "r": rnn("LSTM")}
    net = Forward(lambda m, i: m.r(m.e(i))[0][:, -1], modules)
    compare(edgelstm.read(net), (ids[..., None],), net(ids), "ids")
    column = Forward(lambda m, x: m.r(torch.cat([x[:, :, :1], m.e(x[:, :, 1].long())[..., :2]], -1))[0], modules)
    x = torch.cat([noise(2, 9, 1), ids[..., None].float()], -1)
    compare(edgelstm.read(column, example=x), (x,), column(x), "ids in a column")
    net = Forward(lambda m, i: m.r(m.e(i.to(torch.int32)))[0] * i.float()[..., None], modules)
    compare(edgelstm.read(net), (ids[..., None],), net(ids), "ids that are numbers too")


def test_a_value_taken_twice() -> None:
    def forward(m: Any, x: Any) -> Any:
        return torch.index_select(m.fc(x)[..., :1], 2, torch.tensor([0, 0])) * x[..., :2]

    net = Forward(forward, {"fc": FC(3)})
    compare(edgelstm.read(net), (noise(2, 9, 3),), net(noise(2, 9, 3)), "one value twice")


def test_casts_to_fewer_bits_are_noted() -> None:
    net = Forward(lambda m, x: m.fc(x).half().float(), {"fc": FC(3)})
    model = edgelstm.read(net, example=noise(2, 9, 3))
    assert "computed in float32, also where the module casts to float16" in model.notes
    compare(model, (noise(2, 9, 3),), net.fc(noise(2, 9, 3)), "half")


def test_a_fixed_number_of_steps_is_that_of_the_example() -> None:
    net = Forward(lambda m, x: m.fc(m.r(x)[0].reshape(x.size(0), -1)), {"r": rnn("LSTM"), "fc": FC(64)})
    x = noise(2, 16, 3)
    compare(edgelstm.read(net, example=x), (x,), net(x), "flat")
    with pytest.raises(CheckpointError, match=r"give an input it takes \(example=...\)"):
        edgelstm.read(net)
    convolved = Forward(lambda m, x: m.fc(torch.flatten(m.c(x.transpose(1, 2)), 1)), {
        "c": nn.Conv1d(3, 4, 3), "fc": FC(56)})  # fmt: skip
    compare(edgelstm.read(convolved, example=x), (x,), convolved(x), "flat channels")
    repeated = Forward(lambda m, x: m.d(m.e(x)[1][0][-1].unsqueeze(1).repeat(1, x.size(1), 1))[0], {
        "e": rnn("LSTM"), "d": rnn("LSTM", 4)})  # fmt: skip
    model = edgelstm.read(repeated, example=x)
    compare(model, (x,), repeated(x), "repeated")
    assert "read for sequences of 16 steps, as the example has" in model.notes
    with pytest.raises(edgelstm.InputError, match="expected 16"):
        reference.run(model, (noise(2, 9, 3).numpy(),))


def test_answers_in_a_dict() -> None:
    net = Forward(lambda m, x: {"all": m.r(x)[0], "last": m.r(x)[0][:, -1]}, {"r": rnn("GRU")})
    x = noise(2, 9, 3)
    compare(edgelstm.read(net), (x,), list(net(x).values()), "dict")


@pytest.mark.parametrize(
    ("function", "modules", "example", "reason"),
    [
        (lambda m, x, n: m.r(x)[0][torch.arange(len(x)), n - 1], {"r": rnn("LSTM")},
         (noise(2, 9, 3), torch.tensor([9, 5])), "lengths that serve other than to pack"),
        (lambda m, x: m.r(x)[0] + torch.arange(x.size(1))[:, None], {"r": rnn("LSTM")}, noise(1, 9, 3),
         "a constant that differs from step to step"),
        (lambda m, x: m.r(m.c(x.reshape(-1, 1, 8)).mean(-1).view(1, -1, 4))[0],
         {"c": nn.Conv1d(1, 4, 3), "r": rnn("LSTM", 4)}, noise(1, 9, 8), "not that of a row's values alone"),
        (lambda m, x: m.r(x)[0] / m.r(x)[0], {"r": rnn("LSTM")}, noise(1, 9, 3), "divides by what is computed"),
        (lambda m, x: F.max_pool1d(m.c(x.transpose(1, 2)), 2, ceil_mode=True), {"c": nn.Conv1d(3, 4, 3)},
         noise(1, 9, 3), "ceil_mode is True"),
        (lambda m, x: torch.softmax(m.r(x)[0], 0), {"r": rnn("LSTM")}, noise(1, 9, 3), "axis 0 is not"),
        (lambda m, x: F.log_softmax(m.r(x)[0], 1), {"r": rnn("LSTM")}, noise(1, 9, 3), "the steps, which no layer"),
        (lambda m, x: torch.log(m.r(x)[0] + 2), {"r": rnn("LSTM")}, noise(1, 9, 3), "a logarithm of other than"),
        (lambda m, x: m.r(x)[0].long().float(), {"r": rnn("LSTM")}, noise(1, 9, 3), "torch.int64 of torch.float32"),
        (lambda m, x: m.r(x)[0].bool().float(), {"r": rnn("LSTM")}, noise(1, 9, 3), "torch.bool of torch.float32"),
        (lambda m, x: m.r(x)[0].sum(-1, keepdim=True, dtype=torch.int32) + 0.5, {"r": rnn("LSTM")}, noise(1, 9, 3),
         "computes in torch.int32"),
        (lambda m, x: m.r(x)[0].clamp(max=-torch.inf), {"r": rnn("LSTM")}, noise(1, 9, 3), "clip: beta is -inf"),
        (lambda m, x: m.r(x)[0].type_as(torch.zeros(1, dtype=torch.int32)) + 0.5, {"r": rnn("LSTM")}, noise(1, 9, 3),
         "makes torch.int32 of torch.float32"),
    ],
)  # fmt: skip
def test_what_is_not_honoured_is_refused(function: Any, modules: Any, example: Any, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason):
        edgelstm.read(Forward(function, modules), example=example)


class Masked(nn.Module):
    """Attention under a mask that `masks` makes of x and of what else forward() is given."""

    def __init__(self, masks: Any) -> None:
        super().__init__()
        self.m, self.masks = nn.MultiheadAttention(4, 2, batch_first=True), masks

    def forward(self, x: Any, given: Any = None) -> Any:
        return self.m(x, x, x, need_weights=False, **self.masks(x, given))[0]


TRIANGLE = torch.triu(torch.ones(6, 6, dtype=torch.bool), 1)
END = torch.tensor([[False] * 4 + [True] * 2])
MASKED = {
    "of steps, constant": (lambda x, m: {"key_padding_mask": END.expand(len(x), 6)}, None, "a mask of shape"),
    "of steps, from the input": (
        lambda x, m: {"key_padding_mask": (x == 0).all(-1)},
        None,
        r"eq \(eq\): this operation",
    ),
    "of steps, an input": (lambda x, m: {"key_padding_mask": m}, END.expand(2, 6), "input given holds truth values"),
    "of pairs, an input": (lambda x, m: {"attn_mask": m}, TRIANGLE, "input given holds truth values"),
    "of pairs, constant": (lambda x, m: {"attn_mask": TRIANGLE.T}, None, "hides other than the steps to come"),
    "of pairs, numbers": (lambda x, m: {"attn_mask": TRIANGLE * -1.5}, None, "a bias of an attention's scores"),
}


@pytest.mark.parametrize("name", MASKED)
def test_masks_of_attention_are_refused_by_name(name: str) -> None:
    masks, given, words = MASKED[name]
    x = torch.randn(2, 6, 4)
    with pytest.raises(CheckpointError, match=words):
        edgelstm.read(Masked(masks).eval(), example=x if given is None else (x, given))


def test_a_mask_of_the_steps_to_come_is_honoured() -> None:
    torch.manual_seed(15)
    x = torch.randn(2, 6, 4)
    for mask in (TRIANGLE, torch.zeros(6, 6).masked_fill(TRIANGLE, -torch.inf)):
        module = Masked(lambda x, given, mask=mask: {"attn_mask": mask}).eval()
        compare(edgelstm.read(module, example=x), (x,), module(x), "causal")
