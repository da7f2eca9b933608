"""Imports against live PyTorch: random stacks and heads, from files and from modules."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgelstm
from edgelstm import reference
from edgelstm.errors import CheckpointError
from edgelstm.importers import safetensors
from edgelstm.importers import torch as importer
from edgelstm.model import Model

torch = pytest.importorskip("torch")
nn = torch.nn

ACTIVATIONS = {
    "none": nn.Identity, "relu": nn.ReLU, "relu6": nn.ReLU6, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "selu": nn.SELU,
    "softsign": nn.Softsign, "silu": nn.SiLU, "hard_sigmoid": nn.Hardsigmoid, "softplus": nn.Softplus, "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"), "leaky_relu": nn.LeakyReLU, "elu": nn.ELU,
    "leaky_relu(0.3)": lambda: nn.LeakyReLU(0.3), "elu(0.7)": lambda: nn.ELU(0.7),
    "softmax": lambda: nn.Softmax(dim=-1), "log_softmax": lambda: nn.LogSoftmax(dim=-1), "mish": nn.Mish,
    "celu": nn.CELU, "celu(0.6)": lambda: nn.CELU(0.6), "hardtanh": nn.Hardtanh, "hardswish": nn.Hardswish,
    "clip(-0.3, 0.2)": lambda: nn.Hardtanh(-0.3, 0.2), "hardshrink": nn.Hardshrink, "softshrink": nn.Softshrink,
    "shrink(0.1, 0)": lambda: nn.Hardshrink(0.1), "shrink(0.1, 0.1)": lambda: nn.Softshrink(0.1),
    "tanhshrink": nn.Tanhshrink, "threshold(0.1, 2.0)": lambda: nn.Threshold(0.1, 2.0), "log_sigmoid": nn.LogSigmoid,
    "scaled_softplus(2, 1)": lambda: nn.Softplus(2, 1), "leaky_relu(0.25)": lambda: nn.RReLU(0.2, 0.3).eval(),
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class TakeLast(nn.Module):  # type: ignore[misc, name-defined]
    def forward(self, pair: Any) -> Any:
        return pair[0][:, -1]


class TakeAll(nn.Module):  # type: ignore[misc, name-defined]
    def forward(self, pair: Any) -> Any:
        return pair[0]


class Net(nn.Module):  # type: ignore[misc, name-defined]
    """LSTMs and Linear layers as a script would write them; activations in forward() alone."""

    def __init__(
        self, widths: list[int], layers: list[int], heads: list[int], names: list[str], last: bool, bias: bool
    ):
        super().__init__()
        self.rnns = nn.ModuleList(
            nn.LSTM(i, o, num_layers=n, batch_first=True, bias=bias, dropout=0.2 if n > 1 else 0.0)
            for (i, o), n in zip(pairwise(widths), layers, strict=True)
        )
        self.fcs = nn.ModuleList(nn.Linear(i, o, bias=bias) for i, o in pairwise(heads))
        self.functions = [ACTIVATIONS[name]() for name in names]
        self.last = last

    def forward(self, x: Any) -> Any:
        for rnn in self.rnns:
            x = rnn(x)[0]
        x = x[:, -1] if self.last else x
        for fc, function in zip(self.fcs, self.functions, strict=True):
            x = function(fc(x))
        return x


def random_net(seed: int) -> tuple[Any, str, str]:
    """A module, its head, and its description for a failing test."""
    generator = np.random.default_rng(seed)
    torch.manual_seed(seed)
    widths = [int(n) for n in generator.integers(1, 40, int(generator.integers(2, 4)))]
    layers = [int(n) for n in generator.integers(1, 4, len(widths) - 1)]
    heads = [widths[-1], *(int(n) for n in generator.integers(1, 20, int(generator.integers(0, 4))))]
    names = [str(n) for n in generator.choice(list(ACTIVATIONS), len(heads) - 1)]
    last, bias = bool(generator.integers(2)), bool(generator.integers(2))
    net = Net(widths, layers, heads, names, last, bias).eval()
    for parameter in net.parameters():
        parameter.data *= 2
    what = f"seed {seed}, widths {widths}, layers {layers}, heads {heads} {names}, last {last}, bias {bias}"
    return net, ",".join(["last" if last else "sequence", *names]), what


def check(model: Model, net: Any, what: str, steps: int = 24) -> None:
    x = torch.randn(2, steps, model.width(model.inputs[0]), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = net(x).numpy()
    (y,) = reference.run(model, (x.numpy(),))
    assert y.shape == expected.shape, what
    bound = 5e-6 * max(1.0, float(np.abs(expected).max()))
    assert np.abs(y - expected).max() <= bound, f"{what}: {np.abs(y - expected).max()} > {bound}"


@pytest.mark.parametrize("seed", range(24))
def test_random_nets_from_files_and_modules(seed: int, tmp_path: Path) -> None:
    net, head, what = random_net(seed)
    if seed < 8:  # a trace takes a second
        check(importer.read_module(net), net, what)
    for legacy in (False, True):
        path = tmp_path / f"{legacy}.pt"
        torch.save(net.state_dict(), path, _use_new_zipfile_serialization=not legacy)
        check(importer.read(path, head=head), net, f"{what}, legacy {legacy}")
    library = pytest.importorskip("safetensors.torch")
    library.save_file(net.state_dict(), tmp_path / "net.safetensors")
    check(safetensors.read(tmp_path / "net.safetensors", head=head), net, f"{what}, safetensors")


def test_large_net() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.LSTM(128, 256, batch_first=True), TakeLast(), nn.Linear(256, 10), nn.Softmax(dim=1)).eval()
    check(importer.read_module(net), net, "large", steps=128)


class Everywhere(nn.Module):  # type: ignore[misc, name-defined]
    """An activation on steps, after another, and within a Linear layer."""

    def __init__(self, function: Any):
        super().__init__()
        self.rnn = nn.LSTM(3, 4, num_layers=2, batch_first=True)
        self.function = function
        self.fc = nn.Linear(4, 6)

    def forward(self, x: Any) -> Any:
        x = self.function(self.rnn(x)[0])[:, -1]
        return self.function(self.fc(x))


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activation_modules(name: str) -> None:
    torch.manual_seed(1)
    net = Everywhere(ACTIVATIONS[name]()).eval()
    check(importer.read_module(net), net, name)


def test_layers_alone() -> None:
    torch.manual_seed(2)
    lstm = nn.LSTM(3, 5, num_layers=2, batch_first=True, bias=False)
    check(importer.read_module(lstm), nn.Sequential(lstm, TakeAll()), "LSTM alone")
    linear = nn.Linear(3, 2)
    model = importer.read_module(linear)
    x = torch.randn(2, 5, 3)
    assert np.abs(reference.run(model, (x.numpy(),))[0] - linear(x).detach().numpy()).max() < 5e-6
    for cell, name in (
        (nn.LSTMCell(3, 4), "lstm"),
        (nn.GRUCell(3, 4), "gru"),
        (nn.RNNCell(3, 4, nonlinearity="relu"), "rnn"),
    ):
        model = importer.read_module(cell)
        assert [layer.name for layer in model.layers] == [name]
        (y,) = reference.run(model, (x.numpy(),))
        state = None
        for t in range(5):
            state = cell(x[:, t], state)
            h = state[0] if name == "lstm" else state
            assert np.abs(y[:, t] - h.detach().numpy()).max() < 5e-6, (name, t)


def test_wrapped_modules() -> None:
    net, _, what = random_net(3)
    expected = importer.read_module(net).layers
    for wrapped in (nn.DataParallel(net), torch.compile(net), nn.DataParallel(torch.compile(net))):
        layers = importer.read_module(wrapped).layers
        assert [layer.name for layer in layers] == [layer.name for layer in expected], what


def test_a_module_is_as_it_was_afterwards() -> None:
    net = nn.Sequential(nn.LSTM(2, 3, batch_first=True), TakeLast(), nn.Dropout(0.5), nn.Linear(3, 1)).train()
    net[0].eval()
    check(importer.read_module(net), nn.Sequential(net[0], net[1], net[3]), "dropout")
    assert net.training and not net[0].training and net[2].training


class Derived(nn.LSTM):  # type: ignore[misc, name-defined]
    pass


def holding(**modules: Any) -> Any:
    net = nn.Module()
    for name, module in modules.items():
        net.add_module(name, module)
    return net


class Forward(nn.Module):  # type: ignore[misc, name-defined]
    """Modules, and a function of them and the inputs."""

    def __init__(self, function: Any, **modules: Any):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.function = function

    def forward(self, *xs: Any) -> Any:
        return self.function(self, *xs)


def noise(s: Any, x: Any) -> Any:
    return s.rnn(x + torch.rand(3))[0]


def feedback(s: Any, x: Any) -> Any:
    state, y, made = None, x[:, 0], []
    for _ in range(x.shape[1]):
        state = s.cell(y, state)
        y = s.fc(state)
        made.append(y)
    return torch.stack(made, 1)


def branches(s: Any, x: Any) -> Any:
    y = s.rnn(x)[0]
    return y if y.sum() > 0 else -y


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (lambda: holding(rnn=nn.LSTM(2, 3)), "cannot trace it"),
        (lambda: nn.Sequential(nn.LSTM(2, 3), nn.Linear(3, 1)), "cannot trace it.*its state_dict"),
        (lambda: Forward(noise, rnn=nn.LSTM(3, 3)), "rand.*random numbers"),
        (lambda: Forward(feedback, cell=nn.GRUCell(3, 4), fc=nn.Linear(4, 3)), "feedback|step before"),
        (lambda: Forward(branches, rnn=nn.LSTM(3, 3)), "cannot trace it"),
        (lambda: Forward(lambda s, x: s.rnn(x)[0].sum(1) / x.size(1), rnn=nn.LSTM(3, 3, batch_first=True)),
         "depends on the number of steps"),
        (lambda: Forward(lambda s, x: s.rnn(x)[0].mean((0, 1)), rnn=nn.LSTM(3, 3, batch_first=True)), "over the batch"),
        (lambda: Forward(lambda s, x: s.rnn(x)[0][:, ::2], rnn=nn.LSTM(3, 3, batch_first=True)), "every so many steps"),
        (lambda: Forward(lambda s, x: s.rnn(x)[0].cumsum(1), rnn=nn.LSTM(3, 3)), "cumsum.*not supported"),
        (lambda: nn.Sequential(nn.Linear(2, 3), nn.LogSoftmax(dim=1)), "give the one it is for: example=array"),
        (lambda: nn.Sequential(nn.Linear(2, 3), nn.Softmax(dim=0)), "softmax"),
        (lambda: nn.Sequential(nn.Linear(2, 3), nn.Softmax(dim=1)), "give the one it is for: example=array"),
        (lambda: nn.Sequential(nn.LSTM(2, 3), TakeAll(), nn.CELU(0.0)), "alpha is 0"),
        (lambda: nn.Sequential(nn.LSTM(2, 3), TakeAll(), nn.Softplus(0.0)), "alpha is 0"),
        (lambda: nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3, track_running_stats=False)), "running|training"),
        (lambda: nn.Sequential(nn.ReLU()), "no weights"),
        (lambda: nn.Bilinear(2, 3, 4), "reads 2 inputs .input1, input2."),
        (lambda: nn.Linear(2, 3, device="meta"), "not a plain tensor"),
        (lambda: object(), "not a torch.nn.Module"),
    ],
)  # fmt: skip
def test_modules_that_could_be_misread_are_refused(module: Any, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason) as caught:
        importer.read_module(module())
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_heads_of_modules_are_refused() -> None:
    with pytest.raises(CheckpointError, match="leave the head out"):
        importer.read_module(nn.Linear(3, 1), head="relu")


def test_a_class_derived_from_a_layer_is_what_its_forward_does() -> None:
    torch.manual_seed(7)
    net = Derived(2, 3, batch_first=True)
    model = importer.read_module(net)
    x = torch.randn(2, 9, 2)
    answers = net(x)[0]
    (y,) = reference.run(model, (x.numpy(),))
    assert np.abs(y - answers.detach().numpy()).max() < 5e-6
    assert any("left out: the state" in note for note in model.notes)


def test_narrow_types() -> None:
    torch.manual_seed(5)
    for dtype in (torch.float16, torch.bfloat16):
        net = nn.Sequential(nn.LSTM(2, 3, batch_first=True), TakeLast(), nn.Linear(3, 2)).to(dtype)
        model = importer.read_module(net)
        assert any("became float32, exact" in note for note in model.notes)
        check(model, net.float(), str(dtype))


# State dicts: every layer of an architecture file against the module it describes.


def noisy(net: Any, seed: int = 0) -> Any:
    """Every weight and statistic random, so that none is left out unseen."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.4
    for name, buffer in net.named_buffers():
        if "running" in name:
            buffer.data = torch.rand(buffer.shape, generator=generator) + 0.5
    return net.eval()


def tables(text: str) -> str:
    """A TOML architecture of lines "kind weights key=value ...", "-" where a layer has no weights."""
    made = []
    for line in text.strip().splitlines():
        kind, weights, *settings = line.split()
        rows = [f'kind = "{kind}"', *([] if weights == "-" else [f'weights = "{weights}"']), *settings]
        made.append("[[layers]]\n" + "\n".join(rows))
    return "\n".join(made) + "\n"


def channelwise(module: Any) -> Any:
    """A module over (batch, values, steps) as one over (batch, steps, values)."""
    return lambda x: module(x.transpose(1, 2)).transpose(1, 2)


def answers_of(module: Any) -> Any:
    return lambda x: module(x)[0]


RECURRENT = [
    (kind, n, both, bias, more)
    for kind in ("LSTM", "GRU", "RNN")
    for n, both, bias in ((1, False, True), (2, False, False), (3, True, True), (1, True, False))
    for more in (
        [{}, {"proj_size": 2}] if kind == "LSTM" else [{}, {"nonlinearity": "relu"}] if kind == "RNN" else [{}]
    )
]


@pytest.mark.parametrize(("kind", "layers", "both", "bias", "more"), RECURRENT)
def test_recurrent_state_dicts(
    kind: str, layers: int, both: bool, bias: bool, more: dict[str, Any], tmp_path: Path
) -> None:
    library = pytest.importorskip("safetensors.torch")
    settings = {
        "num_layers": layers,
        "bidirectional": both,
        "bias": bias,
        "dropout": 0.3 if layers > 1 else 0.0,
        **more,
    }
    net = noisy(getattr(nn, kind)(3, 4, batch_first=True, **settings))
    torch.save(net.state_dict(), tmp_path / "net.pt")
    library.save_file(net.state_dict(), tmp_path / "net.safetensors")
    relu = ["nonlinearity='relu'"] if more.get("nonlinearity") else []
    for step, pick in (("", lambda y, h: y), ("last", lambda y, h: y[:, -1]), ("first", lambda y, h: y[:, 0]), (
            "state", lambda y, h: torch.cat(list(h[-2:] if both else h[-1:]), -1))):  # fmt: skip
        file = tmp_path / f"{step}.toml"
        lines = [" ".join([kind.lower(), "''", *relu]), *([f"{step} -"] if step else [])]
        file.write_text(tables("\n".join(lines)).replace("\"''\"", '""'))

        def forward(x: Any, pick: Any = pick) -> Any:
            answers, state = net(x)
            return pick(answers, state[0] if kind == "LSTM" else state)

        for model in (
            importer.read(tmp_path / "net.pt", architecture=file),
            safetensors.read(tmp_path / "net.safetensors", architecture=file),
        ):
            check(model, forward, f"{kind} {settings} {step}")
        if not relu and step != "first":
            head = {"": "sequence"}.get(step, step)
            check(importer.read(tmp_path / "net.pt", head=head), forward, f"{kind} {settings} head {head}")


KINDS: dict[str, tuple[Any, str, Any]] = {  # modules, architecture, forward
    "conv1d": (
        lambda: {"a": nn.Conv1d(3, 4, 3, padding=1),
                 "b": nn.Conv1d(4, 6, 3, stride=2, dilation=2, groups=2, bias=False)},
        "conv1d a padding=1 activation='relu'\nconv1d b stride=2 dilation=2 groups=2",
        lambda m, x: channelwise(m["b"])(torch.relu(channelwise(m["a"])(x))),
    ),
    "conv1d same": (
        lambda: {"a": nn.Conv1d(3, 4, 4, padding="same", dilation=3)},
        "conv1d a padding='same' dilation=3",
        lambda m, x: channelwise(m["a"])(x),
    ),
    "conv1d causal": (
        lambda: {"a": nn.Conv1d(3, 4, 3, dilation=2)},
        "conv1d a padding='causal' dilation=2",
        lambda m, x: channelwise(m["a"])(nn.functional.pad(x, (0, 0, 4, 0))),
    ),
    "pools": (
        lambda: {"a": nn.Linear(3, 4)},
        "dense a\nmax_pool - size=3 stride=2 padding=1\naverage_pool - size=2\n"
        "average_pool - size=3 stride=1 padding=1\naverage_pool - size=3 stride=1 padding=1 count_include_pad=false",
        lambda m, x: channelwise(nn.Sequential(
            nn.MaxPool1d(3, 2, 1), nn.AvgPool1d(2), nn.AvgPool1d(3, 1, 1),
            nn.AvgPool1d(3, 1, 1, count_include_pad=False)))(m["a"](x)),
    ),
    "norms": (
        lambda: {"a": nn.BatchNorm1d(3), "b": nn.LSTM(3, 4, batch_first=True), "c": nn.LayerNorm(4, eps=1e-3),
                 "d": nn.BatchNorm1d(4, affine=False, eps=1e-2), "e": nn.RMSNorm(4), "f": nn.PReLU(4), "g": nn.PReLU()},
        "batchnorm a\nlstm b\nlayernorm c epsilon=1e-3\nbatchnorm d epsilon=1e-2\nrmsnorm e\nprelu f\nprelu g",
        lambda m, x: m["g"](channelwise(m["f"])(m["e"](channelwise(m["d"])(m["c"](
            m["b"](channelwise(m["a"])(x))[0]))))),
    ),
    "attention": (
        lambda: {"a": nn.Linear(3, 6), "b": nn.MultiheadAttention(6, 2, batch_first=True, bias=False),
                 "c": nn.MultiheadAttention(6, 3, batch_first=True)},
        "dense a\nattention b heads=2\nattention c heads=3 causal=true",
        lambda m, x: (lambda y: m["c"](y, y, y, attn_mask=torch.triu(torch.ones(24, 24), 1).bool())[0])(
            (lambda y: m["b"](y, y, y)[0])(m["a"](x))),
    ),
    "reductions": (
        lambda: {"a": nn.GRU(3, 4, batch_first=True), "b": nn.Linear(4, 2)},
        "gru a\nmean -\ndense b",
        lambda m, x: m["b"](m["a"](x)[0].mean(1)),
    ),
    "sum": (lambda: {"a": nn.Linear(3, 4)}, "dense a\nsum -", lambda m, x: m["a"](x).sum(1)),
    "max": (lambda: {"a": nn.Linear(3, 4)}, "dense a\nmax -\ndropout -", lambda m, x: m["a"](x).amax(1)),
    "flatten": (
        lambda: {"a": nn.LSTM(3, 4, batch_first=True), "b": nn.Linear(96, 2)},
        "lstm a\nflatten - steps=24 order='steps'\ndense b",
        lambda m, x: m["b"](m["a"](x)[0].flatten(1)),
    ),
    "flatten channels": (
        lambda: {"a": nn.Conv1d(3, 4, 3), "b": nn.Linear(88, 2)},
        "conv1d a\nflatten - steps=22 order='channels'\ndense b",
        lambda m, x: m["b"](m["a"](x.transpose(1, 2)).flatten(1)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_kinds_of_an_architecture_file(name: str, tmp_path: Path) -> None:
    modules, text, forward = KINDS[name]
    net = noisy(nn.ModuleDict(modules()))
    torch.save(net.state_dict(), tmp_path / "net.pt")
    (tmp_path / "net.toml").write_text(tables(text))
    model = importer.read(tmp_path / "net.pt", architecture=tmp_path / "net.toml")
    check(model, lambda x: forward(net, x), name)
    pytest.importorskip("safetensors.torch").save_file(net.state_dict(), tmp_path / "net.safetensors")
    check(
        safetensors.read(tmp_path / "net.safetensors", architecture=tmp_path / "net.toml"),
        lambda x: forward(net, x),
        name,
    )


def test_embeddings_of_state_dicts(tmp_path: Path) -> None:
    net = noisy(
        nn.ModuleDict({"embed": nn.Embedding(7, 3), "rnn": nn.GRU(3, 4, batch_first=True), "fc": nn.Linear(4, 2)})
    )
    torch.save(net.state_dict(), tmp_path / "net.pt")
    (tmp_path / "net.toml").write_text(tables("embedding embed\ngru rnn\nlast -\ndense fc"))
    ids = torch.randint(0, 7, (2, 11), generator=torch.Generator().manual_seed(0))
    expected = net["fc"](net["rnn"](net["embed"](ids))[0][:, -1]).detach().numpy()
    for options in ({"architecture": tmp_path / "net.toml"}, {"head": "last,none"}):
        model = importer.read(tmp_path / "net.pt", **options)
        (y,) = reference.run(model, (ids[..., None].numpy(),))
        assert np.abs(y - expected).max() < 5e-6, options


def test_a_batch_norm_becomes_part_of_its_neighbour(tmp_path: Path) -> None:
    modules, text, _ = KINDS["norms"]
    torch.save(noisy(nn.ModuleDict(modules())).state_dict(), tmp_path / "net.pt")
    (tmp_path / "net.toml").write_text(tables(text))
    kinds = [
        type(layer).__name__ for layer in importer.read(tmp_path / "net.pt", architecture=tmp_path / "net.toml").layers
    ]
    assert kinds[:2] == ["Lstm", "LayerNorm"]


# Programs: TorchScript, and what torch.export saved.


class Program(nn.Module):  # type: ignore[misc, name-defined]
    """Several layers whose forward() is only known by running it."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 4, num_layers=2, batch_first=True, dropout=0.2, bidirectional=True)
        self.gru = nn.GRU(8, 5, batch_first=True)
        self.conv = nn.Conv1d(5, 6, 3, padding=1)
        self.norm = nn.BatchNorm1d(6)
        self.fc = nn.Linear(6, 2)

    def forward(self, x):  # type: ignore[no-untyped-def]
        y, _ = self.rnn(x)
        y, _ = self.gru(y)
        z = torch.relu(self.norm(self.conv(y.transpose(1, 2)))).mean(dim=2)
        return torch.softmax(self.fc(z), -1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["script", "trace"])
def test_torchscript_files_that_are_trusted(how: str, tmp_path: Path) -> None:
    net = noisy(Program())
    made = torch.jit.script(net) if how == "script" else torch.jit.trace(net, torch.zeros(1, 9, 3))
    torch.jit.save(made, str(tmp_path / "net.pt"))
    with pytest.raises(CheckpointError, match=r"TorchScript file is a program.*trust=True"):
        edgelstm.read(tmp_path / "net.pt")
    model = edgelstm.read(tmp_path / "net.pt", trust=True)
    check(model, net, how)
    assert model.source.file == "net.pt" and len(model.source.sha256) == 64
    assert "rnn.l1.reverse" in [layer.name for layer in model.layers]
    check(importer.read_module(made), net, f"{how}, live")
    with pytest.raises(CheckpointError, match="leave head and architecture out"):
        edgelstm.read(tmp_path / "net.pt", trust=True, head="none")


@pytest.mark.filterwarnings("ignore")
def test_exported_programs_that_are_trusted(tmp_path: Path) -> None:
    net = noisy(Program())
    torch.export.save(torch.export.export(net, (torch.zeros(1, 24, 3),), strict=False), tmp_path / "net.pt2")
    with pytest.raises(CheckpointError, match=r"torch\.export file is a program.*trust=True"):
        edgelstm.read(tmp_path / "net.pt2")
    model = edgelstm.read(tmp_path / "net.pt2", trust=True)
    check(model, net, "exported")
    assert any("sequences of 24 steps" in note for note in model.notes)
