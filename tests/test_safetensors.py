""".safetensors checkpoints: the same weights as the .pt files of tests/golden/torch, and damaged ones."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelstm import reference
from edgelstm.errors import CheckpointError, MissingError
from edgelstm.importers import safetensors, torch

FOLDER = Path(__file__).parent / "golden" / "torch"
ANSWERS = np.load(FOLDER / "answers.npz")
HEADS = {"forecast": "sequence,none", "stepper": "tanh"}
NAMES = sorted(p.stem for p in FOLDER.glob("*.safetensors"))


def packed(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def zeros(shapes: dict[str, tuple[int, ...]], dtype: str = "F32", size: int = 4) -> bytes:
    header, position = {}, 0
    for name, shape in shapes.items():
        end = position + size * int(np.prod(shape))
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, end]}
        position = end
    return packed(header, bytes(position))


@pytest.mark.parametrize("name", NAMES)
def test_reads_and_answers_as_torch(name: str) -> None:
    head = HEADS.get(name, "relu,softmax")
    model = safetensors.read(FOLDER / f"{name}.safetensors", head=head)
    (y,) = reference.run(model, (ANSWERS[f"{name}.x"],))
    assert y.shape == ANSWERS[f"{name}.y"].shape
    assert np.abs(y - ANSWERS[f"{name}.y"]).max() <= 5e-7
    assert model.source.format == "safetensors" and model.source.file == f"{name}.safetensors"
    for ours, theirs in zip(model.layers, torch.read(FOLDER / f"{name}.pt", head=head).layers, strict=True):
        assert ours.name == theirs.name
        for field in ("kernel", "recurrent", "bias"):
            assert np.array_equal(getattr(ours, field, 0), getattr(theirs, field, 0)), (ours.name, field)


def test_all_number_types_are_there() -> None:
    models = [safetensors.read(FOLDER / f"{name}.safetensors", head=HEADS.get(name, "relu,softmax")) for name in NAMES]
    notes = " ".join(note for model in models for note in model.notes)
    assert "float16 became float32" in notes and "bfloat16 became float32" in notes and "no order of layers" in notes


def test_linear_layers_without_a_head_are_refused() -> None:
    with pytest.raises(CheckpointError, match='follows fc1, fc2 is not known.*e.g. head="relu,none"$'):
        safetensors.read(FOLDER / "activity.safetensors")


def test_architecture_file_serves_safetensors(tmp_path: Path) -> None:
    file = tmp_path / "net.toml"
    layers = ['kind="lstm"\nweights="cell"', 'kind="last"', 'kind="dense"\nweights="out"\nactivation="tanh"']
    file.write_text("".join(f"[[layers]]\n{layer}\n" for layer in layers))
    model = safetensors.read(FOLDER / "stepper.safetensors", architecture=file)
    (y,) = reference.run(model, (ANSWERS["stepper.x"],))
    assert np.abs(y - ANSWERS["stepper.y"]).max() <= 5e-7


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "header does not fit"),
        (b"1234567", "header does not fit"),
        ((1 << 60).to_bytes(8, "little") + b"{}", "header does not fit"),
        ((3).to_bytes(8, "little") + b"{}", "header does not fit"),
        (packed(b"[]"), "header does not fit"),
        (packed(b"{]"), "damaged"),
        (packed(b'{"a":' * 5000), "damaged"),
        (packed({}), "no weights"),
        (packed({"weight": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}}), "damaged"),
        (packed({"weight": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 4]}}, bytes(4)), "damaged"),
        (packed({"weight": {"dtype": "F32", "shape": [1 << 62, 8], "data_offsets": [0, 8]}}, bytes(8)), "damaged"),
        (packed({"weight": {"dtype": "F32", "shape": [1, 2], "data_offsets": [8, 0]}}, bytes(8)), "damaged"),
        (packed({"weight": {"dtype": "X9", "shape": [1, 2], "data_offsets": [0, 8]}}, bytes(8)), "damaged"),
        (zeros({"weight": (1, 2)}) + b"more", "damaged"),
        (zeros({"weight": (1, 2)}, "I64", 8), "tensor weight holds int64"),
        (zeros({"weight": (1, 2)}, "F8_E4M3", 1), "tensor weight holds F8_E4M3"),
        (zeros({"rnn.weight_ih_l0": (6, 2), "rnn.weight_hh_l0": (6, 3)}), "fit no LSTM, GRU or RNN"),
        (zeros({"norm.running_mean": (3,), "norm.running_var": (3,)}), "norm is of kind BatchNorm1d"),
        (zeros({"a.weight": (4, 4), "b.weight": (4, 4)}), "ambiguous (b -> a or a -> b)"),
        (zeros({"a.weight": (4, 4), "b.weight": (3, 5)}), "do not chain, recurrent before Linear layers, in any order"),
    ],
)
def test_what_is_damaged_or_unsupported_is_refused(data: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(data)
    with pytest.raises(CheckpointError) as caught:
        safetensors.read(path)
    assert reason in str(caught.value) and "\n" not in str(caught.value)


def test_one_name_twice_is_one_tensor_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    entry = b'"weight":{"dtype":"F32","shape":[1,2],"data_offsets":[%d,%d]}'
    path.write_bytes(packed(b"{" + entry % (0, 8) + b"," + entry % (8, 16) + b"}", bytes(16)))
    with pytest.raises(CheckpointError):
        safetensors.read(path)


@pytest.mark.parametrize("seed", range(2))
def test_damage_never_harms(seed: int, tmp_path: Path) -> None:
    data = (FOLDER / "activity.safetensors").read_bytes()
    generator = random.Random(seed)
    cases = [(f"cut to {size}", data[:size]) for size in range(0, len(data), 64)]
    for case in range(300):
        damaged = bytearray(data)
        for _ in range(generator.choice((1, 3, 10))):
            damaged[generator.randrange(1500)] = generator.randrange(256)
        cases.append((f"seed {seed}, case {case}", bytes(damaged)))
    path = tmp_path / "net.safetensors"
    for what, content in cases:
        path.write_bytes(content)
        try:
            safetensors.read(path)
        except CheckpointError as error:
            assert "\n" not in str(error), what
        except BaseException as error:
            raise AssertionError(f"{what}: {error!r}") from error


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(MissingError, match=r'pip install "edgelstm\[safetensors\]"'):
        safetensors.read(FOLDER / "activity.safetensors")


def test_torch_is_never_imported() -> None:
    script = f"""
        import sys
        from edgelstm.importers import safetensors
        assert "safetensors" not in sys.modules
        safetensors.read({str(FOLDER / "bfloat16.safetensors")!r}, head="relu,softmax")
        assert "torch" not in sys.modules
        print("read")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert done.stdout == "read\n", done.stderr
