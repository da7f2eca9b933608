"""Committed images: they keep their bytes, they keep running, and together they hold every op and activation."""

import hashlib
import struct

import golden_tfl8
import numpy as np
import pytest
from golden_answers import BOUND, Mismatch, check, expected
from golden_models import (
    FOLDER,
    PACKED,
    QUANTIZED,
    STEPS,
    answered_steps,
    answers_hash,
    drawn,
    fitting,
    kept,
    quantized,
    reference_answers,
    uniform,
)

from edgelstm import reference, reference_s8
from edgelstm.description import KINDS, S16_FUNCTIONS, describe
from edgelstm.image import pack
from edgelstm.layers import ACTIVATIONS, OVER_VALUES
from edgelstm.model import Model
from edgelstm.runner import Runner, kernels

NAMES = sorted([*PACKED, *QUANTIZED])
EXPECTED = expected()


def stored(name):
    return (FOLDER / f"{name}.elstm").read_bytes()


def test_models_and_files_are_the_same_set():
    assert [path.stem for path in sorted(FOLDER.glob("*.elstm"))] == NAMES
    assert sorted(EXPECTED) == NAMES


def test_those_with_single_steps_are_named():
    runners = {name: Runner(stored(name)) for name in NAMES}
    assert {name: runner.causal and not runner.uneven for name, runner in runners.items()} == {
        name: EXPECTED[name]["steps"] for name in NAMES
    }


@pytest.mark.parametrize("lack", ["steps", "set", "image", "sets", "none"])
def test_an_answer_that_is_not_there_is_missed(lack):
    names, sets = ("s8_stacked", "s8_windows_uneven"), ("avx2", "scalar")
    output = b"" if lack == "sets" else b"sets avx2 scalar\n"
    for name in names:
        runner = Runner(stored(name), kernels="scalar")
        widths = [runner.description.tensors[k].width for k in runner.description.inputs]
        x = drawn(name, widths)
        ys = runner.run_integers(tuple(x) if len(x) > 1 else x[0], every_step=True)
        y = b"".join(one.tobytes() for one in (ys if isinstance(ys, tuple) else (ys,)))
        for kernel_set in sets:
            for way in ("run", "steps") if EXPECTED[name]["steps"] else ("run",):
                if (name, lack) == (names[1], "image") or lack == way or (lack, kernel_set) == ("set", "avx2"):
                    continue
                output += f"{name} {kernel_set} {way} 0 1 {len(y) // 2} {len(y)}\n".encode() + y
    if lack == "none":
        assert ": 6 hashes" in check(output, set(names))
        return
    with pytest.raises(Mismatch, match="does not say" if lack == "sets" else "no answers of"):
        check(output, set(names))


def test_images_keep_their_bytes():
    assert {name: hashlib.sha256(stored(name)).hexdigest() for name in NAMES} == {
        name: EXPECTED[name]["image"] for name in NAMES
    }


@pytest.mark.parametrize("name", sorted(set(PACKED) - golden_tfl8.EARLIER))
def test_packing_today_gives_the_same_bytes_but_for_the_last_bit_of_a_float_answer(name):
    image, packed = stored(name), pack(PACKED[name])
    if not isinstance(PACKED[name], Model):
        assert packed == image
        return
    # the example's answers went through NumPy's matrix products, which differ in the last bit between machines
    at, _ = struct.unpack_from("<II", image, 64 + 8 * 5)
    assert packed[128:at] == image[128:at] and packed[20:128] == image[20:128] and len(packed) == len(image)
    answers = [np.frombuffer(blob, "<f4", offset=at + 8) for blob in (packed, image)]
    np.testing.assert_allclose(*answers, rtol=3e-7)


def near(found, wanted):
    """Whether the kept rows of an f32 image's answers are within its bound of those committed."""
    for ys, exact in zip(found, map(np.array, wanted), strict=True):
        assert np.abs(ys - exact).max() <= BOUND * max(1, np.abs(exact).max())


@pytest.mark.parametrize("name", NAMES)
def test_every_kernel_set_gives_the_committed_answers(name):
    for kernel_set in kernels():
        runner = Runner(stored(name), kernel_set)
        runner.self_check()
        xs = drawn(name, runner.input_widths, STEPS if runner.causal else runner.description.example_steps)
        if name in PACKED:
            xs = fitting(PACKED[name], xs)
        # the core takes the nearest id for any number, and Python no others
        ids = zip(xs, runner.description.vocabularies, strict=True)
        xs = [np.clip(x, 0, most - 1) if most else x for x, most in ids]
        single = [runner.description.tensors[k].single for k in runner.description.inputs]
        xs = [x[0] if one else x for x, one in zip(xs, single, strict=True)]
        run = runner.run_integers if runner.integer else runner.run
        ys = run(tuple(xs), every_step=runner.causal)
        ys = ys if isinstance(ys, tuple) else (ys,)
        wanted = EXPECTED[name]["answers"]
        if isinstance(wanted, list):
            near(kept(ys), wanted)
        else:
            assert answers_hash(ys) == wanted, kernel_set


@pytest.mark.parametrize("name", sorted(PACKED))
def test_the_reference_still_gives_the_committed_answers(name):
    found, wanted = reference_answers(name, PACKED[name]), EXPECTED[name]["answers"]
    if isinstance(wanted, list):
        for ys, exact in zip(found, wanted, strict=True):
            np.testing.assert_allclose(ys, exact, rtol=1e-9, atol=1e-9)
    else:
        assert found == wanted


@pytest.mark.parametrize("name", sorted(QUANTIZED))
def test_a_quantized_image_is_no_worse_than_its_float_model_allows(name):
    """The stored integers and what `quantize` makes today are both near the float model."""
    made = PACKED[f"f32_{QUANTIZED[name]}"]
    every, steps = made.timing.causal, answered_steps(made, 12)
    xs = uniform(made, 3, 1, steps)
    runner = Runner(stored(name))
    stored_ys = runner.run(tuple(x[0] for x in xs), every_step=every)
    today = reference_s8.run_float(quantized(QUANTIZED[name]), xs, every_step=every)
    exact = reference.run(made, xs, every_step=every)
    for k, wanted in enumerate(exact):
        size = max(1.0, float(np.abs(wanted).max()))
        found = stored_ys if len(exact) == 1 else stored_ys[k]
        assert np.abs(found - wanted[0]).max() <= 0.05 * size, k
        assert np.abs(today[k] - wanted).max() <= 0.05 * size, k


def test_the_images_hold_every_op_and_every_activation():
    kinds = {layer.kind for name in NAMES for layer in describe(stored(name)).layers}
    assert kinds == set(KINDS)
    floats, integers = {}, {}
    for name, made in PACKED.items():
        for layer in made.layers if name not in golden_tfl8.PACKED else ():
            table = integers if name.startswith("s8") else floats
            for field in ("activation", "gate_activation", "gate", "candidate", "cell"):
                value = getattr(layer, field, None)
                if value is not None:
                    place = type(layer).__name__, field
                    table.setdefault(place, set()).add(value.name if table is floats else value.kind)
    elementwise = set(ACTIVATIONS) - set(OVER_VALUES)
    for place in (("Lstm", "activation"), ("Lstm", "gate_activation")):
        assert floats[place] == elementwise, place
    for place in (("Dense", "activation"), ("Activate", "activation")):
        assert floats[place] == set(ACTIVATIONS), place
    for place in (("QuantizedDense", "activation"), ("QuantizedActivate", "activation")):
        assert integers[place] == set(S16_FUNCTIONS), place
