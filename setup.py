"""One extension: the C core and its Cython door. Everything else is in pyproject.toml."""

from glob import glob

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "edgelstm._core",
            sources=["edgelstm/_core.pyx", *sorted(glob("src_c/*.c"))],
            depends=glob("src_c/*.h"),
            include_dirs=["src_c"],
            # No contraction: s8 and f32 mean the same in every build. No symbols, which are a part of a wheel.
            extra_compile_args=["-std=c99", "-O3", "-ffp-contract=off", "-g0", "-fvisibility=hidden"],
            extra_link_args=["-Wl,-s"],
        )
    ]
)
