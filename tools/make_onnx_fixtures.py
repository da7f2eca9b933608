"""Makes tests/golden/onnx: small models as exporters write them, with answers of ONNX Runtime beside them.

    python tools/make_onnx_fixtures.py torch     # pip install torch onnx onnxscript onnxruntime
    python tools/make_onnx_fixtures.py keras     # pip install tensorflow tf_keras tf2onnx onnx onnxruntime

Exporters note down where in a program each node comes from; that is left out, everything else is as they write it.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent.parent / "tests" / "golden" / "onnx"


def save(name: str, path: Path, xs: dict[str, np.ndarray]) -> None:
    """A file without its notes, and ONNX Runtime's answers to some inputs."""
    import onnx
    import onnxruntime

    model = onnx.load(path)
    for entry in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        entry.ClearField("metadata_props")
        entry.ClearField("doc_string")
    model.graph.ClearField("value_info")
    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    answers = dict(zip(names, session.run(names, xs), strict=True))
    (FOLDER / f"{name}.onnx").write_bytes(data)
    np.savez_compressed(FOLDER / f"{name}.npz", **{f"in:{k}": v for k, v in xs.items()}, **answers)
    print(f"{name}: {len(data)} bytes, {', '.join(n.op_type for n in model.graph.node)}"[:160])


# ---- PyTorch ----


def torch_models() -> dict[str, tuple[Any, tuple[Any, ...], dict[int, dict[int, str]]]]:
    """Modules, their inputs, and which axes stay open."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self, forward: Any, **parts: Any) -> None:
            super().__init__()
            self.body = forward
            for name, part in parts.items():
                setattr(self, name, part)

        def forward(self, *xs: Any) -> Any:
            return self.body(self, *xs)

    def last(net: Any, x: Any) -> Any:
        return torch.softmax(net.fc(torch.relu(net.rnn(x)[0][:, -1])), -1)

    def states(net: Any, x: Any) -> Any:
        h = net.rnn(x)[1]
        return torch.cat([h[0], h[1]], 1)

    def given(net: Any, x: Any, h: Any, c: Any) -> Any:
        y, (h, c) = net.rnn(x, (h, c))
        return net.fc(y), h, c

    def zeros(net: Any, x: Any) -> Any:
        state = torch.zeros(2, x.size(0), 5)
        return net.fc(net.rnn(x, (state, state))[0][:, -1, :])

    def conv(net: Any, x: Any) -> Any:
        x = net.pool(torch.relu(net.bn(net.conv(x.transpose(1, 2))))).transpose(1, 2)
        return nn.functional.gelu(net.fc(net.ln(net.rnn(x)[0]).mean(1)))

    def heads(net: Any, x: Any) -> Any:
        y = net.rnn(x)[0]
        z = net.attention(y, y, y, need_weights=False)[0]
        return (torch.softmax(net.score(z), 1) * z).sum(1)

    def dot(net: Any, x: Any) -> Any:
        y = net.rnn(x)[0]
        return torch.bmm(torch.softmax(torch.bmm(y, y.transpose(1, 2)) / 6**0.5, -1), y)

    def joined(net: Any, x: Any, z: Any) -> Any:
        h = net.rnn(x)[0]
        return net.out(torch.flatten(h * torch.sigmoid(net.fc(x)), 1)), torch.cat([h, z], -1)

    def words(net: Any, x: Any) -> Any:
        return nn.functional.silu(net.fc(net.rnn(net.table(x))[0].max(1)[0]))

    def packed(net: Any, x: Any, lengths: Any) -> Any:
        y, (h, _) = net.rnn(nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True))
        return nn.utils.rnn.pad_packed_sequence(y, batch_first=True)[0], h

    def functions(net: Any, x: Any) -> Any:
        return net.head(net.rnn(x)[0])

    torch.manual_seed(0)
    both, batch = {0: "batch", 1: "steps"}, {0: "batch"}
    x = torch.randn(3, 8, 3)
    state = torch.randn(1, 3, 5)
    lstm = nn.LSTM(3, 6, batch_first=True)
    stack = [nn.Hardsigmoid(), nn.Hardswish(), nn.SELU(), nn.ReLU6(), nn.Softplus(), nn.GELU("tanh"), nn.ELU(0.5)]
    head = nn.Sequential(*(part for function in stack for part in (nn.Linear(5, 5), function)))
    return {
        "last": (
            Net(last, rnn=nn.LSTM(3, 5, 2, batch_first=True, bidirectional=True), fc=nn.Linear(10, 4)),
            (x,),
            {0: both},
        ),
        "states": (Net(states, rnn=nn.GRU(3, 5, batch_first=True, bidirectional=True)), (x,), {0: both}),
        "given": (
            Net(given, rnn=nn.LSTM(3, 5), fc=nn.Linear(5, 2)),
            (x.transpose(0, 1), state, state.flip(2)),
            {k: {1: "batch"} for k in range(3)},
        ),
        "packed": (
            Net(packed, rnn=nn.LSTM(3, 5, batch_first=True, bidirectional=True)),
            (x, torch.tensor([8, 5, 3])),
            {0: both, 1: batch},
        ),
        "functions": (Net(functions, rnn=nn.LSTM(3, 5, batch_first=True), head=head), (x,), {0: both}),
        "zeros": (Net(zeros, rnn=nn.LSTM(3, 5, 2, batch_first=True), fc=nn.Linear(5, 2)), (x,), {0: both}),
        "conv": (
            Net(
                conv,
                conv=nn.Conv1d(3, 4, 3, padding=1),
                bn=nn.BatchNorm1d(4),
                pool=nn.MaxPool1d(2),
                rnn=nn.GRU(4, 5, batch_first=True),
                ln=nn.LayerNorm(5),
                fc=nn.Linear(5, 2),
            ),
            (x,),
            {0: batch},
        ),
        "heads": (
            Net(heads, rnn=lstm, attention=nn.MultiheadAttention(6, 2, batch_first=True), score=nn.Linear(6, 1)),
            (x,),
            {0: batch},
        ),
        "dot": (Net(dot, rnn=lstm), (x,), {0: both}),
        "joined": (
            Net(joined, rnn=lstm, fc=nn.Linear(3, 6), out=nn.Linear(48, 2)),
            (x, torch.randn(3, 8, 2)),
            {0: batch, 1: batch},
        ),
        "words": (
            Net(words, table=nn.Embedding(11, 6), rnn=nn.LSTM(6, 5, batch_first=True), fc=nn.Linear(5, 2)),
            (torch.randint(0, 11, (3, 8)),),
            {0: both},
        ),
    }


def make_torch() -> None:
    import torch

    for name, (net, xs, axes) in torch_models().items():
        net.eval()
        with torch.no_grad():  # no scale of 1 and no mean of 0, which would agree with anything
            for values in (*net.parameters(), *(v for v in net.buffers() if v.dtype.is_floating_point)):
                values += 0.1 + 0.2 * torch.rand_like(values)
        names = [f"x{k}" for k in range(len(xs))]
        dims = {word: torch.export.Dim(word, min=2, max=64) for word in ("batch", "steps")}
        ways: dict[str, dict[str, Any]] = {
            "script": {"dynamo": False, "dynamic_axes": {names[k]: a for k, a in axes.items()}},
            "script_fixed": {"dynamo": False},
            "script_opset14": {"dynamo": False, "opset_version": 14, "dynamic_axes": {names[0]: axes[0]}},
            "dynamo": {
                "dynamo": True,
                "external_data": False,
                "dynamic_shapes": (tuple({a: dims[w] for a, w in axes[k].items()} for k in range(len(xs))),),
            },
        }
        for way, options in ways.items():
            only = {"script_opset14": ("last", "conv"), "script_fixed": ("last",)}
            if name not in only.get(way, (name,)) or (name, way) == ("packed", "dynamo"):  # which cannot be exported
                continue
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "model.onnx"
                torch.onnx.export(net, xs, str(file), input_names=names, verbose=False, **options)
                save(f"torch_{name}_{way}", file, {n: x.numpy() for n, x in zip(names, xs, strict=True)})


# ---- Keras ----


def make_keras() -> None:
    import tf2onnx
    import tf_keras as keras

    layers = keras.layers
    keras.utils.set_random_seed(0)

    def net(steps: int | None, *stack: Any) -> Any:
        return keras.Sequential([layers.Input((steps, 3)), *stack])

    models = {
        "bidirectional": net(
            None,
            layers.LSTM(5, return_sequences=True),
            layers.Bidirectional(layers.LSTM(4)),
            layers.Dense(3, activation="softmax"),
        ),
        "conv": net(
            8,
            layers.Conv1D(4, 3, padding="causal", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling1D(2),
            layers.LSTM(4, return_sequences=True),
            layers.GlobalAveragePooling1D(),
            layers.Dense(2),
        ),
        "gru": net(
            6,
            layers.Bidirectional(layers.GRU(4, return_sequences=True)),
            layers.Flatten(),
            layers.Dense(2, activation="tanh"),
        ),
        "repeat": net(
            6,
            layers.LSTM(4),
            layers.RepeatVector(5),
            layers.LSTM(4, return_sequences=True),
            layers.TimeDistributed(layers.Dense(2)),
        ),
        "backwards": net(None, layers.LSTM(4, go_backwards=True, return_sequences=True), layers.Dense(2)),
        "words": keras.Sequential(
            [
                layers.Input((None,)),
                layers.Embedding(11, 6),
                layers.LSTM(4),
                layers.Dense(1, activation="sigmoid"),
            ]
        ),
        "norm": net(None, layers.LSTM(4, return_sequences=True), layers.LayerNormalization(), layers.Dense(2)),
        "loop": net(None, layers.SimpleRNN(4)),
        "masked": net(None, layers.Masking(), layers.LSTM(4)),
    }
    random = np.random.default_rng(0)
    for name, model in models.items():
        for layer in model.layers:  # no two weights alike, moving statistics among them
            layer.set_weights([w + random.uniform(0.05, 0.3, w.shape).astype(w.dtype) for w in layer.get_weights()])
        steps = model.input_shape[1] or 7
        x = random.integers(0, 11, (3, steps)) if name == "words" else random.standard_normal((3, steps, 3))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.onnx"
            tf2onnx.convert.from_keras(model, opset=13, output_path=str(file))
            import onnx

            (port,) = onnx.load(file).graph.input
            save(f"tf2onnx_{name}", file, {port.name: x.astype(np.float32)})


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    os.environ.update(OMP_NUM_THREADS="1", TF_CPP_MIN_LOG_LEVEL="3", TF_USE_LEGACY_KERAS="1")
    FOLDER.mkdir(parents=True, exist_ok=True)
    {"torch": make_torch, "keras": make_keras}[sys.argv[1]]()


if __name__ == "__main__":
    main()
