"""Imports against live PyTorch: random stacks and heads, from files and from modules."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelstm import reference
from edgelstm.errors import CheckpointError
from edgelstm.importers import safetensors
from edgelstm.importers import torch as importer
from edgelstm.layers import Activate, Dense, Last
from edgelstm.model import Model

torch = pytest.importorskip("torch")
nn = torch.nn

ACTIVATIONS = {
    "none": nn.Identity, "relu": nn.ReLU, "relu6": nn.ReLU6, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "selu": nn.SELU,
    "softsign": nn.Softsign, "silu": nn.SiLU, "hard_sigmoid": nn.Hardsigmoid, "softplus": nn.Softplus, "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"), "leaky_relu": nn.LeakyReLU, "elu": nn.ELU,
    "leaky_relu(0.3)": lambda: nn.LeakyReLU(0.3), "elu(0.7)": lambda: nn.ELU(0.7),
    "softmax": lambda: nn.Softmax(dim=-1),
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
    check(importer.read_module(net, head=head), net, what)
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


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activation_modules(name: str) -> None:
    torch.manual_seed(1)
    function = ACTIVATIONS[name]()
    # The function object stands twice: named_children() would skip the second.
    net = nn.Sequential(
        nn.LSTM(3, 4, num_layers=2, batch_first=True), TakeLast(), function, nn.Linear(4, 6), function, nn.Dropout(0.5),
        nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.5), function),
    ).eval()  # fmt: skip
    model = importer.read_module(net, head="last")
    check(model, net, name)
    if name not in ("none",):
        kinds = [type(layer) for layer in model.layers]
        assert kinds[2:] == [Last, Activate, Dense, Dense], kinds


def test_sequential_over_every_step() -> None:
    net = nn.Sequential(nn.LSTM(2, 3, batch_first=True), TakeAll(), nn.Linear(3, 2), nn.Softmax(dim=2)).eval()
    check(importer.read_module(net, head="sequence"), net, "every step")
    with pytest.raises(CheckpointError, match="Softmax"):
        importer.read_module(net)  # dim=2 does not exist after the last step
    assert any("last step alone leaves the LSTM" in n for n in importer.read_module(net[:3]).notes)


def test_layers_alone() -> None:
    torch.manual_seed(2)
    lstm = nn.LSTM(3, 5, num_layers=2, batch_first=True, bias=False)
    check(importer.read_module(lstm), nn.Sequential(lstm, TakeAll()), "LSTM alone")
    check(importer.read_module(lstm, head="last"), nn.Sequential(lstm, TakeLast()), "LSTM alone, last")
    linear = nn.Linear(3, 2)
    check(importer.read_module(linear), linear, "Linear alone")
    steps = importer.read_module(nn.LSTM(3, 5), head=None).layers  # batch_first changes nothing of a stream
    assert len(steps) == 1
    cell = nn.LSTMCell(3, 4)
    assert importer.read_module(cell).layers[0].name == "lstm"


def test_wrapped_modules() -> None:
    net, head, what = random_net(3)
    expected = importer.read_module(net, head=head).layers
    for wrapped in (nn.DataParallel(net), torch.compile(net), nn.DataParallel(torch.compile(net))):
        layers = importer.read_module(wrapped, head=head).layers
        assert [layer.name for layer in layers] == [layer.name for layer in expected], what


class Custom(nn.Module):  # type: ignore[misc, name-defined]
    """Sequentials inside a module of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 5, batch_first=True)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4, 3), nn.Linear(3, 2))
        self.criterion = nn.CrossEntropyLoss()

    def forward(self, x: Any) -> Any:
        return torch.tanh(self.head(self.drop(self.rnn(x)[0][:, -1])))


def test_custom_modules_show_the_activations_of_their_sequentials() -> None:
    net = Custom().eval()
    check(importer.read_module(net, head="relu,none,tanh"), net, "custom")
    notes = "; ".join(importer.read_module(net).notes)
    assert "no activation after head.4;" in notes
    with pytest.raises(CheckpointError, match=r"tanh after head\.0, but the module has relu there"):
        importer.read_module(net, head="tanh,none,tanh")


def test_custom_modules_with_unknown_activations_need_a_head() -> None:
    """What forward() does between Linear layers is its own; the message shows a head that can be given as it is."""

    class Hidden(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(3, 5, batch_first=True)
            self.first = nn.Linear(5, 4)
            self.rest = nn.Sequential(nn.Linear(4, 4), nn.LeakyReLU(0.123456789), nn.Linear(4, 3), nn.Linear(3, 2))

        def forward(self, x: Any) -> Any:
            return self.rest(torch.relu(self.first(self.rnn(x)[0][:, -1])))

    net = Hidden().eval()
    with pytest.raises(CheckpointError, match=r"which activation follows first, rest\.3 is not known") as caught:
        importer.read_module(net)
    head = str(caught.value).partition('e.g. head="')[2].removesuffix('"')
    assert head == "relu,leaky_relu(0.123456789),none,none" and "\n" not in str(caught.value)
    check(importer.read_module(net, head=head), net, "the head of the message")
    flat = holding(rnn=nn.LSTM(3, 5), fc1=nn.Linear(5, 4), fc2=nn.Linear(4, 2))
    with pytest.raises(CheckpointError, match='each of the 2 Linear layers.*head="relu,none"'):
        importer.read_module(flat)
    assert "no activation after fc1;" in "; ".join(importer.read_module(holding(rnn=flat.rnn, fc1=flat.fc1)).notes)


class Loose(Custom):
    def __init__(self) -> None:
        super().__init__()
        self.act = nn.Tanh()


class Derived(nn.LSTM):  # type: ignore[misc, name-defined]
    pass


class Own(Custom):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, 3))


def holding(**modules: Any) -> Any:
    net = nn.Module()
    for name, module in modules.items():
        net.add_module(name, module)
    return net


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (lambda: Loose(), r'place in forward\(\) is not known \(act\).*head="relu,none,softmax"'),
        (lambda: holding(rnn=nn.LSTM(2, 3), act=nn.Tanh()), r"not known \(act\).*architecture file"),
        (lambda: Own(), "weights of the module itself are not of"),
        (lambda: nn.LSTM(2, 3, bidirectional=True), "bidirectional"),
        (lambda: nn.LSTM(2, 3, proj_size=2), "proj_size"),
        (lambda: nn.GRU(2, 3), "GRU"),
        (lambda: Derived(2, 3), "module itself"),
        (lambda: holding(rnn=Derived(2, 3)), "rnn"),
        (lambda: holding(rnn=nn.LSTM(2, 3), pool=nn.AvgPool1d(2)), "pool"),
        (lambda: holding(fc=nn.Linear(3, 3), rnn=nn.LSTM(3, 3)), "the LSTM rnn comes after the Linear fc"),
        (lambda: holding(enc=nn.LSTM(3, 3), dec=nn.LSTM(3, 3)), "ambiguous"),
        (lambda: holding(rnn=nn.LSTM(3, 3), head=nn.Sequential(nn.ReLU(), nn.Linear(3, 1))), "head.0"),
        (lambda: holding(rnn=nn.LSTM(3, 3), head=nn.Sequential(nn.Linear(3, 1), nn.Flatten())), "Flatten"),
        (lambda: nn.Sequential(nn.LSTM(2, 3), nn.Linear(3, 1)), "returns a tuple"),
        (lambda: nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), "BatchNorm"),
        (lambda: nn.Sequential(nn.Linear(2, 3), nn.PReLU()), "1.weight"),
        (lambda: nn.Sequential(nn.Linear(2, 3), nn.LogSoftmax(dim=-1)), "LogSoftmax"),
        (lambda: nn.Sequential(nn.Linear(2, 3), nn.Softmax(dim=0)), "Softmax"),
        (lambda: nn.Sequential(nn.Linear(2, 3), nn.Softplus(beta=2)), "Softplus"),
        (lambda: nn.Sequential(nn.Linear(2, 3), TakeLast()), "TakeLast"),
        (lambda: nn.Sequential(nn.ReLU()), "no weights"),
        (lambda: torch.jit.script(nn.Linear(2, 3)), "TorchScript"),
        (lambda: nn.Linear(2, 3, device="meta"), "not a plain tensor"),
        (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(2, 3)), "parametrization"),
        (lambda: object(), "not a torch.nn.Module"),
    ],
)
def test_modules_that_could_be_misread_are_refused(module: Any, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason) as caught:
        importer.read_module(module())
    assert "\n" not in str(caught.value)


def test_heads_of_modules_that_show_their_own_are_refused() -> None:
    with pytest.raises(CheckpointError, match="shows its own activations"):
        importer.read_module(nn.Sequential(nn.LSTM(2, 3), TakeLast(), nn.Linear(3, 1)), head="relu")
    with pytest.raises(CheckpointError, match="give no head"):
        importer.read_module(nn.Linear(3, 1), head="last")


def test_narrow_types() -> None:
    torch.manual_seed(5)
    for dtype in (torch.float16, torch.bfloat16):
        net = nn.Sequential(nn.LSTM(2, 3, batch_first=True), TakeLast(), nn.Linear(3, 2)).to(dtype)
        model = importer.read_module(net)
        assert any("became float32, exact" in note for note in model.notes)
        check(model, net.float(), str(dtype))


def test_a_head_cannot_place_an_activation_where_no_linear_layer_is() -> None:
    with pytest.raises(CheckpointError, match=r"not known \(act\).*architecture file"):
        importer.read_module(holding(rnn=nn.LSTM(2, 3), act=nn.Tanh()), head="last")
