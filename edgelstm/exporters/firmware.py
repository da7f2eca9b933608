"""An image as a folder of C that compiles alone: the model in flash, and what of the core it needs."""

from __future__ import annotations

import os
import re
import struct
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..costs import COMPILERS, Costs, costs
from ..description import MASK, SECTIONS, TensorDescription
from ..errors import ExportError, InputError, MissingError
from ..layout import in_layout
from ..meta import Port
from ..runner import Runner
from ..targets import Core, Target, targets
from . import firmware_ports, sources
from .firmware_ports import Conversion

ALIGN = 16  # ELSTM_ALIGN
C_TYPES = {"f32": "float", "s8": "int8_t", "s16": "int16_t"}
KINDS = {"f32": "float", "s8": "int8", "tfl8": "int8 TFLite"}


@dataclass(frozen=True, slots=True)
class Variant:
    """One of the builds that the folder's compiler chooses from."""

    kernels: str
    condition: str  # of the preprocessor; "" for all that is left
    words: str  # the same for people
    core: str  # of targets.toml: a CPU that such a build was counted on

    @property
    def counted(self) -> Costs:
        return costs()[targets()[self.core].core.counted_as]


DSP = Variant(
    "dsp",
    "defined(__GNUC__) && defined(__arm__) && !defined(__ARMEB__) && defined(__ARM_FEATURE_SIMD32)",
    "Arm with DSP instructions: Cortex-M4, M7, M33, M55, M85",
    "cortex-m4",
)
THUMB = Variant("small", "defined(__thumb__) && !defined(__thumb2__)", "Cortex-M0, M0+", "cortex-m0plus")
SMALL = Variant("small", "", "all else: Cortex-M3, RISC-V", "cortex-m3")
HELIUM = Variant(
    "helium", "defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)", "Cortex-M55, M85 with Helium", "cortex-m55"
)
NOT_THUMB = replace(SMALL, condition=f"!({THUMB.condition})", words="all but Cortex-M0, M0+")
VARIANTS = (DSP, THUMB, SMALL)
"""Best first. Two are for a target alone: HELIUM reads another layout of the weights, NOT_THUMB has less scratch than
an M0 asks for."""
ALIKE = {"cortex-m85": "cortex-m55"}
"""CPUs that nobody counts, whose code is another's."""
TEMPLATES = (
    "CMakeLists.txt",
    "README.md",
    "elstm_build.h",
    "kernels.c",
    "main.c",
    "model.h",
    "model_image.c",
    "model_ports.c",
    "ops.c",
    "self_test.c",
)
LEAST_CLOCKS, LEAST_READS = 2, 4  # what the core's files name, used or not
STACK = {"start": 2304, "step": 1152}
"""The most bytes below main on Cortex-M, of gcc's -O0 too, Helium's kernels apart; what tools/test_firmware.py
measures at -O2 stays below."""
PROGRAMS = ("main.c", "self_test.c")
MOST_NAMES = 32  # channels listed in a comment


@dataclass(frozen=True, slots=True)
class CPort:
    """One input or output as its C is written."""

    input: bool
    index: int
    name: str
    width: int
    kind: str  # of its values: a tensor's type
    type: str  # as its door has it
    rows: int  # of a whole sequence; 0: one a step
    lines: tuple[str, ...]
    conversion: Conversion | None
    scaler: tuple[list[str], list[str]] | None  # of floats: scale and offset

    @property
    def array(self) -> str:
        return f"{'x' if self.input else 'y'}{self.index}"

    @property
    def macro(self) -> str:
        return f"MODEL_{'INPUT' if self.input else 'OUTPUT'}_{self.index}"

    @property
    def label(self) -> str:
        return f"{'input' if self.input else 'output'} {self.index}, `{self.name}`"

    @property
    def comment(self) -> str:
        """The words of a C comment."""
        return "\n * ".join(line for text in (self.what, *self.lines) for line in textwrap.wrap(text, 94))

    @property
    def what(self) -> str:
        shape = f"{self.rows} rows of {self.width}" if self.rows else str(self.width)
        return f"{'Input' if self.input else 'Output'} {self.index}, {self.name}: {shape} {self.type}."

    @property
    def said(self) -> str:
        return " ".join(self.lines)

    @property
    def count(self) -> str:
        return f"{self.macro}_ROWS * {self.macro}_WIDTH" if self.rows else f"{self.macro}_WIDTH"

    @property
    def returns(self) -> str:
        """What its conversion gives."""
        return self.type if self.input or self.scaler else "int32_t"

    @property
    def low(self) -> str:
        return str(firmware_ports.RANGE[self.kind][0]) if self.input else "INT32_MIN"

    @property
    def high(self) -> str:
        return str(firmware_ports.RANGE[self.kind][1]) if self.input else "INT32_MAX"

    @property
    def declaration(self) -> str:
        given = "int32_t" if self.input else self.type
        given = "float" if self.scaler else given
        name = f"model_{'input' if self.input else 'output'}_{self.index}"
        return f"{self.returns} {name}(uint32_t channel, {given} value)"

    @property
    def equation(self) -> str:
        """Of floats."""
        return (
            "value * scale[channel] + offset[channel]" if self.input else "(value - offset[channel]) / scale[channel]"
        )

    @property
    def example(self) -> str:
        """A value for main.c to write."""
        channel = f"k % {self.macro}_WIDTH" if self.rows else "k"
        if self.conversion or self.scaler:
            return f"model_input_{self.index}({channel}, 0)"
        return "1" if self.name == MASK else "0"

    @property
    def hint(self) -> str:
        if self.conversion:
            return f"a sensor's number, times 2^{self.macro}_PLACES"
        return "a sensor's number" if self.scaler or self.name != MASK else "the sample counts"


def ready() -> None:
    """MissingError without Jinja2."""
    try:
        import jinja2  # noqa: F401
    except ImportError:
        raise MissingError('export-c needs Jinja2: pip install "edgelstm[firmware]"') from None


def write(
    image: str | os.PathLike[str] | bytes, folder: str | os.PathLike[str], target: str | None = None
) -> list[str]:
    """Write the folder of an image; it appears whole or not at all. Returns the names of its files.

    target: a board or CPU of targets.toml, whose kernel set alone goes in; without, the compiler's own choice.
    ExportError for what cannot become firmware, InputError for another target or if the folder is there already and not
    empty, MissingError without Jinja2.
    """
    place = Path(folder)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise InputError(f"{place} is there already; take a new folder, so that nothing of yours is written over")
    name = Path(image).stem if isinstance(image, str | os.PathLike) else "model"
    files = render(image, name, target)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}.") as beside:
            made = Path(beside) / "made"
            made.mkdir()
            for file, text in files.items():
                (made / file).write_text(text, encoding="utf-8", newline="\n")
            if place.exists():
                place.rmdir()
            made.rename(place)
    except OSError as error:
        raise InputError(f"{place}: cannot be written: {error.strerror}") from None
    return sorted(files)


def render(image: str | os.PathLike[str] | bytes, name: str = "model", target: str | None = None) -> dict[str, str]:
    """The files of such a folder, by name."""
    ready()
    import jinja2

    variants = VARIANTS if target is None else (_variant(_find(target).core),)
    runner = Runner(image)
    if _helium(variants) and runner.description.number_type == "f32":
        variants = (replace(DSP, core=variants[0].core),)  # Helium's set would compute floats with the same plain loops
    values = _values(runner, name, target, variants)
    kinds = values["kinds"]
    core = sources.needed(kinds, {one.kernels for one in variants}, values["links"]["f32"] == 1)
    if not any(port.conversion or port.scaler for port in values["ports"]):
        written = [file for file in TEMPLATES if file != "model_ports.c"]
    else:
        written = list(TEMPLATES)
    files = sorted({*core, *written})
    values["library"] = [file for file in files if file.endswith(".c") and file not in PROGRAMS]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return core | {file: environment.get_template(f"{file}.j2").render(values) for file in written}


@dataclass(frozen=True, slots=True)
class Steps:
    """How long a folder's runs are."""

    limit: int  # elstm_limits.max_steps
    whole: int  # steps of the sequences it runs; 0: it goes step by step


def steps_of(runner: Runner) -> Steps:
    described = runner.description
    whole = 0 if runner.causal else described.meta.window or described.example_steps or 1
    most = max(described.example_steps, whole) if whole else described.example_steps if runner.uneven else 1
    return Steps(max(1, most), whole)


def _helium(variants: Sequence[Variant]) -> bool:
    return variants[0].kernels == HELIUM.kernels


def _find(name: str) -> Target:
    """The target of a name; InputError lists those that take firmware, ExportError says which does not."""
    known = {one.name: one for one in targets().values() if not one.core.linux}
    known |= {name: known[other] for name, other in ALIKE.items()}
    if name in known:
        return known[name]
    if name in targets():
        title = targets()[name].title
        raise ExportError(f"{title} runs the wheel, and needs no folder of C; export-c is for microcontrollers")
    boards = ", ".join(key for key, one in known.items() if one.clock_hz)
    cores = ", ".join(key for key, one in known.items() if not one.clock_hz)
    raise InputError(f"no target {name!r}; boards: {boards}; CPUs: {cores}")


def _variant(core: Core) -> Variant:
    """The build for a CPU, as if no other were in the folder."""
    asks = costs()[core.counted_as].step_scratch
    known = (HELIUM, DSP, THUMB, NOT_THUMB)
    own = next(one for one in known if one.kernels == core.kernels and one.counted.step_scratch == asks)
    return replace(own, core=core.name)


def _values(runner: Runner, name: str, target: str | None, variants: Sequence[Variant]) -> dict[str, Any]:
    """What the templates read."""
    described = runner.description
    if not described.example_steps:
        raise ExportError(
            "the image holds no example for the self-test: save it with one (edgelstm.save and convert write it unless "
            "the model overflows on small inputs or fits no number of steps)"
        )
    found = steps_of(runner)
    steps, most = found.whole, found.limit
    if steps:
        runner.check_run(steps)
    ports = [*_ports(runner, steps, True), *_ports(runner, steps, False)]
    kinds = sorted({layer.kind for layer in described.layers})
    arenas = [runner.arena_parts(most, one.counted.step_scratch) for one in variants]
    clocks, layers, tensors, _ = arenas[0]
    number_type = described.number_type
    links = {
        "f32": int(number_type != "s8"),
        "tfl8": int(number_type == "tfl8"),
        "gru": int(any(kind.startswith("gru") for kind in kinds)),
        "rows": int(_helium(variants)),
    }
    packed = in_layout(runner.image, "rows") if links["rows"] else runner.image
    limits = {
        "ports": max(len(described.inputs), len(described.outputs)),
        "clocks": max(LEAST_CLOCKS, clocks),
        "reads": max(LEAST_READS, *(len(layer.reads) for layer in described.layers)),
    }
    return {
        "name": safe(name),
        "version": __version__,
        "number_type": KINDS[number_type],
        "checksum": struct.unpack_from("<I", packed, 16)[0],
        "layers": [f"{safe(x.name)}: {x.kind}, {x.inputs} to {x.units}" for x in described.layers],
        "kinds": kinds,
        "image_size": described.size,
        "state_size": runner.state_size,
        "example_steps": described.example_steps,
        "align": ALIGN,
        "arena": {"layers": layers, "tensors": tensors},
        "target": target,
        "core": None if target is None else _built_for(targets()[variants[0].core].core),
        "variants": [
            {"kernels": one.kernels, "condition": one.condition, "words": one.words, "rest": parts[3]}
            for one, parts in zip(variants, arenas, strict=True)
        ],
        "arena32": " or ".join(dict.fromkeys(str(_arena32(parts, limits["reads"], links["f32"])) for parts in arenas)),
        "structs32": 148 + 76 * limits["ports"] + 28 * limits["clocks"],
        "stack": STACK,
        "code": _code(variants, kinds, number_type),
        "compiler": COMPILERS[False],
        "chosen": ", ".join(f"`{one.kernels}` ({one.words})" for one in variants),
        "links": links,
        "most": limits,
        "asserts": _asserts(limits),
        "image": list(_lines(packed)),
        "steps": steps,
        "max_steps": most,
        "uneven": runner.uneven,
        "ports": ports,
        "door": _door(number_type),
        "answer": _answer(ports),
    }


def _built_for(core: Core) -> dict[str, str]:
    """A CPU's title and tools."""
    compiler, _, options = str(core.compiler).partition(" ")
    return {"title": core.title, "compiler": compiler, "options": options, "tools": compiler.removesuffix("gcc")}


def _arena32(parts: tuple[int, int, int, int], reads: int, floats: int) -> int:
    """MODEL_ARENA_SIZE where a pointer has 32 bits."""
    _, layers, tensors, rest = parts
    op, tensor = 248 + (reads + 1) // 2 * 4, 32 + 8 * floats  # ELSTM_OP_SIZE, ELSTM_TENSOR_SIZE
    return sum(-(-size // ALIGN) * ALIGN for size in (layers * op, tensors * tensor)) + rest


def _code(variants: Sequence[Variant], kinds: Sequence[str], number_type: str) -> str:
    """Bytes of flash, and the CPU that each was counted on."""
    sizes = ((sources.code_bytes(kinds, one.counted, number_type), one.core) for one in variants)
    return ", ".join(f"{size} ({targets()[core].title})" for size, core in sizes)


def _asserts(limits: dict[str, int]) -> list[tuple[str, str]]:
    return [
        ("the header says what the array holds", "sizeof model_image == MODEL_IMAGE_SIZE"),
        ("this elstm_build.h is the folder's own, seen by every file", " && ".join(
            f"ELSTM_MAX_{name.upper()} == {value}" for name, value in limits.items()
        )),
        ("the core of this folder reads this image", "ELSTM_IMAGE_VERSION == 1 && ELSTM_ALIGN == 16"),
        ("sizes fit a size_t of 16 bits too", "MODEL_ARENA_SIZE <= SIZE_MAX && MODEL_IMAGE_SIZE <= SIZE_MAX"),
    ]  # fmt: skip


def _door(number_type: str) -> dict[str, str]:
    return {
        "f32": {"name": "f32", "x": "float", "y": "float"},
        "s8": {"name": "s8", "x": "int16_t", "y": "int16_t"},
        "tfl8": {"name": "raw", "x": "void", "y": "void"},
    }[number_type]


def _answer(ports: Sequence[CPort]) -> dict[str, str]:
    first = next(port for port in ports if not port.input)
    at = f"y0[({first.macro}_ROWS - 1) * {first.macro}_WIDTH]" if first.rows else "y0[0]"
    if first.conversion or first.scaler:
        return {"type": first.returns, "value": f"model_output_0(0, {at})"}
    return {"type": first.type, "value": at}


def _ports(runner: Runner, steps: int, input: bool) -> Iterator[CPort]:
    described = runner.description
    tensors = described.inputs if input else described.outputs
    names = described.input_names if input else described.output_names
    meta = (described.meta.inputs if input else described.meta.outputs) or (Port(),) * len(tensors)
    for k, (index, name, port) in enumerate(zip(tensors, names, meta, strict=True)):
        tensor = described.tensors[index]
        if not steps:
            rows = 0
        elif input:
            rows = 1 if tensor.single else steps
        else:
            rows = runner.output_rows(k, steps, False)
        kind = "s16" if described.number_type == "s8" else tensor.type
        conversion, scaler, lines = None, None, []
        label = f"{'input' if input else 'output'} {name}"
        if input and (described.vocabularies[k] or name == MASK):
            count = described.vocabularies[k]
            lines.append(f"Whole numbers from 0 to {count - 1}." if count else "1 where the step counts, else 0.")
        elif tensor.type == "f32":
            if port.scaler is not None:
                scaler = _floats(port.scaler.scale), _floats(port.scaler.offset)
        else:
            conversion = (firmware_ports.entering if input else firmware_ports.leaving)(label, tensor, port)
            lines.append(_meaning(tensor, kind, input))
        lines += _named(port)
        yield CPort(
            input, k, safe(name), tensor.width, tensor.type, C_TYPES[kind], rows, tuple(lines), conversion, scaler
        )


def _meaning(tensor: TensorDescription, kind: str, input: bool) -> str:
    minus = (
        f" - {tensor.zero_point}" if tensor.zero_point > 0 else f" + {-tensor.zero_point}" if tensor.zero_point else ""
    )
    integer = f"(integer{minus})" if minus else "integer"
    return f"What the model {'sees' if input else 'says'} = {integer} * {tensor.scale:.9g}."


def _named(port: Port) -> Iterator[str]:
    names = [
        f"{safe(name)} in {safe(unit)}" if unit else safe(name)
        for name, unit in zip(port.channels, port.units or ("",) * len(port.channels), strict=True)
    ] or [safe(unit) for unit in port.units]
    for what, listed in (("Channels", names), ("Labels", [safe(label) for label in port.labels])):
        if listed:
            more = f" and {len(listed) - MOST_NAMES} more" if len(listed) > MOST_NAMES else ""
            yield f"{what}: {', '.join(listed[:MOST_NAMES])}{more}."


def _floats(values: np.ndarray[Any, Any]) -> list[str]:
    return [
        f"{text}f" if "." in text or "e" in text else f"{text}.0f" for text in (f"{v:.9g}" for v in values.tolist())
    ]


def safe(text: str) -> str:
    """A name, which may be anybody's, as it may stand in a C comment and in Markdown."""
    return re.sub(r"[^\w .,:;()\[\]+=%°²³-]", "_", text)


def _lines(image: bytes) -> Iterator[tuple[str, list[str]]]:
    """The image's parts as the text of a C array."""
    spans = [(name, *struct.unpack_from("<II", image, 64 + 8 * k)) for k, name in enumerate(SECTIONS)]
    parts = [("header", 0), *((name, start) for name, start, size in spans if size)]
    for (name, start), end in zip(parts, [start for _, start in parts[1:]] + [len(image)], strict=True):
        rows = (image[at : min(at + 16, end)] for at in range(start, end, 16))
        yield name, [" ".join(f"0x{byte:02x}," for byte in row) for row in rows]
