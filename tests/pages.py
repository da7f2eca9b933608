"""Reports for pages: one with everything in it, and one whose every name wants to be a program."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from edgelstm.comparison import above, compare, shown, within
from edgelstm.page import Origin
from edgelstm.report import (
    Arithmetic,
    Check,
    Converted,
    Drift,
    Layer,
    Point,
    Report,
    Saturation,
    Task,
    Trace,
)  # fmt: skip

HOSTILE = """<script>document.title='run'</script><img src=x onerror="document.title='run'">'"&amp;{{7*7}}\u202e"""


def difference(decibels: float) -> Any:
    random = np.random.default_rng(0)
    y, noise = random.standard_normal((2, 4, 50, 3))
    return compare(y, y + noise * 10 ** (-decibels / 20))


def drift(variant: str, first: float) -> Drift:
    steps = sorted({round(10 ** (k / 15)) for k in range(61)})
    curve = tuple(Point(step, first * step**0.3, first * step**0.2, first * step**0.3, 40.0) for step in steps)
    return Drift(variant, "forecast", tuple(p for p in curve if p.step in (1, 10, 100, 1000, 10000)), curve)


def full(failing: bool = False) -> Report:
    """A report in which every part has something to say."""
    x = np.arange(80)
    expected = np.sin(x / 9)
    rows = (
        within("f32", "forecast", difference(135), 5e-6),
        above("s8", "forecast", difference(18 if failing else 46), 20),
        *(shown(f"TFLite {kind}", "forecast", difference(n)) for kind, n in (("float", 133), ("int8", 31))),
        shown("converter float", "forecast", difference(23.6)),
    )
    layers = [
        Layer(variant, layer, tensor, difference(n + more), lost)
        for variant, more in (("f32", 90), ("s8", 0))
        for layer, tensor, n, lost in (
            ("lstm", "h", 47, None),
            ("lstm", "c", 41, None),
            ("dense", "forecast", 46, -5.0),
        )
    ]
    converter = "TensorFlow 2.21.0's converter"
    return Report(
        subject="model.elstm, s8, 12,345 bytes, checksum 0badcafe",
        reference="pump.keras in keras 3.15.1",
        data="X.npy",
        sequences=16,
        steps=240,
        rows=rows,
        layers=tuple(layers),
        drift=(drift("f32", 1e-7), drift("s8", 3e-3)),
        saturation=(
            Saturation("s8", "", "x", "s8", 0, 0, 46080),
            Saturation("s8", "lstm", "c", "s16", 12, 1411, 46080),
        ),
        tasks=(
            Task("reference", "forecast", "RMSE", 0.4213, "°C"),
            Task("s8", "forecast", "RMSE", 0.4231, "°C", "at most 0.5 °C", True),
        ),
        arithmetic=(Arithmetic("tflite-runtime 2.14.0", "default", "aarch64", "rounding double", 0, 960, "double"),),
        converted=(
            Converted(converter, "float", True, "29,584 bytes"),
            Converted(converter, "int8", False, f"{converter} died by signal 11 (Segmentation fault) on kind int8"),
        ),
        checks=(Check("s8: saturated values of lstm, c", "3.1 %", "at most 5 %", True),),
        advice=("lstm keeps c in a range that cuts off 3.1 % of its values: give samples with the largest swings.",),
        notes=("f32 and s8 ran with avx2 kernels",),
        traces=(
            Trace("forecast", "temperature", 7, 0, tuple(expected), (("s8", tuple(expected + 0.05 * np.cos(3 * x))),)),
            Trace("forecast", "pressure", 7, 0, tuple(-expected), (("s8", tuple(0.03 * np.cos(2 * x) - expected)),)),
        ),
    )


ORIGIN = Origin(
    "edgelstm validate model.elstm --reference pump.keras --data X.npy --html report.html",
    (("edgelstm", "0.1.0"), ("NumPy", "1.26.4"), ("Python", "3.11.2"), ("machine", "aarch64")),
    (("model", "model.elstm", 12345, "ab" * 32), ("reference", "pump.keras", 65432, "cd" * 32)),
)


def hostile(value: Any) -> Any:
    """The same with HOSTILE for every text, so that each place where one is shown is tried."""
    if isinstance(value, str):
        return HOSTILE
    if isinstance(value, tuple):
        return tuple(map(hostile, value))
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: hostile(getattr(value, field.name)) for field in fields(value)})
    return value


def extreme() -> Report:
    """Numbers that no axis can show, and names without an end."""
    report = full()
    name = "encoder." * 40 + "lstm"
    nothing = np.zeros((2, 3, 2))
    broken = compare(np.ones((2, 3, 2)), np.full((2, 3, 2), math.nan))
    points = tuple(Point(step, 0.0, 0.0, 0.0, math.inf) for step in (1, 10))
    return replace(
        report,
        rows=(within("f32", name, compare(nothing, nothing), 1), within("s8", name, broken, 1)),
        layers=tuple(Layer("s8", f"{name}{k}", "h", difference(k), None) for k in range(60)),
        drift=(Drift("f32", name, points, ()), Drift("s8", name, (Point(1, math.inf, 1, math.inf, -math.inf),), ())),
        saturation=tuple(replace(one, layer=name, low=0, high=0) for one in report.saturation),
        traces=(Trace(name, name, 0, 5, (1.0,), (("s8", (math.nan,)),)),),
    )
