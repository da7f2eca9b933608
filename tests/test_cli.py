"""The command line: what each command prints and returns, in processes of their own where signals and pipes matter."""

import contextlib
import hashlib
import json
import os
import shlex
import signal as signals
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from nets import signal, stack, two_heads

from edgelstm import Runner, __version__, page, read, save, validation
from edgelstm.cli import main
from edgelstm.errors import InputError
from edgelstm.model import Meta, Port, Scaler
from edgelstm.quantization import quantize
from edgelstm.runner import kernels

KERAS = Path(__file__).parent / "golden" / "keras"
TORCH = Path(__file__).parent / "golden" / "torch"
COMMAND = [sys.executable, "-c", "from edgelstm.cli import main; main(prog_name='edgelstm')"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments, code=0, stdin=None):
    if arguments[0] == "convert":
        arguments += ("--no-verify",)  # tests/test_proof.py has what it does otherwise
    result = CliRunner().invoke(main, [str(a) for a in arguments], input=stdin, catch_exceptions=False)
    assert result.exit_code == code, result.output + result.stderr
    if code == 2:
        assert result.stderr.count("\n") == 1 and result.stderr.startswith("edgelstm: "), result.stderr
    return result.stderr if code else result.stdout


def scaled(model):
    """The model with a scaler on each side, channels and labels."""
    inputs = Port(("heat", "load"), ("°C", "kW"), (), Scaler(np.array([0.5, 0.25]), np.array([1.0, 0.0])))
    outputs = Port((), (), ("calm", "storm"), Scaler(np.full(2, 2.0), np.full(2, -1.0)))
    return replace(model, meta=Meta((inputs,), (outputs,), 5, 2))


# ---- convert, inspect ----


def test_convert_float_and_int8(here):
    np.save("X.npy", signal((8, 6, 2)))
    call("convert", KERAS / "keras315_stack.keras", "-o", "f.elstm")
    said = call("convert", KERAS / "keras315_stack.keras", "-o", "q.elstm", "--int8", "--samples", "X.npy")
    assert "q.elstm: int8" in said and "signal to error" in said
    shown = call("inspect", "q.elstm")
    for word in ("lstm s8", "dense s8", "MACs", "state", "flash", "RAM", "keras315_stack.keras", "window 6"):
        assert word in shown, word
    runner = Runner("q.elstm")
    assert runner.integer and not Runner("f.elstm").integer


def test_convert_for_a_tflite_runtime(here):
    """The options of an int8 .tflite stand in the image, and are refused for anything else."""
    file = KERAS.parent / "tflite" / "keras2_int8_floats.tflite"
    for options, shown in (
        ((), "flavour tflite, rounding double, ties even"),
        (("--rounding", "halfup"), "flavour tflite, rounding halfup, ties even"),
        (("--rounding", "float"), "flavour tflite, rounding float, ties even"),
        (("--for", "tflite-runtime:reference"), "flavour tflite, rounding double, ties away"),
        (("--for", "ai-edge-litert", "--rounding", "double"), "flavour tflite, rounding double, ties even"),
        (("--for", "tflite-micro"), "flavour micro, rounding double, ties away"),
        (("--flavour", "micro"), "flavour micro, rounding double, ties even"),
    ):
        assert "TFLite's int8" in call("convert", file, "-o", "m.elstm", *options)
        assert f"TFLite's arithmetic: {shown}\n" in call("inspect", "m.elstm"), options
    for option, value in (("--for", "tflite-runtime"), ("--rounding", "double"), ("--flavour", "tflite")):
        said = call("convert", KERAS / "keras315_stack.keras", "-o", "f.elstm", option, value, code=2)
        assert f"{option} is for full-int8 .tflite files" in said and not Path("f.elstm").exists()
    spoilt = file.with_name("keras2_int8_spoilt.tflite")
    assert "--compat tflite" in call("convert", spoilt, "-o", "s.elstm", code=2)
    assert "input gate and the output gate" in call("convert", spoilt, "-o", "s.elstm", "--compat", "tflite")
    assert "compat is for" in call("convert", KERAS / "keras315_stack.keras", "-o", "f", "--compat", "tflite", code=2)
    assert "expected PACKAGE:RESOLVER:MACHINE" in call("convert", file, "-o", "n", "--for", "tensorflow", code=2)
    assert "Invalid value for '--rounding'" in call("convert", file, "-o", "n", "--rounding", "even", code=2)


def test_convert_shows_the_error_of_long_runs_and_takes_ranges(here):
    np.save("X.npy", signal((8, 60, 2)))
    stack = KERAS / "keras315_stack.keras"
    options = ("convert", stack, "-o", "q.elstm", "--int8", "--samples", "X.npy", "--no-verify")
    said = call(*options)
    rows = [line.split() for line in said.splitlines() if len(line.split()) == 4 and "%" not in line]
    assert [row[1] for row in rows if row[0] == "activation"] == ["10", "100", "1,000", "10,000"]
    assert all(float(row[2]) < 0.1 and float(row[3]) > 20 for row in rows if row[0] == "activation")
    assert "8 sequences joined end to end, 480 steps, repeated up to 10,000" in said
    for ranges in ("output", "covering"):
        call(*options, "--ranges", ranges)
    assert "Invalid value for '--ranges'" in call(*options, "--ranges", "widest", code=2)
    assert "--ranges is for --int8" in call("convert", stack, "-o", "m", "--ranges", "output", code=2)


def test_convert_with_an_h_of_16_bits(here):
    np.save("X.npy", signal((8, 6, 2)))
    options = ("--int8", "--samples", "X.npy", "--hidden-bits")
    for bits, shown in (("8", False), ("16", True)):
        call("convert", KERAS / "keras315_stack.keras", "-o", "q.elstm", *options, bits)
        assert ("h in 16 bits: lstm" in call("inspect", "q.elstm")) == shown
    call("convert", KERAS / "keras315_stack.keras", "-o", "q.elstm", *options, "12", code=2)
    assert "is for --int8" in call("convert", KERAS / "keras315_stack.keras", "-o", "m", *options[3:], "16", code=2)


def test_convert_pytorch_with_head_and_meta(here):
    Path("meta.toml").write_text("window = 4\n[[outputs]]\nlabels = ['a', 'b']\n")
    said = call("convert", TORCH / "activity.pt", "-o", "m.elstm", "--head", "relu,softmax", "--meta", "meta.toml")
    assert "note: " in said
    assert Runner("m.elstm").meta.outputs[0].labels == ("a", "b")


def test_raw_samples_are_scaled_by_the_meta_file(here):
    x = signal((8, 6, 2))
    np.save("X.npy", x)
    np.save("raw.npy", (x + 3) * 10)
    Path("meta.toml").write_text("[[inputs]]\nscaler = { scale = 0.1, offset = -3 }\n")
    for samples, more in (("X.npy", ()), ("raw.npy", ("--raw",))):
        call("convert", KERAS / "keras315_stack.keras", "-o", samples + ".elstm", "--int8", "--samples", samples,
             "--meta", "meta.toml", *more)  # fmt: skip
    scales = [Runner(name + ".elstm").input_scales[0] for name in ("X.npy", "raw.npy")]
    np.testing.assert_allclose(*scales, rtol=1e-5)


def test_convert_refuses_in_one_line(here):
    checkpoint = KERAS / "keras315_stack.keras"
    assert "needs --samples" in call("convert", checkpoint, "-o", "m", "--int8", code=2)
    assert "is for --int8" in call("convert", checkpoint, "-o", "m", "--samples", "X.npy", code=2)
    assert "No such file" in call("convert", checkpoint, "-o", "m", "--int8", "--samples", "X.npy", code=2)
    assert "no such file" in call("convert", "none.keras", "-o", "m", code=2)
    assert "Missing option" in call("convert", checkpoint, code=2)
    assert "none/m.elstm" in call("convert", checkpoint, "-o", "none/m.elstm", code=2)
    np.save("X.npy", np.full((4, 6, 2), np.nan))
    assert "NaN" in call("convert", checkpoint, "-o", "m", "--int8", "--samples", "X.npy", code=2)
    np.save("X.npy", np.ones((4, 6, 5)))
    call("convert", checkpoint, "-o", "m", "--int8", "--samples", "X.npy", code=2)
    assert not Path("m").exists()


def test_unknown_commands_and_options_are_one_line():
    assert "No such command" in call("fly", code=2)
    assert "No such option" in call("inspect", "--fly", code=2)
    assert "does not exist" in call("inspect", "none.elstm", code=2)


def test_images_that_are_none(here):
    Path("text.elstm").write_text("hello")
    for command in (("inspect",), ("bench",), ("run", "--input", "x", "--output", "y")):
        assert "image" in call(command[0], "text.elstm", *command[1:], code=2)


# ---- run ----


def test_run_over_a_file_gives_the_frameworks_shape(here):
    for last, shape in ((True, (3, 2)), (False, (3, 7, 2))):
        save(stack(2, (4,), last=last), "m.elstm")
        x = signal((3, 7, 2))
        np.save("X.npy", x)
        call("run", "m.elstm", "--input", "X.npy", "--output", "Y.npy")
        y = np.load("Y.npy")
        assert y.shape == shape
        np.testing.assert_array_equal(y, Runner("m.elstm").run(x))
        call("run", "m.elstm", "--input", "X.npy", "--output", "Y.npy", "--every-step", "--kernels", "scalar")
        assert np.load("Y.npy").shape == (3, 7, 2)
        np.save("X.npy", x[0])
        call("run", "m.elstm", "--input", "X.npy", "--output", "Y.npy")
        assert np.load("Y.npy").shape == shape[1:]


def test_run_over_raw_numbers(here):
    model = scaled(stack(2, (4,)))
    save(model, "m.elstm")
    x = signal((3, 7, 2))
    np.save("X.npy", x)
    call("run", "m.elstm", "--input", "X.npy", "--output", "Y.npy", "--raw")
    expected = (Runner(model).run(x * [0.5, 0.25] + [1, 0]) + 1) / 2
    np.testing.assert_allclose(np.load("Y.npy"), expected, atol=1e-6)
    save(stack(2, (4,)), "plain.elstm")
    assert "no scaler" in call("run", "plain.elstm", "--input", "X.npy", "--output", "Y.npy", "--raw", code=2)


def test_several_inputs_and_outputs_go_by_name(here):
    save(two_heads(), "m.elstm")
    names = Runner("m.elstm").description
    xs = signal((2, 5, 4)), signal((2, 5, 2), 1)
    np.savez("X.npz", **dict(zip(names.input_names, xs, strict=True)))
    call("run", "m.elstm", "--input", "X.npz", "--output", "Y.npz")
    with np.load("Y.npz") as found:
        for name, y in zip(names.output_names, Runner("m.elstm").run(xs), strict=True):
            np.testing.assert_array_equal(found[name], y)
    assert "use --input" in call("run", "m.elstm", "-", code=2, stdin="1,2,3,4\n")


def test_run_over_lines(here):
    model = scaled(stack(2, (4,)))
    save(model, "m.elstm")
    rows = np.array([[1, 2], [3, 4], [5, 6]], float)
    runner = Runner(model)
    carried = [(runner.step(row * [0.5, 0.25] + [1, 0]).astype(float) + 1) / 2 for row in rows]
    text = "heat,load\n1,2\n[3,4]\n" + '{"load": 6, "heat": 5}\n'
    answers = [line.split(",") for line in call("run", "m.elstm", "-", stdin=text).splitlines()]
    np.testing.assert_allclose([[float(v) for v in a[:2]] for a in answers], carried, atol=1e-6)
    assert [a[2] for a in answers] == [("calm", "storm")[int(np.argmax(y))] for y in carried]
    told = [json.loads(line) for line in call("run", "m.elstm", "-", "--format", "json", stdin=text).splitlines()]
    np.testing.assert_allclose([next(iter(t.values())) for t in told], carried, atol=1e-6)
    seen = call("run", "m.elstm", "-", "--scaled", stdin="1,2\n").split(",")[:2]
    np.testing.assert_allclose(np.array(seen, float), Runner(model).step([1, 2]), atol=1e-6)
    windows = call("run", "m.elstm", "-", "--windows", stdin="1,2\n" * 9).splitlines()
    assert len(windows) == 3  # after 5, 7 and 9 lines


def test_gaps_in_lines(here):
    save(stack(2, (4,)), "m.elstm")
    text = "1,2\nnan,3\n4,5\n"
    assert "sample 1" in call("run", "m.elstm", "-", stdin=text, code=2)
    for gaps, count in (("hold", 3), ("skip", 2), ("reset", 2)):
        assert len(call("run", "m.elstm", "-", "--gaps", gaps, stdin=text).splitlines()) == count
    assert "line 2" in call("run", "m.elstm", "-", stdin="1,2\n1,x\n", code=2)
    assert call("run", "m.elstm", "-", stdin="") == ""


def test_options_that_do_not_apply_are_refused(here):
    save(stack(2, (4,)), "m.elstm")
    np.save("X.npy", signal((3, 2, 2)))
    call("run", "m.elstm", code=2)
    call("run", "m.elstm", "-", "--input", "X.npy", code=2)
    call("run", "m.elstm", "--input", "X.npy", "--output", "Y.npy", "--windows", code=2)
    call("run", "m.elstm", "--input", "X.npy", "--output", "Y.npy", "--gaps", "hold", code=2)
    call("run", "m.elstm", "--input", "X.npy", "--output", "Y.npy", "--kernels", "none", code=2)


def start(*arguments):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.Popen([*COMMAND, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, env=environment)  # fmt: skip


def test_each_line_is_answered_before_the_next_is_sent_and_ctrl_c_ends_cleanly(here):
    save(quantize(stack(2, (4,)), signal((4, 9, 2))), "m.elstm")
    process = start("run", "m.elstm", "-")
    for _ in range(3):
        process.stdin.write("1,2\n")
        process.stdin.flush()
        assert len(process.stdout.readline().split(",")) == 2
    process.send_signal(signals.SIGINT)
    _, complaint = process.communicate(timeout=30)
    assert (process.returncode, complaint) == (0, "")


def test_a_closed_pipe_ends_cleanly(here):
    save(stack(2, (4,)), "m.elstm")
    process = start("run", "m.elstm", "-")
    process.stdin.write("1,2\n")
    process.stdin.flush()
    process.stdout.readline()
    process.stdout.close()
    try:
        for _ in range(1000):
            process.stdin.write("1,2\n")
            process.stdin.flush()
    except BrokenPipeError:
        pass
    complaint = process.stderr.read()
    process.stdin = None
    assert (process.wait(timeout=30), complaint) == (0, "")


# ---- validate ----


def test_validate_against_the_checkpoint_and_exit_codes(here):
    checkpoint = KERAS / "tfkeras_stack.keras"
    np.save("X.npy", signal((8, 6, 2)))
    call("convert", checkpoint, "-o", "q.elstm", "--int8", "--samples", "X.npy")
    recorded = np.load(KERAS / "tfkeras_stack.npz")
    np.save("data.npy", recorded["x0"])
    np.save("answers.npy", recorded["y0"])
    said = call("validate", "q.elstm", "--reference", "answers.npy", "--data", "data.npy")
    assert "s8" in said and "passed" in said and "recorded answers" in said
    strict = ("validate", "q.elstm", "--reference", "answers.npy", "--data", "data.npy", "--decibels", "200")
    assert "FAILED" in CliRunner().invoke(main, strict).output
    result = CliRunner().invoke(main, (*strict, "--json"))
    report = json.loads(result.stdout)
    assert result.exit_code == 1 and report["passed"] is False and report["rows"][0]["variant"] == "s8"
    assert "takes inputs" in call("validate", "q.elstm", "--reference", KERAS / "tfkeras_relu.h5", code=2)


def test_validate_judges_by_what_it_is_told(here):
    """Labels, saturation, drift and who answers, in tables that fit 80 columns."""
    checkpoint = KERAS / "tfkeras_stack.keras"
    x = signal((8, 6, 2))
    np.save("X.npy", x)
    call("convert", checkpoint, "-o", "q.elstm", "--int8", "--samples", "X.npy", "--no-verify")
    np.save("Y.npy", Runner(read(checkpoint)).run(x))
    np.save("L.npy", np.load("Y.npy") + 0.5)
    command = ("validate", "q.elstm", "--reference", "Y.npy", "--data", "X.npy", "--labels", "L.npy")
    said = CliRunner(env={"COLUMNS": "80"}).invoke(main, command).output
    assert "RMSE" in said and "saturation" in said and "no long run" in said
    assert all(len(line) <= 80 for line in said.splitlines() if not line.startswith(("note", "reference", "q.elstm")))
    call(*command, "--rmse-rise", "0.01", "--saturation", "0.5", "--cosine", "0.99")
    np.save("far.npy", 3 * x)
    np.save("Yfar.npy", Runner(read(checkpoint)).run(3 * x))
    far = ("validate", "q.elstm", "--reference", "Yfar.npy", "--data", "far.npy", "--decibels", "-99")
    for strict, told in (
        ((*command, "--cosine", "0.9999999999"), "cosine at least"),
        ((*far, "--saturation", "0.001"), "FAILED (at most 0.100%)"),
    ):
        result = CliRunner().invoke(main, strict)
        assert result.exit_code == 1 and told in result.output
    for options, told in (
        (("--task", "numbers"), "need labels"),
        (("--accuracy-drop", "0.1"), "need labels"),
        (("--agreement", "2"), "not in the range"),
        (("--by", "tflite"), "leave it out"),
        (("--kind", "int8"), "needs `by`"),
        (("--drift-steps", "10"), "no long run"),
        (("--drift", "10"), "long run"),
        (("--exact",), "full-int8"),
        (("--raw",), "scaler"),
    ):
        assert told in call("validate", "q.elstm", "--reference", "Y.npy", "--data", "X.npy", *options, code=2)


def test_validate_writes_a_page_that_can_be_archived(here):
    checkpoint = KERAS / "tfkeras_stack.keras"
    recorded = np.load(KERAS / "tfkeras_stack.npz")
    np.save("data.npy", recorded["x0"])
    np.save("answers <b>.npy", recorded["y0"])
    call("convert", checkpoint, "-o", "q.elstm", "--no-verify")
    command = ("validate", "q.elstm", "--reference", "answers <b>.npy", "--data", "data.npy", "--html", "r.html")
    call(*command)
    text = Path("r.html").read_text("utf-8")
    assert "edgelstm validate q.elstm --reference &#39;answers &lt;b&gt;.npy&#39; --data data.npy --html r.html" in (
        text.replace("main validate", "edgelstm validate")  # the runner's name for the command
    )
    for file in ("q.elstm", "data.npy", "answers <b>.npy"):
        assert hashlib.sha256(Path(file).read_bytes()).hexdigest() in text
    assert "<b>" not in text and __version__ in text and np.__version__ in text
    call(*command)
    assert Path("r.html").read_text("utf-8") == text
    before = Path("data.npy").read_bytes()
    assert "take the place" in call(*command[:-1], "data.npy", code=2) and Path("data.npy").read_bytes() == before
    call(*command, "--limit", "0", code=1)
    assert ">Failed<" in Path("r.html").read_text("utf-8")
    call("validate", "q.elstm", "--reference", "none.keras", code=2)
    call("validate", "q.elstm", code=2)


def test_a_page_that_cannot_be_written_is_told_first_and_hides_no_verdict(here, monkeypatch):
    save(stack(2, (4,), 2), "m.elstm")
    x = signal((4, 6, 2))
    np.save("x.npy", x)
    np.save("y.npy", Runner("m.elstm").run(x))
    Path("a folder").mkdir()
    command = ("validate", "m.elstm", "--reference", "y.npy", "--data", "x.npy", "--html")
    with monkeypatch.context() as patch:
        patch.setattr(validation, "validate", lambda *_, **__: pytest.fail("the work was begun"))
        for place in ("none/r.html", "x.npy/r.html"):
            assert "cannot be written" in call(*command, place, code=2)
        assert "is a directory" in call(*command, "a folder", code=2)

    def full(*_):
        raise InputError("r.html: cannot be written: No space left on device")

    monkeypatch.setattr(page, "write", full)
    assert "No space" in call(*command, "r.html", code=2)
    np.save("y.npy", np.load("y.npy") + 1)
    assert "No space" in call(*command, "r.html", code=1)
    assert sorted(os.listdir()) == ["a folder", "m.elstm", "x.npy", "y.npy"]


def test_the_verdict_says_on_whose_word_and_code_needs_trust(here):
    head = ("--head", "relu,softmax")
    call("convert", TORCH / "activity.pt", "-o", "m.elstm", *head)
    said = call("validate", "m.elstm", "--reference", TORCH / "activity.pt", *head)
    assert "passed, against this package's own reading alone" in said
    assert "--trust" in call("validate", "m.elstm", "--reference", TORCH / "refused_script.pt", code=2)


def test_sigterm_ends_children_and_leaves_no_folder(here):
    """A runtime that hangs, and a CI system that has waited long enough."""
    save(stack(2, (4,), 2), "m.elstm")
    np.save("x.npy", signal((4, 6, 2)))
    Path("m.tflite").write_bytes(b"\0\0\0\0TFL3" + bytes(64))
    Path("tmp").mkdir()
    hang = "import os, sys, time; print(os.getpid(), file=open(sys.argv[1] + '/pid', 'w'), flush=True); time.sleep(60)"
    program = f"""
from edgelstm import cli, peer_process, peers
peers._usable = lambda name: True
peer_process._START = {hang!r}
cli.main(prog_name="edgelstm")
"""
    command = [sys.executable, "-c", program, "validate", "m.elstm", "--reference", "m.tflite", "--data", "x.npy"]
    path = os.pathsep.join(p for p in sys.path if p)
    environment = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(here / "tmp")}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        give_up = time.monotonic() + 30
        child = ""
        while not child.endswith("\n") and process.poll() is None and time.monotonic() < give_up:
            time.sleep(0.02)
            child = "".join(file.read_text() for file in here.glob("tmp/*/pid"))
        process.terminate()
        said = process.communicate(timeout=30)
    try:
        assert process.returncode == 143, said
        assert os.listdir("tmp") == []
        with pytest.raises(ProcessLookupError):
            os.kill(int(child), 0)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(child), signals.SIGKILL)


def test_samples_of_no_worth_are_warned_of(here):
    x = signal((8, 6, 2))
    x[..., 1] = 0.5
    np.save("X.npy", x)
    said = call("convert", KERAS / "keras315_stack.keras", "-o", "m.elstm", "--int8", "--samples", "X.npy")
    assert "warning: " in said and "never changes" in said


# ---- what happens around the commands ----


def shell(command, **options):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), **options}
    quoted = command.replace("edgelstm", shlex.join(COMMAND))
    return subprocess.run(["bash", "-c", quoted], env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_output_that_cannot_be_written_is_one_line(here):
    save(stack(2, (4,)), "m.elstm")
    for command in ("edgelstm inspect m.elstm >/dev/full", "echo 1,2 | edgelstm run m.elstm - >/dev/full"):
        done = shell(command)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        assert "No space left" in done.stderr


def test_a_reader_that_leaves_changes_no_exit_code(here):
    save(stack(2, (4,)), "m.elstm")
    for command in ("edgelstm inspect m.elstm | true", "yes 1,2 | edgelstm run m.elstm - | head -n 2 >/dev/null"):
        done = shell(f"{command}; echo ${{PIPESTATUS[@]}}")
        assert set(done.stdout.split()) <= {"0", "141"} and done.stderr == "", done  # 141: yes, by SIGPIPE


def test_a_closed_standard_input_is_one_line(here):
    save(stack(2, (4,)), "m.elstm")
    done = shell("edgelstm run m.elstm - <&-")
    assert done.returncode == 2 and done.stderr == "edgelstm: standard input is closed; - reads lines from it\n"


def test_letters_that_a_terminal_lacks(here):
    save(replace(stack(2, (4,)), notes=("gemäß",)), "häuser.elstm")
    done = shell("edgelstm inspect häuser.elstm", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0 and "gem\\xe4\\xdf" in done.stdout, done


def test_numbers_that_are_none(here):
    save(stack(2, (4,)), "m.elstm")
    assert "not a finite number" in call("bench", "m.elstm", "--rate", "nan", code=2)
    assert "not a finite number" in call("validate", "m.elstm", "--reference", "x", "--decibels", "nan", code=2)


def test_scaled_samples_beside_a_scaler_are_noted(here):
    np.save("X.npy", signal((8, 6, 2)))
    Path("meta.toml").write_text("[[inputs]]\nscaler = { scale = 0.1, offset = -3 }\n")
    arguments = ("convert", KERAS / "keras315_stack.keras", "-o", "m.elstm", "--int8", "--samples", "X.npy")
    assert "--raw is for samples" in call(*arguments, "--meta", "meta.toml")
    assert "--raw is for samples" not in call(*arguments)


# ---- bench ----


def test_bench(here):
    save(stack(2, (4,)), "m.elstm")
    said = call("bench", "m.elstm", "--steps", "300", "--rate", "50", "--kernels", "scalar")
    assert "p50" in said and "p99" in said and "scalar" in said and "of 300" in said


def test_bench_of_layers(here):
    model = stack(2, (4, 9))
    for name, one in (("f.elstm", model), ("q.elstm", quantize(model, signal((4, 9, 2))))):
        save(one, name)
        said = call("bench", name, "--layers", "--steps", "300", "--kernels", "scalar")
        for word in ("inputs", "lstm0", "lstm1", "last", "dense", "outputs", "sum", "whole step", "scalar", "100.0%"):
            assert word in said, word
    assert kernels()[0] in call("bench", "f.elstm", "--layers", "--steps", "300")
    assert "--rate is for whole steps" in call("bench", "f.elstm", "--layers", "--rate", "50", code=2)
