"""Runs LSTMs trained in Keras or PyTorch on small computers: int8 or float, one sample at a time.

    model = edgelstm.read("model.keras")           float, as trained
    small = edgelstm.quantize(model, samples)      int8, ranges from data
    edgelstm.save(small, "model.elstm")
    runner = edgelstm.Runner("model.elstm")
    y = runner.step(x)
"""

from .errors import (
    BusyError,
    CheckpointError,
    EdgeLstmError,
    ImageError,
    InputError,
    MissingError,
    ModelError,
    QuantizeError,
)
from .image import describe, pack, save
from .importers import read
from .model import Model, QuantizedModel
from .quantize import quantize
from .runner import Runner, kernels

__version__ = "0.1.0"

__all__ = [
    "BusyError",
    "CheckpointError",
    "EdgeLstmError",
    "ImageError",
    "InputError",
    "MissingError",
    "Model",
    "ModelError",
    "QuantizeError",
    "QuantizedModel",
    "Runner",
    "describe",
    "kernels",
    "pack",
    "quantize",
    "read",
    "save",
]
