"""PyTorch models drawn at random: state dicts with a head, as files, and live modules with a forward() of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from drawing import Case, Draw
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from edgelstm import random_inputs
from edgelstm.model import Model

torch.set_num_threads(1)

HEADS = {
    "none": lambda x: x,
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softmax": lambda x: torch.softmax(x, -1),
    "leaky_relu(0.2)": lambda x: functional.leaky_relu(x, 0.2),
    "elu": functional.elu,
    "silu": functional.silu,
    "gelu": functional.gelu,
    "softplus": functional.softplus,
    "mish": functional.mish,
    "hardswish": functional.hardswish,
    "clip(-0.4, 0.6)": lambda x: functional.hardtanh(x, -0.4, 0.6),
    "log_sigmoid": functional.logsigmoid,
    "celu(0.6)": lambda x: functional.celu(x, 0.6),
    "log_softmax": lambda x: functional.log_softmax(x, -1),
    "softshrink": functional.softshrink,
}

ALLOWED = {"a product of matrices that is none of an attention": "attention over a single value"}
"""Reasons to refuse that drawn models may meet, and what docs/support.md says of them."""


def randomise(module: nn.Module, random: np.random.Generator) -> None:
    """Every weight and bias another number; variances stay positive."""
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                low, high = (0.3, 1.5) if "var" in name else (-0.6, 0.6)
                value.copy_(torch.from_numpy(random.uniform(low, high, value.shape).astype(np.float32)))


def recurrent(draw: Draw, inputs: int, functions: Sequence[str]) -> tuple[nn.Module, int]:
    """An LSTM, GRU or RNN, and the values it gives a step. functions: of an RNN, of which a state dict tells none."""
    kind = draw.one("LSTM", "LSTM", "GRU", "RNN")
    units = draw.whole(2, 5)
    options: dict[str, Any] = {"batch_first": True, "num_layers": draw.whole(1, 2), "bias": draw.flag()}
    width = units
    options["bidirectional"] = draw.rarely()
    if kind == "LSTM" and draw.rarely():
        options["proj_size"] = width = draw.whole(1, units - 1)
    if kind == "RNN":
        options["nonlinearity"] = draw.one(*functions)
    module = getattr(nn, kind)(inputs, units, **options)
    return module, width * (2 if options.get("bidirectional") else 1)


class StateDict(nn.Module):
    """Recurrent layers, then Linear layers: what a state dict and a head tell."""

    def __init__(self, draw: Draw) -> None:
        super().__init__()
        self.rnn, width = recurrent(draw, draw.whole(1, 5), ["tanh"])
        self.last = draw.flag()
        self.names = []
        for k in range(draw.whole(0, 3)):
            linear = nn.Linear(width, draw.whole(1, 5), bias=k == 0 or draw.flag())
            width = linear.out_features
            self.add_module(f"fc{k}", linear)
            self.names.append(draw.one(*HEADS))

    @property
    def head(self) -> str:
        return ",".join(["last" if self.last else "sequence", *self.names])

    def forward(self, x: Any) -> Any:
        x = self.rnn(x)[0]
        x = x[:, -1] if self.last else x
        for k, name in enumerate(self.names):
            x = HEADS[name](getattr(self, f"fc{k}")(x))
        return x


def answers(module: nn.Module, random: np.random.Generator, steps: int) -> Callable[[Model], Any]:
    def run(model: Model) -> tuple[list[np.ndarray], list[np.ndarray]]:
        xs = random_inputs.draw(model, 3, model.meta.window or steps, random)
        return xs, _run(module, xs)

    return run


def _run(module: nn.Module, xs: list[np.ndarray]) -> list[np.ndarray]:
    with torch.no_grad():
        answer = module(*(torch.from_numpy(x) for x in xs))
    return [y.numpy() for y in (answer if isinstance(answer, tuple) else (answer,))]


def state_dict(draw: Draw, folder: Path) -> Case:
    """A file of tensors, in one of the forms people save, and the head that says what they are for."""
    module = StateDict(draw).eval()
    random = draw.random()
    randomise(module, random)
    tensors = module.state_dict()
    form = draw.one("plain", "legacy", "checkpoint", "parallel", "safetensors")
    path = folder / ("drawn.safetensors" if form == "safetensors" else "drawn.pt")
    match form:
        case "plain":
            torch.save(tensors, path)
        case "legacy":
            torch.save(tensors, path, _use_new_zipfile_serialization=False)
        case "checkpoint":
            torch.save({"model_state_dict": tensors, "epoch": 3}, path)
        case "parallel":
            torch.save({f"module.{name}": value for name, value in tensors.items()}, path)
        case "safetensors":
            save_file(tensors, path)
    return Case(
        path,
        answers(module, random, draw.whole(3, 9)),
        f"{form}, head {module.head}: {module}",
        [form],
        {"head": module.head},
    )


def chain(draw: Draw) -> tuple[nn.Module, int]:
    """An nn.Sequential of layers that need no forward() of their own."""
    width = inputs = draw.whole(1, 5)
    layers: list[nn.Module] = []
    for _ in range(draw.whole(1, 4)):
        kind = draw.one("Linear", "Linear", "activation", "Dropout")
        if kind == "Linear":
            layers.append(nn.Linear(width, draw.whole(1, 5), bias=draw.flag()))
            width = layers[-1].out_features
        elif kind == "activation":
            made = (
                nn.ReLU(),
                nn.Tanh(),
                nn.Sigmoid(),
                nn.SiLU(),
                nn.ELU(0.7),
                nn.LeakyReLU(0.3),
                nn.GELU(),
                nn.Softsign(),
            )
            layers.append(draw.one(*made))
        else:
            layers.append(nn.Dropout(0.5))
    return nn.Sequential(nn.Linear(inputs, inputs), *layers), inputs


class Own(nn.Module):
    """A forward() of drawn operations: what torch.export sees."""

    def __init__(self, draw: Draw, steps: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList()
        self.calls: list[tuple[str, Callable[[Any], Any]]] = []
        self.width = self.inputs = draw.whole(1, 5)
        self.steps, self.sequence = steps, True
        first = self.add(nn.Linear(self.inputs, self.inputs))  # by which torch.export knows the width
        self.call("linear", lambda x: first(x))
        for _ in range(draw.whole(1, 4)):
            self.one_more(draw)

    def add(self, module: nn.Module) -> nn.Module:
        self.parts.append(module)
        return module

    def call(self, text: str, function: Callable[[Any], Any]) -> None:
        self.calls.append((text, function))

    def one_more(self, draw: Draw) -> None:
        kinds = ["linear", "activation", "norm", "residual"]
        if self.sequence:
            kinds += ["rnn"] * 4 + ["conv", "pool", "reduce", "batch norm", "attention"]
        kind = draw.one(*kinds)
        match kind:
            case "linear":
                m = self.add(nn.Linear(self.width, draw.whole(1, 5), bias=draw.flag()))
                self.width = m.out_features
                self.call("linear", lambda x: m(x))
            case "activation":
                name = draw.one(*HEADS)
                self.call(name, HEADS[name])
            case "norm":
                n = self.add(nn.LayerNorm(self.width, eps=0.05))
                self.call("layer norm", lambda x: n(x))
            case "residual":
                r = self.add(nn.Linear(self.width, self.width))
                join = draw.one(
                    lambda x: x + r(x), lambda x: x * torch.sigmoid(r(x)), lambda x: torch.cat([x, r(x)], -1)
                )
                self.call("residual", join)
                self.width = self._width(join)
            case "rnn":
                self.rnn(draw)
            case "conv":
                self.conv(draw)
            case "pool":
                size = draw.whole(1, 2)
                pool = draw.one(nn.MaxPool1d, nn.AvgPool1d)(size, stride=draw.one(None, 1))
                self.call("pool", lambda x: pool(x.transpose(1, 2)).transpose(1, 2))
            case "reduce":
                self.sequence = False
                self.call(
                    "reduce",
                    draw.one(
                        lambda x: x.mean(1), lambda x: x.max(1).values, lambda x: x[:, -1], lambda x: x.sum(dim=1)
                    ),
                )
            case "batch norm":
                b = self.add(nn.BatchNorm1d(self.width))
                self.call("batch norm", lambda x: b(x.transpose(1, 2)).transpose(1, 2))
            case "attention":
                heads = draw.one(*(h for h in (1, 2) if self.width % h == 0))
                a = self.add(nn.MultiheadAttention(self.width, heads, batch_first=True, bias=draw.flag()))
                self.call("attention", lambda x: a(x, x, x, need_weights=False)[0])

    def _width(self, function: Callable[[Any], Any]) -> int:
        return int(function(torch.zeros(1, 1, self.width)).shape[-1])

    def rnn(self, draw: Draw) -> None:
        module, width = recurrent(draw, self.width, ["tanh", "relu"])
        self.add(module)
        take = draw.one("all", "all", "last", "state")
        directions = 2 if module.bidirectional else 1
        self.width = width
        states = self.states(draw, module)
        text = f"{module}{' started' if len(states) else ''}"

        def run(x: Any) -> Any:
            given = [state.expand(-1, x.size(0), -1).contiguous() for state in states]
            return module(x, *([tuple(given) if len(given) > 1 else given[0]] if given else []))

        if take == "all":
            self.call(text, lambda x: run(x)[0])
            return
        self.sequence = False
        if take == "last":
            self.call(f"{text} last", lambda x: run(x)[0][:, -1])
        elif directions == 2:
            self.call(f"{text} states", lambda x: torch.cat([_state(run(x))[-2], _state(run(x))[-1]], dim=1))
        else:
            self.call(f"{text} state", lambda x: _state(run(x))[-1])

    def states(self, draw: Draw, module: nn.Module) -> nn.ParameterList:
        """What a recurrent layer starts from, learned; rarely anything."""
        rows = module.num_layers * (2 if module.bidirectional else 1)
        widths = [module.proj_size or module.hidden_size, module.hidden_size][: 2 if module.mode == "LSTM" else 1]
        if not draw.rarely():
            widths = []
        made = nn.ParameterList([torch.zeros(rows, 1, width) for width in widths])
        self.add(made)
        return made

    def conv(self, draw: Draw) -> None:
        groups = draw.one(*(g for g in (1, 2) if self.width % g == 0))
        taps = draw.whole(1, 2)
        dilation = draw.one(1, 2)
        padding = draw.whole(0, 2)
        c = self.add(
            nn.Conv1d(self.width, groups * draw.whole(1, 2), taps, padding=padding, dilation=dilation, groups=groups)
        )
        self.width = c.out_channels
        self.call("conv", lambda x: c(x.transpose(1, 2)).transpose(1, 2))

    def forward(self, x: Any) -> Any:
        for _, function in self.calls:
            x = function(x)
        return x


def _state(answer: Any) -> Any:
    state = answer[1]
    return state[0] if isinstance(state, tuple) else state


def live(draw: Draw, folder: Path) -> Case:
    """A module in memory, alone or with an example of its input."""
    steps = draw.whole(4, 8)
    if draw.rarely():
        module, inputs = chain(draw)
        kinds = [type(m).__name__ for m in module]
    else:
        module = Own(draw, steps)
        kinds, inputs = [type(m).__name__ for m in module.parts], module.inputs
    module.eval()
    random = draw.random()
    randomise(module, random)
    shown = f"live: {module} {[text for text, _ in getattr(module, 'calls', ())]}"
    options = {}
    texts = [text for text, _ in getattr(module, "calls", ())]
    if inputs == 1 or "reduce" in texts or draw.flag():  # what is reduced could be a single step's values too
        options["example"] = np.zeros((1, steps, inputs), np.float32)
    return Case(module, answers(module, random, steps), shown, kinds, options)


def case(draw: Draw, folder: Path) -> Case:
    return draw.one(state_dict, live)(draw, folder)
