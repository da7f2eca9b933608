"""The TensorFlow Lite runtimes, ai-edge-litert and tflite-runtime.

`state in and out`: one-step files whose state Python hands back; `state kept`: in variables of the file; `fused`: the
LSTM operator, which alone takes sequences.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from . import find, nets

FILES = {"state in and out": "step", "state kept": "kept", "fused": "fused"}
WAYS = {
    "float": ("state in and out", "state kept", "fused"),
    "dynamic": ("state in and out", "state kept", "fused"),
    "dynamic per tensor": ("state in and out", "state kept"),
    "int8": ("state in and out", "fused"),
}
FORMS = tuple(
    nets.Form(f"{kind}, {way}", kind != "float")
    if way == "fused"
    else nets.Form(f"{kind}, {way}", kind != "float", (nets.STREAM,), "a call is one step")
    for kind, ways in WAYS.items()
    for way in ways
)


def load(peer: str, folder: Path, form: str, mode: str) -> nets.Steps | nets.Sequence:
    kind, way = form.split(", ")
    steps = f"_{1 if mode == nets.STREAM else nets.STEPS}" if way == "fused" else ""
    path = str(folder / f"{FILES[way]}_{kind}{steps}.tflite")
    module = importlib.import_module(find(peer).imports)

    def interpreter() -> Any:
        made = module.Interpreter(model_path=path, num_threads=1)
        made.allocate_tensors()
        return made

    net = nets.read(folder)
    if way == "state in and out":
        return handed(interpreter(), net)
    if way == "state kept":
        return Kept(interpreter, net).steps
    return fused(interpreter(), net, mode)


def handed(interpreter: Any, net: nets.Net) -> nets.Steps:
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


class Kept:
    """Nothing resets a file's variables but a new interpreter."""

    def __init__(self, interpreter: Any, net: nets.Net) -> None:
        self.interpreter = interpreter
        self.reset()
        self.steps = nets.Steps((1, net.inputs), self.step, self.reset)

    def reset(self) -> None:
        made = self.interpreter()
        self.x_index, self.y_index = (one[0]["index"] for one in (made.get_input_details(), made.get_output_details()))
        self.set_tensor, self.get_tensor, self.invoke = made.set_tensor, made.get_tensor, made.invoke

    def step(self, x: np.ndarray) -> np.ndarray:
        self.set_tensor(self.x_index, x)
        self.invoke()
        return self.get_tensor(self.y_index)


def fused(interpreter: Any, net: nets.Net, mode: str) -> nets.Steps | nets.Sequence:
    (given,), (wanted,) = interpreter.get_input_details(), interpreter.get_output_details()
    x_index, y_index = given["index"], wanted["index"]
    set_tensor, get_tensor, invoke = interpreter.set_tensor, interpreter.get_tensor, interpreter.invoke

    def answer(x: np.ndarray) -> np.ndarray:
        set_tensor(x_index, x)
        invoke()
        return get_tensor(y_index)

    if mode == nets.STREAM:
        return nets.Steps((1, 1, net.inputs), answer, interpreter.reset_all_variables)

    def run(xs: np.ndarray) -> np.ndarray:
        interpreter.reset_all_variables()
        return answer(xs)

    return nets.Sequence((1, nets.STEPS, net.inputs), run)
