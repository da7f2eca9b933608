"""PyTorch checkpoints, read without PyTorch. Fixtures by tools/make_torch_fixtures.py; hostile files made here."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
import textwrap
import zipfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelstm import reference
from edgelstm.errors import CheckpointError
from edgelstm.importers import torch, torch_files, torch_pickle
from edgelstm.layers import Dense, Last, Lstm
from edgelstm.model import Model
from edgelstm.proof import prove

FOLDER = Path(__file__).parent / "golden" / "torch"
ANSWERS = np.load(FOLDER / "answers.npz")
HEADS = {"activity": "relu,softmax", "training": "relu,softmax", "half": "last, relu, softmax"}
HEADS |= {"bfloat16": "relu,softmax", "double": "relu,softmax", "forecast": "sequence,none", "stepper": "tanh"}
KINDS = {  # untrained modules of one kind each, and the layers they become
    "bidirectional": ["Lstm", "Reverse", "Lstm", "Reverse", "Combine"],
    "projected": ["Lstm"],
    "gru": ["Gru"],
    "rnn": ["Rnn"],
    "embedding": ["Embedding", "Lstm"],
    "module": ["Lstm", "Last", "Dense"],
}
READABLE = sorted(p.name for p in FOLDER.glob("*.pt") if not p.name.startswith("refused"))


def word(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()


def whole(value: int) -> bytes:
    raw = value.to_bytes(10, "little", signed=True)
    return b"\x8a\x0a" + raw


def numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(whole(v) for v in values) + b"t"


def tensor(
    key: str, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0, count: int = 0, kind: str = "Float"
) -> bytes:
    """The pickle opcodes of a tensor over a storage of `count` elements."""
    storage = b"(" + word("storage") + f"ctorch\n{kind}Storage\n".encode() + word(key) + word("cpu") + whole(count)
    arguments = storage + b"tQ" + whole(offset) + numbers(shape) + numbers(strides) + b"\x89" + b"ccollections\n"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"OrderedDict\n)RtR"


def dictionary(entries: dict[str, bytes]) -> bytes:
    return b"}(" + b"".join(word(key) + value for key, value in entries.items()) + b"u"


def archive(pickle: bytes, storages: dict[str, bytes], **records: bytes) -> bytes:
    """A zip as torch.save lays it out."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("net/data.pkl", b"\x80\x02" + pickle + b".")
        for key, content in storages.items():
            file.writestr(f"net/data/{key}", content)
        for name, content in records.items():
            file.writestr(f"net/{name}", content)
    return out.getvalue()


def checkpoint(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> bytes:
    """A state dict of random float32 tensors."""
    generator = np.random.default_rng(seed)
    entries, storages = {}, {}
    for key, (name, shape) in enumerate(shapes.items()):
        values = generator.normal(0, 0.3, shape).astype("<f4")
        strides = tuple(int(s) // 4 for s in values.strides)
        entries[name], storages[str(key)] = tensor(str(key), shape, strides, count=values.size), values.tobytes()
    return archive(dictionary(entries), storages)


def lstm(name: str, inputs: int, units: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight_ih_l0": (4 * units, inputs), f"{name}.weight_hh_l0": (4 * units, units)}


def linear(name: str, inputs: int, units: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (units, inputs), f"{name}.bias": (units,)}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write_file(data: bytes) -> Path:
        path = tmp_path / "net.pt"
        path.write_bytes(data)
        return path

    return write_file


def refused(path: Path, reason: str, **options: Any) -> None:
    with pytest.raises(CheckpointError) as caught:
        torch.read(path, **options)
    message = str(caught.value)
    assert reason in message, message
    assert "\n" not in message and len(message) < 500


def weighted(model: Model) -> list[Any]:
    return [layer for layer in model.layers if isinstance(layer, Lstm | Dense)]


@pytest.mark.parametrize("name", READABLE)
def test_reads_what_torch_wrote_and_answers_as_torch(name: str) -> None:
    base = name.removesuffix(".pt").partition("_")[0]
    model = torch.read(FOLDER / name, head=HEADS.get(base))
    case = "activity" if base == "training" else base
    (y,) = reference.run(model, (ANSWERS[f"{case}.x"],))
    expected = ANSWERS[f"{case}.y"]
    assert y.shape == expected.shape
    assert np.abs(y - expected).max() <= 5e-7
    assert model.source.format == "torch" and model.source.file == name and len(model.source.sha256) == 64


def test_all_ways_to_store_the_same_weights_read_alike() -> None:
    expected = torch.read(FOLDER / "activity.pt", head="relu,softmax")
    for name in READABLE:
        if name.startswith(("activity", "training")):
            model = torch.read(FOLDER / name, head="relu,softmax")
            for ours, theirs in zip(weighted(model), weighted(expected), strict=True):
                assert ours.name == theirs.name
                assert np.array_equal(ours.kernel, theirs.kernel) and np.array_equal(ours.bias, theirs.bias), name


def test_notes_say_what_was_inferred() -> None:
    notes = "; ".join(torch.read(FOLDER / "training.pt", head="none,none").notes)
    assert "'model_state_dict'" in notes and "left out: epoch, optimizer_state_dict" in notes
    assert "no activation" not in notes and "fc1 reads the last step alone" in notes
    assert "rnn.l0: LSTM 5 -> rnn.l1: LSTM 5 -> last step -> fc1: Linear 4, linear" in notes
    assert "module._orig_mod." in "; ".join(torch.read(FOLDER / "activity_compiled.pt", head="relu,softmax").notes)
    assert "bfloat16 became float32, exact" in "; ".join(torch.read(FOLDER / "bfloat16.pt", head="relu,softmax").notes)
    assert "float64 became float32, rounded" in "; ".join(torch.read(FOLDER / "double.pt", head="relu,softmax").notes)
    assert not any("assumed" in note for note in torch.read(FOLDER / "activity.pt", head="last,relu,softmax").notes)


@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize("recurrent", [True, False])
def test_linear_layers_without_a_head_are_refused_with_the_head_to_give(
    count: int, recurrent: bool, tmp_path: Path, write: Any
) -> None:
    shapes = lstm("rnn", 2, 3) if recurrent else {}
    for n in range(count):
        shapes |= linear(f"fc{n}", 3, 3)
    path = write(checkpoint(shapes))
    words = ["relu"] * (count - 1) + ["none"]
    names = ", ".join(f"fc{n}" for n in range(min(count, 6))) + (" and 1 more" if count > 6 else "")
    refused(path, f"which activation follows {names} is not known")
    refused(path, f"each of the {count} Linear layers in order")
    refused(path, f'e.g. head="{",".join(words)}"')
    dense = [layer for layer in torch.read(path, head=",".join(words)).layers if isinstance(layer, Dense)]
    assert [layer.activation.name for layer in dense] == ["relu"] * (count - 1) + ["linear"]
    file = tmp_path / "net.toml"
    tables = ['kind="lstm"\nweights="rnn"'] * recurrent + [f'kind="dense"\nweights="fc{n}"' for n in range(count)]
    file.write_text("".join(f"[[layers]]\n{table}\n" for table in tables))
    model = torch.read(
        path, architecture=file
    )  # an architecture file says it all, with no activation where none stands
    assert [layer.activation.name for layer in model.layers if isinstance(layer, Dense)] == ["linear"] * count


def test_one_linear_layer_without_a_head_is_read_with_a_note(write: Any) -> None:
    model = torch.read(write(checkpoint(lstm("rnn", 2, 3) | linear("fc", 3, 2))))
    (dense,) = (layer for layer in model.layers if isinstance(layer, Dense))
    assert dense.activation.name == "linear" and isinstance(model.layers[1], Last)
    notes = "; ".join(model.notes)
    assert 'no activation after fc; otherwise name it, e.g. head="softmax"' in notes
    assert 'fc reads the last step alone of the LSTM; otherwise begin the head with "sequence"' in notes


def test_an_rnn_of_unknown_activation_is_warned_of(tmp_path: Path, write: Any) -> None:
    shapes = {"rnn.weight_ih_l0": (3, 2), "rnn.weight_hh_l0": (3, 3), "rnn.bias_ih_l0": (3,), "rnn.bias_hh_l0": (3,)}
    path = write(checkpoint(shapes))
    (warning,) = [note for note in torch.read(path).notes if note.startswith("warning")]
    assert "whether rnn is an RNN of tanh or of relu; read with tanh" in warning and 'nonlinearity = "relu"' in warning
    assert str(prove(torch.read(path), path)).startswith("unverified: ")
    file = tmp_path / "net.toml"
    for name in ("relu", "tanh"):
        file.write_text(f'[[layers]]\nkind = "rnn"\nweights = "rnn"\nnonlinearity = "{name}"\n')
        model = torch.read(path, architecture=file)
        assert model.layers[0].activation.name == name and not any("tanh or" in note for note in model.notes)


def test_without_a_linear_layer_every_step_is_the_output() -> None:
    assert not any(isinstance(layer, Last) for layer in torch.read(FOLDER / "alone.pt").layers)
    assert isinstance(torch.read(FOLDER / "alone.pt", head="last").layers[-1], Last)
    x = ANSWERS["alone.x"]
    (y,) = reference.run(torch.read(FOLDER / "alone.pt", head="last"), (x,))
    assert np.abs(y - ANSWERS["alone.y"][:, -1]).max() <= 5e-7


def test_head_takes_alpha() -> None:
    model = torch.read(FOLDER / "activity.pt", head="leaky_relu(0.2),elu")
    first, second = (layer.activation for layer in weighted(model)[-2:])
    assert (first.name, first.alpha, second.name, second.alpha) == ("leaky_relu", 0.2, "elu", 1.0)


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ("relu", "names 1 activations, the Linear layers are 2 (fc1, fc2)"),
        ("last", "names 0 activations"),
        ("", "names 0 activations"),
        ("relu,softmax,none", "names 3 activations"),
        ("relu,sotfmax", "unknown activation 'sotfmax'"),
        ("relu,", "unknown activation ''"),
        ("relu,last", "unknown activation 'last'"),
        ("relu(2),none", "relu takes no number"),
        ("clip(1),none", "clip takes 2 numbers"),
        ("celu(0),none", "alpha is 0"),
        ("threshold,none", "threshold needs 2 numbers"),
        ("elu(x),none", "'x' in 'elu(x)' is not a finite number"),
        ("elu(inf),none", "is not a finite number"),
    ],
)
def test_heads_that_do_not_fit_are_refused(head: str, reason: str) -> None:
    refused(FOLDER / "activity.pt", reason, head=head)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("script", "TorchScript"),
        ("tensor", "single tensor"),
        ("two", "several state dicts (generator, critic)"),
        ("batchnorm", "0 is of kind BatchNorm1d; a state dict tells neither its place nor its settings"),
        ("layernorm", "1 is of kind LayerNorm or the like"),
        ("conv", "0 is of kind Conv1d"),
        ("weight_norm", "parametrizations.weight.original0 belongs to a parametrization"),
        ("whole_numbers", "weight holds int64"),
        ("dynamic", "quantized tensors"),
        ("float8", "number type that is not read"),
    ],
)
def test_unsupported_checkpoints_are_refused_by_name(name: str, reason: str) -> None:
    refused(FOLDER / f"refused_{name}.pt", reason)


def test_every_refused_fixture_is_tested() -> None:
    (mark,) = (m for m in test_unsupported_checkpoints_are_refused_by_name.pytestmark if m.name == "parametrize")
    refused_names = {f"refused_{name}" for name, _ in mark.args[1]}
    assert refused_names == {p.stem for p in FOLDER.glob("refused_*.pt")}


@pytest.mark.parametrize("name", KINDS)
def test_modules_of_one_kind_become_its_layers(name: str) -> None:
    model = torch.read(FOLDER / "kinds" / f"{name}.pt")
    assert [type(layer).__name__ for layer in model.layers] == KINDS[name]


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        (lstm("enc", 4, 4) | lstm("dec", 4, 4) | linear("fc", 4, 1), "ambiguous"),
        (linear("fc", 4, 4) | lstm("rnn", 4, 4), "the LSTM rnn comes after the Linear fc"),
        (lstm("rnn", 2, 4) | linear("mean", 4, 1) | linear("spread", 4, 1), "mean gives 1 values, spread reads 4"),
        (lstm("rnn2", 4, 4) | lstm("rnn1", 4, 4), "names and shapes say rnn1 -> rnn2"),
        (lstm("rnn", 2, 4) | {"rnn.weight_ih_l2": (16, 4), "rnn.weight_hh_l2": (16, 4)}, "layers [0, 2]"),
        (lstm("rnn", 2, 4) | {"rnn.bias_ih_l0": (16,)}, "without the other of the two biases"),
        (lstm("rnn", 2, 4) | {"rnn.bias_ih_l0": (16,), "rnn.bias_hh_l0": (12,)}, "has 12 values, expected 16"),
        (lstm("rnn", 2, 4) | {"scale": (4,)}, "tensor scale is of no layer"),
        (lstm("rnn", 2, 4) | {"rnn.extra": (4,)}, "tensor rnn.extra is of no layer"),
        (lstm("rnn", 2, 4) | {"fc.bias": (4,)}, "fc.bias comes without a weight"),
        ({"rnn.weight_ih_l0": (16, 2)}, "lacks weight_hh"),
        ({"rnn.weight_ih_l0": (16, 2), "rnn.weight_hh_l0": (16, 5)}, "fit no LSTM, GRU or RNN"),
        ({"attention.in_proj_weight": (12, 4)}, "without its out_proj"),
        ({"fc.weight": (0, 4)}, "none empty"),
        ({"fc\n.weight": (1, 4)}, "not printable"),
        ({"weight": (65537, 1)}, "65536"),
        ({f"fc{n}.weight": (1, 1) for n in range(65)}, "no order is inferred for 65 layers"),
    ],
)
def test_what_does_not_chain_or_fit_is_refused(shapes: dict[str, tuple[int, ...]], reason: str, write: Any) -> None:
    refused(write(checkpoint(shapes)), reason)


def test_numbers_in_names_order_layers_of_one_shape(write: Any) -> None:
    shapes = {}
    for n in range(12):
        shapes |= lstm(f"rnns.{n}", 3, 3)
    model = torch.read(write(checkpoint(shapes)))
    assert [layer.name for layer in model.layers] == [f"rnns.{n}" for n in range(12)]


def test_biases_are_added_in_float64_and_rounded_once(write: Any) -> None:
    shapes = lstm("rnn", 2, 3) | {"rnn.bias_ih_l0": (12,), "rnn.bias_hh_l0": (12,)}
    generator = np.random.default_rng(0)
    generator.normal(size=4 * 3 * 2 + 4 * 3 * 3)
    first, second = (generator.normal(0, 0.3, 12).astype("<f4") for _ in range(2))
    (layer,) = torch.read(write(checkpoint(shapes))).layers
    assert isinstance(layer, Lstm)
    assert np.array_equal(layer.bias.ravel(), (first.astype("f8") + second.astype("f8")).astype("f4"))


def test_non_finite_weights_are_refused(write: Any) -> None:
    for value, kind in ((np.float32(np.nan), "Float"), (np.float64(1e300), "Double")):
        entries = {"weight": tensor("0", (1, 1), (1, 1), count=1, kind=kind)}
        refused(write(archive(dictionary(entries), {"0": value.tobytes()})), "tensor weight holds NaN")


def test_counters_are_left_out_with_a_note(write: Any) -> None:
    entries = {"weight": tensor("0", (1, 2), (2, 1), count=2), "steps": tensor("1", (), (), count=1, kind="Long")}
    model = torch.read(write(archive(dictionary(entries), {"0": bytes(8), "1": bytes(8)})))
    assert any(note.startswith("steps: ") for note in model.notes)


# Architecture files.

ARCHITECTURE = """
inputs = 3
[[layers]]
kind = "lstm"
weights = "rnn"
layers = 2
[[layers]]
kind = "dropout"
[[layers]]
kind = "last"
[[layers]]
kind = "dense"
weights = "fc1"
[[layers]]
kind = "activation"
activation = "relu"
[[layers]]
kind = "dense"
weights = "fc2"
activation = "softmax"
"""


def test_architecture_file_equals_the_head(tmp_path: Path) -> None:
    file = tmp_path / "net.toml"
    file.write_text(ARCHITECTURE)
    model = torch.read(FOLDER / "activity_parallel.pt", architecture=file)
    assert [type(layer).__name__ for layer in model.layers] == ["Lstm", "Lstm", "Last", "Dense", "Dense"]
    (y,) = reference.run(model, (ANSWERS["activity.x"],))
    assert np.abs(y - ANSWERS["activity.y"]).max() <= 5e-7


def test_architecture_file_describes_custom_cells_and_any_order(tmp_path: Path, write: Any) -> None:
    file = tmp_path / "net.toml"
    file.write_text(
        '[[layers]]\nkind="dense"\nweights="project"\nactivation="leaky_relu(0.3)"\n[[layers]]\nkind="lstm"\n'
        'weights="rnn"\nactivation="relu"\ngate_activation="hard_sigmoid"\ncell_clip=3\n'
        '[[layers]]\nkind="activation"\nactivation="tanh"\n'
    )
    model = torch.read(write(checkpoint(lstm("rnn", 4, 5) | linear("project", 2, 4))), architecture=file)
    dense, cell, last = model.layers
    assert isinstance(dense, Dense) and dense.activation.alpha == 0.3
    assert isinstance(cell, Lstm) and (cell.activation.name, cell.gate_activation.name) == ("relu", "hard_sigmoid")
    assert cell.cell_clip == 3.0 and type(last).__name__ == "Activate"


def test_an_activation_merges_with_a_linear_layer_once(tmp_path: Path, write: Any) -> None:
    file = tmp_path / "net.toml"
    one = '[[layers]]\nkind="activation"\nactivation='
    file.write_text(f'[[layers]]\nkind="dense"\nweights="fc"\n{one}"relu"\n{one}"tanh"\n{one}"tanh"\n')
    model = torch.read(write(checkpoint(linear("fc", 2, 4))), architecture=file)
    assert [layer.activation.name for layer in model.layers if not isinstance(layer, Last)] == ["relu", "tanh", "tanh"]
    assert [layer.name for layer in model.layers] == ["fc", "tanh", "tanh_"]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("inputs = 3", "inputs = 4", "inputs is 4, the first layer reads 3"),
        ("inputs = 3", "input = 3", "unknown key 'input'"),
        ("inputs = 3", "inputs = true", "inputs is not a whole number of usual size"),
        ("inputs = 3", "inputs = ", "not valid TOML"),
        ("layers = 2", "layers = 1", "layers is 1, 'rnn' has 2"),
        ("layers = 2", "units = 5", "layer 1: unknown key 'units'"),
        ('weights = "rnn"', 'weights = "gru"', "no unused layer 'gru' in the checkpoint; unused: 'rnn'"),
        ('weights = "rnn"', 'weights = "fc1"', "'fc1' is a Linear layer"),
        ('weights = "fc2"', 'weights = "fc1"', "no unused layer 'fc1'"),
        ('weights = "fc2"\nactivation = "softmax"', "", "layer 6 lacks weights"),
        ('kind = "dropout"', 'kind = "grue"', "layer 2: unknown kind 'grue'"),
        ('kind = "dropout"', 'kind = "dropout"\nrate = 0.5', "layer 2: unknown key 'rate'"),
        ('kind = "dropout"', 'kind = "last"', "layer 3: there is a \"last\" already"),
        ('activation = "relu"', "", "layer 5 lacks activation"),
        ('activation = "relu"', 'activation = "rely"', "layer 5: unknown activation 'rely'"),
        ('[[layers]]\nkind = "dense"\nweights = "fc2"\nactivation = "softmax"', "", "does not use 'fc2'"),
        ('layers = 2', 'activation = "softmax"', "softmax is not elementwise"),
        ('layers = 2', "cell_clip = -1", "cell_clip is -1.0"),
        ('layers = 2', "cell_clip = nan", "cell_clip is nan"),
        ('layers = 2', f"cell_clip = 1{'0' * 400}", "cell_clip is not a number"),
        ('layers = 2', f"layers = 1{'0' * 5000}", "not valid TOML"),
        (ARCHITECTURE, "inputs = 3", "the file lacks layers"),
    ],
)  # fmt: skip
def test_architecture_files_that_do_not_fit_are_refused(old: str, new: str, reason: str, tmp_path: Path) -> None:
    assert old in ARCHITECTURE
    file = tmp_path / "net.toml"
    file.write_text(ARCHITECTURE.replace(old, new))
    with pytest.raises(CheckpointError) as caught:
        torch.read(FOLDER / "activity.pt", architecture=file)
    assert reason in str(caught.value)


def test_lstm_after_last_and_head_with_architecture_are_refused(tmp_path: Path, write: Any) -> None:
    file = tmp_path / "net.toml"
    parts = [
        '[[layers]]\nkind="lstm"\nweights="a"\n',
        '[[layers]]\nkind="last"\n',
        '[[layers]]\nkind="lstm"\nweights="b"\n',
    ]
    file.write_text("".join(parts))
    path = write(checkpoint(lstm("a", 2, 3) | lstm("b", 3, 3)))
    refused(path, 'an LSTM after "last"', architecture=file)
    refused(path, "not both", architecture=file, head="last")
    refused(path, "missing.toml: cannot be read", architecture=tmp_path / "missing.toml")


# Storages.


def test_tensors_stay_inside_their_storages(write: Any) -> None:
    for shape, strides, offset, count, reason in [
        ((2, 3), (3, 1), 1, 6, "past the end"),
        ((2, 3), (4, 1), 0, 6, "past the end"),
        ((2, 3), (0, 1), 0, 3, "repeats the elements"),
        ((2, 3), (-3, 1), 3, 6, "not small whole numbers"),
        ((2, 3), (3,), 0, 6, "has strides"),
        ((1 << 50, 3), (3, 1), 0, 6, "not small whole numbers"),
        ((1 << 39, 1 << 39), (0, 0), 0, 6, "repeats the elements"),
        ((1,) * 9, (1,) * 9, 0, 6, "not small whole numbers"),
        ((2, 3), (3, 1), -1, 6, "without storage, offset"),
        ((2, 3), (3, 1), 0, 7, "its storage is declared with 28"),
    ]:
        entries = {"weight": tensor("0", shape, strides, offset, count)}
        refused(write(archive(dictionary(entries), {"0": bytes(24)})), reason)


def test_negated_views_are_refused(write: Any) -> None:
    plain = tensor("0", (1, 2), (2, 1), count=2)
    assert plain.endswith(b"tR")
    entries = {"weight": plain[:-2] + dictionary({"neg": b"\x88"}) + b"tR"}
    refused(write(archive(dictionary(entries), {"0": bytes(8)})), "negative or conjugate bit")


def test_one_storage_under_two_declarations_is_refused(write: Any) -> None:
    entries = {"a.weight": tensor("0", (1, 2), (2, 1), count=2), "b.weight": tensor("0", (1, 1), (1, 1), count=1)}
    refused(write(archive(dictionary(entries), {"0": bytes(8)})), "declared twice")


def test_a_small_file_cannot_name_its_numbers_without_end(write: Any) -> None:
    entries = {f"fc{n}.weight": tensor("0", (100, 100), (100, 1), count=10_000) for n in range(40)}
    refused(write(archive(dictionary(entries), {"0": bytes(40_000)})), "over and over")


def test_big_endian_files_are_refused(write: Any) -> None:
    entries = {"weight": tensor("0", (1, 2), (2, 1), count=2)}
    assert torch.read(write(archive(dictionary(entries), {"0": bytes(8)}, byteorder=b"little"))).layers
    refused(write(archive(dictionary(entries), {"0": bytes(8)}, byteorder=b"big")), "big-endian")
    legacy = (FOLDER / "activity_legacy.pt").read_bytes()
    flag = legacy.index(b"little_endian") + len(b"little_endian")
    value = legacy.index(b"\x88", flag)
    refused(write(legacy[:value] + b"\x89" + legacy[value + 1 :]), "little-endian")


def test_archives_that_lie_are_refused(write: Any) -> None:
    entries = dictionary({"weight": tensor("0", (1, 2), (2, 1), count=2)})
    good = archive(entries, {"0": bytes(8)})
    refused(write(archive(entries, {})), "lacks data/0")
    refused(write(good.replace(b"net/data/0", b"net/data/1")), "lacks data/0")
    size = good.rindex(b"net/data/0") - 46 + 20  # sizes in the central directory
    for value in (7, 9, 1 << 31):
        lying = bytearray(good)
        lying[size : size + 8] = struct.pack("<II", value, value)
        refused(write(bytes(lying)), "")
    with zipfile.ZipFile(io.BytesIO(good)) as file:
        records = [(name, file.read(name)) for name in file.namelist()]
    for extra, reason in [(("net/data/0", bytes(8)), "twice"), (("other/data.pkl", b""), "twice")]:
        out = io.BytesIO()
        warns = pytest.warns(UserWarning) if extra[0] in dict(records) else nullcontext()
        with zipfile.ZipFile(out, "w") as file, warns:
            for name, content in [*records, extra]:
                file.writestr(name, content)
        refused(write(out.getvalue()), reason)
    refused(write(good[:-30] + bytes(30)), "damaged archive")


def test_zip_bombs_are_refused(write: Any) -> None:
    for name in ("net/data/0", "net/data.pkl"):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
            entries = {"weight": tensor("0", (1000, 2500), (2500, 1), count=2_500_000)}
            pickle = b"\x80\x02" + dictionary(entries) + b"."
            file.writestr("net/data.pkl", pickle if name != "net/data.pkl" else pickle + bytes(10_000_000))
            file.writestr("net/data/0", bytes(10_000_000))
        assert len(out.getvalue()) < 100_000
        refused(write(out.getvalue()), "is compressed")


# Pickles that want to run code.


def attacks(sentinel: Path) -> dict[str, bytes]:
    command = word(f"touch {sentinel}")
    code = word(f"open({str(sentinel)!r}, 'w')")
    line = f"'touch {sentinel}'\n".encode()
    return {
        "reduce": b"cposix\nsystem\n" + command + b"\x85R",
        "reduce nt": b"cos\nsystem\n" + command + b"\x85R",
        "eval": b"cbuiltins\neval\n" + code + b"\x85R",
        "exec of Python 2": b"c__builtin__\nexec\n" + code + b"\x85R",
        "stack global": b"\x80\x04" + word("os") + word("system") + b"\x93" + command + b"\x85R",
        "inst": b"(S" + line + b"ios\nsystem\n",
        "obj": b"(cos\nsystem\n" + command + b"o",
        "newobj": b"cos\nsystem\n" + command + b"\x85\x81",
        "newobj ex": b"cos\nsystem\n" + command + b"\x85}\x92",
        "build": b"cedgelstm.model\nTensor\n)\x81}" + word("__setstate__") + b"cos\nsystem\nsb" + command + b"b",
        "build of a dict": b"}" + word("__setstate__") + b"cos\nsystem\nsb",
        "getattr": b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n" + word("os") + b"\x85R" + word("system") + b"tR",
        "dotted": b"\x80\x04" + word("torch") + word("os.system") + b"\x93" + command + b"\x85R",
        "rebuild": b"ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nctorch\nTensor\n" + command + b"\x85}tR",
        "runpy": b"crunpy\n_run_code\n(" + code + b"}tR",
        "extension": b"\x82\x01",
        "persistent text": b"Pos.system\n",
    }


@pytest.mark.parametrize("name", attacks(Path("x")))
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("beside", [False, True])
def test_no_pickle_runs_code(name: str, legacy: bool, beside: bool, tmp_path: Path, write: Any) -> None:
    sentinel = tmp_path / "ran"
    attack = attacks(sentinel)[name]
    if beside:
        attack = dictionary({"net": dictionary({"weight": tensor("0", (1, 2), (2, 1), count=2)}), "extra": attack})
    if legacy:
        system = dictionary({"little_endian": b"\x88"})
        head = b"".join(b"\x80\x02" + part + b"." for part in (whole(0x1950A86A20F9469CFC6C), whole(1001), system))
        tail = b"\x80\x02](" + word("0") + b"e." + struct.pack("<q", 2) + bytes(8)
        data = head + b"\x80\x02" + attack + b"." + tail
    else:
        data = archive(attack, {"0": bytes(8)})
    refused(write(data), "")
    assert not sentinel.exists()


def test_inert_objects_beside_the_weights_are_left_out(write: Any) -> None:
    inert = b"cargparse\nNamespace\n)\x81}" + word("lr") + b"K\x01sb"
    entries = {"state_dict": dictionary({"weight": tensor("0", (1, 2), (2, 1), count=2)}), "args": inert}
    model = torch.read(write(archive(dictionary(entries), {"0": bytes(8)})))
    assert "left out: args" in model.notes[0]
    weights = {"weight": tensor("0", (1, 2), (2, 1), count=2), "extra": inert}
    refused(
        write(archive(dictionary(weights), {"0": bytes(8)})),
        "entry 'extra' of the state dict is an object of type argparse.Namespace",
    )


def test_ordered_dict_of_pairs_as_python_2_wrote_it() -> None:
    pickle = b"\x80\x02ccollections\nOrderedDict\n](](U\x01aK\x01e](U\x01bK\x02ee\x85R."
    assert torch_pickle.load(pickle)[0] == {"a": 1, "b": 2}
    # The list, recalled, makes no second dict: a small file could ask for a million large ones.
    recalled = b"\x80\x02ccollections\nOrderedDict\nq\x00]q\x01](U\x01aK\x01ea\x85Rh\x00h\x01\x85R\x86."
    assert torch_pickle.load(recalled)[0] == ({"a": 1}, {})


def test_deep_and_endless_pickles_are_refused_without_harm(write: Any) -> None:
    nested = b"]" + b"\x85" * 1_000_000
    refused(write(archive(nested, {})), "it holds an object of type tuple")
    refused(write(archive(b"}" + nested + b"Ns", {})), "keys are not")
    refused(write(archive(b"(" * 1_000_000, {})), "unfinished value")
    refused(write(archive(b"N0" * (9 << 20), {})), "more than can be")
    refused(write(archive(b"]" * 3_000_000, {})), "more objects than any state dict")
    refused(write(archive(b"]r\xff\xff\xff\xff0", {})), "unfinished value")  # a memo of four billion places
    refused(write(archive(b"X\xff\xff\xff\xffabc", {})), "truncated")
    refused(write(archive(b"\x8e" + b"\xff" * 8 + b"abc", {})), "truncated")
    cycle = dictionary({"a": b"]q\x00h\x00a"})
    refused(write(archive(cycle, {})), "holds no state dict")


# Damage.


def harmless(data: bytes, what: str, path: Path) -> bool:
    """Reads damaged bytes: a Model or a CheckpointError, nothing else. Whether it was read."""
    path.write_bytes(data)
    try:
        torch.read(path, head="relu,softmax")
    except CheckpointError as error:
        assert "\n" not in str(error), what
        return False
    except BaseException as error:
        raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
    return True


@pytest.mark.parametrize("name", ["activity", "activity_legacy", "activity_protocol4_legacy"])
def test_truncated_files_are_refused(name: str, tmp_path: Path) -> None:
    data = (FOLDER / f"{name}.pt").read_bytes()
    for size in [*range(0, len(data), 64), len(data) - 1]:
        assert not harmless(data[:size], f"{name} cut to {size}", tmp_path / "net.pt"), size
    assert harmless(data, name, tmp_path / "net.pt")


@pytest.mark.parametrize("name", ["activity", "activity_strided_legacy", "activity_protocol4", "training"])
@pytest.mark.parametrize("seed", range(2))
def test_flipped_bytes_never_harm(name: str, seed: int, tmp_path: Path) -> None:
    data = (FOLDER / f"{name}.pt").read_bytes()
    generator = random.Random(seed)
    for case in range(150):
        damaged = bytearray(data)
        for _ in range(generator.choice((1, 1, 3, 10))):
            damaged[generator.randrange(len(data))] = generator.randrange(256)
        harmless(bytes(damaged), f"{name}, seed {seed}, case {case}", tmp_path / "net.pt")


@pytest.mark.parametrize("name", ["activity", "training"])
def test_every_flipped_byte_of_the_pickle_is_harmless(name: str) -> None:
    """Past the archive's checksums: straight into the pickle reader, bytes replaced by opcodes."""
    with zipfile.ZipFile(FOLDER / f"{name}.pt") as file:
        pickle = file.read(next(n for n in file.namelist() if n.endswith("/data.pkl")))
    generator = random.Random(0)
    for position in range(len(pickle)):
        damaged = bytearray(pickle)
        damaged[position] = generator.choice(b"(.0123NRbcdeahjlqrstu]}\x80\x81\x85\x86\x88\x89\x8a\x93\x94Q\xff\x00")
        try:
            torch_pickle.load(bytes(damaged))
        except CheckpointError:
            continue
        except BaseException as error:
            raise AssertionError(f"{name}, byte {position} = {damaged[position]}: {error!r}") from error


def test_other_files_are_refused(tmp_path: Path, write: Any) -> None:
    refused(write(b""), "neither a zip archive nor")
    refused(write(b"\x80\x02N."), "did not write")
    refused(write(bytes(257) + b"ustar" + bytes(300)), "tar archive")
    refused(tmp_path / "missing.pt", "cannot be read")
    legacy = (FOLDER / "activity_legacy.pt").read_bytes()
    refused(write(legacy + b"\x80\x02N."), "4 bytes follow")


def test_half_precision_is_exact() -> None:
    bits = np.array([0x3F80, 0xC049, 0x0001, 0x8000, 0x7F7F], np.uint16)
    values = torch_files.from_bfloat16(bits)
    assert values.tolist()[:2] == [1.0, -3.140625] and values[2] == 2.0**-133 and values[4] == 255 * 2.0**120


def test_torch_is_never_imported() -> None:
    script = f"""
        import sys
        from edgelstm.importers import torch
        torch.read({str(FOLDER / "activity.pt")!r}, head="relu,softmax")
        torch.read({str(FOLDER / "training_legacy.pt")!r}, head="relu,softmax")
        assert "torch" not in sys.modules and "safetensors" not in sys.modules, sorted(sys.modules)
        print("read")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert done.stdout == "read\n", done.stderr


# What torch.save was given.


def stored(shapes: dict[str, tuple[int, ...]], first: int = 0) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Pickled tensors of zeros and ones by name, and their storages."""
    entries, storages = {}, {}
    for key, (name, shape) in enumerate(shapes.items(), first):
        values = np.arange(int(np.prod(shape)), dtype="<f4").reshape(shape) % 2
        strides = tuple(int(s) // 4 for s in values.strides)
        entries[name], storages[str(key)] = tensor(str(key), shape, strides, count=values.size), values.tobytes()
    return entries, storages


ENCODER_DECODER = '[[layers]]\nkind="lstm"\nweights="encoder.rnn"\n[[layers]]\nkind="dense"\nweights="decoder.fc"\n'


def test_one_state_dict_a_submodule_is_joined_as_an_architecture_file_says(tmp_path: Path, write: Any) -> None:
    encoder, storages = stored(lstm("rnn", 2, 3))
    decoder, more = stored(linear("fc", 3, 1), len(encoder))
    parts = {"encoder": dictionary(encoder), "decoder": dictionary(decoder)}
    path = write(archive(dictionary(parts | {"epoch": b"K\x03"}), storages | more))
    refused(path, "several state dicts (encoder, decoder)")
    file = tmp_path / "net.toml"
    file.write_text(ENCODER_DECODER)
    model = torch.read(path, architecture=file)
    assert [layer.name for layer in model.layers] == ["encoder.rnn", "decoder.fc"]
    assert "each a module of its name; left out: epoch" in model.notes[0]
    nested = write(archive(dictionary({"model": dictionary(parts)}), storages | more))
    assert [layer.name for layer in torch.read(nested, architecture=file).layers] == ["encoder.rnn", "decoder.fc"]


def test_of_alternatives_an_architecture_file_chooses_one(tmp_path: Path, write: Any) -> None:
    raw, storages = stored(linear("fc", 3, 1))
    ema, more = stored(linear("fc", 3, 1), len(raw))
    path = write(archive(dictionary({"model": dictionary(raw), "ema": dictionary(ema)}), storages | more))
    file = tmp_path / "net.toml"
    layers = '[[layers]]\nkind="dense"\nweights="fc"\n'
    file.write_text(layers)
    refused(path, 'state_dict = "model"', architecture=file)
    file.write_text('state_dict = "ema"\n' + layers)
    assert "read: 'ema'" in torch.read(path, architecture=file).notes[0]
    file.write_text('state_dict = "eme"\n' + layers)
    refused(path, "it holds no 'eme'; it has: model, ema", architecture=file)


def test_lists_of_tensors_are_named_by_an_architecture_file(tmp_path: Path, write: Any) -> None:
    entries, storages = stored(lstm("rnn", 2, 3) | linear("fc", 3, 1))
    listed = b"](" + b"".join(entries.values()) + b"e"
    path = write(archive(dictionary({"weights": listed}), storages))
    refused(path, "tensor 0 is of no layer")
    file = tmp_path / "net.toml"
    layers = '[[layers]]\nkind="lstm"\nweights="rnn"\n[[layers]]\nkind="last"\n'
    layers += '[[layers]]\nkind="dense"\nweights="fc"\n'
    file.write_text(f"names = {list(entries)}\n".replace("'", '"') + layers)
    model = torch.read(path, architecture=file)
    assert [layer.name for layer in model.layers] == ["rnn", "last", "fc"]
    file.write_text('names = ["rnn.weight_ih_l0"]\n' + layers)
    refused(path, "names has 1 entries, expected 4", architecture=file)


def test_names_of_wrappers_go_at_any_depth(write: Any) -> None:
    entries, storages = stored(lstm("model.encoder.module.rnn._orig_mod", 2, 3) | linear("model.head.fc", 3, 1))
    model = torch.read(write(archive(dictionary({"state_dict": dictionary(entries)}), storages)))
    assert [layer.name for layer in model.layers] == ["encoder.rnn", "last", "head.fc"]
    entries, storages = stored(linear("net.module.fc", 3, 3) | linear("net.other", 3, 1))
    model = torch.read(write(archive(dictionary(entries), storages)), head="relu,none")
    assert [layer.name for layer in model.layers] == ["net.module.fc", "net.other"]  # module is the user's own name


def module(name: str, parameters: dict[str, bytes], children: dict[str, bytes]) -> bytes:
    """A pickled torch.nn.Module."""
    parts = {"training": b"\x89", "_parameters": dictionary(parameters), "_buffers": b"}", "hook": b"cmath\nsin\n"}
    package, _, kind = name.rpartition(".")
    return f"c{package}\n{kind}\n".encode() + b")\x81" + dictionary(parts | {"_modules": dictionary(children)}) + b"b"


def test_whole_modules_are_read_for_their_tensors_with_a_loud_note(write: Any) -> None:
    entries, storages = stored({"weight_ih_l0": (12, 2), "weight_hh_l0": (12, 3)})
    head, more = stored({"weight": (1, 3), "bias": (1,)}, 2)
    net = module("__main__.Net", {}, {
        "rnn": module("torch.nn.modules.rnn.LSTM", entries, {}), "drop": b"N",
        "fc": module("torch.nn.modules.linear.Linear", head, {}),
    })  # fmt: skip
    for value in (net, dictionary({"model": net, "epoch": b"K\x01"})):
        model = torch.read(write(archive(value, storages | more)))
        assert [layer.name for layer in model.layers] == ["rnn", "last", "fc"]
        assert any(note.startswith("warning: a whole pickled module, __main__.Net") for note in model.notes)


def test_objects_that_only_look_like_modules_are_refused(write: Any) -> None:
    good, storages = stored({"weight": (1, 2)})
    for bad in (
        b"c__main__\nNet\n)\x81",  # never built
        b"c__main__\nNet\n)\x81}b",  # without a module's attributes
        b"c__main__\nNet\n)\x81" + dictionary(dict.fromkeys(("_parameters", "_buffers", "_modules"), b"N")) + b"b",
        b"c__main__\nNet\n" + word("x") + b"\x85\x81",
        b"c__main__\nNet\n)R",
        b"cmath\nsin\n",
    ):
        refused(write(archive(dictionary({"net": dictionary(good), "extra": bad}), storages)), "Python object")
    inner = b"N"
    for _ in range(80):
        inner = module("__main__.Net", {}, {"a": inner} if inner != b"N" else {})
    refused(write(archive(inner, {})), "modules more than 64 deep")
    cyclic = module("__main__.Net", {}, {}).replace(b")\x81", b")\x81q\x07", 1)
    cyclic = cyclic[:-1].replace(word("_modules") + b"}(u", word("_modules") + b"}(" + word("a") + b"h\x07u") + b"b"
    refused(write(archive(cyclic, {})), "modules more than 64 deep")


def test_programs_are_refused_unless_they_are_trusted() -> None:
    refused(FOLDER / "refused_script.pt", "a TorchScript file is a program, and to load it is to run code")
    refused(FOLDER / "activity.pt", "leave the example out", head="relu,softmax", example=np.zeros((1, 2, 3)))
