"""One extension: the C core and its Cython door, which are optimized differently. The rest is in pyproject.toml."""

import sys
import sysconfig
import tarfile
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

# No contraction: s8 and f32 mean the same in every build. No symbols, no tables for unwinding: of no use in a wheel.
# The door, where speed is in what it does not do, is compiled for size, and so is what runs once, as a model is opened.
UNIX = ["-ffp-contract=off", "-g0", "-fvisibility=hidden", "-fno-asynchronous-unwind-tables", "-ffunction-sections"]
MSVC = ["/fp:precise"]
CORE = {"unix": [*UNIX, "-std=c99", "-O3"], "msvc": [*MSVC, "/std:c11", "/O2"]}
ONCE = ("clocks.c", "model.c")
SMALL = {"unix": [*UNIX, "-std=c99", "-Os"], "msvc": [*MSVC, "/std:c11", "/O1"]}
DOOR = {"unix": [*UNIX, "-Os", "-Werror=implicit-function-declaration"], "msvc": [*MSVC, "/O1"]}

# One module for every Python from 3.12, where it is called as fast as one made for a single Python; in 3.11 it is not.
LIMITED = sys.version_info >= (3, 12) and not sysconfig.get_config_var("Py_GIL_DISABLED")


class Files(build_py):
    """The core's files that firmware is made of travel as one archive, half of what they weigh one by one."""

    def run(self):
        super().run()
        if not self.editable_mode:
            with tarfile.open(Path(self.build_lib) / "edgelstm" / "src_c.tar.bz2", "w:bz2") as archive:
                for path in sorted(glob("src_c/*.[ch]")):
                    member = tarfile.TarInfo(Path(path).name)  # no times or owners: the same bytes wherever it is built
                    if not member.name.startswith(("kernels_avx", "kernels_neon", "kernels_x86")):
                        member.size = Path(path).stat().st_size
                        with open(path, "rb") as file:
                            archive.addfile(member, file)


class Build(build_ext):
    def build_extension(self, ext):
        kind = "msvc" if self.compiler.compiler_type == "msvc" else "unix"
        core = [path for path in ext.sources if path.endswith(".c")]
        ext.sources = [path for path in ext.sources if path not in core]
        once = [path for path in core if Path(path).name in ONCE]
        often = [path for path in core if path not in once]
        for paths, options in ((often, CORE[kind]), (once, SMALL[kind])):
            ext.extra_objects += self.compiler.compile(
                paths, self.build_temp, include_dirs=ext.include_dirs, extra_postargs=options, depends=ext.depends
            )
        ext.extra_compile_args = DOOR[kind]
        super().build_extension(ext)


setup(
    cmdclass={"build_py": Files, "build_ext": Build},
    ext_modules=[
        Extension(
            "edgelstm._core",
            sources=["edgelstm/_core.pyx", "edgelstm/_door.c", *sorted(glob("src_c/*.c"))],
            depends=["edgelstm/_door.h", *glob("src_c/*.h")],
            include_dirs=["src_c"],
            define_macros=[("Py_LIMITED_API", "0x030C0000"), ("CYTHON_LIMITED_API", "1")] if LIMITED else [],
            py_limited_api=LIMITED,
            extra_link_args=["-Wl,-s,--gc-sections"] if sys.platform == "linux" else [],
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp312"}} if LIMITED else {},
)
