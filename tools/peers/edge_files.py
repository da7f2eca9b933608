"""EdgeLSTM's images: f32, and s8 as `quantize` makes it of samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgelstm.image import save
from edgelstm.quantization import quantize

from . import nets
from .cases import as_model


def make(folder: Path) -> None:
    model = as_model(nets.read(folder))
    save(model, folder / "f32.edgelstm")
    save(quantize(model, np.load(folder / "samples.npy")), folder / "s8.edgelstm")
