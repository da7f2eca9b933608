"""Small checkpoints: weights rounded to half precision, which the repository stores in half the bytes.

A rounded weight is still a float32 number, exactly, so that Keras, PyTorch and EdgeLSTM all run the very same net.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np


def save_keras(model, path: Path) -> None:
    """A .keras file without its optimizer. Keras does not compress the archive; rounded weights make it worth it."""
    import keras

    plain = keras.models.clone_model(model)  # never compiled, so there is no optimizer to save
    plain.set_weights([w.astype(np.float16).astype(np.float32) for w in model.get_weights()])
    plain.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def save_torch(module, path: Path) -> None:
    """A state dict in half precision."""
    import torch

    torch.save({name: value.half() for name, value in module.state_dict().items()}, path)
