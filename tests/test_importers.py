"""Which importer a checkpoint goes to: its content decides, and unknown content is refused with advice."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgelstm import importers
from edgelstm.errors import CheckpointError, MissingError

GOLDEN = Path(__file__).parent / "golden" / "keras"
LEGACY_TORCH = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")


def written(tmp_path: Path, data: bytes, name: str = "file.bin") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def zipped(tmp_path: Path, *names: str) -> Path:
    path = tmp_path / "file.bin"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"{}")
    return path


def test_content_decides_whatever_the_name(tmp_path: Path) -> None:
    for name in ("keras23_relu.h5", "keras315_relu.keras"):
        for called in ("model.pt", "model.tflite", "model"):
            path = written(tmp_path, (GOLDEN / name).read_bytes(), called)
            assert importers.recognise(path) == "keras" and importers.read(path).source.file == called


def test_torch_numpy_and_safetensors_are_recognised(tmp_path: Path) -> None:
    assert importers.recognise(zipped(tmp_path, "archive/data.pkl", "archive/version")) == "torch"
    assert importers.recognise(zipped(tmp_path, "data.pkl")) == "torch"
    assert importers.recognise(written(tmp_path, LEGACY_TORCH + bytes(40))) == "torch"
    np.savez(tmp_path / "weights.npz", a=np.ones(3))
    assert importers.recognise(tmp_path / "weights.npz") == "npz"
    table = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    assert importers.recognise(written(tmp_path, struct.pack("<Q", len(table)) + table + bytes(4))) == "safetensors"


def test_onnx_is_recognised(tmp_path: Path) -> None:
    """By its first fields, in whatever order and with whatever producer they come."""
    for start in (b"\x08\x08", b"\x08\x03\x12\x07pytorch\x1a\x051.9.0", b"\x12\x00\x08\x0a\x42\x04\x0a\x00\x10\x0d"):
        assert importers.recognise(written(tmp_path, start + b"\x3a\x02\x0a\x00")) == "onnx"
    assert importers.recognise(written(tmp_path, b"\x08\x08\x3a\xff\xff\x7fabc")) is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"\x1c\0\0\0TFL3" + bytes(100), "TFLite model, or damaged"),
        (b"\x08\x08\x12\x07pytorch\x1a\x051.9.0" + bytes(100), "no checkpoint this package knows"),
        (b"EDGELSTM" + bytes(100), "already converted"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b"\x80\x04\x95\x10" + bytes(100), "torch.save"),
        (b' {"class_name": "Sequential"}', "architecture"),
        (b"PK\x03\x04" + bytes(100), "damaged"),
        (b"MZ" + bytes(100), "no checkpoint this package knows"),
        (b"x", "no checkpoint this package knows"),
        (b"\x89HDF\r\n\x1a\n", "is damaged"),
        (struct.pack("<Q", 1 << 60) + b"{" + bytes(100), "no checkpoint this package knows"),
    ],
)
def test_other_content_is_refused_with_advice(tmp_path: Path, data: bytes, words: str) -> None:
    path = written(tmp_path, data)
    with pytest.raises(CheckpointError) as caught:
        importers.read(path)
    assert words in str(caught.value) and "file.bin" in str(caught.value) and "\n" not in str(caught.value)


def test_other_archives_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint this package knows"):
        importers.read(zipped(tmp_path, "word/document.xml"))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        importers.read(tmp_path / "none.keras")
    with pytest.raises(CheckpointError, match="directory"):
        importers.read(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"SavedModel.*\.keras"):
        importers.read(str(tmp_path))
    with pytest.raises(CheckpointError):
        importers.read("a\0b")
    with pytest.raises(CheckpointError, match="not dict"):
        importers.read({"weight": 1})
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="regular"):
        importers.read(tmp_path / "pipe")


def test_a_name_with_escapes_is_shown_plainly(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        importers.read(tmp_path / "\x1b[31mred")
    assert "\x1b" not in str(caught.value) and "red" in str(caught.value)


def test_h5py_is_imported_only_to_read_keras_files() -> None:
    code = (
        "import sys, edgelstm.importers, edgelstm.importers.keras\n"
        "assert not {'h5py', 'torch', 'tensorflow', 'keras', 'safetensors'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_h5py_the_pip_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingError, match=r'pip install "edgelstm\[keras\]"'):
        importers.read(GOLDEN / "keras23_relu.h5")
