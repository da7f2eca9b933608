"""Pickles that want to run code, to grow without end, or to lie about tensors; in both containers of torch.save."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from cases import Case, Yard
from pickle_bytes import LINEAR, archive, legacy, numbers, storage, table, tensor, text, whole


def attacks(yard: Yard) -> dict[str, bytes]:
    """Opcodes that would create `yard.ran`, were they run."""
    command, code = text(f"touch {yard.ran}"), text(f"open({str(yard.ran)!r}, 'w').close()")
    line = f"'touch {yard.ran}'\n".encode()
    system = b"cposix\nsystem\n"
    return {
        "reduce_posix_system": system + command + b"\x85R",
        "reduce_os_system": b"cos\nsystem\n" + command + b"\x85R",
        "reduce_popen": b"csubprocess\nPopen\n" + text("touch") + text(str(yard.ran)) + b"\x86\x85R",
        "reduce_eval": b"cbuiltins\neval\n" + code + b"\x85R",
        "reduce_exec": b"cbuiltins\nexec\n" + code + b"\x85R",
        "reduce_exec_python2": b"c__builtin__\nexec\n" + code + b"\x85R",
        "reduce_compile": b"cbuiltins\ncompile\n" + code + text("x") + text("exec") + b"\x87R",
        "reduce_open": b"cbuiltins\nopen\n" + text(str(yard.ran)) + text("w") + b"\x86R",
        "reduce_io_open": b"cio\nopen\n" + text(str(yard.ran)) + text("w") + b"\x86R",
        "reduce_runpy": b"crunpy\n_run_code\n(" + code + b"}tR",
        "reduce_shutil": b"cshutil\nrmtree\n" + text(str(yard.secrets)) + b"\x85R",
        "reduce_webbrowser": b"cwebbrowser\nopen\n" + text("file:///" + str(yard.ran)) + b"\x85R",
        "reduce_torch_load": b"ctorch.serialization\nload\n" + text(str(yard.secrets / "secret.bin")) + b"\x85R",
        "reduce_numpy_load": b"cnumpy\nload\n" + text(str(yard.secrets / "secret.bin")) + b"\x85R",
        "reduce_pickle_loads": b"cpickle\nloads\n" + b"C\x05cos\n." + b"\x85R",
        "reduce_partial": b"cfunctools\npartial\n" + system + command + b"\x86R)R",
        "reduce_getattr": b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n"
        + text("os")
        + b"\x85R"
        + text("system")
        + b"tR",
        "reduce_nested": (b"cposix\nsystem\n" + command + b"\x85R") * 3 + b"\x87",
        "reduce_operator": b"coperator\nattrgetter\n" + text("system") + b"\x85R",
        "reduce_of_a_known_class": b"ccollections\nOrderedDict\n" + system + b"\x85R",
        "defaultdict_factory": b"ccollections\ndefaultdict\n" + system + b"\x85R" + text("x") + b"Ns" + system + b"R",
        "stack_global": text("os") + text("system") + b"\x93" + command + b"\x85R",
        "stack_global_dotted": text("torch") + text("os.system") + b"\x93" + command + b"\x85R",
        "stack_global_from_memo": text("os")
        + b"q\x00"
        + text("system")
        + b"q\x01"
        + b"h\x00h\x01\x93"
        + command
        + b"\x85R",
        "stack_global_of_bytes": b"C\x02osC\x06system\x93" + command + b"\x85R",
        "stack_global_of_lists": b"]]\x93" + command + b"\x85R",
        "global_with_control_characters": b"cos\x1b[31m\nsystem\x07\x1b]0;owned\x07\n" + command + b"\x85R",
        "global_enormous": b"c" + b"o" * 900 + b"\n" + b"s" * 900 + b"\n" + command + b"\x85R",
        "global_without_end": b"c" + b"o" * 5000,
        "inst": b"(S" + line + b"ios\nsystem\n",
        "obj": b"(cos\nsystem\n" + command + b"o",
        "newobj": system + command + b"\x85\x81",
        "newobj_ex": system + command + b"\x85}\x92",
        "build_setstate": b"cedgelstm.model\nTensor\n)\x81}" + text("__setstate__") + system + b"sb" + command + b"b",
        "build_on_a_dict": b"}" + text("__setstate__") + system + b"sb" + command + b"b",
        "build_on_a_tensor": tensor((1, 2), (2, 1), 2) + b"}" + text("__class__") + system + b"sb",
        "ext1": b"\x82\x01" + command + b"\x85R",
        "ext2": b"\x83\x01\x00" + command + b"\x85R",
        "ext4": b"\x84\x01\x00\x00\x00" + command + b"\x85R",
        "persistent_line": b"Pos.system\n",
        "persistent_callable": b"(" + text("storage") + system + text("0") + text("cpu") + whole(2) + b"tQ",
        "persistent_function": b"(" + text("module") + system + text("x.py") + text("import os") + b"tQ",
        "string_eval": b"S'\\x41' + exit()\n",
        "rebuild_from_type": b"ctorch._tensor\n_rebuild_from_type_v2\n("
        + system
        + b"ctorch\nTensor\n"
        + command
        + b"\x85}tR",
        "codecs_encode": b"c_codecs\nencode\n" + text("x") + text("rot13") + b"\x86R)R",
        "numpy_object_array": b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
        + b"(K\x01K\x01\x85cnumpy\ndtype\n"
        + text("O8")
        + b"\x89\x88\x87R\x89]("
        + system
        + b"etb",
        "next_buffer": b"\x97\x98" + command,
    }


REFUSED = "no code of a checkpoint is ever run|is refused|damaged pickle|not a state dict|no state dict"


def runs_code() -> Iterator[Case]:
    yard = Yard(*3 * (_NOWHERE,))
    for name in attacks(yard):
        yield Case(f"pickle_{name}.pt", REFUSED, lambda y, name=name: archive(attacks(y)[name]))
        beside = lambda y, name=name: legacy(table({"net": LINEAR, "extra": attacks(y)[name]}))  # noqa: E731
        if name.startswith(("stack", "reduce_e", "inst", "obj", "newobj", "ext1", "build")):
            yield Case(f"legacy_{name}.pt", f"{REFUSED}|left out", beside)


def grows() -> Iterator[Case]:
    laughs = b"]" + b"".join(b"q" + bytes([k]) + b"0(" + b"h" + bytes([k]) + b"2" * 9 + b"t" for k in range(30))
    mapping = b"}q\x00" + b"".join(
        text(f"k{k}") + b"}q" + bytes([k + 1]) + b"s" + b"h" + bytes([k + 1]) for k in range(200)
    )
    bodies = {
        "tuples_of_tuples": (laughs, "not a state dict|unfinished"),
        "dicts_of_dicts": (mapping, "unfinished|not a state dict|damaged"),
        "memo_of_four_billion": (b"]r\xff\xff\xff\xff0", "unfinished|takes a value"),
        "memo_of_a_million": (b"]" + b"\x94" * 1_000_000, "not a state dict|holds"),
        "recalls_what_is_not_there": (b"j\xff\xff\xff\xff", "never stored"),
        "a_million_marks": (b"(" * 1_000_000, "unfinished"),
        "a_million_tuples_deep": (b"]" + b"\x85" * 1_000_000, "not a state dict"),
        "a_million_tuples_as_a_key": (b"}]" + b"\x85" * 1_000_000 + b"Ns", "keys are not"),
        "colliding_keys": (b"}(" + b"".join(whole(k * (2**61 - 1)) + b"N" for k in range(1000)) + b"u", "keys are not"),
        "three_million_lists": (b"]" * 3_000_000, "more objects"),
        "pickle_of_18_mb": (b"N0" * (9 << 20), "more than can be|larger than"),
        "text_of_four_gigabytes": (b"X\xff\xff\xff\xffabc", "truncated"),
        "bytes_of_16_exabytes": (b"\x8e" + b"\xff" * 8 + b"abc", "truncated"),
        "number_of_255_bytes": (b"\x8a\xff" + b"\x7f" * 255, "not a state dict|holds"),
        "number_of_two_gigabytes": (b"\x8b\xff\xff\xff\x7f", "refused|truncated"),
        "list_inside_itself": (b"]q\x00h\x00a", "not a state dict"),
        "dict_inside_itself": (b"}q\x00" + text("weight") + b"h\x00s", "no state dict|not a tensor"),
        "ordered_dict_recalled": (
            b"ccollections\nOrderedDict\nq\x00]("
            + (text("a") + b"N\x86") * 1000
            + b"eq\x01"
            + (b"h\x00h\x01\x85R" * 10_000)
            + b"l",
            "damaged|mark",
        ),
        "names_with_escapes": (
            table({"\x1b[2J\x07\u202eweight": b"N", "x" * 100_000: b"N"}),
            "no state dict|not a tensor",
        ),
        "tensor_named_with_escapes": (
            table({"\x1b[2J\x07\u202eevil\r\n": tensor((1, 2), (2, 1), 2)}),
            "weight|layer|not|expected",
        ),
        "name_of_a_million_characters": (
            table({"w" * 1_000_000: tensor((1, 2), (2, 1), 2)}),
            "weight|layer|not|expected",
        ),
        "names_with_a_hundred_thousand_dots": (table({"." * 100_000 + "weight": tensor((1, 2), (2, 1), 2)}), "."),
        "ten_thousand_nested_modules": (table({"m." * 10_000 + "weight": tensor((1, 2), (2, 1), 2)}), "."),
        "half_a_surrogate": (table({"\ud800weight": tensor((1, 2), (2, 1), 2)}), "."),
        "forty_thousand_tensors_of_one_storage": (
            table({"weight": tensor((1, 2), (2, 1), 2)})[:-1]
            + b"".join(text(f"n{k}.weight") + b"h\x00" for k in range(1))
            + b"u",
            ".",
        ),
    }
    for name, (body, words) in bodies.items():
        yield Case(f"grows_{name}.pt", words, lambda y, body=body: archive(body))


def lies() -> Iterator[Case]:
    """Tensors and storages that are not what they claim."""
    pairs = {
        "past_the_end": (tensor((4, 4), (4, 1), 2), "past the end|repeats"),
        "offset_past_the_end": (tensor((1, 2), (2, 1), 2, offset=7), "past the end"),
        "offset_negative": (tensor((1, 2), (2, 1), 2, offset=-1), "damaged"),
        "stride_zero": (tensor((1000, 1000), (0, 0), 2), "repeats|past"),
        "stride_negative": (tensor((1, 2), (2, -1), 2), "damaged|strides"),
        "stride_enormous": (tensor((1, 2), (2, 1 << 39), 2), "past the end"),
        "strides_too_few": (tensor((1, 2), (2,), 2), "strides"),
        "rank_of_9": (tensor((1,) * 9, (1,) * 9, 2), "shape or strides"),
        "shape_negative": (tensor((-1, 2), (2, 1), 2), "shape or strides"),
        "shape_enormous": (tensor((1 << 80, 2), (2, 1), 2), "shape or strides"),
        "shape_overflowing": (tensor((1 << 38, 1 << 38), (1 << 38, 1), 2), "past the end|repeats"),
        "shape_zero": (tensor((0, 2), (2, 1), 2), "."),
        "storage_negative": (tensor((1, 2), (2, 1), -2), "without key, type or size"),
        "storage_enormous": (tensor((1, 2), (2, 1), 1 << 39), "declared with"),
        "storage_too_large": (tensor((1, 2), (2, 1), 3), "declared with"),
        "storage_elsewhere": (tensor((1, 2), (2, 1), 2, key="../../0"), "lacks"),
        "storage_absolute": (tensor((1, 2), (2, 1), 2, key="/etc/passwd"), "lacks"),
        "storage_with_escapes": (tensor((1, 2), (2, 1), 2, key="\x1b[31m0\x07"), "lacks"),
        "storage_of_an_unknown_type": (tensor((1, 2), (2, 1), 2, kind="Evil"), "kind|numbers"),
        "storage_of_complex_numbers": (tensor((1, 1), (1, 1), 1, kind="ComplexFloat"), "complex|numbers|kind"),
        "storage_is_text": (
            b"ctorch._utils\n_rebuild_tensor_v2\n(" + text("0") + whole(0) + numbers((1,)) + numbers((1,)) + b"tR",
            "without storage",
        ),
        "persistent_of_three": (b"(" + text("storage") + text("0") + whole(2) + b"tQ", "not to a storage"),
        "persistent_view": (
            b"("
            + text("storage")
            + b"ctorch\nFloatStorage\n"
            + text("0")
            + text("cpu")
            + whole(2)
            + text("view")
            + b"tQ",
            "views",
        ),
        "sparse": (b"ctorch._utils\n_rebuild_sparse_tensor\n)R", "sparse"),
        "meta_device": (b"ctorch._utils\n_rebuild_meta_tensor_no_storage\n)R", "meta device"),
        "negative_bit": (
            b"ctorch._utils\n_rebuild_tensor_v2\n("
            + storage("0", 2)
            + whole(0)
            + numbers((1, 2))
            + numbers((2, 1))
            + b"\x89}\x88tR",
            "conjugate bit|damaged",
        ),
    }
    for name, (body, words) in pairs.items():
        yield Case(f"tensor_{name}.pt", words, lambda y, body=body: archive(table({"weight": body})))
    twice = table({"a.weight": tensor((1, 2), (2, 1), 2), "b.weight": tensor((1, 1), (1, 1), 2, kind="Double")})
    yield Case("tensor_storage_of_two_types.pt", "declared twice", lambda y: archive(twice))
    many = table({f"n{k}.weight": tensor((50, 50), (50, 1), 2500) for k in range(4000)})
    yield Case(
        "tensor_ten_million_numbers_out_of_2500.pt",
        "over and over|several|.",
        lambda y: archive(many, {"0": bytes(10_000)}),
    )
    for word, value in {"nan": float("nan"), "infinity": float("inf")}.items():
        numbers_of = struct.pack("<2f", 1.0, value)
        yield Case(f"weights_{word}.pt", "NaN|finite|infin", lambda y, n=numbers_of: archive(LINEAR, {"0": n}))
        yield Case(f"weights_{word}_legacy.pt", "NaN|finite|infin", lambda y, n=numbers_of: legacy(LINEAR, {"0": n}))
    large = archive(table({"weight": tensor((1, 2), (2, 1), 2, kind="Double")}), {"0": struct.pack("<2d", 1.0, 1e300)})
    yield Case("weights_beyond_float32.pt", "NaN|finite|infin|float32|large", lambda y: large)


class _Nowhere:
    """Stands for a path where only the names of attacks are asked for."""

    def __truediv__(self, name: str) -> str:
        return name


_NOWHERE: object = _Nowhere()


def cases() -> Iterator[Case]:
    yield from runs_code()
    yield from grows()
    yield from lies()
