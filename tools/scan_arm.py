"""Whether a 32-bit ARM program or module runs on ARMv6 with VFPv2, the Raspberry Pi 1 and Zero: every instruction.

    python tools/scan_arm.py FILE...

What the compiler's own library and the start files brought is scanned like all else. A file without symbols cannot be
told from its constants, and is refused. Needs arm-linux-gnueabihf-objdump and readelf (binutils-arm-linux-gnueabihf).
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

OBJDUMP = "arm-linux-gnueabihf-objdump"
CONDITION = "(eq|ne|cs|hs|cc|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)?"
LINE = re.compile(r"^\s*[0-9a-f]+:\t([0-9a-f ]+?)\s*\t(\S+)\s*(.*)$")
LATER = re.compile(  # what ARM state gained after ARMv6K
    f"(movw|movt|[us]bfx|bf[ic]|rbit|mls|[us]div|dmb|dsb|isb|sevl|pldw|pli|(ld|st)rht|ldrs[bh]t|lda\\w*|stl\\w*|crc32\\w*)"
    f"{CONDITION}"
)
VFP2 = re.compile(  # all that begins with v and may stay; the rest is NEON or a later VFP
    f"v((ldr|str|ldm\\w*|stm\\w*|push|pop|mrs|msr){CONDITION}(\\.(32|64))?"
    f"|mov{CONDITION}(\\.(32|f32|f64))?"
    f"|(add|sub|n?mul|n?ml[as]|div|sqrt|abs|neg|cmpe?){CONDITION}\\.f(32|64)"
    f"|cvtr?{CONDITION}\\.([su]32\\.f(32|64)|f(32|64)\\.[su]32|f32\\.f64|f64\\.f32))"
)
HIGH = re.compile(r"\b(d(1[6-9]|2\d|3[01])|q\d+)\b")  # registers that VFPv2 has not
ATTRIBUTES = {
    "Tag_CPU_arch": {"v4T", "v5T", "v5TE", "v5TEJ", "v6", "v6K", "v6KZ"},
    "Tag_THUMB_ISA_use": {"Thumb-1"},
    "Tag_FP_arch": {"VFPv2"},
    "Tag_Advanced_SIMD_arch": set(),
}


def attribute_faults(text: str) -> list[str]:
    found = dict(re.findall(r"^\s*(Tag_\w+): (.*?)\s*$", text, re.MULTILINE))
    if "Tag_CPU_arch" not in found:
        return ["names no Tag_CPU_arch"]
    return [f"{tag}: {found[tag]}" for tag, fine in ATTRIBUTES.items() if tag in found and found[tag] not in fine]


def instruction_faults(text: str, undefined: str) -> list[str]:
    """Lines of a disassembly that ARMv6 has not; `undefined` is the same by what ARMv6 knows."""
    faults = [line.strip() for line in undefined.splitlines() if "<UNDEFINED>" in line]
    for line in text.splitlines():
        match = LINE.match(line)
        if match is None or match[2].startswith("."):
            continue
        word, mnemonic, operands = match.groups()
        operands = operands.split("@")[0]
        later = LATER.fullmatch(mnemonic) is not None or len(word) != 8  # Thumb, of which v6 has not all
        if mnemonic.startswith("v"):
            immediate = mnemonic.startswith(("vmov", "vcvt")) and "#" in operands
            later |= VFP2.fullmatch(mnemonic) is None or HIGH.search(operands) is not None or immediate
        if later:
            faults.append(line.strip())
    return faults


def faults(path: Path) -> list[str]:
    """All that ARMv6 has not, a line each; none for a file that runs there."""

    def shown(*command: str) -> str:
        return subprocess.run([*command, str(path)], capture_output=True, text=True, check=True).stdout

    if ".symtab" not in shown("readelf", "-SW"):
        return ["has no symbols, so instructions cannot be told from constants"]
    text = shown(OBJDUMP, "-d")
    found = attribute_faults(shown("readelf", "-A"))
    found += instruction_faults(text, shown(OBJDUMP, "-d", "-m", "armv6kz"))
    return found if sum(map(bool, map(LINE.match, text.splitlines()))) > 100 else [*found, "holds hardly any code"]


def main() -> int:
    passed = True
    for name in sys.argv[1:]:
        found = faults(Path(name))
        passed &= not found
        print(f"{'FAIL' if found else 'ok':4} {name}")
        for line in found[:20]:
            print(f"     {line}")
        if len(found) > 20:
            print(f"     and {len(found) - 20} more")
    return 0 if passed and sys.argv[1:] else 1


if __name__ == "__main__":
    sys.exit(main())
