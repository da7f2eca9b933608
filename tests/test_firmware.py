"""export-c: what a folder holds, what is refused, and that it compiles and answers on this machine."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from nets import signal, stack

import edgelstm
from edgelstm import cli
from edgelstm.errors import ExportError, InputError, MissingError
from edgelstm.exporters import firmware, firmware_ports, sources
from edgelstm.image import pack
from edgelstm.model import Meta, Port, Scaler

IMAGES = Path(__file__).parent / "golden" / "images"


@pytest.fixture(scope="module")
def image():
    """A small int8 forecaster of two channels with a scaler each."""
    ports = Port(("temperature", "pressure */"), ("°C", "Pa"), scaler=Scaler([0.1, 2e-4], [-2.0, -20.0]))
    answer = Port(scaler=Scaler([0.1], [-2.0]))
    model = stack(2, (8,), head=1, meta=Meta(inputs=(ports,), outputs=(answer,)))
    return pack(edgelstm.quantize(model, signal((8, 60, 2))))


def test_the_folder_holds_what_the_model_needs_and_no_more(image, tmp_path):
    place = tmp_path / "made"
    files = firmware.write(image, place)
    assert files == sorted(path.name for path in place.iterdir()) and "README.md" in files
    assert {"edgelstm.h", "runner.c", "model.c", "lstm_s8.c", "dense_s8.c", "model.h", "main.c"} <= set(files)
    assert not any(re.search("f32|tfl8.c|gru|conv1d|avx|neon", name) for name in files)
    core = sources.core()
    own = {"elstm_build.h", "kernels.c", "ops.c"}
    for name in set(files) & core.keys() - own:
        assert (place / name).read_text() == core[name]
    array = (place / "model_image.c").read_text()
    assert bytes(int(byte, 16) for byte in re.findall(r"0x(..),", array)) == image
    assert max(len(line) for line in array.splitlines()) <= 110
    assert "*/" not in re.search(r"/\* Input 0(.*?)\*/", (place / "model.h").read_text(), re.DOTALL)[1]
    main = (place / "main.c").read_text()
    assert len(main.splitlines()) <= 45 and "float" not in main


@pytest.mark.parametrize("name", ["s8_joined", "f32_gru", "tfl8_cells", "s8_windows_whole"])
def test_kinds_of_models_are_written(name, tmp_path):
    files = firmware.render(IMAGES / f"{name}.elstm", name)
    build = files["elstm_build.h"]
    assert f"ELSTM_LINKS_F32 {int(not name.startswith('s8'))}" in build
    assert f"ELSTM_LINKS_TFL8 {int(name.startswith('tfl8'))}" in build
    assert f"ELSTM_LINKS_GRU {int('gru' in name)}" in build
    door = {"s8": "s8", "f32": "f32", "tfl8": "raw"}[name.split("_")[0]]
    verb = "run" if name.endswith("whole") else "step"
    assert f"elstm_{verb}_{door}(&runner" in files["main.c"]
    assert "{{" not in "".join(files.values()) and "{%" not in "".join(files.values())


def test_a_target_takes_its_kernels_alone(image):
    assert {"kernels_dsp.c"} == {name for name in firmware.render(image, target="cortex-m4") if "kernels_" in name} - {
        "kernels_loops.h"
    }
    with pytest.raises(
        InputError, match="no target 'z80'; boards: pico, .* CPUs: cortex-m0plus, .*, cortex-m85$"
    ) as no:
        firmware.render(image, target="z80")
    for name in re.findall(r"[\w-]+", str(no.value).partition("boards: ")[2].replace("CPUs", "")):  # each is taken
        assert f"for {name}:" in firmware.render(image, target=name)["elstm_build.h"]
    with pytest.raises(ExportError, match="runs the wheel"):
        firmware.render(image, target="pi-zero")
    pico, cpu = (firmware.render(image, target=name) for name in ("pico", "cortex-m0plus"))
    for name in ("elstm_build.h", "README.md", "CMakeLists.txt"):  # which name it
        assert re.sub(r"\bpico\b", "cortex-m0plus", pico.pop(name)) == cpu.pop(name)
    assert pico == cpu
    assert "kernels_helium.c" in firmware.render(image, target="cortex-m85")


def test_the_page_says_the_flash_of_the_code(image):
    """With the CPU and the compiler that it was counted with."""
    page = firmware.render(image)["README.md"]
    row = next(line for line in page.splitlines() if line.startswith("| flash, the code"))
    assert "gcc 12 at -O2" in row and len(re.findall(r"\b2\d{4} \(Cortex-M", row)) == 3, row
    alone = firmware.render(image, target="rv32imc")["README.md"]
    assert re.search(r"^\| flash, the code \| \d{5} \(32-bit RISC-V, IMC\) \|", alone, re.MULTILINE)


def test_the_page_of_a_target_is_about_it(image):
    """Its compiler, what the folder refuses, its CPU and tools; nothing that this machine's compiler is stopped at."""
    for target, command, what in (
        ("pico", "arm-none-eabi-gcc -mcpu=cortex-m0plus -mthumb", "Cortex-M0, M0+"),
        ("cortex-m3", "arm-none-eabi-gcc -mcpu=cortex-m3 -mthumb", "all but Cortex-M0, M0+"),
        ("nrf52840", "arm-none-eabi-gcc -mcpu=cortex-m4 -mthumb", "Arm with DSP instructions: Cortex-M4"),
        ("cortex-m85", "arm-none-eabi-gcc -mcpu=cortex-m55 -mthumb", "Cortex-M55, M85 with Helium"),
        ("esp32-c3", "riscv64-unknown-elf-gcc -march=rv32imc -mabi=ilp32", "all but Cortex-M0, M0+"),
    ):
        files = firmware.render(image, target=target)
        page, lists = files["README.md"], files["CMakeLists.txt"]
        assert f"written for `{target}`" in page and f"a C99 compiler for {what}" in page and "`#error`" in page
        assert f"    {command}" in page and f"-DCMAKE_C_COMPILER={command.split()[0]} " in page
        assert f"`{command.split('gcc')[0]}size`" in page and "on Arm" not in page
        assert "any C99" not in page and "ctest" not in page + lists and f"for {target}" in lists.splitlines()[0]
    files = firmware.render(image)
    assert (
        "any C99 compiler" in files["README.md"]
        and "ctest" in files["README.md"]
        and "ctest" in files["CMakeLists.txt"]
    )
    floats = firmware.render(IMAGES / "f32_stacked.elstm", target="alif-e1c")["README.md"]
    assert re.search(r"^Kernels: `dsp` \(.*Cortex-M4, M7, M33, M55", floats, re.MULTILINE)


def test_what_cannot_be_written_is_refused(image, tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.c").write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        firmware.write(image, tmp_path / "full")
    assert (tmp_path / "full" / "mine.c").read_text() == "mine"
    model = stack(1, (4,))
    with pytest.raises(ExportError, match="no example for the self-test"):
        firmware.render(pack(model, example=False))
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingError, match=r'pip install "edgelstm\[firmware\]"'):
        firmware.write(image, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_command_writes_and_refuses(image, tmp_path):
    from click.testing import CliRunner

    path = tmp_path / "small.elstm"
    path.write_bytes(image)
    done = CliRunner().invoke(cli.main, ["export-c", str(path), "-o", str(tmp_path / "c")])
    assert done.exit_code == 0 and "README.md" in done.output
    done = CliRunner().invoke(cli.main, ["export-c", str(path), "-o", str(tmp_path / "c")])
    assert done.exit_code == 2
    done = CliRunner().invoke(cli.main, ["export-c", str(path), "-o", str(tmp_path / "d"), "--target", "z80"])
    assert done.exit_code == 2 and not (tmp_path / "d").exists()
    assert "cortex-m85" in CliRunner().invoke(cli.main, ["export-c", "--help"]).output


def entered(conversion, channel, raw):
    k = 0 if conversion.uniform else channel
    value = round(raw * 2**conversion.places)
    assert abs(value) < 2**31
    product = value * conversion.multiplier[k]
    assert abs(product) < 2**62 and abs(conversion.offset[k]) < 2**62 and abs(conversion.multiplier[k]) < 2**31
    return (product + conversion.offset[k]) >> conversion.shift[k]


@pytest.mark.parametrize(
    ("scale", "offset"),
    [(0.1, -2.0), (1.0, 0.0), (-0.05, 3.0), (2e-4, -20.0), (1e6, 0.5), (1e-7, 0.0), (50.0, -15000.0)],
)
def test_sensor_numbers_become_integers_by_integers(scale, offset):
    tensor = edgelstm.Runner(IMAGES / "s8_scaled.elstm").description.tensors[0]
    port = Port(scaler=Scaler([scale, scale * 1.5], [offset, offset]))
    conversion = firmware_ports.entering("input x", tensor, port)
    back = firmware_ports.leaving("output y", tensor, port)
    for channel in range(2):
        for integer in (-32768, -12345, -1, 0, 1, 777, 32767):
            factor, added = float(port.scaler.scale[channel]), float(port.scaler.offset[channel])
            raw = (integer * tensor.scale - added) / factor
            assert abs(entered(conversion, channel, raw) - integer) <= 1
            value = (integer * back.multiplier[channel] + back.offset[channel]) >> back.shift[channel]
            step = max(abs(tensor.scale / factor), abs(raw) * 1e-8)
            assert abs(value / 2**back.places - raw) <= step


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler named cc")
def test_the_folder_compiles_and_answers_here(image, tmp_path):
    place = tmp_path / "made"
    firmware.write(image, place)
    programs = set(firmware.PROGRAMS)
    library = [str(path) for path in sorted(place.glob("*.c")) if path.name not in programs]
    flags = ["cc", "-std=c99", "-O0", "-Wall", "-Wextra", "-Werror"]
    for name in sorted(programs):
        subprocess.run([*flags, *library, str(place / name), "-o", str(tmp_path / "program")], check=True)
        assert subprocess.run([tmp_path / "program"]).returncode == 0
    # the ports' conversions are those of the runner's float door
    (tmp_path / "ports.c").write_text(
        '#include <stdio.h>\n#include "model.h"\n#define ONE (1 << MODEL_INPUT_0_PLACES)\nint main(void) {\n'
        "    for (int k = -20; k < 20; ++k)\n"
        '        printf("%d %d\\n", model_input_0(0, k * ONE), model_input_0(1, 9000 * k * ONE));\n'
        "    return 0;\n}\n"
    )
    command = [*flags, f"-I{place}", *library, str(tmp_path / "ports.c"), "-o", str(tmp_path / "ports")]
    subprocess.run(command, check=True)
    lines = subprocess.run([tmp_path / "ports"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(lines) == 40
    runner = edgelstm.Runner(image)
    scaler, tensor = runner.meta.inputs[0].scaler, runner.description.tensors[0]
    for k, line in zip(range(-20, 20), lines, strict=True):
        expected = np.rint(scaler.apply(np.array([k, 9000 * k])) / tensor.scale).clip(-32768, 32767)
        np.testing.assert_allclose([int(value) for value in line.split()], expected, atol=1)


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler named g++")
@pytest.mark.parametrize("standard", ["c++98", "c++11", "c++20"])
def test_cpp_includes_the_header(image, tmp_path, standard):
    place = tmp_path / "made"
    firmware.write(image, place)
    definitions = [
        line for line in (place / "main.c").read_text().splitlines() if line.startswith(("static elstm", "MODEL_"))
    ]
    assert len(definitions) == 3  # model, runner, arena
    opened = "elstm_model_open(&model, model_image, sizeof model_image) == ELSTM_OK"
    started = "elstm_runner_init(&runner, &model, elstm_kernels_at(0), limits, arena, sizeof arena) == ELSTM_OK"
    (tmp_path / "user.cpp").write_text(
        "\n".join(['#include "model.h"', *definitions, "int main() {", "elstm_limits limits = {MODEL_MAX_STEPS, 1};"])
        + f"\nreturn {opened} && {started} ? 0 : 1;\n}}\n"
    )
    flags = [f"-std={standard}", "-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{place}"]
    subprocess.run(["g++", *flags, "-fsyntax-only", str(tmp_path / "user.cpp")], check=True)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler named cc")
@pytest.mark.parametrize(
    ("target", "macros", "taken"),
    [
        ("cortex-m0plus", ["__thumb__"], True),
        ("cortex-m0plus", ["__thumb__", "__thumb2__"], False),
        ("cortex-m0plus", [], False),
        ("cortex-m3", ["__thumb__", "__thumb2__"], True),
        ("cortex-m3", ["__thumb__"], False),
        ("esp32-c3", [], True),
        ("rv32imc", ["__thumb__"], False),
        ("cortex-m4", [], False),
        ("cortex-m55", ["__thumb__", "__thumb2__"], False),
        (None, ["__thumb__"], True),
        (None, [], True),
    ],
)
def test_a_compiler_for_another_cpu_is_refused(image, tmp_path, target, macros, taken):
    """Here by what such a compiler defines, else MODEL_REST_SIZE is of another kernel set and only running tells."""
    (tmp_path / "elstm_build.h").write_text(firmware.render(image, target=target)["elstm_build.h"])
    command = ["cc", "-std=c99", "-fsyntax-only", *(f"-D{name}" for name in macros), str(tmp_path / "elstm_build.h")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode == 0) == taken, done.stderr
    assert taken or f"this folder is for {target}" in done.stderr
