"""Keras configurations that nest, loop, carry code, or are absurd; in archives with honest weights."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import h5py
from cases import GOLDEN, Case, members, zipped

GOOD = members((GOLDEN / "keras" / "keras315_stack.keras").read_bytes())
CONFIG: Any = json.loads(GOOD["config.json"])
WORDS = "layer|model|configuration|config|input|JSON"


def archive(config: Any) -> bytes:
    """The good archive with another configuration: a value, or a text as it stands."""
    text = config if isinstance(config, bytes) else json.dumps(config).encode()
    return zipped({**GOOD, "config.json": text})


def edited(change: Callable[[list[Any]], Any]) -> bytes:
    """The good configuration after a change to its list of layers."""
    config = copy.deepcopy(CONFIG)
    change(config["config"]["layers"])
    return archive(config)


def setting(layer: int, **values: Any) -> Callable[[], bytes]:
    return lambda: edited(lambda layers: layers[layer]["config"].update(values))


def instead(
    kind: str, module: str | None = "keras.layers", registered: str | None = None, **config: Any
) -> Callable[[], bytes]:
    """A layer of another class in the second place."""
    entry = {"class_name": kind, "module": module, "registered_name": registered, "config": {"name": "evil", **config}}
    return lambda: edited(lambda layers: layers.__setitem__(1, entry))


def renamed(name: Any) -> Callable[[], bytes]:
    return lambda: edited(lambda layers: layers[1]["config"].update(name=name))


def nested_text(depth: int) -> bytes:
    """Models inside models as a text, which no library has to walk."""
    head = b'{"class_name":"Sequential","config":{"name":"s","layers":['
    return archive(head * depth + b"]}}" * depth)


def wrapped(depth: int) -> bytes:
    head = b'{"class_name":"%s","config":{"name":"s","layer":'
    tail = b"}}" * depth
    inner = b'{"class_name":"Dense","config":{"name":"d","units":1}}'
    model = (
        b'{"class_name":"Sequential","config":{"name":"s","layers":['
        + head % b"TimeDistributed" * depth
        + inner
        + tail
        + b"]}}"
    )
    return archive(model)


def tensor_of(name: str, call: int = 0) -> dict[str, Any]:
    return {"class_name": "__keras_tensor__", "config": {"shape": [None, 3, 2], "keras_history": [name, call, 0]}}


def functional(layers: dict[str, list[str]], outputs: list[str], inputs: tuple[str, ...] = ("i",)) -> bytes:
    """A functional model of Dropouts: name -> what it reads."""
    entries: list[Any] = [
        {
            "class_name": "InputLayer",
            "config": {"name": name, "batch_shape": [None, 3, 2]},
            "name": name,
            "inbound_nodes": [],
        }
        for name in inputs
    ]
    entries += [
        {
            "class_name": "Dropout",
            "config": {"name": name, "rate": 0.5},
            "name": name,
            "inbound_nodes": [{"args": [tensor_of(source)], "kwargs": {}} for source in reads],
        }
        for name, reads in layers.items()
    ]
    config = {
        "name": "f",
        "layers": entries,
        "input_layers": [[n, 0, 0] for n in inputs],
        "output_layers": [[o, 0, 0] for o in outputs],
    }
    return archive({"class_name": "Functional", "module": "keras.src.models.functional", "config": config})


def calling_each_other(depth: int, times: int) -> bytes:
    """Models that each call the one inside so many times: times ** depth calls."""
    entry: Any = {
        "class_name": "Sequential",
        "config": {
            "name": "m0",
            "layers": [
                {"class_name": "InputLayer", "config": {"name": "i", "batch_shape": [None, 3, 2]}},
                {"class_name": "Dropout", "config": {"name": "d", "rate": 0.1}},
            ],
        },
    }
    for k in range(1, depth):
        inner = f"m{k - 1}"
        calls = [{"args": [tensor_of("i" if n == 0 else inner, max(0, n - 1))], "kwargs": {}} for n in range(times)]
        entry = {
            "class_name": "Functional",
            "config": {
                "name": f"m{k}",
                "layers": [
                    {
                        "class_name": "InputLayer",
                        "config": {"name": "i", "batch_shape": [None, 3, 2]},
                        "inbound_nodes": [],
                    },
                    {**entry, "name": inner, "inbound_nodes": calls},
                ],
                "input_layers": [["i", 0, 0]],
                "output_layers": [[inner, times - 1, 0]],
            },
        }
    return archive(entry)


def row(*layers: tuple[str, dict[str, Any]], shape: tuple[int | None, ...]) -> bytes:
    """A model without weights, of one layer after the other."""
    entries: list[Any] = [{"class_name": "InputLayer", "config": {"name": "i", "batch_shape": list(shape)}}]
    entries += [
        {"class_name": kind, "module": "keras.layers", "registered_name": None, "config": {"name": f"l{k}", **config}}
        for k, (kind, config) in enumerate(layers)
    ]
    weights = io.BytesIO()
    h5py.File(weights, "w").close()
    config = {"class_name": "Sequential", "module": "keras", "config": {"name": "s", "layers": entries}}
    metadata = b'{"keras_version": "3.5.0"}'
    return zipped(
        {"config.json": json.dumps(config).encode(), "metadata.json": metadata, "model.weights.h5": weights.getvalue()}
    )


def large() -> dict[str, bytes]:
    """Models that may be valid, and whose runs would fill any memory."""
    most, tanh = 65536, ("Activation", {"activation": "tanh"})
    mean = ("GlobalAveragePooling1D", {})
    return {
        "four_billion_repeated": row(mean, ("RepeatVector", {"n": most}), tanh, shape=(None, 4, most)),
        "eight_billion_padded": row(("ZeroPadding1D", {"padding": [most, most]}), tanh, shape=(None, 4, most)),
        "softmax_over_many_steps": row(
            mean, ("RepeatVector", {"n": most}), ("Softmax", {"axis": 1}), shape=(None, 4, 1024)
        ),
        "thousand_wide_layers": row(*[tanh] * 1000, shape=(None, 4, most)),
        "thousand_layers_behind_a_cut": row(
            ("Cropping1D", {"cropping": [most, 0]}), *[tanh] * 1000, shape=(None, None, 2)
        ),
    }


def cases() -> Iterator[Case]:
    text = json.dumps(CONFIG).encode()
    units = text.replace(b'"units": ', b'"units": 1', 1)
    assert units != text
    code = {
        "class_name": "__lambda__",
        "config": {"code": "4wAAAAAAAAAAAAAAAAEAAAAAAAAA", "defaults": None, "closure": None},
    }
    rows = [f"d{k}" for k in range(5000)]
    escapes = "\x1b[2J\x1b]0;owned\x07\u202e\u0000evil"
    made: dict[str, tuple[str | None, Callable[[], bytes]]] = {
        "ten_thousand_nested_models": ("nests|JSON", lambda: nested_text(10_000)),
        "nine_hundred_nested_models": ("nests|JSON", lambda: nested_text(900)),
        "nine_hundred_nested_wrappers": ("nests|JSON", lambda: wrapped(900)),
        "a_million_brackets": ("JSON", lambda: archive(b"[" * 1_000_000)),
        "a_million_braces": ("JSON", lambda: archive(b'{"a":' * 1_000_000)),
        "nine_hundred_lists": ("layer|model|config", lambda: archive(b"[" * 900 + b"]" * 900)),
        "twenty_million_lists": ("JSON|claims|layer", lambda: archive(b"[" + b"[]," * 20_000_000 + b"1]")),
        "fifty_megabytes_of_numbers": (WORDS, lambda: archive(b"[" + b"1," * 3_000_000 + b"1]")),
        "number_of_a_million_digits": (
            "JSON|units|layer",
            lambda: archive(units.replace(b'"units": 1', b'"units": ' + b"9" * 1_000_000)),
        ),
        "not_utf8": ("JSON", lambda: archive(b'{"class_name": "\xff\xfe"}')),
        "utf16": (WORDS, lambda: archive('{"class_name": "Sequential"}'.encode("utf-16"))),
        "nan_units": ("units|NaN|nan|JSON", setting(1, units=float("nan"))),
        "infinite_units": ("units|inf|JSON", setting(1, units=float("inf"))),
        "infinite_slope": (WORDS, instead("LeakyReLU", negative_slope=float("inf"))),
        "nan_slope": (WORDS, instead("LeakyReLU", negative_slope=float("nan"))),
        "number_beyond_float": (WORDS, lambda: archive(text.replace(b'"rate": 0', b'"rate": 1e999'))),
        "negative_units": ("units", setting(1, units=-8)),
        "zero_units": ("units", setting(1, units=0)),
        "absurd_units": (WORDS, setting(1, units=10**18)),
        "units_of_a_thousand_digits": (WORDS, setting(1, units=10**1000)),
        "units_as_text": ("units", setting(1, units="8; import os")),
        "units_as_list": ("units", setting(1, units=[[[[8]]]])),
        "negative_shape": ("input|shape", setting(0, batch_shape=[None, -3, -2])),
        "zero_shape": ("input|shape", setting(0, batch_shape=[None, 0, 0])),
        "absurd_shape": (WORDS, setting(0, batch_shape=[None, 10**12, 10**12])),
        "shape_of_a_thousand_dimensions": ("input|shape", setting(0, batch_shape=[None] * 1000)),
        "shape_of_texts": ("input|shape", setting(0, batch_shape=["\x1b[31m", "x" * 10_000, {}])),
        "lambda": ("Lambda", instead("Lambda", function=code)),
        "lambda_by_name": ("Lambda", instead("Lambda", function="os.system", module="os")),
        "activation_lambda": ("activation", setting(2, activation=code)),
        "activation_from_a_module": (
            "activation",
            setting(
                2,
                activation={"module": "os", "class_name": "function", "config": "system", "registered_name": "system"},
            ),
        ),
        "activation_registered": (
            "activation",
            setting(
                2,
                activation={
                    "module": "builtins",
                    "class_name": "function",
                    "config": "exec",
                    "registered_name": "function",
                },
            ),
        ),
        "initializer_with_code": (
            None,
            setting(
                1,
                kernel_initializer={
                    "module": "os",
                    "class_name": "system",
                    "config": {"command": "touch x"},
                    "registered_name": None,
                },
            ),
        ),
        "custom_class": ("author", instead("Evil", module="evil.module")),
        "custom_class_of_the_system": ("author", instead("system", module="os")),
        "custom_class_registered": ("author", instead("Dense", registered="evil>Dense")),
        "module_of_many_dots": (WORDS, instead("Dense", module="keras." + "x." * 50_000)),
        "module_is_a_number": ("author", instead("Dense", module=7)),  # type: ignore[arg-type]
        "class_of_a_hundred_thousand_characters": ("support|layer", instead("D" * 100_000)),
        "class_with_escapes": ("support|layer", instead(escapes)),
        "get_file": ("support|layer|author", instead("get_file", module="keras.utils", origin="http://localhost:1/x")),
        "torch_module_wrapper": ("support|layer", instead("TorchModuleWrapper", lambda_="x")),
        "tf_op_layer": ("support|layer", instead("TensorFlowOpLayer", node_def="ReadFile")),
        "stringlookup_of_a_file": ("support|layer", instead("StringLookup", vocabulary="/etc/passwd")),
        "name_with_escapes": (WORDS, renamed(escapes)),
        "name_of_a_megabyte": ("named", renamed("n" * 1_000_000)),
        "name_of_250_escapes": (WORDS, renamed("\x1b" * 250)),
        "name_empty": ("named", renamed("")),
        "name_a_list": ("named", renamed(["a"])),
        "name_of_half_a_surrogate": (WORDS, renamed("\ud800")),
        "name_climbs": (WORDS, renamed("../../../etc/passwd")),
        "name_twice": ("share a name", lambda: edited(lambda layers: layers.append(layers[-1]))),
        "keys_with_escapes": ("not known", setting(1, **{escapes: escapes})),
        "key_of_a_megabyte": ("not known", setting(1, **{"k" * 1_000_000: 1})),
        "value_of_a_megabyte": (".", setting(1, activation="a" * 1_000_000)),
        "duplicate_keys": (WORDS, lambda: archive(text[:-1] + b',"class_name":"Evil","config":{"name":"e"}}')),
        "five_thousand_layers": (
            "at most",
            lambda: edited(
                lambda layers: layers.extend(
                    {"class_name": "Dropout", "config": {"name": f"d{k}", "rate": 0.5}} for k in range(5000)
                )
            ),
        ),
        "cyclic_graph": ("come from no layer|damaged|cycl", lambda: functional({"a": ["b"], "b": ["a"]}, ["b"])),
        "cycle_of_one": ("come from no layer|damaged|cycl", lambda: functional({"a": ["a"]}, ["a"])),
        "graph_of_nothing": (WORDS, lambda: functional({}, [])),
        "graph_to_nowhere": (WORDS, lambda: functional({"a": ["i"]}, ["zz"])),
        "graph_from_nowhere": (WORDS, lambda: functional({"a": ["zz"]}, ["a"])),
        "graph_of_five_thousand_backwards": (
            WORDS,
            lambda: functional(
                {name: [rows[k + 1] if k + 1 < len(rows) else "i"] for k, name in enumerate(rows)}, [rows[0]]
            ),
        ),
        "graph_of_a_thousand_backwards": (
            WORDS,
            lambda: functional(
                {name: [rows[k + 1] if k < 999 else "i"] for k, name in enumerate(rows[:1000])}, [rows[0]]
            ),
        ),
        "graph_of_many_calls": (WORDS, lambda: functional({"a": ["i"] * 100_000}, ["a"])),
        "models_that_call_2_to_the_14_times": (WORDS, lambda: calling_each_other(15, 2)),
        "models_that_call_30_to_the_10_times": (WORDS, lambda: calling_each_other(11, 30)),
        "inbound_nodes_are_text": (WORDS, lambda: edited(lambda layers: layers[1].update(inbound_nodes=escapes))),
        "config_is_null": ("no config|config", lambda: edited(lambda layers: layers[1].update(config=None))),
        "layers_are_null": (WORDS, lambda: edited(lambda layers: layers.__setitem__(slice(None), [None]))),
        "layers_are_empty": ("no layers", lambda: edited(lambda layers: layers.clear())),
        "a_number": (WORDS, lambda: archive(7)),
        "a_text_with_escapes": (WORDS, lambda: archive(escapes)),
        "null": (WORDS, lambda: archive(None)),
    }
    for name, (words, make) in made.items():
        yield Case(f"config_{name}.keras", words, lambda y, make=make: make())
    for name, content in large().items():
        yield Case(f"config_{name}.keras", None, lambda y, content=content: content, door="convert")
    weights = GOLDEN / "keras" / "keras315_stack_weights.weights.h5"
    bare = {
        "nested": b"[" * 100_000,
        "not_json": b"import os; os.system('true')",
        "empty": b"",
        "binary": bytes(range(256)) * 100,
        "escapes": json.dumps({"class_name": escapes, "config": {}}).encode(),
    }
    for name, data in bare.items():
        yield Case(f"beside_{name}.json", WORDS, lambda y, data=data: data, weights=weights)
