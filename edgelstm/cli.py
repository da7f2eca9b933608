"""The command line: parse, call, print. The only module that prints, and the only one that knows click and rich."""

from __future__ import annotations

import io
import json
import math
import os
import shlex
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress_bar import ProgressBar
from rich.status import Status
from rich.text import Text

from . import __version__, arrays, lines, targets
from .costs import costs
from .description import TFL8_SETTINGS, TensorDescription
from .errors import EdgeLstmError, InputError, MissingError, printable
from .report import Report
from .report_tables import rows as show_rows
from .report_tables import show as show_report
from .report_tables import table as _table
from .runner import Runner

FAILED, BAD_INPUT, INTERRUPTED, TERMINATED = 1, 2, 130, 143


class _Console(Console):
    """A console that goes quiet when its reader has had enough; the exit code stays the command's own."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        _leave_stdout()


def _leave_stdout() -> None:
    """What is still in stdout's buffer goes nowhere, so that no error follows at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


out = _Console(highlight=False)
err = _Console(stderr=True, highlight=False)


def _number(ctx: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number.")
    return value


IMAGE = click.Path(exists=True, dir_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


class Commands(click.Group):
    """A group whose commands end in one line and an exit code, never in a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _ended_by_sigterm():
                return super().invoke(ctx)
        except EdgeLstmError as error:
            _complain(str(error))
            ctx.exit(BAD_INPUT)
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx is not None else ctx.command_path
            _complain(f"{error.format_message()} See {command} --help.")
            ctx.exit(BAD_INPUT)
        except MemoryError:
            _complain("not enough memory for this")
            ctx.exit(BAD_INPUT)
        except BrokenPipeError:  # whoever read our answers has had enough
            _leave_stdout()
            ctx.exit(0)
        except OSError as error:  # of standard input or output; files are the business of what opens them
            _leave_stdout()
            _complain(f"{error.filename or 'standard input or output'}: {error.strerror or error}")
            ctx.exit(BAD_INPUT)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM as an exception, so that child processes end and temporary folders go, as they do at ctrl-C."""
    alone = threading.current_thread() is threading.main_thread()
    if not alone or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def end(*_: object) -> None:
        raise SystemExit(TERMINATED)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _complain(text: str) -> None:
    err.print(f"edgelstm: {' '.join(text.split())}", style="red", markup=False, soft_wrap=True)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Runs LSTMs trained in Keras or PyTorch on small computers.

    Exit codes: 0 done, 1 a validation failed, 2 bad input.
    """
    for stream in (sys.stdout, sys.stderr):  # a terminal of ASCII shows other letters by their numbers
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


# ---- convert ----


@main.command()
@click.argument("checkpoint", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="The image to write, MODEL.elstm.")
@click.option("--int8", is_flag=True, help="Quantize to int8; needs --samples.")
@click.option("--samples", type=FILE, help="X.npy with data as in real use, (T, inputs) or (N, T, inputs).")
@click.option(
    "--hidden-bits",
    type=click.Choice(["8", "16"]),
    help="With --int8: bits of the LSTMs' h. 16 is more accurate and slower (docs/quantization.md). Default: 8.",
)
@click.option(
    "--ranges",
    type=click.Choice(["output", "covering"]),
    help="With --int8: narrow ranges where the answers gain by it, or cover all samples. Default: output.",
)
@click.option("--raw", is_flag=True, help="The samples are sensor numbers: apply the meta file's scaler first.")
@click.option("--meta", "meta_file", type=FILE, help="TOML file: scaler, units, labels, window, hop (docs/meta.md).")
@click.option("--head", help="Activations a PyTorch state dict does not tell, 'relu,softmax' (docs/pytorch.md).")
@click.option(
    "--architecture",
    type=FILE,
    help="What a weights-only checkpoint does not tell: Keras' config.json, or a TOML file.",
)
@click.option(
    "--for",
    "runtime",
    metavar="RUNTIME",
    help="Of a full-int8 .tflite: whose bytes, tflite-runtime, ai-edge-litert or tflite-micro, and if need be "
    ":RESOLVER:MACHINE (docs/tflite.md). Default: tflite-runtime:default:aarch64.",
)
@click.option(
    "--rounding",
    type=click.Choice(TFL8_SETTINGS["rounding"]),
    help="Likewise: how fully connected layers round, if not as --for does. Default: double.",
)
@click.option(
    "--flavour",
    type=click.Choice(TFL8_SETTINGS["flavour"]),
    help="Likewise: whose LSTM, TFLite's or TFLite Micro's. Default: tflite.",
)
@click.option(
    "--compat",
    type=click.Choice(["tflite"]),
    help="Likewise: of cells that the converter spoilt take the runtimes' own answers, nonsense as they are.",
)
@click.option("--trust", is_flag=True, help="Let a TorchScript or .pt2 CHECKPOINT, which is a program, run in PyTorch.")
@click.option("--no-verify", is_flag=True, help="Do not run the checkpoint in its own framework to compare.")
def convert(
    checkpoint: Path,
    output: Path,
    int8: bool,
    samples: Path | None,
    hidden_bits: str | None,
    ranges: str | None,
    raw: bool,
    meta_file: Path | None,
    head: str | None,
    architecture: Path | None,
    runtime: str | None,
    rounding: str | None,
    flavour: str | None,
    compat: str | None,
    trust: bool,
    no_verify: bool,
) -> None:
    """Turn a CHECKPOINT into an image that runs anywhere: of Keras, PyTorch, ONNX, TFLite, safetensors or NumPy.

    A file is known by its content: .keras, .h5, .pt, .pth, .safetensors, .onnx, .tflite, .npz.

    Where the framework that wrote it is installed, both answer three random sequences first, and nothing is written if
    they disagree.
    """
    if int8 and samples is None:
        raise InputError("--int8 needs --samples X.npy, data as in real use: its ranges choose the scales")
    if samples is not None and not int8:
        raise InputError("--samples is for --int8; leave it out for a float image")
    if hidden_bits is not None and not int8:
        raise InputError("--hidden-bits is for --int8; leave it out for a float image")
    if ranges is not None and not int8:
        raise InputError("--ranges is for --int8; leave it out for a float image")
    from . import importers
    from .horizon import horizon
    from .image import save
    from .meta_file import describe
    from .quantization import quantize
    from .tfl8_model import Tfl8Model, variant

    model: Any = importers.read(checkpoint, head=head, architecture=architecture, trust=trust, compat=compat)
    integers = isinstance(model, Tfl8Model)
    if int8 and integers:
        raise InputError("the file is int8 already, and is converted as it is; leave --int8 and --samples out")
    for option, value in (("--for", runtime), ("--rounding", rounding), ("--flavour", flavour)):
        if value is not None and not integers:
            raise InputError(f"{option} is for full-int8 .tflite files, whose arithmetic it chooses; leave it out")
    if integers:
        model = variant(model, runtime=runtime, rounding=rounding, flavour=flavour)
    proof = None if no_verify else _proof(model, checkpoint, architecture, trust, output)
    if meta_file is not None:
        model = describe(model, meta_file)
    found = None
    if samples is not None:
        given = arrays.load(samples, model.inputs)
        if raw:
            given = model.meta.scale_inputs(given)
        elif any(port.scaler for port in model.meta.inputs):
            _note("the samples were taken as scaled already; --raw is for samples in the sensor's numbers")
        exact = model
        with _progress("choosing int8 ranges from the samples") as progress:
            model = quantize(
                exact, given, hidden_bits=int(hidden_bits or 8), ranges=ranges or "output", progress=progress
            )
        with _progress("running 10,000 steps") as progress:
            found = horizon(exact, model, given, progress=progress)
    size = save(model, output)
    Runner(output).self_check()
    for note in model.notes:
        _note(note)
    if found is not None:
        _show_horizon(found)
    kind = "TFLite's int8" if integers else "int8" if int8 else "float32"
    before = _bytes(checkpoint.stat().st_size)
    out.print(f"{output}: {kind}, {_bytes(size)} (checkpoint {before})", markup=False, soft_wrap=True)
    if proof is not None:
        style = "green" if proof.peer else "yellow"
        out.print(f"conversion {proof}", style=style, markup=False, soft_wrap=True)


def _show_horizon(found: Any) -> None:
    """The int8 model's error after more and more steps."""
    if found.rows:
        table = _table("int8 beside float", ("output",), ("after steps", "RMS error", "signal to error, dB"))
        for row in found.rows:
            d = row.difference
            table.add_row(row.output, f"{row.steps:,}", f"{d.rms_error:.2g}", f"{d.decibels:.1f}")
        out.print(table)
    for note in found.notes:
        _note(note)


def _proof(model: Any, checkpoint: Path, architecture: Path | None, trust: bool, output: Path) -> Any:
    from .proof import prove

    with err.status("running the checkpoint in its own framework"):
        return prove(model, checkpoint, architecture=architecture, trust=trust, image=output)


# ---- export-tflite ----


@main.command("export-tflite")
@click.argument("checkpoint", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="The file to write, MODEL.tflite.")
@click.option(
    "--kind",
    type=click.Choice(["float", "dynamic", "int8"]),
    default="float",
    show_default=True,
    help="Numbers of the file: floats, int8 weights alone, or int8 throughout, which needs --samples.",
)
@click.option("--samples", type=FILE, help="X.npy with data as in real use, (T, inputs) or (N, T, inputs).")
@click.option("--raw", is_flag=True, help="The samples are sensor numbers: apply the meta file's scaler first.")
@click.option(
    "--steps", type=click.IntRange(1), help="Steps of one call; 1 streams. Default: the model's window, else 1."
)
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Sequences of one call.")
@click.option("--meta", "meta_file", type=FILE, help="TOML file: scaler for --raw, and window (docs/meta.md).")
@click.option("--head", help="Activations a PyTorch state dict does not tell, 'relu,softmax' (docs/pytorch.md).")
@click.option(
    "--architecture",
    type=FILE,
    help="What a weights-only checkpoint does not tell: Keras' config.json, or a TOML file.",
)
@click.option("--trust", is_flag=True, help="Let a TorchScript or .pt2 CHECKPOINT, which is a program, run in PyTorch.")
@click.option("--no-verify", is_flag=True, help="Run neither the checkpoint in its framework nor the written file.")
def export_tflite(
    checkpoint: Path,
    output: Path,
    kind: str,
    samples: Path | None,
    raw: bool,
    steps: int | None,
    batch: int,
    meta_file: Path | None,
    head: str | None,
    architecture: Path | None,
    trust: bool,
    no_verify: bool,
) -> None:
    """Write a CHECKPOINT of any framework as a .tflite file for TensorFlow Lite's runtimes.

    What TFLite has no operators for is refused by name (docs/tflite.md). Where a runtime is installed the file is run
    beside the float model, and a float file is not written if they disagree.
    """
    if (kind == "int8") != (samples is not None):
        raise InputError(
            "--kind int8 needs --samples X.npy, data as in real use: its ranges choose the scales"
            if samples is None
            else f"--samples is for --kind int8; leave it out for {kind}"
        )
    from . import importers
    from .comparison import DECIBELS
    from .exporters import tflite, tflite_states
    from .files import write_whole
    from .meta_file import describe
    from .proof_tflite import beside
    from .tfl8_model import Tfl8Model

    model: Any = importers.read(checkpoint, head=head, architecture=architecture, trust=trust)
    if isinstance(model, Tfl8Model):
        raise InputError(f"{checkpoint.name} is an int8 .tflite already; there are no floats to write another from")
    proof = None if no_verify else _proof(model, checkpoint, architecture, trust, output)
    if meta_file is not None:
        model = describe(model, meta_file)
    given = None if samples is None else arrays.load(samples, model.inputs)
    if given is not None and raw:
        given = model.meta.scale_inputs(given)
    plan = tflite.planned(model, kind, steps, batch)
    data = tflite.build(model, kind, given, plan.steps, batch)
    with err.status("running the file beside the float model"):
        written = None if no_verify else beside(model, data, plan.steps, given)
    write_whole(output, data)
    for note in model.notes:
        _note(note)
    out.print(f"{output}: {kind}, {tflite_states.call(plan)}, {_bytes(len(data))}", markup=False, soft_wrap=True)
    if proof is not None:
        out.print(f"reading {proof}", style="green" if proof.peer else "yellow", markup=False, soft_wrap=True)
    if written is not None:
        poor = written.integer and written.decibels < DECIBELS
        sound = written.peer and not poor
        out.print(f"file {written}", style="green" if sound else "yellow", markup=False, soft_wrap=True)
        if poor:
            _note(
                f"warning: the file reaches {written.decibels:.1f} dB, and sound conversions {DECIBELS:g} or more; "
                "look at the samples (as in real use, scaled as in training?) and the inputs' scaling"
            )
    for note in tflite_states.notes(plan):
        _note(note)


# ---- export-c ----


@main.command("export-c")
@click.argument("image", metavar="MODEL", type=IMAGE)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The folder to write, a new one.")
@click.option(
    "--target",
    metavar="NAME",
    help="A microcontroller's board or CPU as `plan` names them, or cortex-m85: its kernels alone go in. "
    "Default: the compiler chooses.",
)
def export_c(image: Path, output: Path, target: str | None) -> None:
    """Write an image MODEL as a folder of C that compiles alone, for a microcontroller or anything with C99.

    It has the model as a constant array, of the C core what the model needs, an example, a self-test and a README
    (docs/microcontroller.md).
    """
    from .exporters import firmware

    files = firmware.write(image, output, target)
    out.print(f"{output}: {len(files)} files; README.md says how to build them", markup=False, soft_wrap=True)


# ---- inspect ----


@main.command()
@click.argument("image", metavar="MODEL", type=IMAGE)
@click.option("--target", metavar="NAME", help="Also what each layer takes on a board or CPU, as `plan` names them.")
def inspect(image: Path, target: str | None) -> None:
    """Show layers, parameters, flash, RAM, MACs per step and state of an image."""
    chosen = None if target is None else targets.find(target)
    runner = Runner(image, max_steps=1)
    described = runner.description
    if not runner.causal:
        runner = Runner(image, max_steps=max(1, described.example_steps))
    title = f"{image.name}: {described.number_type}, format {described.version}"
    table = _table(title, ("layer", "kind"), ("inputs", "units", "parameters", "MACs / step", "state, bytes"))
    for layer in described.layers:
        kind = layer.kind.replace("_", " ")
        numbers = (layer.inputs, layer.units, layer.parameters, layer.macs, layer.state_bytes)
        table.add_row(layer.name, kind, *(f"{n:,}" for n in numbers))
    sums = [sum(getattr(layer, name) for layer in described.layers) for name in ("parameters", "macs", "state_bytes")]
    table.add_section()
    table.add_row("all", "", "", "", *(f"{n:,}" for n in sums))
    out.print(table)
    wide = [layer.name for layer in described.layers if layer.hidden_type == "s16"]
    if wide:
        out.print(f"h in 16 bits: {', '.join(wide)}", markup=False, soft_wrap=True)
    stored = [setting for layer in described.layers for setting in layer.arithmetic]
    if stored:
        said = ", ".join(f"{name} {value}" for name, value in sorted(set(stored)))
        out.print(f"TFLite's arithmetic: {said}", markup=False, soft_wrap=True)
    ports = zip(("input", "output"), (described.inputs, described.outputs), strict=True)
    names = (described.input_names, described.output_names)
    for (what, tensors), port_names, known in zip(
        ports, names, (described.meta.inputs, described.meta.outputs), strict=True
    ):
        for name, index, port in zip(port_names, tensors, known, strict=True):
            tensor = described.tensors[index]
            parts = [f"{what} {name}: {tensor.width} x {tensor.type}"]
            parts += [f"1 is {tensor.scale:.6g}"] if tensor.type != "f32" else []
            parts += [f"zero is {tensor.zero_point}"] if tensor.zero_point else []
            parts += [_when(what, tensor)] if tensor.single or tensor.clock else []
            parts += ["with a scaler"] if port.scaler is not None else []
            values = port.labels or tuple(" ".join(v).strip() for v in _paired(port.channels, port.units))
            out.print(", ".join(parts) + (": " + ", ".join(values) if values else ""), markup=False, soft_wrap=True)
    if described.meta.window is not None:
        out.print(f"window {described.meta.window} steps, hop {described.meta.hop or 1}")
    use = "one stream" if runner.causal else f"runs of {max(1, described.example_steps)} steps"
    out.print(
        f"flash {_bytes(described.size)}, RAM {_bytes(runner.arena_size)} for {use} with {runner.kernels} "
        f"kernels, {_bytes(runner.state_size)} of them state",
        soft_wrap=True,
    )
    for name, reason in described.waits:
        out.print(f"runs over whole sequences alone: {name}: {reason}", markup=False, soft_wrap=True)
    source = described.source
    out.print(
        f"from {source.file or 'memory'} ({source.format or 'unknown'}), SHA-256 {source.sha256 or 'unknown'}",
        markup=False,
        soft_wrap=True,
    )
    out.print(f"checksum {described.checksum:08x}, example of {described.example_steps} steps", markup=False)
    for note in described.notes:
        _note(note)
    if chosen is not None:
        from . import plan_tables
        from .plan import plan as made

        plan_tables.show_layers(out, made(runner, chosen))


def _when(what: str, tensor: TensorDescription) -> str:
    """When a port has rows that has not one a step."""
    if what == "input" or tensor.constant:
        return "one row a run"
    return "the last step of a run" if tensor.single else "not one row a step"


def _paired(channels: tuple[str, ...], units: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for k in range(max(len(channels), len(units))):
        yield (channels[k] if channels else "", f"[{units[k]}]" if units else "")


# ---- plan ----


@main.command("plan")
@click.argument("image", metavar="MODEL", type=IMAGE)
@click.option("--target", metavar="NAME", help="A board or CPU (docs/plan.md); without, a table of all boards.")
@click.option("--rate", type=float, callback=_number, help="Steps a second that it has to keep up with.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def plan_command(image: Path, target: str | None, rate: float | None, as_json: bool) -> None:
    """Say what an image MODEL takes on a board before it is there: flash, RAM, stack, instructions, the least time.

    The time is a lower bound, of the code that was counted: it can rule a model out, and never promises that one is
    fast enough. Exit code 1 where the model does not fit the target; what nobody can say is said, and ends with 0.
    """
    if rate is not None and rate <= 0:
        raise InputError(f"--rate is {rate:g}, expected steps a second above 0")
    from . import plan_tables
    from .plan import largest
    from .plan import plan as made

    chosen = targets.boards() if target is None else (targets.find(target),)
    runner = Runner(image, max_steps=1)
    plans = [made(runner, one, rate) for one in chosen if target is not None or one.core.counted_as in costs()]
    smaller = target is not None and (plans[0].refused or plans[0].tight)
    sizes = largest(runner, chosen[0], rate) if smaller else None
    if as_json:
        found: Any = [plan_tables.data(one) for one in plans]
        if target is not None:
            found = found[0] | {"largest_units": dict(sizes[1]) if sizes else None}
        out.print_json(json.dumps(found))
    elif target is None:
        plan_tables.show_all(out, plans, image.name)
    else:
        plan_tables.show(out, plans[0])
        if smaller:
            out.print(plan_tables.fitting(*(sizes or (None, ()))), markup=False, soft_wrap=True)
    if target is not None and plans[0].refused:
        raise SystemExit(FAILED)


# ---- run ----


@main.command()
@click.argument("image", metavar="MODEL", type=IMAGE)
@click.argument("stdin", required=False, type=click.Choice(["-"]), metavar="[-]")
@click.option("--input", "source", type=FILE, help="X.npy, (T, inputs) or (N, T, inputs); a .npz for several inputs.")
@click.option("--output", "target", type=FILE, help="Y.npy to write, in the shape the framework gives.")
@click.option("--every-step", is_flag=True, help="With --input: answers of every step, not the last one alone.")
@click.option(
    "--raw/--scaled",
    default=None,
    help="Sensor numbers, to be scaled by the image, or the model's. Default: --raw for -, --scaled for files.",
)
@click.option(
    "--windows/--carry",
    default=None,
    help="With -: exact windows, or state carried from line to line. Default: --carry.",
)
@click.option(
    "--gaps",
    type=click.Choice(["refuse", "hold", "skip", "reset"]),
    default=None,
    help="With -: what to do where a value is missing. Default: refuse.",
)
@click.option(
    "--format", "form", type=click.Choice(["csv", "json"]), default=None, help="With -: of the answers. Default: csv."
)
@click.option("--kernels", help="Kernel set by name; the best of this machine unless given.")
def run(
    image: Path,
    stdin: str | None,
    source: Path | None,
    target: Path | None,
    every_step: bool,
    raw: bool | None,
    windows: bool | None,
    gaps: str | None,
    form: str | None,
    kernels: str | None,
) -> None:
    """Run MODEL over a file, or over lines on standard input.

    With `-` each line is one step, CSV or JSON; each answer is one line, written at once.
    """
    runner = Runner(image, kernels)
    if stdin is not None:
        if source is not None or target is not None or every_step:
            raise InputError(
                "- reads standard input and writes standard output; leave --input, --output and --every-step out"
            )
        _run_lines(runner, raw is not False, windows is True, gaps or "refuse", form)
        return
    if source is None or target is None:
        raise InputError("give --input X.npy and --output Y.npy, or - for lines on standard input")
    if windows is not None or gaps is not None or form is not None:
        raise InputError("--windows, --carry, --gaps and --format are for lines on standard input")
    xs = arrays.load(source, runner.description.input_names)
    if raw:
        xs = runner.meta.scale_inputs(xs)
    ys = runner.run(xs, every_step=every_step)
    if raw:
        ys = runner.meta.unscale_outputs(ys)
    arrays.save(target, ys, runner.description.output_names)
    shapes = ", ".join(f"{y.shape} {y.dtype}" for y in (ys if isinstance(ys, tuple) else (ys,)))
    out.print(f"{target}: {shapes}", markup=False)


def _run_lines(runner: Runner, raw: bool, windows: bool, gaps: Any, form: str | None) -> None:
    from .stream import Stream

    described = runner.description
    if sys.stdin is None:
        raise InputError("standard input is closed; - reads lines from it")
    if len(described.input_names) != 1:
        raise InputError(f"lines carry one input, this model has {len(described.input_names)}: use --input X.npz")
    stream = Stream(runner, carry=not windows, gaps=gaps, scale=raw)
    labels = [port.labels for port in described.meta.outputs]
    width, channels = runner.input_widths[0], described.meta.inputs[0].channels
    try:
        for answer in stream(lines.samples(sys.stdin, width, channels)):
            values = answer.values if isinstance(answer.values, tuple) else (answer.values,)
            click.echo(lines.answer(values, described.output_names, labels, form == "json"))  # flushes
    except KeyboardInterrupt:
        pass


# ---- validate ----


_SHARE = click.FloatRange(0, 1)
_FILES = ("data", "labels", "samples", "architecture")  # options of files that a report's answers rest on


class _Told(click.Command):
    """A command that knows how it was called."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["called"] = shlex.join([*ctx.command_path.split(), *args])
        return super().parse_args(ctx, args)


@main.command(cls=_Told)
@click.argument("image", metavar="MODEL", type=IMAGE)
@click.option(
    "--reference", type=FILE, required=True, help="The checkpoint, a .tflite, or answers recorded in Y.npy or .npz."
)
@click.option("--data", type=FILE, help="X.npy, scaled as in training; random walks unless given.")
@click.option(
    "--raw", is_flag=True, help="Data, labels and samples are in the sensor's numbers, for the image's scalers."
)
@click.option("--labels", type=FILE, help="L.npy of the data: class numbers, one-hot rows, or numbers.")
@click.option("--task", type=click.Choice(["classes", "numbers"]), help="What the labels are, if they do not tell.")
@click.option("--samples", type=FILE, help="X.npy: quantize a float MODEL beside it; ranges for TFLite's int8.")
@click.option(
    "--by",
    type=click.Choice(["framework", "tflite", "converter"]),
    help="Who answers for a checkpoint: its framework alone, a .tflite we write, or that of TensorFlow's converter.",
)
@click.option("--kind", type=click.Choice(["float", "dynamic", "int8"]), help="Of the .tflite of --by. [float]")
@click.option(
    "--limit",
    type=click.FloatRange(0),
    callback=_number,
    help="Largest error of f32 allowed, times max(1, max|y|). [5e-6]",
)
@click.option("--decibels", type=float, callback=_number, help="Least signal to error ratio of s8 and tfl8. [20]")
@click.option("--cosine", type=click.FloatRange(-1, 1), callback=_number, help="Least cosine of every output.")
@click.option("--agreement", type=_SHARE, callback=_number, help="Least share of rows whose arg max agrees.")
@click.option("--accuracy-drop", type=_SHARE, callback=_number, help="How much less accuracy than the reference's.")
@click.option("--rmse-rise", type=click.FloatRange(0), callback=_number, help="How much more RMSE, as a share of it.")
@click.option("--saturation", type=_SHARE, callback=_number, help="Largest share of saturated values of any tensor.")
@click.option("--drift", type=float, callback=_number, help="Least signal to error, in dB, over the long run.")
@click.option("--exact", is_flag=True, help="An int8 .tflite's image must have the runtime's bytes as it is.")
@click.option("--converter", is_flag=True, help="Show files of TensorFlow's own converter beside; it takes long.")
@click.option(
    "--drift-steps", type=click.IntRange(0), help="Steps of the long run with carried state; 0 leaves it out."
)
@click.option("--runtime", type=click.Choice(["tflite-runtime", "ai-edge-litert"]), help="TFLite runtime to use.")
@click.option("--head", help="As in convert, for a PyTorch reference.")
@click.option("--architecture", type=FILE, help="As in convert; a .npz is then the checkpoint, not answers.")
@click.option("--kernels", help="Kernel set by name.")
@click.option("--trust", is_flag=True, help="Let code that the reference may hold run; see docs/validation.md.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--html", type=FILE, help="Write the report as one HTML file, with figures, that needs nothing else.")
def validate(image: Path, reference: Path, as_json: bool, html: Path | None, **options: Any) -> None:
    """Compare MODEL with its checkpoint and with TFLite; exit code 1 if it fails."""
    from .files import check_place
    from .validation import validate as compare

    files = [("model", image), ("reference", reference), *((name, options[name]) for name in _FILES)]
    if html is not None:
        from . import page

        if any(path is not None and path.resolve() == html.resolve() for _, path in files):
            raise InputError(f"{html}: the report would take the place of what it is about")
        page.ready()
        check_place(html)
    given = {name: value for name, value in options.items() if value is not None}
    with _stages() as tell:
        report = compare(image, reference, progress=tell, **given)
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2))
    else:
        _show_report(report)
    if html is not None:
        try:
            page.write(report, html, page.origin(click.get_current_context().meta["called"], files))
        except EdgeLstmError as error:
            if report.passed:
                raise
            _complain(str(error))  # that it failed is what the exit code is for
    if not report.passed:
        raise SystemExit(FAILED)


def _show_report(report: Report) -> None:
    show_report(out, report)
    for note in report.notes:
        _note(note)
    out.print(report.verdict, style="green" if report.passed else "red", markup=False, soft_wrap=True)


# ---- bench ----


@main.command()
@click.argument("image", metavar="MODEL", type=IMAGE)
@click.option("--steps", type=click.IntRange(1), default=20000, show_default=True, help="Steps to time per kernel set.")
@click.option("--kernels", multiple=True, help="Only this kernel set (may be repeated).")
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    callback=_number,
    help="Samples a second: count the steps that come too late.",
)
@click.option("--layers", is_flag=True, help="Time each layer of a step; with the best kernel set unless told others.")
def bench(image: Path, steps: int, kernels: tuple[str, ...], rate: float | None, layers: bool) -> None:
    """Time single steps of MODEL with every kernel set of this machine."""
    if layers:
        if rate is not None:
            raise InputError("--rate is for whole steps; leave it or --layers out")
        _bench_layers(image, steps, kernels)
        return
    from .bench import measure

    deadline = None if rate is None else 1e9 / rate
    with _progress("timing") as advance:
        rows = measure(image, steps, list(kernels) or None, deadline, advance)
    late = (f"later than {1e3 / rate:g} ms",) if rate else ()
    table = _table(f"{image.name}: one step, µs", ("kernels",), ("p50", "p99", "max", *late))
    for row in rows:
        times = (f"{t / 1e3:.3f}" for t in (row.p50, row.p99, row.max))
        table.add_row(row.kernels, *times, *([f"{row.misses} of {row.steps}"] if rate else []))
    out.print(table)


def _bench_layers(image: Path, steps: int, names: tuple[str, ...]) -> None:
    from .bench import measure_layers
    from .runner import kernels

    with _progress("timing") as advance:
        measured = measure_layers(image, steps, list(names) or kernels()[:1], advance)
    for one in measured:
        title = f"{image.name}: the layers of one step with {one.kernels} kernels"
        table = _table(title, ("layer", "kind"), ("inputs", "units", "weights, bytes", "ns", "share"))
        for part in one.parts:
            numbers = (f"{n:,}" for n in (part.inputs, part.units, part.weight_bytes))
            kind = part.kind.replace("_", " ")
            table.add_row(part.name, kind, *numbers, f"{part.nanoseconds:,.1f}", f"{part.share:.1%}")
        table.add_section()
        weights = sum(part.weight_bytes for part in one.parts)
        table.add_row("sum", "", "", "", f"{weights:,}", f"{one.sum:,.1f}", "100.0%")
        table.add_row("whole step", "", "", "", "", f"{one.step:,.1f}", "")
        out.print(table)
    out.print(
        "The sum and a whole step differ: in a step layers overlap, and layers repeated alone find a warmer cache.",
        soft_wrap=True,
    )


# ---- demo ----


@main.command()
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default="edgelstm-demo",
    show_default=True,
    help="Folder for the images, the .tflite files and the figure.",
)
def demo(folder: Path) -> None:
    """Convert, validate and stream a real machine's temperature: the whole road in one command."""
    from . import demo as job

    out.print("[bold]From a trained Keras checkpoint to an int8 model that watches a machine[/]\n")
    result: Any = None
    with _Watching() as view:
        for event in job.run(folder):
            match event:
                case job.Began():
                    view.began(event.title)
                case job.Ended():
                    view.ended(event.text)
                case job.Step():
                    view.step(event)
                case job.Result():
                    result = event
    _show_demo(result, job)
    files = [*result.files]
    try:
        files.append(job.figure(result, folder / "demo.png"))
    except MissingError as error:
        out.print(f"no figure: {error}", markup=False, soft_wrap=True)
    out.print(f"in {folder}: {', '.join(file.name for file in files)}", markup=False, soft_wrap=True)
    out.print(f"{result.seconds:.1f} s on {result.machine} with {result.kernels} kernels", markup=False)
    if not result.report.passed:
        raise SystemExit(FAILED)


class _Watching:
    """The demo's stages, one line each, and below them the recording as it streams by, where there is a terminal."""

    HOURS, PERIOD, BLOCKS = 72, 0.08, "▁▂▃▄▅▆▇█"

    def __enter__(self) -> _Watching:
        self.title, self.shown = "", 0.0
        self.hours: deque[float] = deque(maxlen=self.HOURS)
        self.hour: list[float] = []
        self.live: Status | Live | None = None
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()

    def began(self, title: str) -> None:
        self.title = title
        self._show(out.status(Text(title, style="dim")))

    def ended(self, text: str) -> None:
        self._show(None)
        out.print(Text.assemble(("✓ ", "green"), f"{self.title}: ", (text, "dim")), soft_wrap=True)

    def step(self, step: Any) -> None:
        if step.first:
            self.hour.append(step.value)
            if len(self.hour) == 12:
                self.hours.append(sum(self.hour) / 12)
                self.hour.clear()
        if step.first and step.alarm:
            out.print(
                f"  [red]▲ alarm[/] {step.time:%d %b %Y %H:%M}: {step.value:.1f} °F, forecast {step.forecast:.1f}, "
                f"mean error of the last hour {step.score:.1f}",
                soft_wrap=True,
            )
        if not out.is_terminal or time.monotonic() - self.shown < self.PERIOD:
            return
        if not isinstance(self.live, Live):  # drawn from here alone: a thread that draws would disturb the timing
            self._show(Live(console=out, auto_refresh=False, transient=True))
        assert isinstance(self.live, Live)
        self.live.update(self._passing(step), refresh=True)
        self.shown = time.monotonic()

    def _passing(self, step: Any) -> Group:
        bar = ProgressBar(total=1.0, completed=step.share, width=self.HOURS)
        head = Text(f"… {self.title}", style="dim")
        if not step.first or not self.hours:
            return Group(head, bar)
        low, high = min(self.hours), max(self.hours)
        scale = (len(self.BLOCKS) - 1) / ((high - low) or 1)
        spark = "".join(self.BLOCKS[round((value - low) * scale)] for value in self.hours)
        now = (
            f"{step.time:%d %b %Y %H:%M}   {step.value:6.1f} °F   forecast {step.forecast:6.1f}   "
            f"score {step.score:5.2f} of {step.limit:.2f}"
        )
        style = "bold red" if step.score > step.limit else "bold"
        span = Text(f"three days, {low:.0f} to {high:.0f} °F", style="dim")
        return Group(head, bar, Text(), Text(spark, style="cyan"), span, Text(now, style=style))

    def _show(self, live: Status | Live | None) -> None:
        """Show this in place of what is shown."""
        if self.live is not None:
            self.live.stop()
        self.live = live if out.is_terminal else None
        if self.live is not None:
            self.live.start()


def _show_demo(result: Any, job: Any) -> None:
    out.print()
    data = result.recording
    names = [f"{job.NAMES[one.type]}, {job.MODES[one.carry]}" for one in result.passes]
    days = f"{data.scored.sum() / job.DAY:.0f} days never seen"
    table = _table(
        f"RMSE in °F on {days}; normal: outside labelled windows",
        ("model",),
        ("all", "normal", "windows found", "false alarms / month"),
    )
    for name, one in zip(names, result.passes, strict=True):
        verdict = one.verdict
        found = f"{len(verdict.found)} of {len(data.windows)}"
        table.add_row(name, f"{one.rmse:.3f}", f"{one.rmse_normal:.3f}", found, f"{verdict.false_a_month:.2f}")
    table.add_row("persistence", f"{result.persistence:.3f}", f"{result.persistence_normal:.3f}", "", "")
    out.print(table)

    if result.peer is not None:
        title = f"RMSE in °F on {result.peer.windows:,} of them"
        table = _table(title, ("model",), ("all", "normal"))
        for name in ("s8", "TFLite int8", "f32", "TFLite float", "persistence"):
            values = (result.peer.rmse[name], result.peer.rmse_normal[name])
            table.add_row(job.NAMES.get(name, name), *(f"{value:.3f}" for value in values))
        out.print(table)
    report = result.report
    title = f"against {report.reference}: {report.sequences} sequences of {report.steps} steps"
    show_rows(out, report.rows, title)

    main = result.passes[0]
    table = _table(f"alarms, {names[0]}", ("labelled window", "alarm"), ("highest score, °F",))
    for number, (first, last) in enumerate(data.windows):
        raised = [alarm for alarm in main.verdict.alarms if number in alarm.windows]
        at = ", ".join(_moment(data, alarm.first) for alarm in raised)
        peak = f"{max(alarm.peak for alarm in raised):.2f}" if raised else ""
        table.add_row(
            f"{_moment(data, first)} to {_moment(data, last)}",
            f"[green]✓[/] {at}" if raised else "[yellow]missed[/]",
            peak,
        )
    for alarm in main.verdict.alarms:
        if not alarm.windows:
            table.add_row("", f"[red]✗[/] {_moment(data, alarm.first)}, a false alarm", f"{alarm.peak:.2f}")
    out.print(table)

    table = _table("from sample to answer, µs", ("model",), ("p50", "p99", "max"))
    for name, one in zip(names, result.passes, strict=True):
        table.add_row(name, *(f"{value:,.1f}" for value in (one.latency.p50, one.latency.p99, one.latency.max)))
    out.print(table)

    sizes = result.sizes
    table = _table("bytes", ("",), ("int8", "float"))
    table.add_row("checkpoint", "", f"{sizes.checkpoint:,}")
    pairs = (("TFLite", sizes.tflite_int8, sizes.tflite_float), ("image", sizes.s8, sizes.f32))
    for name, small, large in (*pairs, ("RAM for one stream", sizes.s8_arena, sizes.f32_arena)):
        table.add_row(name, *("" if size is None else f"{size:,}" for size in (small, large)))
    out.print(table)


def _moment(data: Any, sample: int) -> str:
    return f"{data.times[sample].item():%d %b %H:%M}"


# ---- what the commands share ----


@contextmanager
def _progress(what: str) -> Iterator[Any]:
    """A bar on standard error; yields a function that takes the share done."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(what, total=1.0)
        yield lambda share: progress.update(task, completed=share)


@contextmanager
def _stages() -> Iterator[Any]:
    """What is being done, and a bar, on standard error; yields a function that takes both."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("reading", total=1.0)
        yield lambda what, share: progress.update(task, description=what, completed=share)


def _note(note: str) -> None:
    """A sentence about what was assumed or found; warnings stand out."""
    note = printable(note)
    if note.startswith("warning: "):
        out.print(note, style="yellow", markup=False, soft_wrap=True)
    else:
        out.print(f"note: {note}", markup=False, soft_wrap=True)


def _bytes(size: int) -> str:
    return f"{size:,} bytes" if size < 10_000 else f"{size / 1024:,.1f} KiB"
