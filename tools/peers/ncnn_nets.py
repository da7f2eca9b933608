"""ncnn: x in bound memory, and the states go in and out as blobs, which no one copies."""

from __future__ import annotations

from pathlib import Path

import ncnn
import numpy as np

from . import nets

FORMS = (nets.Form("float", False), nets.Form("int8", True))


def load(peer: str, folder: Path, form: str, mode: str) -> nets.Steps | nets.Sequence:
    model = ncnn.Net()
    model.opt.num_threads = 1
    model.opt.use_fp16_packed = model.opt.use_fp16_storage = model.opt.use_fp16_arithmetic = False
    model.opt.use_bf16_storage = False
    if model.load_param(str(folder / f"{form}.param")) or model.load_model(str(folder / f"{form}.bin")):
        raise RuntimeError(f"ncnn cannot load {folder / form}")
    net = nets.read(folder)
    units = {f"{letter}{k}": layer.units for k, layer in enumerate(net.layers) for letter in "hc"}
    zeros = {name: np.zeros(width, np.float32) for name, width in units.items()}
    y_name = f"y{len(net.layers) - 1}" if net.head is None else "y"
    names = [(name, f"{name}_") for name in units]
    kept = {}
    bound = ncnn.Mat(net.inputs, 1)
    bound_x = np.asarray(bound)

    def reset() -> None:
        kept.update({name: ncnn.Mat(array) for name, array in zeros.items()})

    def step(x: np.ndarray) -> np.ndarray:
        bound_x[...] = x  # cheaper than a new blob
        extractor = model.create_extractor()
        extractor.input("x", bound)
        for name, _ in names:
            extractor.input(name, kept[name])
        y = extractor.extract(y_name)[1]
        for name, new in names:
            kept[name] = extractor.extract(new)[1]
        return np.asarray(y)

    def run(xs: np.ndarray) -> np.ndarray:
        extractor = model.create_extractor()
        extractor.input("x", ncnn.Mat(xs))
        for name, array in zeros.items():
            extractor.input(name, ncnn.Mat(array))
        return np.array(extractor.extract(y_name)[1])

    reset()
    if mode == nets.STREAM:
        return nets.Steps((1, net.inputs), step, reset)
    return nets.Sequence((nets.STEPS, net.inputs), run)
