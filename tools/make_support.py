"""Asks the importers what they make of each layer and setting, and writes docs/support.md.

python tools/make_support.py              # pip install -e ".[parity]"; pip install --no-deps tf_keras
python tools/make_support.py --check      # fails where the page is not what the importers do

Every line of the page is a model that was built in its framework, read, and where it was read quantized too: it says
what happened, so it cannot say more than the code does.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import edgelstm
from edgelstm import importers
from edgelstm.errors import EdgeLstmError, QuantizeError
from edgelstm.importers import keras_layers
from edgelstm.random_inputs import draw
from edgelstm.tfl8_model import Tfl8Model

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "0", "OMP_NUM_THREADS": "1"}

PAGE = ROOT / "docs" / "support.md"
HEAD = """\
# What is read, and what becomes of it

Written by `python tools/make_support.py`, which builds each model below in its framework and hands it to the importer:
a line says what happened. *Becomes* names the layers of the model (edgelstm/layers.py) that it was lowered to, exactly;
nothing is approximated. *int8* and *step* say whether `--int8` and `Runner.step` take it, else why not; what cannot be
stepped still runs over whole sequences. What is refused is refused with the reason given here, which names layer and
setting.
"""

Row = tuple[str, str, str, str, str]  # layer, setting, becomes, int8, step


_MANY = 14  # layers in a row of a table


def outcome(source: Any, **options: Any) -> tuple[str, str, str]:
    """What becomes of a checkpoint: its layers, in int8, and step by step."""
    try:
        model = importers.read(source, **options)
    except EdgeLstmError as error:
        return f"refused: {_reason(str(error))}", "", ""
    kinds = [type(layer).__name__ for layer in model.layers]
    becomes = ", ".join(kinds) or "nothing"
    if len(kinds) > _MANY:
        becomes = f"{len(kinds)} layers: {', '.join(sorted(set(kinds)))}"
    waits = model.timing.waits
    step = f"no: {type(_named(model, waits[0][0])).__name__}: {waits[0][1]}" if waits else "yes"
    if isinstance(model, Tfl8Model):
        return becomes, "as it is", step
    try:
        edgelstm.quantize(model, tuple(draw(model, 4, model.meta.window or 8, np.random.default_rng(0))))
        int8 = "yes"
    except QuantizeError as error:
        int8 = f"no: {_reason(str(error))}"
    return becomes, int8, step


def _named(model: Any, name: str) -> Any:
    return next(layer for layer in model.layers if layer.name == name)


def _reason(text: str) -> str:
    """A message without the file's and the layer's names, which are this tool's own."""
    text = re.sub(r"^'[^']*': ", "", " ".join(text.split()))
    text = text.removeprefix("Own: ")  # the module around what is asked for
    text = re.sub(r"^t\d+: ", "", text)  # an operator of a .tflite file made here
    text = re.sub(r"^(layer|node) '[^']*'( \(\w+\))?: ", "", text)
    text = re.sub(r"; supported: .*", "", text)
    return text.replace("|", "\\|")


def table(rows: list[Row]) -> Iterator[str]:
    yield "| layer | setting | becomes | int8 | step |"
    yield "|---|---|---|---|---|"
    last, first = "", {row[0]: k for k, row in reversed(list(enumerate(rows)))}
    for layer, setting, *rest in sorted(rows, key=lambda row: first[row[0]]):
        yield f"| {layer if layer != last else ''} | {f'`{setting}`' if setting else ''} | {' | '.join(rest)} |"
        last = layer


# ---- Keras ----

FUNCTIONS = (
    "celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu",
    "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink",
    "softmax", "softplus", "softsign", "sparse_plus", "sparse_sigmoid", "sparsemax", "squareplus", "swish", "tanh",
    "tanh_shrink", "threshold",
)  # fmt: skip

MERGES = ("concat", "sum", "mul", "ave")

KERAS = (
    *(line.replace("Cell", cell) for cell in ("LSTM", "GRU", "SimpleRNN") for line in (
        "Cell(3)", "Cell(3, return_sequences=True)", "Cell(3, use_bias=False)", "Cell(3, go_backwards=True)",
        "Cell(3, stateful=True)", "Cell(3, unroll=True)", "Cell(3, dropout=0.2, recurrent_dropout=0.2)",
        "Masking(0.0) > Cell(3)", "Masking(0.0) > Cell(3, return_sequences=True)",
        "Masking(0.0) > Cell(3, return_sequences=True, zero_output_for_mask=True)",
        "Cell(3, return_state=True)", "Cell(3, initial_state=...)",
    )),
    "GRU(3, reset_after=False)", "LSTM(3, unit_forget_bias=False)",
    *(f"LSTM(3, activation='{name}')" for name in FUNCTIONS),
    *(f"LSTM(3, recurrent_activation='{name}')" for name in FUNCTIONS),
    *(f"RNN({cell}Cell(3))" for cell in ("LSTM", "GRU", "SimpleRNN")), "RNN([LSTMCell(3), GRUCell(2)])",
    "RNN(LSTMCell(3), return_sequences=True, go_backwards=True)",
    *(f"Bidirectional(LSTM(3), merge_mode='{mode}')" for mode in MERGES), "Bidirectional(LSTM(3), merge_mode=None)",
    "Bidirectional(LSTM(3, return_sequences=True))", "Bidirectional(GRU(3), backward_layer=LSTM(3, go_backwards=True))",
    "Masking(0.0) > Bidirectional(LSTM(3))",
    "Dense(3)", "Dense(3, use_bias=False)", *(f"Dense(3, activation='{name}')" for name in FUNCTIONS),
    "Dense(4, activation='glu')", "Activation('relu')",
    "ReLU()", "ReLU(max_value=6.0)", "ReLU(max_value=2.0)", "ReLU(threshold=1.0)",
    "ReLU(negative_slope=0.2)", "ReLU(max_value=2.0, negative_slope=0.1, threshold=0.5)", "ThresholdedReLU(0.5)",
    "LeakyReLU(0.1)", "ELU(0.7)", "PReLU()", "PReLU(alpha_initializer='random_uniform')", "PReLU(shared_axes=[1])",
    "Softmax()",
    "Softmax(axis=1)",
    "TimeDistributed(Dense(3))", "TimeDistributed(Activation('relu'))", "TimeDistributed(LSTM(3))",
    "Reshape((4, 2, 4)) > TimeDistributed(Conv1D(2, 2))", "Reshape((4, 2, 4)) > TimeDistributed(Flatten())",
    *(f"LSTM(3, return_sequences=True) > {kind}" for kind in (
        "Dropout(0.5)", "SpatialDropout1D(0.5)", "GaussianNoise(0.1)", "GaussianDropout(0.1)", "AlphaDropout(0.1)",
        "ActivityRegularization(0.1)",
    )),
    "Embedding(9, 3)", "Embedding(9, 3, mask_zero=True) > LSTM(3)", "Masking(0.0)",
    *(f"Conv1D(2, 3, padding='{padding}')" for padding in ("valid", "causal", "same")), "Conv1D(2, 3, strides=2)",
    "Conv1D(2, 3, padding='same', strides=2)", "Conv1D(2, 3, dilation_rate=2)", "Conv1D(4, 3, groups=2)",
    "Conv1D(2, 3, data_format='channels_first')",
    "DepthwiseConv1D(3)", "DepthwiseConv1D(3, depth_multiplier=2, padding='same')", "SeparableConv1D(2, 3)",
    *(f"{kind}Pooling1D(2{more})" for kind in ("Max", "Average") for more in ("", ", strides=1", ", padding='same'")),
    "GlobalMaxPooling1D()", "GlobalAveragePooling1D()", "GlobalAveragePooling1D(keepdims=True)",
    "Masking(0.0) > GlobalAveragePooling1D()",
    "Flatten()", "Reshape((4, 8))", "Reshape((32,))", "Permute((2, 1))", "Cropping1D((1, 2))", "ZeroPadding1D((2, 1))",
    "Flatten() > RepeatVector(3)", "UpSampling1D(2)",
    "BatchNormalization()", "BatchNormalization(axis=1)", "Conv1D(2, 3) > BatchNormalization()",
    "LayerNormalization()", "LayerNormalization(axis=1)", "RMSNormalization()", "GroupNormalization(2)",
    "UnitNormalization()", "Normalization(mean=0.5, variance=2.0)", "Rescaling(0.5, offset=1.0)",
    "Concatenate()", "Concatenate(axis=1)", "Add()", "Subtract()", "Multiply()", "Average()", "Maximum()", "Minimum()",
    "Dot(axes=2)",
    "Attention()", "Attention(use_scale=True)", "Attention(score_mode='concat')", "AdditiveAttention()",
    "MultiHeadAttention(2, 3)",
)  # fmt: skip
"""Chains of layers; the last is the one in question."""

JOINS = ("Concatenate", "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Dot")
ATTENTION = ("Attention", "AdditiveAttention")


def keras_model(keras: Any, text: str) -> Any:
    """The functional model of a chain, on sequences of 8 steps of 4 values."""
    k = keras.layers
    names = {name: getattr(k, name) for name in dir(k) if name[0].isupper()}
    batch = {"batch_shape": (1, 8, 4)} if "stateful" in text else {"shape": (8, 4)}
    x = inputs = k.Input((8,)) if text.startswith("Embedding") else k.Input(**batch)
    sources = [inputs]
    for part in text.split(" > "):
        started = "initial_state=..." in part
        layer = eval(part.replace(", initial_state=...", ""), {"__builtins__": {}}, names)
        kind = type(layer).__name__
        if started:
            states = [k.Input((3,)) for _ in range(2 if kind == "LSTM" else 1)]
            sources += states
            x = layer(x, initial_state=states)
        elif kind in JOINS:
            x = layer([x, k.Dense(4)(x)])
        elif kind in ATTENTION:
            x = layer([x, x])
        elif kind == "MultiHeadAttention":
            x = layer(x, x)
        else:
            x = layer(x)
    return keras.Model(sources, x)


def keras_rows(keras: Any, folder: Path) -> Iterator[Row]:
    for text in KERAS:
        last = text.split(" > ")[-1]
        layer, setting = re.fullmatch(r"(\w+)\((.*)\)", last, re.DOTALL).groups()
        before = text[: -len(last)].removesuffix(" > ")
        setting = (f"{before}: " if before else "") + setting
        keras.backend.clear_session()
        keras.utils.set_random_seed(0)
        try:
            model = keras_model(keras, text)
        except (NameError, TypeError, ValueError):  # this generation of Keras does not have it
            continue
        path = folder / "m.keras"
        model.save(path)
        yield (layer, setting, *outcome(path))


def keras_others(keras: Any) -> str:
    """Layers that Keras has and the importer refuses by name."""
    base = keras.layers.Layer
    found = [
        name
        for name, value in vars(keras.layers).items()
        if isinstance(value, type) and issubclass(value, base) and value is not base and name[0].isupper()
    ]
    known = {
        *keras_layers.LAYERS,
        "InputLayer",
        "TimeDistributed",
        "LSTMCell",
        "GRUCell",
        "SimpleRNNCell",
        "StackedRNNCells",
    }
    shown = {text.split(" > ")[-1].split("(")[0] for text in KERAS}
    return ", ".join(sorted(name for name in found if name not in known | shown))


# ---- PyTorch ----

TORCH = (
    *(f"{cell}(4, 3)" for cell in ("LSTM", "GRU", "RNN")), "LSTM(4, 3, num_layers=2, dropout=0.2)",
    "LSTM(4, 3, bias=False)",
    "LSTM(4, 3, bidirectional=True)", "LSTM(4, 3, proj_size=2)", "GRU(4, 3, num_layers=2, bidirectional=True)",
    "RNN(4, 3, nonlinearity='relu')", "Linear(4, 3)", "Linear(4, 3, bias=False)",
    "ReLU()", "ReLU6()", "Tanh()", "Sigmoid()", "SELU()", "ELU()", "LeakyReLU()", "SiLU()", "GELU()",
    "GELU(approximate='tanh')", "Softplus()", "Softplus(beta=2)", "Softsign()", "Hardsigmoid()", "Hardswish()",
    "Hardtanh()", "Hardtanh(-2.0, 0.5)", "Mish()", "CELU()", "CELU(0.5)", "PReLU()", "LogSigmoid()", "Hardshrink()",
    "Softshrink()", "Tanhshrink()", "Threshold(0.1, 20.0)", "RReLU()", "Softplus(beta=2, threshold=1)", "GLU()",
    "Softmax(dim=-1)", "Softmax(dim=1)", "LogSoftmax(dim=-1)",
    "Dropout(0.5)", "LayerNorm(4)", "RMSNorm(4)", "BatchNorm1d(4)", "GroupNorm(2, 4)",
    "Conv1d(4, 2, 3)", "Conv1d(4, 4, 3, padding=1, groups=2)", "Conv1d(4, 2, 3, stride=2)",
    "Conv1d(4, 2, 3, dilation=2)", "Conv1d(4, 2, 3, padding='same')",
    "Conv1d(4, 2, 3, padding=1, padding_mode='circular')",
    "MaxPool1d(2)", "AvgPool1d(2)", "AvgPool1d(2, count_include_pad=False, padding=1)", "AdaptiveAvgPool1d(1)",
    "AdaptiveMaxPool1d(1)", "Flatten()", "Embedding(9, 3)", "MultiheadAttention(4, 2, batch_first=True)",
)  # fmt: skip
"""Modules: of torch.nn, inside a module whose forward() is written by hand, behind a Linear(4, 4)."""

CHANNELS = ("Conv1d", "BatchNorm1d", "GroupNorm", "MaxPool1d", "AvgPool1d", "AdaptiveAvgPool1d", "AdaptiveMaxPool1d")


def torch_rows() -> Iterator[Row]:
    import torch
    from torch import nn

    class Own(nn.Module):
        """forward() as people write it, on (batch, steps, 4)."""

        def __init__(self, module: Any, kind: str) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.module, self.kind = module, kind
            if kind in ("LSTM", "GRU", "RNN"):
                module.batch_first = True

        def forward(self, x: Any) -> Any:
            if self.kind == "Embedding":
                return self.module(x)
            x = self.first(x)
            if self.kind in ("LSTM", "GRU", "RNN"):
                return self.module(x)[0]
            if self.kind == "MultiheadAttention":
                return self.module(x, x, x, need_weights=False)[0]
            if self.kind in CHANNELS:
                return self.module(x.transpose(1, 2)).transpose(1, 2)
            return self.module(x)

    torch.manual_seed(0)
    for text in TORCH:
        layer, setting = re.fullmatch(r"(\w+)\((.*)\)", text).groups()
        module = eval(text, {"__builtins__": {}}, vars(nn))
        yield (layer, setting, *outcome(Own(module, layer).eval()))


# ---- ONNX ----


def onnx_rows() -> Iterator[Row]:
    from onnx_models import cell

    probes: list[tuple[str, str, dict[str, Any]]] = []
    for op in ("LSTM", "GRU", "RNN"):
        for options in (
            {}, {"direction": "reverse"}, {"direction": "bidirectional"}, {"layout": 1}, {"bias": False},
            {"lengths": True}, {"initial": True}, {"clip": 0.5},
            *({"input_forget": 1}, {"peephole": True}) * (op == "LSTM"), *({"linear_before_reset": 1},) * (op == "GRU"),
        ):  # fmt: skip
            settings = ", ".join(f"{key}={value!r}" for key, value in options.items())
            probes.append((op, settings, options))
        names = ("Affine", "Elu", "HardSigmoid", "LeakyRelu", "Relu", "ScaledTanh", "Sigmoid", "Softplus", "Softsign",
                 "Tanh", "ThresholdedRelu")  # fmt: skip
        numbers = {"Affine": ([0.7], [0.1]), "ScaledTanh": ([1.7], [0.7]), "ThresholdedRelu": ([0.2], [])}
        gates, others = {"LSTM": 1, "GRU": 1, "RNN": 0}[op], {"LSTM": 2, "GRU": 1, "RNN": 1}[op]
        for name in names:
            for chosen in (["Sigmoid"] * gates + [name] * others, *([[name, *["Tanh"] * others]] * gates)):
                alpha, beta = (each * chosen.count(name) for each in numbers.get(name, ([], [])))
                options = {"activations": chosen, "activation_alpha": alpha, "activation_beta": beta}
                options = {key: value for key, value in options.items() if value}
                probes.append((op, ", ".join(f"{key}={value!r}" for key, value in options.items()), options))
        probes.append((op, "activations=..., without the numbers of Affine, ScaledTanh or ThresholdedRelu",
                       {"activations": ["Sigmoid"] * gates + ["ScaledTanh"] * others}))  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        for op, setting, options in probes:
            path.write_bytes(cell(op, **options))
            yield (op, setting, *outcome(path))


def onnx_operations() -> tuple[str, str]:
    """Operations that are read, and those of ONNX that are not."""
    from onnx import defs

    from edgelstm.importers.onnx_ops import OPERATIONS

    every = {schema.name for schema in defs.get_all_schemas() if schema.domain == ""}
    return ", ".join(sorted(OPERATIONS)), ", ".join(sorted(every - set(OPERATIONS)))


# ---- TensorFlow Lite ----


def tflite_rows() -> Iterator[Row]:
    """The fused cells with each option, and Keras models as TensorFlow's converter wrote them."""
    from tflite_models import File, lstm

    probes: list[dict[str, Any]] = [
        {}, {"time_major": True}, {"cell_clip": 10.0}, {"peephole": True}, {"projection": 3}, {"coupled": True},
        {"activation": 1}, {"activation": 5}, {"norm": True},
        {"projection": 3, "projection_bias": True, "proj_clip": 1.0},
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.tflite"
        for options in probes:
            file = File()
            shape = (8, 1, 3) if options.get("time_major") else (1, 8, 3)
            file.outputs(lstm(file, file.input(*shape), shape, 4, **options))
            path.write_bytes(file.bytes())
            setting = ", ".join(f"{key}={value!r}" for key, value in options.items())
            yield ("UNIDIRECTIONAL_SEQUENCE_LSTM", setting, *outcome(path))
    for path in sorted((ROOT / "tests" / "golden" / "tflite").glob("*.tflite")):
        writer, _, name = path.stem.partition("_")
        yield (f"converted from Keras {writer[-1]}", name, *outcome(path))


def tflite_operators() -> list[str]:
    """Operators that are read, in float and in int8 graphs."""
    from edgelstm.importers.tflite_int8 import METHODS8
    from edgelstm.importers.tflite_ops import METHODS
    from edgelstm.importers.tflite_schema import OPERATORS

    return [", ".join(sorted(set(methods) & set(OPERATORS) - {"VAR_HANDLE"})) for methods in (METHODS, METHODS8)]


def tflite_page() -> list[str]:
    floats, integers = tflite_operators()
    lines = ["## TensorFlow Lite", "", *table(list(tflite_rows())), ""]
    lines += [f"Operators of float and dynamic range graphs: {floats}.", ""]
    return [*lines, f"Operators of full-int8 graphs: {integers}.", ""]


def joined(rows: list[Row]) -> list[Row]:
    """Rows that differ in the name of an activation alone, as one."""
    made: list[Row] = []
    for row in rows:
        found = re.fullmatch(r"(.*activation='|activations=\[.*?)(\w+)('.*|\])", row[1])
        before = made[-1] if made else None
        if found and before and before[0] == row[0] and before[2:] == row[2:]:
            start = found[1]
            if before[1].startswith(start) and before[1].endswith("'"):
                made[-1] = (row[0], f"{before[1]}, '{found[2]}'", *row[2:])
                continue
        made.append(row)
    return made


def page() -> str:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    lines = [HEAD]
    with tempfile.TemporaryDirectory() as name:
        for module, title in (("keras", "Keras 3"), ("tf_keras", "Keras 2 (tf_keras)")):
            keras = importlib.import_module(module)
            gc.freeze()  # clear_session, called for each model, collects: 0.17 s over all that frameworks hold
            lines += [f"## {title}", "", *table(joined(list(keras_rows(keras, Path(name))))), ""]
            lines += [f"Layers refused by name: {keras_others(keras)}.", ""]
    lines += ["## PyTorch, live modules", "", *table(list(torch_rows())), ""]
    lines += ["## ONNX, recurrent operations", "", *table(joined(list(onnx_rows()))), ""]
    read, refused = onnx_operations()
    lines += ["## ONNX, all operations", "", f"Read: {read}.", "", f"Refused by name: {refused}.", ""]
    lines += tflite_page()
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, do not write")
    options = parser.parse_args()
    made = page()
    if not options.check:
        PAGE.write_text(made)
        return 0
    if PAGE.read_text() == made:
        return 0
    print("docs/support.md is not what the importers do; run: python tools/make_support.py")
    return 1


if __name__ == "__main__":
    sys.exit(main())
