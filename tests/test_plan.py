"""What a model takes on boards: the data, the arithmetic over it, and the command."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from nets import signal, stack

from edgelstm import Runner, save, work
from edgelstm.cli import main
from edgelstm.costs import costs
from edgelstm.description import describe
from edgelstm.errors import InputError
from edgelstm.image import pack
from edgelstm.layers import Activation
from edgelstm.plan import _Model, _own, _scaled, largest, plan
from edgelstm.quantization import quantize
from edgelstm.targets import boards, find, read, targets

MODEL = quantize(stack(3, (16, 9), 2), signal((4, 8, 3)))


def call(*arguments, code=0):
    result = CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output + result.stderr
    return result.stderr if code == 2 else result.stdout


# ---- the data ----


def test_targets_are_whole():
    for target in targets().values():
        assert target.source and (target.url.startswith("https://") or target.clock_hz is None)
    assert len(boards()) == 14 and {t.core.counted_as for t in targets().values()} >= set(costs())
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
    counted = json.loads((find.__globals__["FILE"].parent.parent / "tests/golden/firmware.json").read_text())
    random = np.random.default_rng(0)
    from edgelstm.layers import Lstm
    from edgelstm.model import Model, Tensor

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
    """Of one or two LSTMs and a Dense layer every number is known, to within what is said."""
    runner = Runner(pack(quantize(stack(5, cells, 3), signal((4, 8, 5)))), max_steps=1)
    found = plan(runner, find(board), 50)
    assert not found.uncounted and found.error <= 0.07
    assert found.instructions > found.macs / 16 and 0 < found.seconds < found.instructions / find(board).clock_hz
    assert found.time.fits is True and found.ram.fits is True and found.flash.fits is not False


def test_what_nobody_counted_has_no_number():
    runner = Runner(pack(stack(3, (16,), 2)), max_steps=1)
    soft = plan(runner, find("pico"), 50)
    assert soft.instructions is None and soft.seconds is None and soft.uncounted[0].startswith("floats without")
    assert soft.code is None and soft.ram.needed and soft.time.fits is None
    hard = plan(runner, find("stm32f446re"))
    assert hard.instructions and not hard.uncounted
    other = quantize(stack(3, (16,), 2, activation=Activation("relu")), signal((4, 8, 3)))
    found = plan(Runner(pack(other), max_steps=1), find("cortex-m4"))
    assert found.instructions is None and found.uncounted == ("lstm0: LSTMs with other functions are not counted",)


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
    tracked = json.loads((find.__globals__["FILE"].parent.parent / "tests/golden/firmware.json").read_text())
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
    model = _Model(large.description, large.arena_parts(1, counted.step_scratch))
    scaled = _scaled(model, counted, 0.5)
    assert scaled.parts == small.arena_parts(1, counted.step_scratch)
    assert abs(scaled.description.size - small.description.size) < 600  # texts, and padding to 64
    assert [la.macs for la in scaled.description.layers] == [la.macs for la in small.description.layers]
    works = work.layers(scaled.description, "dsp"), work.layers(small.description, "dsp")
    assert [one.terms[:-1] for one in works[0]] == [one.terms[:-1] for one in works[1]]
    assert _own(small.description, counted) <= small.arena_parts(1, counted.step_scratch)[3]
    assert plan(large, target).image > plan(small, target).image


def test_the_largest_that_fits():
    runner = Runner(pack(quantize(stack(8, (192,), 2), signal((2, 4, 8)))), max_steps=1)
    target = find("stm32f072rb")
    found = plan(runner, target)
    assert [line.what for line in found.refused] == ["flash"]
    units, names = largest(runner, target)
    assert names == (("lstm0", units),) and units % 8 == 0 and 64 <= units < 192
    for count, fits in ((units, True), (units + 8, False)):
        made = Runner(pack(quantize(stack(8, (count,), 2), signal((2, 4, 8)))), max_steps=1)
        assert (not plan(made, target).refused) == fits
    tiny = replace(target, ram_bytes=100)
    assert largest(runner, tiny) is None


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
    assert "does not fit: time, at least" in late
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


def test_inspect_for_a_target(tmp_path):
    image = tmp_path / "m.elstm"
    save(MODEL, image)
    text = call("inspect", image, "--target", "cortex-m4")
    assert "layers on Cortex-M4" in text and "bytes of flash, tables included" in text
    assert "no target" in call("inspect", image, "--target", "x", code=2)
