"""OpenVINO: the state is kept inside as variables, x and y in bound memory, which is its fastest call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino
from openvino import opset13 as op
from openvino.op.util import Variable, VariableInfo

from . import nets

FORMS = (nets.Form("float", False), nets.Form("int8", True, (), "OpenVINO quantizes with another package, nncf"))

SETTINGS = {
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "PERFORMANCE_HINT": "LATENCY",
    "INFERENCE_PRECISION_HINT": "f32",
    "ENABLE_CPU_PINNING": False,
}


def load(peer: str, folder: Path, form: str, mode: str) -> nets.Steps | nets.Sequence:
    net = nets.read(folder)
    steps = 1 if mode == nets.STREAM else nets.STEPS
    request = openvino.Core().compile_model(graph(net, steps), "CPU", SETTINGS).create_infer_request()
    x, infer = request.get_input_tensor().data, request.infer
    infer(share_outputs=True)  # else it copies its answers, at half the price of a small step
    y = request.get_output_tensor().data

    def answer(given: np.ndarray) -> np.ndarray:
        x[...] = given
        infer(share_outputs=True)
        return y

    if mode == nets.STREAM:
        return nets.Steps(x.shape, answer, request.reset_state)

    def run(xs: np.ndarray) -> np.ndarray:
        request.reset_state()
        return answer(xs)

    return nets.Sequence(x.shape, run)


def graph(net: nets.Net, steps: int) -> openvino.Model:
    x = value = op.parameter([1, steps, net.inputs], np.float32)
    length = op.constant(np.array([steps], np.int32))
    assigned = []
    for k, layer in enumerate(net.layers):
        h, c = (variable(f"{letter}{k}", layer.units) for letter in "hc")
        weights = [op.constant(array[None]) for array in layer.rows("figo")]
        cell = op.lstm_sequence(value, h[1], c[1], length, *weights, layer.units, "forward")
        for (kept, _), output in ((h, 1), (c, 2)):
            # the binding takes nodes alone, so the output passes through one
            state = op.reshape(cell.output(output), op.constant(np.array([1, 1, layer.units])), False)
            assigned.append(op.assign(state, kept))
        value = op.squeeze(cell.output(0), op.constant(np.array([1])))
    if net.head is not None:
        value = op.matmul(value, op.constant(net.head.kernel), False, True)
        value = op.add(value, op.constant(net.head.bias))
    return openvino.Model([op.result(value)], assigned, [x], "net")


def variable(name: str, units: int) -> tuple[Variable, openvino.Node]:
    info = VariableInfo()
    info.data_shape, info.data_type, info.variable_id = openvino.PartialShape([1, 1, units]), openvino.Type.f32, name
    kept = Variable(info)
    return kept, op.read_value(op.constant(np.zeros((1, 1, units), np.float32)), kept)
