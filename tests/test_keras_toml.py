"""Weights alone, and a TOML file that describes their layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgelstm import importers, reference
from edgelstm.errors import CheckpointError

pytest.importorskip("h5py")

GOLDEN = Path(__file__).parent / "golden" / "keras"
STACK = """
input = [6, 2]

[[layers]]
kind = "{lstm}"
units = 4
recurrent_activation = "hard_sigmoid"
return_sequences = true

[[layers]]
kind = "Dropout"
rate = 0.2

[[layers]]
kind = "LSTM"
units = 3

[[layers]]
kind = "dense"
units = 3

[[layers]]
kind = "activation"
activation = "softmax"
"""


def architecture(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "net.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("lstm", ["lstm", "LSTM"])
@pytest.mark.parametrize(
    ("name", "version"), [("keras23_stack_weights.h5", ""), ("keras315_stack_weights.weights.h5", 'keras = "3"\n')]
)
def test_a_row_of_layers_in_toml(tmp_path: Path, name: str, version: str, lstm: str) -> None:
    model = importers.read(GOLDEN / name, architecture=architecture(tmp_path, version + STACK.format(lstm=lstm)))
    with np.load(GOLDEN / (name.split(".")[0].removesuffix("_weights") + ".npz")) as data:
        assert np.abs(reference.run(model, [data["x0"]])[0] - data["y0"]).max() < 1e-6
    assert model.meta.window == 6 and any("net.toml" in note for note in model.notes)


def test_layers_inside_layers(tmp_path: Path) -> None:
    """Wrappers hold tables; the weights' shapes say that all was read."""
    text = """
    keras = "3"
    input = [0, 2]
    [[layers]]
    kind = "bidirectional"
    merge_mode = "sum"
    [layers.layer]
    kind = "lstm"
    units = 4
    [[layers]]
    kind = "time_distributed"
    [layers.layer]
    kind = "dense"
    units = 1
    [[layers]]
    kind = "rnn"
    [layers.cell]
    kind = "stacked_rnn_cells"
    cells = [{kind = "lstm_cell", units = 3}, {kind = "gru_cell", units = 2}]
    """
    with pytest.raises(CheckpointError, match=r"its kernel is missing; the file has no layers/bidirectional/forward"):
        importers.read(GOLDEN / "keras315_stack_weights.weights.h5", architecture=architecture(tmp_path, text))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("input = [6, 2]", ""), "lacks input"),
        (("input = [6, 2]", "input = [6, -2]"), "whole numbers"),
        (("input = [6, 2]", "input = [6, 3]"), "kernel has shape"),
        (('kind = "LSTM"', 'kind = "LTSM"'), "unknown kind 'LTSM'"),
        (('kind = "LSTM"', ""), "layer 1 lacks kind"),
        (("units = 3", "units = 3\nwings = 2"), "wings = 2: the setting is not known"),
        (("input = [6, 2]", "input = [6, 2]\nfoo = 1"), "unknown key 'foo'"),
        (('keras = "3"\n', ""), "add a line keras = '3'"),
        (("[[layers]]", "[[layers]"), "neither a model's configuration in JSON nor TOML"),
    ],
)
def test_what_the_file_lacks_is_named(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    text = ('keras = "3"\n' + STACK.format(lstm="LSTM")).replace(*change)
    with pytest.raises(CheckpointError) as caught:
        importers.read(GOLDEN / "keras315_stack_weights.weights.h5", architecture=architecture(tmp_path, text))
    assert words in str(caught.value) and "\n" not in str(caught.value)
