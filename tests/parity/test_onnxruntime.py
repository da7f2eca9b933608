"""A PyTorch model exported to ONNX by PyTorch and run in ONNX Runtime, beside our import of its state dict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelstm import Runner, importers, kernels

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
nn = torch.nn

LIMIT = 5e-6  # of max(1, max|y|)


class Net(nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self, inputs: int, units: int, depth: int, outputs: int, last: bool, softmax: bool):
        super().__init__()
        self.lstm = nn.LSTM(inputs, units, num_layers=depth, batch_first=True)
        self.hidden = nn.Linear(units, 7)
        self.out = nn.Linear(7, outputs)
        self.last, self.softmax = last, softmax

    def forward(self, x: Any) -> Any:
        x, _ = self.lstm(x)
        x = self.out(torch.relu(self.hidden(x[:, -1] if self.last else x)))
        return torch.softmax(x, dim=-1) if self.softmax else x


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("inputs", "units", "depth", "outputs", "last", "softmax"),
    [(1, 8, 1, 1, True, False), (6, 33, 2, 5, True, True), (3, 20, 1, 4, False, False), (16, 64, 3, 2, True, False)],
)
def test_onnx_runtime_and_import_agree(
    inputs: int, units: int, depth: int, outputs: int, last: bool, softmax: bool, tmp_path: Path
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(units)
    net = Net(inputs, units, depth, outputs, last, softmax).eval()
    for parameter in net.parameters():
        parameter.data *= 2
    x = torch.randn(3, 24, inputs).cumsum(dim=1) * 0.3
    torch.onnx.export(net, (x,), str(tmp_path / "net.onnx"), input_names=["x"], output_names=["y"], dynamo=False)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    with torch.no_grad():
        native = net(x).numpy()
    torch.set_num_threads(threads)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    runtime = onnxruntime.InferenceSession(tmp_path / "net.onnx", options, providers=["CPUExecutionProvider"])
    (expected,) = runtime.run(["y"], {"x": x.numpy()})
    bound = LIMIT * max(1.0, float(np.abs(expected).max()))
    assert np.abs(native - expected).max() <= bound
    head = ",".join(["last" if last else "sequence", "relu", "softmax" if softmax else "none"])
    for model in (importers.read(tmp_path / "net.pt", head=head), importers.read(tmp_path / "net.onnx")):
        for name in kernels():
            y = Runner(model, name).run(x.numpy())
            assert y.shape == expected.shape and np.abs(y - expected).max() <= bound, (model.source, name)
