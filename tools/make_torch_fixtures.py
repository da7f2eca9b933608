"""Writes tests/golden/torch: tiny checkpoints by the real PyTorch, and what PyTorch answers.

Run with torch==2.13.0 and safetensors: python tools/make_torch_fixtures.py
answers.npz holds, per checkpoint that runs, <name>.x [N, T, inputs] and <name>.y (what forward() returns).
"""

from __future__ import annotations

import argparse
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import nn

FOLDER = Path(__file__).parent.parent / "tests" / "golden" / "torch"
ANSWERS: dict[str, np.ndarray[Any, Any]] = {}


class Activity(nn.Module):
    """Two stacked LSTM layers, the last step, relu, softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 5, num_layers=2, batch_first=True, dropout=0.1)
        self.fc1 = nn.Linear(5, 4)
        self.fc2 = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.rnn(x)[0][:, -1]
        return torch.softmax(self.fc2(torch.relu(self.fc1(h))), dim=-1)


class Forecast(nn.Module):
    """Three LSTM modules, two of one shape, and a Linear layer on every step, without biases."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm1 = nn.LSTM(1, 4, batch_first=True, bias=False)
        self.lstm2 = nn.LSTM(4, 4, batch_first=True, bias=False)
        self.lstm3 = nn.LSTM(4, 4, batch_first=True, bias=False)
        self.out = nn.Linear(4, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for lstm in (self.lstm1, self.lstm2, self.lstm3):
            x = lstm(x)[0]
        y: torch.Tensor = self.out(x)
        return y


class Stepper(nn.Module):
    """An LSTMCell in a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(2, 6)
        self.out = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = None
        for t in range(x.shape[1]):
            state = self.cell(x[:, t], state)
        assert state is not None
        return torch.tanh(self.out(state[0]))


def seeded(module: type[nn.Module], seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return module().eval()


def answer(name: str, module: nn.Module, inputs: int) -> None:
    """Keeps what the module answers, computed in float64 and rounded once."""
    x = torch.randn(2, 7, inputs, generator=torch.Generator().manual_seed(len(name)))
    with torch.no_grad():
        y = module.double()(x.double())
    module.float()
    ANSWERS[f"{name}.x"], ANSWERS[f"{name}.y"] = x.numpy(), y.numpy().astype(np.float32)


def save(name: str, value: Any, **options: Any) -> None:
    torch.save(value, FOLDER / f"{name}.pt", **options)


def halved(module: nn.Module, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The state dict in a narrower type; the module keeps the rounded values."""
    module.to(dtype)
    state = {key: value.clone() for key, value in module.state_dict().items()}
    module.float()
    return state


def strided(module: nn.Module) -> OrderedDict[str, torch.Tensor]:
    """The state dict with tensors that are transposed, sliced, offset and share a storage."""
    state: OrderedDict[str, torch.Tensor] = OrderedDict(module.state_dict())
    names = ["rnn.weight_ih_l0", "rnn.bias_ih_l0", "rnn.bias_hh_l0"]
    shared = torch.cat([torch.full((3,), 9.0)] + [state[name].reshape(-1) for name in names])
    position = 3
    for name in names:
        state[name] = shared[position : position + state[name].numel()].reshape(state[name].shape)
        position += state[name].numel()
    state["rnn.weight_hh_l0"] = state["rnn.weight_hh_l0"].t().contiguous().t()
    state["fc1.weight"] = torch.cat([state["fc1.weight"], torch.zeros(4, 3)], 1)[:, :5]
    wide = torch.zeros(8)
    wide[1::2] = state["fc1.bias"]
    state["fc1.bias"] = wide[1::2]
    return state


def write_readable() -> None:
    activity = seeded(Activity, 1)
    answer("activity", activity, 3)
    state = activity.state_dict()
    save("activity", state)
    save("activity_legacy", state, _use_new_zipfile_serialization=False)
    save("activity_protocol4", state, pickle_protocol=4)
    save("activity_protocol4_legacy", state, pickle_protocol=4, _use_new_zipfile_serialization=False)
    save("activity_parallel", nn.DataParallel(activity).state_dict())
    compiled: Any = torch.compile(activity)
    save("activity_compiled", nn.DataParallel(compiled).state_dict())
    save("activity_strided", strided(activity))
    save("activity_strided_legacy", strided(activity), _use_new_zipfile_serialization=False)
    save("activity_parameters", OrderedDict(activity.named_parameters()))
    safetensors.torch.save_file(state, FOLDER / "activity.safetensors")
    write_training(activity)
    for name, dtype in (("half", torch.float16), ("bfloat16", torch.bfloat16), ("double", torch.float64)):
        module = seeded(Activity, 2)
        narrow = halved(module, dtype)
        answer(name, module, 3)
        save(name, narrow)
        if name != "double":
            safetensors.torch.save_file(narrow, FOLDER / f"{name}.safetensors")
    for name, kind, inputs in (("forecast", Forecast, 1), ("stepper", Stepper, 2)):
        module = seeded(kind, 3)
        answer(name, module, inputs)
        save(name, module.state_dict())
        safetensors.torch.save_file(module.state_dict(), FOLDER / f"{name}.safetensors")
    torch.manual_seed(4)
    lstm = nn.LSTM(3, 4, batch_first=True)
    answer("alone", nn.Sequential(lstm, TakeAll()), 3)
    save("alone", lstm.state_dict())


class TakeAll(nn.Module):
    """The outputs of an LSTM, without its state."""

    def forward(self, pair: tuple[torch.Tensor, Any]) -> torch.Tensor:
        return pair[0]


def write_training(activity: nn.Module) -> None:
    """A checkpoint as training loops write it, with an optimizer that has stepped. Keeps the module's weights."""
    trained = seeded(Activity, 5)
    optimizer = torch.optim.Adam(trained.parameters())
    trained(torch.zeros(1, 2, 3)).sum().backward()
    optimizer.step()
    checkpoint = {
        "epoch": 3,
        "model_state_dict": activity.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "loss": np.float64(0.25),
        "args": argparse.Namespace(lr=1e-3, folder=Path("data")),
        "device": torch.device("cpu"),
        "classes": {"walking", "sitting"},
        "mean": torch.zeros(3),
    }
    save("training", checkpoint)
    save("training_legacy", checkpoint, _use_new_zipfile_serialization=False)


def write_refused() -> None:
    torch.manual_seed(6)
    lstm = nn.LSTM(2, 3, batch_first=True)
    save("kinds/module", nn.Sequential(lstm, nn.Linear(3, 1)))
    torch.jit.save(torch.jit.script(nn.Linear(3, 1)), FOLDER / "refused_script.pt")
    save("refused_tensor", torch.zeros(3))
    save("refused_two", {"generator": lstm.state_dict(), "critic": nn.Linear(3, 1).state_dict()})
    save("kinds/bidirectional", nn.LSTM(2, 3, bidirectional=True).state_dict())
    save("kinds/projected", nn.LSTM(2, 3, proj_size=2).state_dict())
    save("kinds/gru", nn.GRU(2, 3).state_dict())
    save("kinds/rnn", nn.RNN(2, 3).state_dict())
    save("refused_batchnorm", nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1)).state_dict())
    save("refused_layernorm", nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3)).state_dict())
    save("refused_conv", nn.Sequential(nn.Conv1d(2, 3, 2), nn.Linear(3, 1)).state_dict())
    save("kinds/embedding", nn.ModuleDict({"embedding": nn.Embedding(5, 2), "rnn": lstm}).state_dict())
    save("refused_weight_norm", torch.nn.utils.parametrizations.weight_norm(nn.Linear(3, 1)).state_dict())
    save("refused_whole_numbers", {"weight": torch.zeros(2, 2, dtype=torch.int64)})
    quantize: Any = torch.ao.quantization.quantize_dynamic
    save("refused_dynamic", quantize(nn.Sequential(nn.Linear(3, 1))).state_dict())
    save("refused_float8", {"weight": torch.zeros(2, 2).to(torch.float8_e4m3fn)})


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    write_readable()
    write_refused()
    np.savez_compressed(FOLDER / "answers.npz", **ANSWERS)
