"""Runs LSTMs trained in Keras or PyTorch on small computers: int8 or float, one sample at a time.

model = edgelstm.read("model.keras")           float, as trained
small = edgelstm.quantize(model, samples)      int8, ranges from data
edgelstm.save(small, "model.elstm")
runner = edgelstm.Runner("model.elstm")
y = runner.step(x)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import (
    BusyError,
    CheckpointError,
    EdgeLstmError,
    ExportError,
    ImageError,
    InputError,
    MissingError,
    ModelError,
    PeerError,
    QuantizeError,
)

if TYPE_CHECKING:
    from .description import describe
    from .horizon import Horizon, horizon
    from .image import pack, save
    from .importers import read
    from .model import Model, QuantizedModel
    from .proof import Proof, prove
    from .quantization import quantize
    from .report import Report
    from .runner import Runner, kernels
    from .stream import Answer, Stream
    from .tfl8_model import variant
    from .validation import validate

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "BusyError",
    "CheckpointError",
    "EdgeLstmError",
    "ExportError",
    "Horizon",
    "ImageError",
    "InputError",
    "MissingError",
    "Model",
    "ModelError",
    "PeerError",
    "Proof",
    "QuantizeError",
    "QuantizedModel",
    "Report",
    "Runner",
    "Stream",
    "describe",
    "horizon",
    "kernels",
    "pack",
    "prove",
    "quantize",
    "read",
    "save",
    "validate",
    "variant",
]

# A device that only runs an image never pays for importers and quantizer: they load when they are first asked for.
_HOME = {
    "Answer": "stream",
    "Horizon": "horizon",
    "Model": "model",
    "Proof": "proof",
    "QuantizedModel": "model",
    "Report": "report",
    "Runner": "runner",
    "Stream": "stream",
    "describe": "description",
    "horizon": "horizon",
    "kernels": "runner",
    "pack": "image",
    "prove": "proof",
    "quantize": "quantization",
    "read": "importers",
    "save": "image",
    "validate": "validation",
    "variant": "tfl8_model",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = globals()[name] = getattr(import_module(f".{_HOME[name]}", __name__), name)
    except ImportError as error:
        if "_core" not in str(error):
            raise
        raise ImportError(
            "this is EdgeLSTM's source folder, whose extension is not built: leave it for another folder, "
            "or build in it with: pip install -e ."
        ) from error
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
