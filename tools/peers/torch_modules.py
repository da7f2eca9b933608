"""PyTorch: LSTM and LSTMCell under inference_mode, the cells also as TorchScript, and its dynamic int8 (FBGEMM)."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from . import nets

INFERENCE = torch.inference_mode()
INFERENCE.__enter__()  # for the whole process: entering it for each step would cost as much as a small step

CELLS = "cells step; LSTM is the form for sequences"
FORMS = (
    nets.Form("float, LSTMCell", False, (nets.STREAM,), CELLS),
    nets.Form("float, LSTMCell, TorchScript", False, (nets.STREAM,), CELLS),
    nets.Form("float, LSTM", False),
    nets.Form("dynamic int8, LSTMCell", True, (nets.STREAM,), CELLS),
    nets.Form("dynamic int8, LSTM", True),
)


class Cells(nn.Module):
    """One step; the states are h and c of each layer in turn."""

    def __init__(self, net: nets.Net) -> None:
        super().__init__()
        self.cells = nn.ModuleList(nn.LSTMCell(layer.inputs, layer.units) for layer in net.layers)
        self.head = nn.Identity() if net.head is None else nn.Linear(net.layers[-1].units, net.outputs)

    def forward(self, x: torch.Tensor, *states: torch.Tensor) -> tuple[torch.Tensor, ...]:
        new: list[torch.Tensor] = []
        for k, cell in enumerate(self.cells):
            x, c = cell(x, (states[2 * k], states[2 * k + 1]))
            new += [x, c]
        return self.head(x), *new


class Layers(nn.Module):
    """Sequences; the layers are as wide as each other, which one LSTM of several layers wants."""

    def __init__(self, net: nets.Net) -> None:
        super().__init__()
        self.lstm = nn.LSTM(net.inputs, net.layers[0].units, len(net.layers))
        self.head = nn.Identity() if net.head is None else nn.Linear(net.layers[-1].units, net.outputs)

    def forward(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y, (h, c) = self.lstm(x, (h, c))
        return self.head(y), h, c


def load(peer: str, folder: Path, form: str, mode: str) -> nets.Steps | nets.Sequence:
    torch.set_num_threads(1)
    torch.backends.quantized.engine = "fbgemm"
    net = nets.read(folder)
    module = filled((Cells if "Cell" in form else Layers)(net), net).eval()
    if form.startswith("dynamic"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has moved to another package
            kinds = {nn.LSTM, nn.LSTMCell, nn.Linear}
            module = torch.ao.quantization.quantize_dynamic(module, kinds, dtype=torch.qint8)
    if "Cell" in form:
        shape = (1, net.inputs)
        zeros = [torch.zeros(1, layer.units) for layer in net.layers for _ in "hc"]
    else:
        shape = (1 if mode == nets.STREAM else nets.STEPS, 1, net.inputs)
        zeros = [torch.zeros(len(net.layers), 1, net.layers[0].units) for _ in "hc"]
    if form.endswith("TorchScript"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is deprecated
            module = torch.jit.freeze(torch.jit.trace(module, (torch.zeros(shape), *zeros)))
            for _ in range(3):  # its first calls optimise
                module(torch.zeros(shape), *zeros)
    kept: list[torch.Tensor] = []

    def reset() -> None:
        kept[:] = zeros

    def step(x: np.ndarray) -> np.ndarray:
        y, *kept[:] = module(torch.from_numpy(x), *kept)
        return y.numpy()

    def run(xs: np.ndarray) -> np.ndarray:
        return module(torch.from_numpy(xs), *zeros)[0].numpy()

    reset()
    return nets.Steps(shape, step, reset) if mode == nets.STREAM else nets.Sequence(shape, run)


def filled(module: nn.Module, net: nets.Net) -> nn.Module:
    """The module with the net's weights."""
    cells = isinstance(module, Cells)
    kept = {}
    for k, layer in enumerate(net.layers):
        kernel, recurrent, bias = layer.rows("ifgo")
        arrays = {"weight_ih": kernel, "weight_hh": recurrent, "bias_ih": bias, "bias_hh": np.zeros_like(bias)}
        kept |= {f"cells.{k}.{name}" if cells else f"lstm.{name}_l{k}": a for name, a in arrays.items()}
    if net.head is not None:
        kept |= {"head.weight": net.head.kernel, "head.bias": net.head.bias}
    module.load_state_dict({name: torch.from_numpy(array) for name, array in kept.items()})
    return module
