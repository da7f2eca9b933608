"""Safetensors, images, samples and the TOML files beside a checkpoint."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from cases import GOLDEN, Case, zipped

from edgelstm import description

ESCAPES = "\x1b[2J\x07\u202eevil\r\n"


def safetensors(header: Any, data: bytes = bytes(8), size: int | None = None) -> bytes:
    """A file by its header, which may be any text, and the length it states."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def tensor(shape: Any = (1, 2), start: int = 0, end: int = 8, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape) if isinstance(shape, tuple) else shape, "data_offsets": [start, end]}


def safetensors_cases() -> Iterator[Case]:
    two = b'{"weight":' + json.dumps(tensor()).encode() + b',"weight":' + json.dumps(tensor((2, 1))).encode() + b"}"
    made: dict[str, tuple[str, bytes | Callable[[], bytes]]] = {
        "overlapping": ("damaged", safetensors({"a.weight": tensor(), "b.weight": tensor((1, 2), 4, 12)}, bytes(12))),
        "the_same_bytes_twice": ("damaged", safetensors({"a.weight": tensor(), "b.weight": tensor()})),
        "a_hole": ("damaged", safetensors({"a.weight": tensor((1, 2), 8, 16)}, bytes(16))),
        "out_of_range": ("damaged", safetensors({"weight": tensor((1, 2), 8, 16)})),
        "offsets_enormous": ("damaged", safetensors({"weight": tensor((1, 2), 1 << 62, (1 << 62) + 8)})),
        "offsets_backwards": ("damaged", safetensors({"weight": tensor((1, 2), 8, 0)})),
        "offsets_negative": ("damaged", safetensors({"weight": tensor((1, 2), -8, 0)})),
        "offsets_beyond_64_bits": ("damaged", safetensors({"weight": tensor((1, 2), 0, 1 << 70)})),
        "size_of_another_type": ("damaged", safetensors({"weight": tensor((1, 2), 0, 8, "F64")})),
        "unknown_type": ("damaged", safetensors({"weight": tensor((1, 2), 0, 8, "X99")})),
        "type_is_a_list": ("damaged", safetensors({"weight": tensor((1, 2), 0, 8, ["F32"])})),
        "type_with_escapes": ("damaged", safetensors({"weight": tensor((1, 2), 0, 8, ESCAPES)})),
        "shape_negative": ("damaged", safetensors({"weight": tensor((-1, -2))})),
        "shape_overflowing": ("damaged", safetensors({"weight": tensor((1 << 33, 1 << 33))})),
        "shape_zero": (".", safetensors({"weight": tensor((0, 2), 0, 0)}, b"")),
        "shape_of_a_thousand_dimensions": (".", safetensors({"weight": tensor((1,) * 1000, 0, 4)}, bytes(4))),
        "shape_of_a_million_dimensions": (".", safetensors({"weight": tensor((1,) * 1_000_000, 0, 4)}, bytes(4))),
        "shape_is_text": ("damaged", safetensors({"weight": tensor("12")})),
        "header_longer_than_the_file": ("no checkpoint|fit", safetensors({"weight": tensor()}, size=1 << 20)),
        "header_of_exabytes": ("no checkpoint|fit", safetensors({"weight": tensor()}, size=(1 << 63) - 1)),
        "header_of_110_megabytes": ("fit|damaged", lambda: safetensors(b'{"weight":' + b" " * (110 << 20) + b"1}")),
        "header_of_90_megabytes": ("fit|damaged", lambda: safetensors(b'{"weight":' + b" " * (90 << 20) + b"1}")),
        "header_not_utf8": ("damaged", safetensors(b'{"\xff\xfe": 1}')),
        "header_nested": ("damaged", safetensors(b'{"a":' * 100_000 + b"1" + b"}" * 100_000)),
        "header_nested_in_metadata": (
            "damaged",
            safetensors(b'{"__metadata__":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        ),
        "header_an_array": ("no checkpoint|fit|damaged", safetensors(b"[1, 2, 3]")),
        "header_with_nan": ("damaged", safetensors(b'{"weight": NaN}')),
        "header_empty": (".", safetensors({}, b"")),
        "name_twice": ("damaged|twice|.", safetensors(two)),
        "name_with_escapes": (".", safetensors({ESCAPES: tensor()})),
        "name_of_a_megabyte": (".", safetensors({"n" * 1_000_000: tensor()})),
        "name_of_ten_thousand_modules": (".", safetensors({"m." * 10_000 + "weight": tensor()})),
        "bytes_left_over": ("damaged", safetensors({"weight": tensor()}, bytes(100))),
        "hundred_thousand_tensors": (
            ".",
            safetensors({f"n{k}.weight": tensor((0,), 0, 0) for k in range(100_000)}, b""),
        ),
        "nan": ("NaN|finite", safetensors({"weight": tensor()}, struct.pack("<2f", 1, float("nan")))),
        "infinity": ("NaN|finite", safetensors({"weight": tensor()}, struct.pack("<2f", 1, float("-inf")))),
        "nan_of_16_bits": ("NaN|finite", safetensors({"weight": tensor((1, 4), 0, 8, "BF16")}, b"\xff\x7f" * 4)),
        "truncated": ("damaged|truncated", safetensors({"weight": tensor()})[:-3]),
    }
    for name, (words, data) in made.items():
        yield Case(f"safetensors_{name}.safetensors", words, lambda y, data=data: data() if callable(data) else data)


# images


def mended(image: bytes) -> bytes:
    """With the size and the checksum that the bytes have."""
    changed = bytearray(image)
    changed[12:16] = struct.pack("<I", len(changed))
    changed[16:20] = struct.pack("<I", description.checksum(bytes(changed)))
    return bytes(changed)


def with_meta(change: Any) -> bytes:
    """The golden image with other texts, its sections packed anew."""
    image = (GOLDEN / "images" / "f32_stacked.elstm").read_bytes()
    spans = [struct.unpack_from("<II", image, 64 + 8 * k) for k in range(len(description.SECTIONS))]
    blobs = [image[offset : offset + size] for offset, size in spans]
    k = description.SECTIONS.index("meta")
    blobs[k] = change if isinstance(change, bytes) else json.dumps(change(json.loads(blobs[k]))).encode()
    head, body = bytearray(image[: description.HEADER_SIZE]), b""
    for k, blob in enumerate(blobs):
        body += bytes(-len(body) % 64)
        struct.pack_into("<II", head, 64 + 8 * k, description.HEADER_SIZE + len(body), len(blob))
        body += blob
    return mended(bytes(head) + body)


def image_cases() -> Iterator[Case]:
    good = (GOLDEN / "images" / "f32_stacked.elstm").read_bytes()
    words = "image|damaged|inconsistent|not"
    made = {
        "of_another_version": good[:8] + b"\x63\x00" + good[10:],
        "half": good[: len(good) // 2],
        "header_alone": good[:64],
        "checksum_wrong": good[:-1] + bytes([good[-1] ^ 1]),
        "all_ones_behind_the_magic": mended(good[:8] + good[8:10] + b"\xff" * (len(good) - 10)),
        "no_layers": mended(good[:38] + b"\0\0" + good[40:]),
        "65535_layers": mended(good[:38] + b"\xff\xff" + good[40:]),
        "65535_inputs": mended(good[:32] + b"\xff\xff" + good[34:]),
        "sections_past_the_end": mended(good[:64] + struct.pack("<II", 1 << 31, 1 << 31) + good[72:]),
        "sections_overlapping": mended(good[:72] + good[64:72] + good[80:]),
    }
    for name, data in made.items():
        yield Case(f"image_{name}.elstm", words, lambda y, data=data: data, door="image")
    texts: dict[str, Any] = {
        "no_json": b"{",
        "nested": b"[" * 100_000,
        "not_utf8": b"\xff\xfe",
        "another_count_of_layers": lambda meta: {**meta, "layers": meta["layers"] * 2},
        "no_names": lambda meta: {**meta, "inputs": []},
        "source_missing": lambda meta: {key: value for key, value in meta.items() if key != "source"},
        "null": b"null",
        "number_of_a_million_digits": b'{"inputs": ' + b"9" * 1_000_000 + b"}",
        "ten_million_lists": lambda meta: {**meta, "notes": [[]] * 7_000_000},
    }
    for name, change in texts.items():
        yield Case(f"image_texts_{name}.elstm", words, lambda y, change=change: with_meta(change), door="image")
    shouting = lambda meta: {**meta, "layers": [ESCAPES] * len(meta["layers"]), "notes": [ESCAPES]}  # noqa: E731
    yield Case("image_texts_with_escapes.elstm", None, lambda y: with_meta(shouting), door="image")
    for name, data in {"f32": good, "s8": (GOLDEN / "images" / "s8_stacked.elstm").read_bytes()}.items():
        yield Case(f"image_given_to_convert_{name}.elstm", "already converted", lambda y, data=data: data)


# TOML beside checkpoints, and samples

LAYER = b'[[layers]]\nkind = "lstm"\nweights = "rnn"\n'


def text_cases() -> Iterator[Case]:
    weights = GOLDEN / "torch" / "activity.pt"
    escapes = json.dumps(ESCAPES).encode().replace(b"\\u202e", "\u202e".encode())
    architectures = {
        "nested_lists": b"inputs = " + b"[" * 100_000,
        "nested_tables": b"inputs = " + b"{a = " * 10_000,
        "dotted_keys": b"a." * 400_000 + b"b = 1",
        "dotted_numbers": b"1." * 400_000 + b"b = 1",
        "dotted_texts": b'"," . ' * 100_000 + b"b = 1",
        "nested_headers": b"[" + b"a." * 10_000 + b"b]",
        "huge_number": b"inputs = " + b"9" * 100_000,
        "number_beyond_64_bits": b"inputs = 99999999999999999999\n" + LAYER,
        "negative_inputs": b"inputs = -3\n" + LAYER,
        "nan_clip": LAYER + b"cell_clip = nan\n",
        "infinite_clip": LAYER + b"cell_clip = inf\n",
        "negative_clip": LAYER + b"cell_clip = -1\n",
        "two_megabytes": b"# " + b"x" * (2 << 20),
        "hundred_thousand_layers": b'[[layers]]\nkind = "dropout"\n' * 30_000,
        "unknown_kind_with_escapes": b"[[layers]]\nkind = " + escapes,
        "weights_with_escapes": b'[[layers]]\nkind = "lstm"\nweights = ' + escapes,
        "weights_of_a_megabyte": b'[[layers]]\nkind = "lstm"\nweights = "' + b"w" * 1_000_000 + b'"',
        "activation_of_code": LAYER + b"activation = \"__import__('os').system('true')\"\n",
        "activation_with_escapes": LAYER + b"activation = " + escapes,
        "activation_of_a_huge_slope": LAYER + b'activation = "leaky_relu(1e999)"\n',
        "key_with_escapes": LAYER + escapes + b" = 1",
        "not_utf8": b"inputs = \xff\xfe",
        "binary": bytes(range(256)),
        "layers_are_numbers": b"layers = [1, 2, 3]",
        "empty": b"",
        "the_same_layer_twice": LAYER * 2,
    }
    for name, data in architectures.items():
        yield Case(f"architecture_{name}.toml", ".", lambda y, data=data: data, weights=weights)
    head = b"[[inputs]]\n"
    metas = {
        "scaler_of_nan": head + b"[inputs.scaler]\nscale = nan\noffset = 0\n",
        "scaler_of_infinity": head + b"[inputs.scaler]\nscale = inf\noffset = 0\n",
        "scaler_of_zero": head + b"[inputs.scaler]\nmean = 0\ndeviation = 0\n",
        "scaler_of_a_huge_number": head + b"[inputs.scaler]\nscale = " + b"9" * 400 + b"\noffset = 0\n",
        "scaler_keys_with_escapes": head + b"[inputs.scaler]\n" + escapes + b" = 1\n",
        "window_negative": b"window = -1\n",
        "window_enormous": b"window = 99999999999999999999\n",
        "labels_with_escapes": head + b"labels = [" + escapes + b"]\n",
        "ten_thousand_inputs": head * 10_000,
        "nested": b"window = " + b"[" * 100_000,
        "unknown_key_of_a_megabyte": b"k" * 500_000 + b" = 1",
    }
    for name, data in metas.items():
        yield Case(f"meta_{name}.toml", ".", lambda y, data=data: data, door="meta", weights=weights)
    npy = io.BytesIO()
    np.save(npy, np.array([{"a": 1}], object), allow_pickle=True)
    objects = npy.getvalue()

    def lying(text: str, data: bytes = bytes(24)) -> bytes:
        raw = text.encode()
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(raw)) + raw + data

    def header(shape: str, descr: str = "'<f4'") -> str:
        return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.npy", lying(header("(16777216,)"), bytes(64 << 20)))
    samples = {
        "objects": objects,
        "objects_in_a_npz": zipped({"a.npy": objects}),
        "a_pickle": b"cos\nsystem\n(S'true'\ntR.",
        "shape_of_terabytes": lying(header("(1099511627776, 6)")),
        "shape_overflowing": lying(header("(4294967296, 4294967296, 4294967296)")),
        "shape_negative": lying(header("(-1, 6)")),
        "shape_of_code": lying(header("__import__('os').system('true')")),
        "header_nested": lying("(" * 60_000),
        "type_of_code": lying(header("(1, 6)", "eval('1')")),
        "type_nested": lying(header("(1, 6)", "[" * 500 + "('a', '<f4')" + "]" * 500)),
        "type_enormous": lying(header("(1,)", "'V2147483647'")),
        "version_99": b"\x93NUMPY\x63\x00" + bytes(100),
        "header_of_four_gigabytes": b"\x93NUMPY\x02\x00" + b"\xff\xff\xff\xff" + bytes(100),
    }
    for name, data in samples.items():
        yield Case(
            f"samples_{name}.npy", None if name == "shape_negative" else ".", lambda y, data=data: data, door="samples"
        )
    yield Case("samples_none_in_a_npz.npy", ".", lambda y: zipped({}), door="samples")
    for name, data in {
        "objects": zipped({"weight.npy": objects}),
        "bomb": out.getvalue(),
        "terabytes": zipped({"weight.npy": lying(header("(1099511627776, 6)"))}),
        "text": zipped({"weight.npy": b"not an array"}),
    }.items():
        yield Case(f"npz_{name}.npz", "NumPy|npz|array|object", lambda y, data=data: data)


def file_cases() -> Iterator[Case]:
    made = {
        "empty": b"",
        "one_byte": b"\x80",
        "zeros": bytes(1 << 20),
        "a_pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
        "a_script": b"#!/bin/sh\ntouch ran\n",
        "html": b"<html>" + b"\x1b[2J" * 100,
        "lfs_pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "tar": bytes(257) + b"ustar" + bytes(1000),
        "gzip": b"\x1f\x8b\x08" + bytes(100),
        "hdf5_magic_alone": b"\x89HDF\r\n\x1a\n",
        "tflite": bytes(4) + b"TFL3" + bytes(100),
    }
    for name, data in made.items():
        yield Case(f"file_{name}.pt", ".", lambda y, data=data: data)


def cases() -> Iterator[Case]:
    yield from safetensors_cases()
    yield from image_cases()
    yield from text_cases()
    yield from file_cases()
