"""What models take on small CPUs: instructions of a step, flash, RAM and stack, measured under emulation.

    python tools/measure_firmware.py            measures, and compares with tests/golden/firmware.json
    python tools/measure_firmware.py --write    measures, and writes that file, edgelstm/costs.json with the costs that
                                                `edgelstm plan` adds up, and the tables of docs/plan.md

Counts are guest instructions of gcc 12's code, -O2 for microcontrollers and -O3 for Linux; they repeat to the
instruction and are no time. A count is the difference of two stretches of one program, so neither start nor end is in
it. Costs are fitted to the layers of many small models (tools/firmware_models.py), linear in the numbers of
edgelstm/work.py, and checked on layers and whole models that were not fitted. What is not predicted well enough is not
predicted.
"""

from __future__ import annotations

import argparse
import json
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import firmware_map
import firmware_models
import numpy as np
import test_firmware
from test_firmware import BOARDS, Board, Failure, checked

from edgelstm import work
from edgelstm.costs import FEW
from edgelstm.description import Description, describe
from edgelstm.exporters import firmware, sources
from edgelstm.image import pack
from edgelstm.layout import in_layout
from edgelstm.runner import Runner

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden" / "images"
COMMITTED = ROOT / "tests" / "golden" / "firmware.json"
COSTS = ROOT / "edgelstm" / "costs.json"
PAGE = ROOT / "docs" / "plan.md"
BEGIN, END = "<!-- firmware: begin -->", "<!-- firmware: end -->"
GCC = "12"  # of costs.COMPILERS
TOLERANCE = 0.05  # between what is counted and what is committed
CLOSE = 0.07  # between a layer predicted and counted, or it is not predicted

CORE = [path for path in sorted((ROOT / "src_c").glob("*.c")) if not path.name.startswith("kernels")]

Table = dict[str, Any]
KindCosts = dict[str, list[float | None]]


@dataclass(frozen=True, slots=True)
class Machine:
    """Where it is counted: a board of QEMU's, or a program in user mode."""

    kernels: str
    floats: str  # the kernels of f32 models; "": no unit for them, and in software nobody counts them
    board: Board | None = None
    compiler: str = ""  # of Linux programs
    emulator: str = ""
    layout: str = "standard"  # of s8 images

    @property
    def command(self) -> list[str]:
        return [self.board.compiler, *self.board.options] if self.board else self.compiler.split()

    @property
    def prefix(self) -> str:
        """Of the compiler's other programs."""
        return self.command[0].removesuffix("gcc")

    @property
    def firmware(self) -> bool:
        """Else it is Linux, where code and stack are nobody's concern."""
        return self.board is not None


def linux(kernels: str, compiler: str, emulator: str) -> Machine:
    return Machine(kernels, kernels, None, compiler, f"{emulator} -cpu max")


MACHINES = {
    "m0": Machine("small", "", replace(BOARDS["m3"], cpu="-mcpu=cortex-m0")),  # with room for all images
    "m3": Machine("small", "", BOARDS["m3"]),
    "m4f": Machine("dsp", "dsp", BOARDS["m4f"]),
    "m7": Machine("dsp", "dsp", BOARDS["m7"]),
    "m33": Machine("dsp", "dsp", BOARDS["m33"]),
    "m55": Machine("helium", "dsp", BOARDS["m55"], layout="rows"),
    "rv32imc": Machine("small", "", BOARDS["rv32"]),
    "armv6": linux("dsp", "arm-linux-gnueabihf-gcc -marm -march=armv6 -mfpu=vfp", "qemu-arm"),
    "armv7": linux("neon", "arm-linux-gnueabihf-gcc", "qemu-arm"),
    "aarch64": linux("neon", "aarch64-linux-gnu-gcc", "qemu-aarch64"),
    "aarch64-dotprod": linux("neon_dotprod", "aarch64-linux-gnu-gcc", "qemu-aarch64"),
}


@dataclass(frozen=True, slots=True)
class Image:
    """A model as it is counted, and what its parts have to do."""

    name: str
    fits: bool
    data: bytes
    description: Description
    steps: int = 1  # of its limits
    whole: bool = False  # it runs over whole sequences alone


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of a layer, as the C core lays them out for single steps."""

    reads: int  # the row of its first input
    writes: int
    state: int
    scratch: int

    @property
    def needed(self) -> int:
        return self.reads + self.writes + self.state + self.scratch

    @property
    def in_arena(self) -> int:
        """But for what it reads, which belongs to who writes it; the arena's blocks are multiples of 16."""
        return sum(-(-size // 16) * 16 for size in (self.writes, self.state, self.scratch))


@dataclass(frozen=True, slots=True)
class Step:
    """What was counted of an image."""

    arena: int
    opening: int  # bytes of stack: opening, starting and the self-check
    stack: int  # a step
    memory: tuple[Memory, ...]  # of each layer
    whole: int  # instructions
    layers: tuple[int, ...]


def packed(models: Iterable[firmware_models.Counted], quantized: bool) -> list[Image]:
    images = []
    for counted in models:
        data = pack(firmware_models.quantized(counted) if quantized else counted.model)
        name = counted.name if quantized else f"f32 {counted.name}"
        images.append(Image(name, counted.fits, data, describe(data)))
    return images


def golden(floats: bool) -> list[Image]:
    """The golden images, with or without those of float models: every layer kind there is."""
    images = []
    for path in sorted(GOLDEN.glob("*.elstm")):
        data = path.read_bytes()
        runner = Runner(data, max_steps=1)
        if floats or runner.description.number_type != "f32":
            steps = firmware.steps_of(runner)
            images.append(Image(path.stem, False, data, runner.description, steps.limit, steps.whole > 0))
    return images


def write_images(images: Iterable[Image], layout: str, folder: Path) -> None:
    with (folder / "images.bin").open("wb") as file:
        for image in images:
            data = in_layout(image.data, layout)
            file.write(struct.pack("<4I", len(data), image.steps, not image.whole, 0) + data)


@dataclass(frozen=True, slots=True)
class Built:
    """A program and what is in it."""

    program: Path
    linked: list[firmware_map.Piece]


NUMBER_TYPES = ("s8", "f32", "tfl8")
LEAST = ("-DELSTM_MAX_PORTS=1", "-DELSTM_MAX_CLOCKS=2", "-DELSTM_MAX_READS=4")
"""As an exported folder has it for a model with one input and one output."""


def set_of(machine: Machine, number_type: str) -> str:
    return (machine.floats or machine.kernels) if number_type == "f32" else machine.kernels


def build(machine: Machine, number_type: str, folder: Path) -> Built:
    """tools/count_firmware.c with what of the core models of a number type may need; tfl8: all of it, and room for
    every golden image."""
    program, map_file = folder / firmware_map.OWN, folder / "count.map"
    kernels = set_of(machine, number_type)
    floats = number_type != "s8" or not machine.firmware  # Linux sets hold all number types
    core = [path for path in CORE if floats or not re.search("f32|tfl8", path.name)]
    sources = [ROOT / "tools" / "count_firmware.c", *core, ROOT / "src_c" / f"kernels_{kernels}.c"]
    if floats:
        sources.append(ROOT / "src_c" / "kernels_scalar.c")  # which others call for what is rare
    options = [*links(machine, number_type), f"-DCOUNTED_SET=elstm_kernels_{kernels}", "-ffp-contract=off"]
    options += LEAST if number_type != "tfl8" else ()
    if machine.board is None:
        checked([*machine.command, "-std=gnu99", "-O3", "-static", "-o", program, *options, *sources])
        return Built(program, [])
    options += ["-save-temps=obj", f"-Wl,-Map={map_file}"]
    test_firmware.build(machine.board, sources, program, options)
    return Built(program, firmware_map.pieces(map_file))


def links(machine: Machine, number_type: str) -> list[str]:
    flags = {
        "LINKS_F32": number_type != "s8" or not machine.firmware,
        "LINKS_TFL8": number_type == "tfl8",
        "LAYOUT_ROWS": machine.layout == "rows" and number_type != "f32",
    }
    return [f"-I{ROOT / 'src_c'}", *(f"-DELSTM_{name}={int(flag)}" for name, flag in flags.items())]


def count(
    machine: Machine, built: Built, images: list[Image], folder: Path, plugin: Path, options: str = ""
) -> tuple[int, list[Step]]:
    """Bytes of scratch a unit that an LSTM's step takes, and each image's step."""
    floats = images[0].description.number_type == "f32"
    write_images(images, "standard" if floats else machine.layout, folder)
    watched = f"{plugin},blocks={folder / 'blocks'}{options}"
    if machine.board is not None:
        ran = test_firmware.run(machine.board, built.program, watched, folder)
        status, output, marks = ran.status, ran.output, ran.marks
    else:
        command = [*machine.emulator.split(), "-plugin", f"{watched},out={folder / 'counts'}", str(built.program)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        status, output = done.returncode, done.stdout
        marks = [int(line) for line in (folder / "counts").read_text().split()]
    if status:
        raise Failure(f"{built.program.name} of {machine} ended with {status}\n{output}")
    first, *lines = output.split("\n")[:-1]
    return int(first.split()[1]), list(_steps(images, lines, marks))


def memory(machine: Machine, built: Built, folder: Path) -> tuple[list[Image], list[Step]]:
    """Arena and stack of each golden image, none of it counted."""
    images = golden(machine.layout == "standard")
    write_images(images, machine.layout, folder)
    assert machine.board is not None
    ran = test_firmware.run(machine.board, built.program, None, folder)
    if ran.status:
        raise Failure(f"{built.program.name} of {machine} ended with {ran.status}\n{ran.output}")
    lines = (map(int, line.split()[1:4]) for line in ran.output.split("\n")[1:-1])
    return images, [Step(arena, opening, stack, (), 0, ()) for arena, opening, stack in lines]


SOME = 9  # of so many images one


def folded(machine: Machine, built: Built, images: list[Image], steps: list[Step], folder: Path, plugin: Path) -> float:
    """The largest share of a step that may take no cycle, of some of the images."""
    if machine.board is None or not machine.board.machine:  # only Cortex-M has them
        return 0.0
    place = folder / "folded"
    place.mkdir()
    _, fewer = count(machine, built, images[::SOME], place, plugin, ",folds=on")
    return max(1 - few.whole / all_of_it.whole for few, all_of_it in zip(fewer, steps[::SOME], strict=True))


CALLS = 4  # as in tools/count_firmware.c


def _steps(images: list[Image], lines: list[str], marks: list[int]) -> Iterable[Step]:
    at = 0
    for image, line in zip(images, lines, strict=True):
        found = []
        for _ in range(1 + len(image.description.layers)):
            _, once, twice = marks[at : at + 3]
            found.append(round((twice - once) / CALLS))
            at += 3
        arena, opening, stack, *sizes = map(int, line.split()[1:])
        memory = tuple(Memory(*sizes[k : k + 4]) for k in range(0, len(sizes), 4))
        yield Step(arena, opening, stack, memory, found[0], tuple(found[1:]))


# ---- costs ----

Sample = tuple[tuple[int, ...], int, int]  # terms, instructions, what an error is relative to


@dataclass(slots=True)
class Samples:
    fitted: list[Sample]
    checked: list[Sample]


def works(image: Image, kernels: str) -> tuple[work.Work, ...]:
    return (work.door(image.description), *work.layers(image.description, kernels))


def samples(images: list[Image], steps: list[Step], kernels: str) -> dict[str, Samples]:
    """What was counted, by kind. The call is what is left of a step beside its layers."""
    kinds: dict[str, Samples] = {}
    for image, step in zip(images, steps, strict=True):
        door, *layers = works(image, kernels)
        parts = [(part, count, max(count, FEW)) for part, count in zip(layers, step.layers, strict=True)]
        parts.append((door, step.whole - sum(step.layers), step.whole))
        for part, instructions, base in parts:
            if part.kind:
                own = kinds.setdefault(part.kind, Samples([], []))
                (own.fitted if image.fits else own.checked).append((part.terms, instructions, base))
    return kinds


FAR, ROUNDS = 0.05, 20


def fit(own: Samples) -> tuple[list[float | None], float]:
    """A cost for each term that is in the samples, and the largest error on all of them. By least squares; where these
    leave a sample FAR off, what is off most weighs more from round to round (Lawson's algorithm), so that the largest
    error becomes least."""
    terms = np.array([terms for terms, _, _ in own.fitted], float)
    counts = np.array([count for _, count, _ in own.fitted], float)
    weights = 1 / np.array([base for _, _, base in own.fitted], float)
    shares, least, best = np.full(len(counts), 1 / len(counts)), np.inf, np.zeros(terms.shape[1])
    for _ in range(ROUNDS):
        own_weights = weights * np.sqrt(shares)
        found, *_ = np.linalg.lstsq(terms * own_weights[:, None], counts * own_weights, rcond=1e-9)
        off = abs(terms @ found - counts) * weights
        if off.max() < least:
            least, best = off.max(), found
        if least <= FAR and best is found:
            break
        shares *= np.maximum(off, 1e-4)
        shares /= shares.sum()
    costs = [round(float(cost), 1) + 0.0 for cost in best]
    errors = [abs(np.dot(costs, terms) - count) / base for terms, count, base in own.fitted + own.checked]
    return [cost if seen else None for cost, seen in zip(costs, terms.any(0), strict=True)], float(max(errors))


def costs_of(images: list[Image], steps: list[Step], kernels: str) -> tuple[KindCosts, dict[str, float]]:
    """Costs by kind, of those predicted well enough, and all kinds' errors."""
    costs, errors = {}, {}
    for kind, own in sorted(samples(images, steps, kernels).items()):
        if own.fitted and own.checked:
            costs[kind], errors[kind] = fit(own)
    return {kind: cost for kind, cost in costs.items() if errors[kind] <= CLOSE}, errors


def predicted(images: list[Image], steps: list[Step], kernels: str, costs: KindCosts) -> Iterator[tuple[float, int]]:
    """Whole steps predicted and counted."""
    for image, step in zip(images, steps, strict=True):
        parts = works(image, kernels)
        if all(part.kind in costs for part in parts):
            terms = ((costs[part.kind], part.terms) for part in parts)
            yield sum((cost or 0) * term for both in terms for cost, term in zip(*both, strict=True)), step.whole


def whole_error(images: list[Image], steps: list[Step], kernels: str, costs: KindCosts) -> float:
    """The largest between a whole step predicted and counted."""
    return max((abs(said - count) / count for said, count in predicted(images, steps, kernels, costs)), default=0.0)


def saved(machine: Machine, built: Built, costs: KindCosts, images: list[Image], folder: Path, plugin: Path) -> float:
    """The largest share of what is predicted that models take less whose values saturate."""
    place = folder / "saturated"
    place.mkdir()
    _, steps = count(machine, built, images, place, plugin)
    return max(0.0, *(1 - count / said for said, count in predicted(images, steps, machine.kernels, costs)))


def stacks(images: list[Image], steps: list[Step]) -> dict[str, int]:
    """Bytes of stack that a step of a model with such a layer took at most, by the layer's kind; 0 of those that only
    whole sequences were run of, of which opening, which runs one, takes the most."""
    found: dict[str, int] = {}
    for image, step in zip(images, steps, strict=True):
        for layer in image.description.layers:
            found[layer.kind] = max(found.get(layer.kind, 0), step.stack)
    return found


# ---- sizes ----

STRUCTS = """
#include "op.h"
char size_model[sizeof(elstm_model)], size_runner[sizeof(elstm_runner)], size_op[sizeof(struct elstm_op)];
char size_tensor[sizeof(struct elstm_tensor)];
"""
READS = (4, 8, 16)  # tensors that a layer reads, at most


def structs(machine: Machine, number_type: str, folder: Path) -> dict[str, Any]:
    """Bytes of the core's structs: of a model alone, and more for each port and clock; of a runner alone, and for each
    port; of a layer by how many tensors one may read; of a tensor."""
    source = folder / "structs.c"
    source.write_text(STRUCTS)

    def sizes(ports: int, clocks: int, reads: int) -> dict[str, int]:
        most = (f"-DELSTM_MAX_PORTS={ports}", f"-DELSTM_MAX_CLOCKS={clocks}", f"-DELSTM_MAX_READS={reads}")
        options = ["-std=c99", "-fno-common", *links(machine, number_type)]
        checked([*machine.command, *options, *most, "-c", source, "-o", folder / "structs.o"])
        lines = checked(["nm", "-S", folder / "structs.o"]).split("\n")
        return {words[3].removeprefix("size_"): int(words[1], 16) for words in map(str.split, lines) if len(words) == 4}

    one = sizes(1, 2, READS[0])
    port, clock = sizes(2, 2, READS[0]), sizes(1, 3, READS[0])
    a_port, a_clock = port["model"] - one["model"], clock["model"] - one["model"]
    own = port["runner"] - one["runner"]
    return {
        "model": [one["model"] - a_port - 2 * a_clock, a_port, a_clock],
        "runner": [one["runner"] - own, own],
        "op": [[reads, sizes(1, 2, reads)["op"]] for reads in READS],
        "tensor": one["tensor"],
    }


def code(machine: Machine, built: Built, folder: Path, number_type: str) -> dict[str, int]:
    """Bytes of flash that each file of the core takes, the kernels with and without those of a GRU, and libraries."""
    sizes = firmware_map.by_source(built.linked)
    kernels = f"kernels_{set_of(machine, number_type)}.c"
    objects = {}
    for gru in (0, 1):
        options = [*links(machine, number_type), *LEAST, f"-DELSTM_LINKS_GRU={gru}", "-std=c99", "-O2"]
        options += ["-ffp-contract=off", "-ffunction-sections", "-fdata-sections"]
        made = folder / f"gru{gru}.o"
        checked([*machine.command, *options, "-c", ROOT / "src_c" / kernels, "-o", made])
        objects[gru] = int(checked([f"{machine.prefix}size", made]).splitlines()[1].split()[0])
    sizes[f"{kernels} gru"] = sizes[kernels]
    sizes[kernels] -= objects[1] - objects[0]
    sizes["kernels.c"] = sizes.get("kernels.c", 0)
    sizes["library"] = sizes.pop("")
    return dict(sorted(sizes.items()))


def own_files(files: dict[str, int], number_type: str) -> dict[str, int]:
    """Without the layers of other number types, which no model of this one needs."""
    others = tuple(f"_{other}.c" for other in NUMBER_TYPES if other != number_type)
    return {name: size for name, size in files.items() if name in sources.FLOATS or not name.endswith(others)}


def step_path(machine: Machine, built: Built, images: list[Image], folder: Path) -> dict[str, int]:
    """Bytes of flash that a step of the first of LSTM_SIZES runs through, its constants and tables with it."""
    assert images[0].name == "lstm {},{}".format(*firmware_models.LSTM_SIZES[0])
    lines = (line.split() for line in (folder / "blocks").read_text().splitlines())
    addresses = {int(address, 16) for mark, address in lines if mark in ("1", "2")}
    tables = (f".rodata.elstm_kernels_{machine.kernels}", ".rodata.elstm_layer_lstm_s8")
    return firmware_map.ran(built.linked, addresses, f"{machine.prefix}objdump", tables)


# ---- all of it ----


@dataclass(frozen=True, slots=True)
class Images:
    """What is counted."""

    integers: list[Image]
    saturated: list[Image]
    floats: list[Image]


def measure(name: str, images: Images, folder: Path, plugin: Path) -> tuple[Table, Table]:
    """What is committed of a machine, and what `edgelstm plan` reads of it."""
    integers, floats = images.integers, images.floats
    machine = MACHINES[name]
    places = {number_type: folder / f"{name}-{number_type}" for number_type in NUMBER_TYPES}
    for place in places.values():
        place.mkdir()
    place = places["s8"]
    built = build(machine, "s8", place)
    scratch, steps = count(machine, built, integers, place, plugin)
    costs, errors = costs_of(integers, steps, machine.kernels)
    error = whole_error(integers, steps, machine.kernels, costs)
    counted = {image.name: step.whole for image, step in zip(integers, steps, strict=True)}
    free = folded(machine, built, integers, steps, place, plugin)
    saturated = saved(machine, built, costs, images.saturated, place, plugin)
    sizes, path = {}, {}
    layouts = {number_type: structs(machine, number_type, place) for number_type, place in places.items()}
    stack = stacks(integers, steps) if machine.firmware else {}
    if machine.firmware:
        sizes["s8"] = code(machine, built, place, "s8")
        path = step_path(machine, built, integers, place)
    arenas = {
        image.name: (step.arena, planned_arena(image, layouts, scratch))
        for image, step in zip(integers, steps, strict=True)
        if machine.firmware
    }
    place = places["f32"]
    if machine.firmware or machine.floats:
        built = build(machine, "f32", place)
    if machine.floats:
        _, float_steps = count(machine, built, floats, place, plugin)
        free = max(free, folded(machine, built, floats, float_steps, place, plugin))
        float_costs, float_errors = costs_of(floats, float_steps, machine.floats)
        error = max(error, whole_error(floats, float_steps, machine.floats, float_costs))
        counted |= {image.name: step.whole for image, step in zip(floats, float_steps, strict=True)}
        costs, errors, steps = costs | float_costs, errors | float_errors, steps + float_steps
        stack |= stacks(floats, float_steps) if machine.firmware else {}
    if machine.firmware:
        sizes["f32"] = code(machine, built, place, "f32")
        place = places["tfl8"]
        built = build(machine, "tfl8", place)
        sizes["tfl8"] = code(machine, built, place, "tfl8")
        all_images, all_steps = memory(machine, built, place)
        for kind, most in stacks(all_images, all_steps).items():
            stack[kind] = max(most, stack.get(kind, 0))
        for image, step in zip(all_images, all_steps, strict=True):
            arenas[image.name] = step.arena, planned_arena(image, layouts, scratch, "tfl8", -1)
        steps = steps + all_steps
    tracked = {
        "kernels": machine.kernels,
        "opening stack": max(step.opening for step in steps),
        "stack": dict(sorted(stack.items())),
        "step path": sum(path.values()),
        "code": {number_type: sum(files.values()) for number_type, files in sizes.items()},
        "layers": lstm_memory(integers, steps[: len(integers)]) if machine.firmware else {},
        "instructions": counted,
        "error, layers": round(max(error for error in errors.values() if error <= CLOSE), 4),
        "error, steps": round(error, 4),
        "error, saturated": round(saturated + 0.0005, 3),
        "error, folded": round(free, 3),
        "not predicted": {kind: round(error, 3) for kind, error in errors.items() if error > CLOSE},
    }
    read = {
        "kernels": {number_type: set_of(machine, number_type) for number_type in NUMBER_TYPES},
        "step_scratch": scratch,
        "instructions": costs,
        "error": max(tracked["error, layers"], tracked["error, steps"]),
        "saturated": tracked["error, saturated"],
        "folded": tracked["error, folded"],
        "stack": most_stack(tracked) if machine.firmware else None,
        "stacked": list(tracked["stack"]),
        "code": {number_type: own_files(files, number_type) for number_type, files in sizes.items()},
        "step_path": sum(path.values()),
        "structs": layouts,
    }
    wrong = {image: both for image, both in arenas.items() if both[0] != both[1]}
    if wrong:
        raise Failure(f"{name}: arenas in C and as planned differ: {wrong}")
    return tracked, read


def lstm_memory(images: list[Image], steps: list[Step]) -> dict[str, dict[str, int]]:
    """Of the LSTMs of some images: bytes of all a step of it reads, writes, keeps and works in; the most that may be;
    and what the arena has for it, what it reads left out. Failure where any LSTM of any image has more than may be."""
    found, beyond = {}, []
    for image, step in zip(images, steps, strict=True):
        for layer, memory in zip(image.description.layers, step.memory, strict=True):
            if layer.kind != "lstm_s8":
                continue
            name = f"{image.name}: {layer.name}"
            inputs = image.description.tensors[layer.reads[0]].width
            most = sum(each * -(-count // 8) * 8 for each, count in ((MOST_UNIT, layer.units), (MOST_INPUT, inputs)))
            if memory.needed > most:
                beyond.append(f"{name} takes {memory.needed} bytes of RAM, more than {most}")
            if image.name in REMEMBERED:
                found[name] = {"needed": memory.needed, "most": most, "arena": memory.in_arena}
    if beyond:
        raise Failure("\n".join(beyond))
    return found


def planned_arena(image: Image, layouts: dict[str, Any], step_scratch: int, build: str = "s8", reads: int = 0) -> int:
    """Of a build for a number type, with so many READS."""
    _, layers, tensors, rest = Runner(image.data, max_steps=image.steps).arena_parts(image.steps, step_scratch)
    sizes = layouts[build]
    rounded = [-(-size // 16) * 16 for size in (layers * sizes["op"][reads][1], tensors * sizes["tensor"])]
    return sum(rounded) + rest


def measure_all(names: list[str]) -> tuple[Table, Table]:
    for machine in (MACHINES[name] for name in names):
        compiler = machine.command[0]
        test_firmware.require(compiler, "gcc")
        version = checked([compiler, "-dumpversion"]).strip()
        if version.split(".")[0] != GCC:
            raise Failure(f"the counts are those of gcc {GCC}, and {compiler} is {version}")
    with tempfile.TemporaryDirectory() as work_name:
        folder = Path(work_name)
        plugin = test_firmware.build_plugin(folder)
        images = Images(
            packed(firmware_models.integer_models(), True),
            packed(firmware_models.saturated_models(), True),
            packed(firmware_models.float_models(), False),
        )
        with ThreadPoolExecutor(2) as pool:
            found = pool.map(lambda name: measure(name, images, folder, plugin), names)
            pairs = dict(zip(names, found, strict=True))
    return {name: tracked for name, (tracked, _) in pairs.items()}, {name: read for name, (_, read) in pairs.items()}


# ---- what is committed ----

CMSIS = {  # instructions of CMSIS-NN's int8 LSTM at LSTM_SIZES, and of these the most that ours may take
    "m0": (0.75, (33084, 81074, 228718, 733879)),
    "m3": (0.75, (15033, 37894, 110104, 367479)),
    "m4f": (0.65, (13569, 31324, 84138, 258889)),
    "m55": (0.45, (6636, 12516, 29076, 79476)),
}
MOST_PATH = 2560  # bytes of flash on m4f
MOST_UNIT, MOST_INPUT = 8, 2  # bytes of RAM of an LSTM layer; units and inputs count padded to 8, as they lie there
REMEMBERED = ("lstm 8,16", "lstm 16,32", "lstm 32,64", "lstm 64,128", "lstm 3,5", "lstm 1,100")
REMEMBERED += ("stack of lstm 16,16", "stack of lstm 60,10", "h16 lstm 9,40", "h16 stack of lstm 60,10")


def limits(tracked: Table) -> list[str]:
    """What is larger than it may be."""
    lines = []
    for name, (share, counts) in CMSIS.items():
        for (inputs, units), most in zip(firmware_models.LSTM_SIZES, counts, strict=True):
            own = tracked[name]["instructions"][f"lstm {inputs},{units}"]
            if own > share * most:
                lines.append(f"{name}: lstm {inputs},{units} takes {own} instructions, {own / most:.1%} of {most}")
    if tracked["m4f"]["step path"] > MOST_PATH:
        lines.append(f"m4f: a step runs through {tracked['m4f']['step path']} bytes of flash, more than {MOST_PATH}")
    return lines


def most_stack(table: Table) -> int:
    """Bytes, of opening and of stepping whatever was measured."""
    return max(table["opening stack"], *table["stack"].values())


def flat(table: Any, name: str = "") -> dict[str, Any]:
    """Every number of nested tables by its path."""
    if not isinstance(table, dict):
        return {name: table}
    return {path: value for key, inner in table.items() for path, value in flat(inner, f"{name}: {key}").items()}


def differences(tracked: Table, committed: Table) -> list[str]:
    now, before = flat(tracked), flat(committed)
    lines = []
    for key in sorted(now.keys() | before.keys()):
        a, b = now.get(key), before.get(key)
        numbers = isinstance(a, int) and isinstance(b, int)
        if "error" in key or "not predicted" in key:
            continue
        if a != b and not (numbers and abs(a - b) <= TOLERANCE * b):
            lines.append(f"{key.removeprefix(': ')}: {a}, committed is {b}")
    return lines


def table_of(tracked: Table) -> str:
    """The Markdown of docs/plan.md."""
    sizes = ["{}, {}".format(*size) for size in firmware_models.LSTM_SIZES]
    heads = " | ".join([*sizes, "step's flash", "core's flash", "stack", "off by"])
    lines = [f"| CPU | kernels | {heads} |", f"|---|---|{'---|' * 8}"]
    for name, table in tracked.items():
        counts = [table["instructions"]["lstm " + size.replace(" ", "")] for size in sizes]
        share = (
            [f" ({n / of:.0%})" for n, of in zip(counts, CMSIS[name][1], strict=True)] if name in CMSIS else [""] * 4
        )
        cells = [f"{n:,}{part}" for n, part in zip(counts, share, strict=True)]
        memory = ["", "", ""]
        if table["code"]:
            memory = [f"{table['step path']:,}", f"{table['code']['s8']:,}", f"{most_stack(table):,}"]
        off = f"{max(table[f'error, {of}'] for of in ('layers', 'steps', 'saturated')):.1%}"
        lines.append(f"| {name} | {table['kernels']} | {' | '.join([*cells, *memory, off])} |")
    return "\n".join(lines) + "\n"


def page_with(text: str, tracked: Table) -> str:
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{table_of(tracked)}{END}{rest.split(END)[1]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="what is measured becomes what is committed")
    parser.add_argument("--only", action="append", choices=MACHINES, help="a machine; measured and printed, no more")
    options = parser.parse_args()
    try:
        tracked, read = measure_all(options.only or list(MACHINES))
    except Failure as failure:
        print(failure)
        return 2
    if options.only:
        print(json.dumps(tracked, indent=1))
        return 0
    page = PAGE.read_text()
    if options.write:
        COMMITTED.write_text(json.dumps(tracked, indent=1) + "\n")
        COSTS.write_text(json.dumps(read, separators=(",", ":")) + "\n")
        PAGE.write_text(page_with(page, tracked))
        print(table_of(tracked), end="")
        committed = tracked
    else:
        committed = json.loads(COMMITTED.read_text())
    lines = limits(tracked) + differences(tracked, committed)
    if not options.write and page != page_with(page, committed):
        lines.append(f"{PAGE.name} does not show the numbers of {COMMITTED.name}")
    for line in lines:
        print(f"FAIL {line}")
    if lines:
        print("Where that is meant, commit what  python tools/measure_firmware.py --write  writes.")
        return 1
    print(f"ok   {len(flat(tracked))} numbers within {TOLERANCE:.0%} of {COMMITTED.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
