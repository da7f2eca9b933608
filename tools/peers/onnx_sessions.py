"""ONNX Runtime: a step through bindings to fixed memory, its fastest call; the states change places after each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

from . import nets

KINDS = {"float": "float", "DynamicQuantizeLSTM, per tensor": "tensor", "DynamicQuantizeLSTM, per channel": "channel"}
FORMS = tuple(nets.Form(name, name != "float") for name in KINDS)


def load(peer: str, folder: Path, form: str, mode: str) -> nets.Steps | nets.Sequence:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = str(folder / f"{KINDS[form]}.onnx")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    net = nets.read(folder)
    names = [f"{letter}{k}" for k in range(len(net.layers)) for letter in "hc"]
    widths = [layer.units for layer in net.layers for _ in "hc"]
    if mode == nets.STREAM:
        return stream(session, net, dict(zip(names, widths, strict=True)))
    zeros = {name: np.zeros((1, 1, width), np.float32) for name, width in zip(names, widths, strict=True)}

    def run(xs: np.ndarray) -> np.ndarray:
        return session.run(["y"], {"x": xs, **zeros})[0]

    return nets.Sequence((nets.STEPS, 1, net.inputs), run)


def stream(session: onnxruntime.InferenceSession, net: nets.Net, widths: dict[str, int]) -> nets.Steps:
    x, y = np.zeros((1, 1, net.inputs), np.float32), np.zeros((1, 1, net.outputs), np.float32)
    states = [{name: np.zeros((1, 1, width), np.float32) for name, width in widths.items()} for _ in range(2)]
    there, back = (bound(session, x, y, states[k], states[1 - k]) for k in (0, 1))
    run = session.run_with_iobinding
    turns = [there, back]

    def reset() -> None:
        turns[:] = [there, back]
        for array in states[0].values():
            array[...] = 0

    def step(given: np.ndarray) -> np.ndarray:
        x[...] = given
        run(turns[0])
        turns.reverse()
        return y

    return nets.Steps(x.shape, step, reset)


def bound(
    session: onnxruntime.InferenceSession, x: np.ndarray, y: np.ndarray, old: dict, new: dict
) -> onnxruntime.IOBinding:
    binding = session.io_binding()

    def bind(put: Callable[..., None], name: str, array: np.ndarray) -> None:
        put(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)

    bind(binding.bind_input, "x", x)
    bind(binding.bind_output, "y", y)
    for name in old:
        bind(binding.bind_input, name, old[name])
        bind(binding.bind_output, f"{name}_", new[name])
    return binding
