"""The TensorFlow Lite runtimes, ai-edge-litert and tflite-runtime: one-step files and the fused operator."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np

from . import find, nets

ONE = "its state goes in and out, so a call is one step"
FORMS = (
    nets.Form("float, one step", False, (nets.STREAM,), ONE),
    nets.Form("float, fused", False),
    nets.Form("dynamic, one step", True, (nets.STREAM,), ONE),
    nets.Form("dynamic per tensor, one step", True, (nets.STREAM,), ONE),
    nets.Form("dynamic, fused", True),
    nets.Form("int8, one step", True, (nets.STREAM,), ONE),
    nets.Form("int8, fused", True),
)


def load(peer: str, folder: Path, form: str, mode: str) -> nets.Steps | nets.Sequence:
    kind, way = form.split(", ")
    steps = 1 if mode == nets.STREAM else nets.STEPS
    name = f"step_{kind}" if way == "one step" else f"fused_{kind}_{steps}"
    module = importlib.import_module(find(peer).imports)
    interpreter = module.Interpreter(model_path=str(folder / f"{name}.tflite"), num_threads=1)
    interpreter.allocate_tensors()
    net = nets.read(folder)
    if way == "one step":
        return one_step(interpreter, net)
    (given,), (wanted,) = interpreter.get_input_details(), interpreter.get_output_details()
    x_index, y_index = given["index"], wanted["index"]

    def answer(x: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(x_index, x)
        interpreter.invoke()
        return interpreter.get_tensor(y_index)

    if mode == nets.STREAM:
        return nets.Steps((1, 1, net.inputs), answer, interpreter.reset_all_variables)

    def run(xs: np.ndarray) -> np.ndarray:
        interpreter.reset_all_variables()
        return answer(xs)

    return nets.Sequence((1, nets.STEPS, net.inputs), run)


def one_step(interpreter, net: nets.Net) -> nets.Steps:
    """The state is fetched after a step and given back before the next."""
    runner = interpreter.get_signature_runner()
    given, wanted = runner.get_input_details(), runner.get_output_details()
    x_index, state_index, new_index = given["x"]["index"], given["state"]["index"], wanted["new"]["index"]
    zeros = np.zeros(given["state"]["shape"], np.float32)
    set_tensor, get_tensor, invoke = interpreter.set_tensor, interpreter.get_tensor, interpreter.invoke
    state = zeros

    def reset() -> None:
        nonlocal state
        state = zeros

    def advance(x: np.ndarray) -> np.ndarray:
        nonlocal state
        set_tensor(x_index, x)
        set_tensor(state_index, state)
        invoke()
        state = get_tensor(new_index)
        return state

    shape = (1, net.inputs)
    if net.head is None:
        (layer,) = net.layers  # whose h comes first
        return nets.Steps(shape, advance, reset, layer.units)
    y_index = wanted["y"]["index"]

    def step(x: np.ndarray) -> np.ndarray:
        advance(x)
        return get_tensor(y_index)

    return nets.Steps(shape, step, reset)
