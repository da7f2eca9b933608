"""What a model takes on boards: the data, the arithmetic over it, and the command."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from nets import signal, stack

from edgelstm import Runner, save, work
from edgelstm.cli import main
from edgelstm.costs import costs
from edgelstm.description import describe
from edgelstm.errors import InputError
from edgelstm.exporters import firmware
from edgelstm.image import pack
from edgelstm.layers import Activation, Conv1d, Dense, Gru, Lstm
from edgelstm.model import Model, Tensor
from edgelstm.plan import _model, _own, _scaled, largest, plan
from edgelstm.quantization import quantize
from edgelstm.targets import boards, find, read, targets

GOLDEN = Path(__file__).parent / "golden"
TRACKED = GOLDEN / "firmware.json"
MODEL = quantize(stack(3, (16, 9), 2), signal((4, 8, 3)))


def call(*arguments, code=0):
    result = CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output + result.stderr
    return result.stderr if code == 2 else result.stdout


# ---- the data ----


def test_targets_are_whole():
    for target in targets().values():
        assert target.source and (target.url.startswith("https://") or target.clock_hz is None)
    assert len(boards()) == 18 and {t.core.counted_as for t in targets().values()} >= set(costs())
    assert find("pi-4b").core.instructions_per_cycle == 3 and find("aarch64-neon").core.instructions_per_cycle == 2
    with pytest.raises(InputError, match="no target 'z80'; boards: pi-zero, .* CPUs: cortex-m0plus"):
        find("z80")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("clock_hz = 200_000_000", "clock_hz = -1", "clock, memory"),
        ("clock_hz = 200_000_000", "clock_mhz = 133", "lacks clock_hz"),
        ('core = "cortex-m0plus"', 'core = "cortex-m1"', "no core 'cortex-m1'"),
        ("flash_bytes = 2_097_152\nram_bytes = 270_336", "ram_bytes = 270_336\nspeed = 3", "unknown key 'speed'"),
        ('url = "https://datasheets', 'url = "ftp://datasheets', "url"),
        ("instructions_per_cycle = 3\n", "", "go together"),
        ("instructions_per_cycle = 1\n", "instructions_per_cycle = 100\n", "out of range"),
        ("bits = 32", "bits = 16", "none that there are"),
        ('compiler = "riscv64', 'linker = "riscv64', "core rv32imc lacks compiler"),
        ("[boards.pico]", "[boards.cortex-m3]", "a board and a CPU"),
    ],
)
def test_targets_out_of_shape_are_refused(tmp_path, old, new, said):
    from edgelstm.targets import FILE

    text = FILE.read_text()
    assert old in text
    (tmp_path / "t.toml").write_text(text.replace(old, new))
    with pytest.raises(InputError, match=said):
        read(tmp_path / "t.toml")


# ---- the arithmetic ----


def test_instructions_are_the_counted_ones():
    """A model that was counted is predicted to within what the file says."""
    counted = json.loads(TRACKED.read_text())
    random = np.random.default_rng(0)
    inputs, units = 32, 64
    weights = [random.uniform(-0.1, 0.1, shape) for shape in ((4, units, inputs), (4, units, units), (4, units))]
    layer = Lstm("lstm", ("x",), ("h",), *weights)
    made = quantize(Model((Tensor("x", inputs), Tensor("h", units)), (layer,), ("x",), ("h",)), signal((2, 4, inputs)))
    for name in ("cortex-m4", "cortex-m33"):
        target = find(name)
        found = plan(Runner(pack(made), max_steps=1), target)
        count = counted[target.core.counted_as]["instructions"]["lstm 32,64"]
        assert abs(found.instructions - count) <= found.error * count + 1
        assert found.seconds is None and found.flash.fits is None and found.flash.needed > found.image


def test_what_is_needed_beside_what_there_is():
    runner = Runner(pack(MODEL), max_steps=1)
    found = plan(runner, find("stm32f446re"), 50)
    flash, ram, time = found.lines
    assert not found.uncounted and found.instructions > found.macs
    assert (
        flash.needed == found.image + found.code and found.image == len(runner.image) and 10_000 < found.code < 30_000
    )
    assert ram.needed == found.arena + found.structs + found.stack and 200 < found.structs < 400
    assert time.limit == 0.02 and 0.85 < time.needed * 180e6 / found.instructions <= 1 - found.error
    assert flash.fits and ram.fits and time.fits and not found.refused
    assert sum(layer.instructions for layer in found.layers) < found.instructions
    late = plan(runner, find("stm32f446re"), 1.01 / found.seconds)
    assert [line.what for line in late.refused] == ["time, at least"]


@pytest.mark.parametrize("cells", [(16,), (32, 16), (9, 20)])
@pytest.mark.parametrize("board", [board.name for board in boards()])
def test_typical_models_have_a_time_on_every_board(board, cells):
    """Of one or two LSTMs and a Dense layer every number is known, to within what is said; but for a stack on Linux."""
    runner = Runner(pack(quantize(stack(5, cells, 3), signal((4, 8, 5)))), max_steps=1)
    found = plan(runner, find(board), 50)
    assert not found.uncounted and found.error <= 0.11
    assert found.instructions > found.macs / 16 and 0 < found.seconds < found.instructions / find(board).clock_hz
    assert found.time.fits is True and found.flash.fits is (None if find(board).core.linux else True)
    assert found.ram.fits is (None if find(board).core.linux else True)
    assert (found.stack is None) == find(board).core.linux and found.stack != 0


def test_what_nobody_counted_has_no_number():
    runner = Runner(pack(stack(3, (16,), 2)), max_steps=1)
    soft = plan(runner, find("pico"), 50)
    assert soft.instructions is None and soft.seconds is None and soft.uncounted[0].startswith("floats without")
    assert soft.code > 10_000 and soft.stack and soft.ram.fits and soft.time.fits is None
    hard = plan(runner, find("stm32f446re"))
    assert hard.instructions and not hard.uncounted
    other = quantize(stack(3, (16,), 2, activation=Activation("relu")), signal((4, 8, 3)))
    found = plan(Runner(pack(other), max_steps=1), find("cortex-m4"))
    assert found.instructions is None and found.uncounted == ("lstm0: LSTMs with other functions are not counted",)


def test_what_is_counted_alone_is_a_lower_bound():
    """Of a model with one layer that nobody counted the others still take their time."""
    parts = stack(3, (32,), 2)
    clipped = stack(3, (32, 8), 2, clip=0.5)
    mixed = replace(clipped, layers=(parts.layers[0], *clipped.layers[1:]))
    target = find("stm32f446re")
    whole = plan(Runner(pack(quantize(parts, signal((4, 8, 3)))), max_steps=1), target)
    runner = Runner(pack(quantize(mixed, signal((4, 8, 3)))), max_steps=1)
    found = plan(runner, target, 50)
    assert found.instructions is None and found.uncounted == (
        "lstm1: LSTMs with clips or gates beyond 1 are not counted",
    )
    known = [layer.instructions for layer in found.layers if layer.instructions is not None]
    assert len(known) == len(found.layers) - 1 and 0.8 * sum(known) < found.least < sum(known)
    assert whole.seconds * 0.5 < found.seconds < whole.seconds * 1.1
    assert found.time.fits is None and not found.refused
    late = plan(runner, target, 1.01 / found.seconds)
    assert [line.what for line in late.refused] == ["time, at least"]


IMAGES = GOLDEN / "images"
REASONS = (
    "full-int8 TFLite models are not counted",
    "floats without a float unit are not counted",
)


def test_every_golden_image_on_every_target():
    """Each has numbers, or a reason that names the layer, on each board and CPU."""
    counted = set()
    for path in sorted(IMAGES.glob("*.elstm")):
        runner = Runner(path, max_steps=1)
        names = {layer.name for layer in runner.description.layers} | {"the call", "the model"}
        for target in targets().values():
            found = plan(runner, target, 50)
            assert found.image == len(runner.image) and found.arena > 0 and found.structs > 0
            assert (found.code is None) == target.core.linux
            float_kinds = runner.description.number_type == "f32" and target.core.kernels == "helium"
            assert (found.stack is None) == target.core.linux or float_kinds  # there only common ones are measured
            assert found.ram.fits is None or found.stack
            assert (found.instructions is None) == bool(found.uncounted) and (found.seconds is None) == (
                not found.least or target.clock_hz is None
            )
            for reason in found.uncounted:
                assert reason in REASONS or reason.split(": ")[0] in names, (path.stem, target.name, reason)
            if found.instructions is not None:
                counted.add((path.stem, target.name))
                assert found.least > (1 - found.error - 0.13) * found.instructions
            assert runner.causal or "no single steps" in found.uncounted[0]
    for common in ("s8_stacked", "s8_scaled", "s8_softmax", "s8_after_last", "s8_branch", "s8_heads_a", "f32_stacked"):
        missing = {t.name for t in targets().values() if t.core.float_unit or common[0] == "s"}
        missing -= {target for image, target in counted if image == common}
        assert not missing, (common, missing)


@pytest.mark.parametrize("name", ["s8_stacked", "s8_windows_whole", "s8_moved_uneven", "tfl8_cells", "f32_gru"])
@pytest.mark.parametrize("cpu", ["cortex-m0plus", "cortex-m4", "cortex-m55", "rv32imc"])
def test_a_plan_and_an_exported_folder_say_the_same(name, cpu):
    """Arena, structs and code, on a 32-bit CPU: what the folder's self-test and tools/test_firmware.py hold the C
    against."""
    found = plan(Runner(IMAGES / f"{name}.elstm", max_steps=1), find(cpu))
    assert budget(IMAGES / f"{name}.elstm", cpu) == (found.arena, found.structs, found.image, found.code)


def budget(image, cpu):
    """The numbers of an exported folder's README.md."""
    page = firmware.render(image, target=cpu)["README.md"]
    rows = ("RAM, arena", "RAM, structs", "flash, the model", "flash, the code")
    return tuple(int(re.search(rf"^\| {row} \| (\d+) ", page, re.MULTILINE)[1]) for row in rows)


def test_work_names_what_is_alike():
    described = describe(pack(MODEL))
    kinds = [one.kind for one in work.layers(described, "dsp")]
    assert kinds == ["lstm_s8 s16-s8", "lstm_s8 s8-s8", "last s8-s8", "dense_s8 s8-s16"]
    assert work.door(described).kind == "door_s8" and all(one.terms[0] == 1 for one in work.layers(described, "small"))
    clipped = quantize(stack(3, (8,), None, clip=0.5), signal((4, 8, 3)))
    assert work.layers(describe(pack(clipped)), "dsp")[0].reason


@pytest.mark.parametrize(
    ("counted", "target"),
    [("m0", "cortex-m0plus"), ("m3", "cortex-m3"), ("m4f", "cortex-m4"), ("m55", "cortex-m55")],
)
def test_ram_of_a_layer_is_what_the_core_lays_out(counted, target):
    """Of LSTMs alone, behind another one, with an int16 h, and of few units: as the C core said on that CPU."""
    tracked = json.loads(TRACKED.read_text())
    seen = 0
    for name, ram in tracked[counted]["layers"].items():
        image, layer = name.split(": lstm")
        words = image.split()
        first, second = map(int, words[-1].split(","))
        inputs, units = (4, (first, second)) if "stack" in words else (first, (second,))
        bits = 16 if "h16" in words else 8
        model = quantize(stack(inputs, units, None, last=False), signal((2, 4, inputs)), hidden_bits=bits)
        made = plan(Runner(pack(model), max_steps=1), find(target))
        assert made.layers[int(layer)].ram == ram["arena"], name
        assert ram["needed"] <= ram["most"]
        seen += 1
    assert seen == 13


# ---- other sizes ----


@pytest.mark.parametrize("units", [(16, 24), (8,), (40, 16)])
def test_another_size_is_reckoned_as_if_it_were_made(units):
    """Image, arena and instructions of a scaled description are those of a model of that size."""
    target = find("cortex-m4")
    counted = costs()["m4f"]
    large = Runner(pack(quantize(stack(3, tuple(2 * n for n in units), 2), signal((4, 8, 3)))), max_steps=1)
    small = Runner(pack(quantize(stack(3, units, 2), signal((4, 8, 3)))), max_steps=1)
    model = _model(large, counted)
    scaled = _scaled(model, counted, 0.5)
    assert scaled.parts == small.arena_parts(1, counted.step_scratch)
    assert abs(scaled.description.size - small.description.size) < 600  # texts, and padding to 64
    assert [la.macs for la in scaled.description.layers] == [la.macs for la in small.description.layers]
    works = work.layers(scaled.description, "dsp"), work.layers(small.description, "dsp")
    assert [one.terms[:-1] for one in works[0]] == [one.terms[:-1] for one in works[1]]
    assert _own(small.description, counted) <= small.arena_parts(1, counted.step_scratch)[3]
    assert plan(large, target).image > plan(small, target).image


def without_doubt(made):
    return not made.refused and not made.tight


def test_the_largest_that_fits():
    runner = Runner(pack(quantize(stack(8, (192,), 2), signal((2, 4, 8)))), max_steps=1)
    target = find("stm32f072rb")
    found = plan(runner, target)
    assert [line.what for line in found.refused] == ["flash"]
    units, names = largest(runner, target)
    assert names == (("lstm0", units),) and units % 8 == 0 and 64 <= units < 192
    for count, fits in ((units, True), (units + 8, False)):
        made = Runner(pack(quantize(stack(8, (count,), 2), signal((2, 4, 8)))), max_steps=1)
        assert without_doubt(plan(made, target)) == fits
    tiny = replace(target, ram_bytes=100)
    assert largest(runner, tiny) is None


def made(kind, sizes):
    """A random s8 model of 8 inputs with layers of such sizes, and a Dense layer of 2."""
    random = np.random.default_rng(sum(sizes))
    tensors, layers = [Tensor("x", 8)], []
    for k, units in enumerate((*sizes, 2)):
        read, width = tensors[-1].name, tensors[-1].width
        name = f"{'dense' if k == len(sizes) else kind}{k}"
        tensors.append(Tensor(f"t{k}", units))
        if k == len(sizes):
            layer = Dense(name, (read,), (f"t{k}",), random.uniform(-0.2, 0.2, (units, width)), np.zeros(units))
        elif kind == "conv":
            kernel = random.uniform(-0.2, 0.2, (units, 3, width))
            layer = Conv1d(name, (read,), (f"t{k}",), kernel, np.zeros(units), Activation("relu"), left=2)
        else:
            gates, cell = {"lstm": (4, Lstm), "gru": (3, Gru)}[kind]
            shapes = ((gates, units, width), (gates, units, units), (gates, units))
            layer = cell(name, (read,), (f"t{k}",), *(random.uniform(-0.1, 0.1, shape) for shape in shapes))
        layers.append(layer)
    model = Model(tuple(tensors), tuple(layers), ("x",), (tensors[-1].name,))
    return pack(quantize(model, signal((1, 4, 8)), ranges="covering"))


@pytest.mark.parametrize(
    ("kind", "sizes", "board", "has", "rate", "lacks"),
    [
        ("lstm", (160,), "stm32f072rb", {}, None, "flash, or not"),
        ("lstm", (96, 96), "stm32f072rb", {}, None, "flash"),
        ("gru", (216,), "stm32f072rb", {}, None, "flash"),
        ("lstm", (144, 96), "pico", {"ram_bytes": 4000}, None, "RAM"),
        ("gru", (72, 40), "esp32-c3", {"ram_bytes": 4000}, None, "RAM"),
        ("conv", (64, 48), "stm32f446re", {"ram_bytes": 3200}, None, "RAM"),
        ("lstm", (96,), "nrf52840", {}, 1000, "time, at least"),
        ("lstm", (96, 40), "alif-e1c", {}, 20_000, "time, at least"),
        ("gru", (88,), "stm32f072rb", {}, 300, "time, at least"),
    ],
)
def test_sizes_that_are_proposed_fit(kind, sizes, board, has, rate, lacks):
    """Built for real, with weights of their own, by plan's reckoning and by the constants of an exported folder."""
    target = replace(find(board), **has)
    too_large = Runner(made(kind, sizes), max_steps=1)
    found = plan(too_large, target, rate)
    assert [line.what for line in found.refused] == ([] if found.tight else [lacks])
    assert found.tight == (lacks == "flash, or not")
    units, names = largest(too_large, target, rate)
    image = made(kind, [count for _, count in names])
    found = plan(Runner(image, max_steps=1), target, rate)
    assert without_doubt(found) and max(count for _, count in names) == units < max(sizes)
    arena, structs, model, code = budget(image, target.core.name)
    assert (found.arena, found.structs) == (arena, structs) and arena + structs + found.stack <= target.ram_bytes
    assert model + code <= target.flash_bytes
    larger = [round(size * (units + 8) / max(sizes)) for size in sizes]
    assert units + 8 >= max(sizes) or not without_doubt(plan(Runner(made(kind, larger), max_steps=1), target, rate))


# ---- the commands ----


def test_plan_command(tmp_path):
    image = tmp_path / "m.elstm"
    save(MODEL, image)
    text = call("plan", image, "--target", "stm32f446re", "--rate", 50)
    assert "STM32F446RE" in text and "time a step, at least" in text and "measure it on the board" in text
    found = json.loads(call("plan", image, "--target", "stm32f446re", "--rate", 50, "--json"))
    assert found["target"] == "stm32f446re" and found["does_not_fit"] == [] and found["deadline_seconds"] == 0.02
    text = call("plan", image)
    known = [board.name for board in boards() if board.core.counted_as in costs()]
    assert len(known) > 5 and all(name in text for name in known)
    assert [one["target"] for one in json.loads(call("plan", image, "--json"))] == known
    late = call("plan", image, "--target", "nrf52840", "--rate", 100_000, code=1)
    assert "does not fit: time, at least" in late and "as gcc 12 at -O2 compiles it" in late
    unknown = IMAGES / "tfl8_cells.elstm"
    text = call("plan", unknown, "--target", "pico", "--rate", 50)
    assert "the deadline was not checked" in text and "full-int8 TFLite models are not counted" in text
    assert "the deadline was not checked" in call("plan", image, "--target", "cortex-m4", "--rate", 50)
    found = json.loads(call("plan", unknown, "--target", "pico", "--rate", 50, "--json"))
    assert found["least_seconds"] is None and found["flash_bytes"] > 30_000 and found["does_not_fit"] == []
    linux = call("plan", image, "--target", "pi-zero")
    assert (
        "stack" not in linux
        and "≥" in linux.split("RAM")[1].splitlines()[0]
        and "✓" not in linux.split("RAM")[1].splitlines()[0]
    )
    assert "runs of" in call("plan", IMAGES / "s8_windows_whole.elstm", "--target", "pico")
    assert "no target 'pic'" in call("plan", image, "--target", "pic", code=2)
    assert "above 0" in call("plan", image, "--rate", 0, code=2)
    bad = tmp_path / "bad.elstm"
    bad.write_bytes(b"not an image")
    assert "bad.elstm" in call("plan", bad, code=2)


def test_too_large_says_what_would_fit(tmp_path):
    image = tmp_path / "m.elstm"
    save(quantize(stack(8, (192,), 2), signal((2, 4, 8))), image)
    text = call("plan", image, "--target", "stm32f072rb", code=1)
    assert "does not fit: flash" in text and "the same layers fit with up to" in text
    found = json.loads(call("plan", image, "--target", "stm32f072rb", "--json", code=1))
    assert found["does_not_fit"] == ["flash"] and 64 <= found["largest_units"]["lstm0"] < 192
    save(quantize(stack(8, (160,), 2), signal((2, 4, 8))), image)
    text = call("plan", image, "--target", "stm32f072rb")
    assert "there may be too little flash" in text and "the same layers fit with up to" in text and "✗" not in text
    found = json.loads(call("plan", image, "--target", "stm32f072rb", "--json"))
    assert found["does_not_fit"] == [] and found["may_not_fit"] == ["flash"] and "lstm0" in found["largest_units"]


def test_inspect_for_a_target(tmp_path):
    image = tmp_path / "m.elstm"
    save(MODEL, image)
    text = call("inspect", image, "--target", "cortex-m4")
    assert "layers on Cortex-M4" in text and "bytes of flash, tables included" in text
    assert "no target" in call("inspect", image, "--target", "x", code=2)
