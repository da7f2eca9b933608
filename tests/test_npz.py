"""NumPy archives: gates in any declared order, and what is refused."""

from __future__ import annotations

import io
import itertools
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelstm import importers, reference
from edgelstm.errors import CheckpointError, InputError
from edgelstm.importers import npz
from edgelstm.layers import Gru, Lstm, Rnn
from edgelstm.validation import validate

INPUTS, UNITS = 3, 4
RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((2, 6, INPUTS))


def sigmoid(v: Any) -> Any:
    return 1 / (1 + np.exp(-v))


def matrices(gates: str) -> dict[str, np.ndarray]:
    """W, U and b of each gate, as a program that computes x @ W keeps them."""
    made = {}
    for gate in gates:
        made[f"W{gate}"] = RANDOM.standard_normal((INPUTS, UNITS))
        made[f"U{gate}"] = RANDOM.standard_normal((UNITS, UNITS))
        made[f"b{gate}"] = RANDOM.standard_normal(UNITS)
    return made


LSTM, GRU, RNN = matrices("ifgo"), matrices("zrn"), matrices("x")


def lstm(w: dict[str, np.ndarray], x: np.ndarray, forget: float = 0.0) -> np.ndarray:
    """h of every step, straight from the equations."""
    h = c = np.zeros((len(x), UNITS))
    hs = []
    for t in range(x.shape[1]):
        z = {k: x[:, t] @ w[f"W{k}"] + h @ w[f"U{k}"] + w[f"b{k}"] for k in "ifgo"}
        c = sigmoid(z["f"] + forget) * c + sigmoid(z["i"]) * np.tanh(z["g"])
        h = sigmoid(z["o"]) * np.tanh(c)
        hs.append(h)
    return np.stack(hs, axis=1)


def gru(w: dict[str, np.ndarray], x: np.ndarray, after: np.ndarray | None, new: bool) -> np.ndarray:
    h = np.zeros((len(x), UNITS))
    hs = []
    for t in range(x.shape[1]):
        z, r = (sigmoid(x[:, t] @ w[f"W{k}"] + h @ w[f"U{k}"] + w[f"b{k}"]) for k in "zr")
        within = (r * h) @ w["Un"] if after is None else r * (h @ w["Un"] + after)
        n = np.tanh(x[:, t] @ w["Wn"] + within + w["bn"])
        h = (1 - z) * h + z * n if new else z * h + (1 - z) * n
        hs.append(h)
    return np.stack(hs, axis=1)


def saved(folder: Path, arrays: dict[str, Any], text: str) -> Any:
    """The model of arrays and an architecture."""
    np.savez(folder / "w.npz", **arrays)
    (folder / "w.toml").write_text(text)
    return importers.read(folder / "w.npz", architecture=folder / "w.toml")


def answers(folder: Path, arrays: dict[str, Any], text: str, x: np.ndarray = X) -> np.ndarray:
    return reference.run(saved(folder, arrays, text), [x])[0]


def lists(order: str) -> str:
    """A matrix a gate."""
    names = {key: ", ".join(f'"{letter}{gate}"' for gate in order) for key, letter in zip(KEYS, "WUb", strict=True)}
    return "\n".join(f"{key} = [{value}]" for key, value in names.items())


KEYS = ("kernel", "recurrent", "bias")


@pytest.mark.parametrize("order", ["ifgo", "ifog", "iofg", "figo", "ogfi"])
def test_lstm_in_any_order(order: str, tmp_path: Path) -> None:
    """One matrix a gate or stacked, rows or columns, side by side with the recurrent one: one set of numbers."""
    expected = lstm(LSTM, X)
    head = f'[[layers]]\nkind = "lstm"\norder = "{order}"\n'
    y = answers(tmp_path, LSTM, head + "transposed = true\n" + lists(order))
    np.testing.assert_allclose(y, expected, atol=1e-6)
    w, u = (np.concatenate([LSTM[f"{letter}{k}"] for k in order], axis=1) for letter in "WU")
    b = np.concatenate([LSTM[f"b{k}"] for k in order])
    stacked = 'kernel = "W"\nrecurrent = "U"\nbias = "b"\n'
    both = 'kernel = "W"\njoined = "{}"\nbias = "b"\n'
    for arrays, text in (
        ({"W": w, "U": u, "b": b}, "transposed = true\n" + stacked),
        ({"W": w.T, "U": u.T, "b": b[:, None]}, stacked),
        ({"W": np.concatenate([w, u]), "b": b}, "transposed = true\n" + both.format("xh")),
        ({"W": np.concatenate([u, w]).T, "b": b}, both.format("hx")),
        ({"W": w.T, "U": u.T, "b": 0.25 * b, "d": 0.75 * b}, stacked + 'recurrent_bias = "d"\n'),
    ):
        np.testing.assert_allclose(answers(tmp_path, arrays, head + text), expected, atol=1e-6)


def test_settings_of_an_lstm(tmp_path: Path) -> None:
    head = '[[layers]]\nkind = "lstm"\norder = "ifco"\ntransposed = true\n' + lists("ifgo")
    y = answers(tmp_path, LSTM, head + "\nforget_bias = 1.0")
    np.testing.assert_allclose(y, lstm(LSTM, X, 1.0), atol=1e-6)
    more = {"p": RANDOM.standard_normal(3 * UNITS), "P": RANDOM.standard_normal((2, UNITS))}
    recurrent = {f"U{k}": RANDOM.standard_normal((2, UNITS)) for k in "ifgo"}
    text = (
        '\ncell_clip = 3\nclip = 2.5\nactivation = "relu"\ngate_activation = "hard_sigmoid"\ncell_activation = "tanh"'
    )
    text += '\npeephole = "p"\nprojection = "P"'
    more["P"] = more["P"].T
    (layer,) = saved(tmp_path, LSTM | recurrent | more, head + text).layers
    assert isinstance(layer, Lstm)
    assert layer.activation.name == "relu" and layer.gate_activation.name == "hard_sigmoid"
    assert layer.cell_activation is not None and layer.cell_activation.name == "tanh"
    assert (layer.cell_clip, layer.clip, layer.outputs) == (3.0, 2.5, 2)
    np.testing.assert_array_equal(layer.peephole, more["p"].reshape(3, UNITS).astype(np.float32))
    np.testing.assert_array_equal(layer.projection, more["P"].T.astype(np.float32))
    np.testing.assert_array_equal(layer.kernel[1], LSTM["Wf"].T.astype(np.float32))


@pytest.mark.parametrize(("after", "new"), list(itertools.product([False, True], [False, True])))
def test_gru(after: bool, new: bool, tmp_path: Path) -> None:
    d = {f"d{k}": RANDOM.standard_normal(UNITS) for k in "zrn"} if after else {}
    text = '[[layers]]\nkind = "gru"\norder = "rzh"\ntransposed = true\n' + lists("rzn")
    text += f'\nreset_after = {str(after).lower()}\nz = "{"new" if new else "old"}"\n'
    text += 'recurrent_bias = ["dr", "dz", "dn"]' if after else ""
    summed = GRU | {f"b{k}": GRU[f"b{k}"] + d[f"d{k}"] for k in "zr"} if after else GRU
    model = saved(tmp_path, GRU | d, text)
    assert isinstance(model.layers[0], Gru)
    y = reference.run(model, [X])[0]
    np.testing.assert_allclose(y, gru(summed, X, d["dn"] if after else None, new), atol=1e-6)


def test_rnn_backwards_and_what_follows(tmp_path: Path) -> None:
    """Reversed, its steps come out in their own order; then the last step, a Dense and functions."""
    arrays = RNN | {"V": RANDOM.standard_normal((5, UNITS)), "c": RANDOM.standard_normal((1, 5))}
    text = '[[layers]]\nkind = "rnn"\nkernel = "Wx"\nrecurrent = "Ux"\nbias = "bx"\ntransposed = true\nreverse = true\n'
    h, steps = np.zeros((2, UNITS)), []
    for t in reversed(range(X.shape[1])):
        h = np.tanh(X[:, t] @ RNN["Wx"] + h @ RNN["Ux"] + RNN["bx"])
        steps.insert(0, h)
    np.testing.assert_allclose(answers(tmp_path, RNN, text), np.stack(steps, axis=1), atol=1e-6)
    text += '[[layers]]\nkind = "last"\n[[layers]]\nkind = "dropout"\n'
    text += '[[layers]]\nkind = "dense"\nkernel = "V"\nbias = "c"\nactivation = "relu"\n'
    text += '[[layers]]\nkind = "activation"\nactivation = "softmax"\n'
    model = saved(tmp_path, arrays, "inputs = 3\n" + text)
    assert any(isinstance(layer, Rnn) for layer in model.layers) and model.source.format == "npz"
    z = np.exp(np.maximum(steps[-1] @ arrays["V"].T + arrays["c"], 0))
    np.testing.assert_allclose(reference.run(model, [X])[0], z / z.sum(axis=1, keepdims=True), atol=1e-6)


# ---- what is refused ----

CELL = '[[layers]]\nkind = "lstm"\norder = "ifgo"\ntransposed = true\n' + lists("ifgo") + "\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lacks layers"),
        ("layers = [1]", "not a [[layers]] table"),
        ("[[layers]]\n", "lacks kind"),
        ('[[layers]]\nkind = "mlp"', "unknown kind 'mlp'"),
        (CELL.replace("order", "gates"), "lacks order"),
        (CELL.replace('"ifgo"', '"ifgg"', 1), "letters ifgo"),
        (CELL.replace('"Wi"', '"Wq"'), "no unused array 'Wq'"),
        (CELL.replace('"Wf"', '"Wi"'), "no unused array 'Wi'"),
        (CELL.replace('"Wi", ', ""), "kernel lists 3 names, expected 4"),
        (CELL.replace('"Wi"', "7"), "kernel lists 4 names, expected 4"),
        (CELL.replace('"Wi"', '"bi"', 1), "expected 2 dimensions"),
        (CELL.replace("transposed = true", "transposed = false"), "kernels for 3 and 4 units"),
        (CELL.replace("transposed = true", "transposed = 1"), "transposed is not true or false"),
        (CELL + "colour = 3", "unknown key 'colour'"),
        (CELL + 'activation = "swirl"', "unknown activation 'swirl'"),
        (CELL + "clip = -1", "expected a positive number"),
        (CELL + "inputs = 5", "unknown key 'inputs'"),
        ("inputs = 5\n" + CELL, "inputs is 5"),
        (CELL.replace('bias = ["bi", "bf", "bg", "bo"]', ""), "does not use bi, bf, bg, bo"),
        (CELL + 'joined = "xh"', "joined is 'xh' for 3 columns of 4 units"),
        ('inputs = 3\n[[layers]]\nkind = "last"\n' + CELL, "would read a single step"),
        ('[[layers]]\nkind = "last"\n', "say `inputs`"),
        ('inputs = 3\n[[layers]]\nkind = "last"\n[[layers]]\nkind = "last"', 'a "last" already'),
        ("inputs = 3\nlayers = []", "does not use"),
        ('[[layers]]\nkind = "activation"', "lacks activation"),
    ],
)
def test_architectures_that_do_not_fit(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        saved(tmp_path, LSTM, text)
    said = str(caught.value)
    assert words in said and "\n" not in said and "w.npz" in said, said


def test_without_an_architecture_the_arrays_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **LSTM)
    with pytest.raises(CheckpointError, match=r"tells no layers.*docs/npz\.md.*Wi \(3, 4\).* and 6 more"):
        importers.read(tmp_path / "w.npz")
    with pytest.raises(CheckpointError, match="no head"):
        importers.read(tmp_path / "w.npz", head="relu")


def member(name: str, data: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        archive.writestr(name, data)
    return made.getvalue()


def npy(header: str, data: bytes = b"", version: int = 1) -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(2 if version == 1 else 4, "little") + text + data


def header(shape: str, descr: str = "'<f4'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"


OBJECTS = io.BytesIO()
np.save(OBJECTS, np.array([{"a": 1}], object), allow_pickle=True)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (member("a.npy", OBJECTS.getvalue()), "holds object"),
        (member("a.npy", npy(header("(2,)", "'<c8'"), bytes(16))), "holds complex64"),
        (member("a.npy", npy(header("(2,)", "[('x', '<f4')]"), bytes(8))), "expected numbers"),
        (member("a.npy", npy(header("(1 << 20, 1 << 20)"))), "header is damaged"),
        (member("a.npy", npy(header("(1048576, 1048576)"))), "too large"),
        (member("a.npy", npy(header("(16777217,)", "'|u1'"), bytes(16777217))), "too large"),  # as float32
        (member("a.npy", npy(header("(-1,)"))), "has shape"),
        (member("a.npy", npy(header("(0,)"))), "has shape"),
        (member("a.npy", npy(header("(1, 1, 1, 1, 1, 1, 1, 1, 1)"), bytes(4))), "has shape"),
        (member("a.npy", npy(header("(2,)"), bytes(4))), "does not hold"),
        (member("a.npy", npy(header("(2,)"), bytes(1 << 27))), "does not hold"),
        (member("a.npy", npy(header("(" + "(" * 4000 + ")"))), "header is damaged"),
        (member("a.npy", npy(" " * 60000 + header("(1,)"), bytes(4))), "header is damaged"),
        (member("a.npy", npy("__import__('os').system('true')", bytes(4))), "header is damaged"),
        (member("a.npy", npy(header("(1,)"), bytes(4), 3)), "version"),
        (member("a.npy", b"\x93NUM"), "header is damaged"),
        (member("a.npy", npy(header("(1,)"), bytes(4)), zipfile.ZIP_LZMA), "packed in a way"),
        (member("a.txt", b"x"), "no array"),
        (member("\x1b[31m", b"x"), "no array"),
    ],
)
def test_archives_that_mean_harm(data: bytes, words: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        npz.load(data)
    said = str(caught.value)
    assert words in said and said.isprintable() and len(said) < 300, said


def test_damaged_archives(tmp_path: Path) -> None:
    """Cut or overwritten anywhere: an error, or the arrays whose checksum still fits."""
    np.savez_compressed(tmp_path / "w.npz", **LSTM)
    whole = (tmp_path / "w.npz").read_bytes()
    read = refused = 0
    for place in range(0, len(whole), 7):
        for data in (whole[:place], whole[:place] + b"\xff" + whole[place + 1 :]):
            try:
                npz.load(data)
                read += 1
            except CheckpointError:
                refused += 1
    assert refused > read


def test_not_a_number(tmp_path: Path) -> None:
    broken = LSTM | {"Wi": np.full((INPUTS, UNITS), np.nan)}
    with pytest.raises(CheckpointError, match=r"w\.toml: .*NaN"):
        saved(tmp_path, broken, CELL)


@pytest.mark.filterwarnings("error")
def test_a_signalling_nan_is_refused_without_a_word_of_numpys(tmp_path: Path) -> None:
    signalling = np.full((INPUTS, UNITS), 0x7FA00000, np.uint32).view(np.float32)
    with pytest.raises(CheckpointError, match=r"w\.toml: .*NaN"):
        saved(tmp_path, LSTM | {"Wi": signalling}, CELL)


def test_validate_takes_an_archive_with_its_architecture_for_a_checkpoint(tmp_path: Path) -> None:
    """Without one for recorded answers, and says what it would take for a checkpoint."""
    text = '[[layers]]\nkind = "lstm"\norder = "ifgo"\ntransposed = true\n' + lists("ifgo")
    model = saved(tmp_path, LSTM, text)
    report = validate(model, tmp_path / "w.npz", X, architecture=tmp_path / "w.toml")
    assert "in float64, by this package's own reference" in report.reference and not report.independent
    assert report.passed and 0 < report.rows[0].difference.max_error < 5e-6
    with pytest.raises(InputError, match="no array .*; if it holds a model's matrices, give its architecture too"):
        validate(model, tmp_path / "w.npz", X)
    np.savez(tmp_path / "y.npz", y=reference.run(model, [X])[0])
    recorded = validate(model, tmp_path / "y.npz", X)
    assert recorded.passed and recorded.reference == "recorded answers"
    with pytest.raises(CheckpointError, match=r"w\.toml: layer 1: no unused array 'Wi'"):
        validate(model, tmp_path / "y.npz", X, architecture=tmp_path / "w.toml")
    np.save(tmp_path / "y.npy", np.load(tmp_path / "y.npz")["y"])
    with pytest.raises(InputError, match="the reference is none"):
        validate(model, tmp_path / "y.npy", X, architecture=tmp_path / "w.toml")
