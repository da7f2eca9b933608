"""Figures as SVG that stands inside a page: colours and fonts come from the page's styles, numbers from the caller.

The same data give the same bytes. Texts may be anything; they are escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

WIDTH, HEIGHT = 420, 250
COLOURS = 8
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 24, 14, 40
_BAR, _NAMES = 22, 160  # height of a bar; width of the names before it
_LONGEST = 19  # characters of a name before a bar
_WIDE, _NARROW = 10.5, 7.6  # of a character on a phone, in a sans serif at its widest

Element = ElementTree.Element


@dataclass(frozen=True, slots=True)
class Line:
    """One curve. `colour` counts the page's colours; negative is that of text, for what is expected."""

    colour: int
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis shows, in which unit, and whether by logarithm."""

    label: str
    logarithmic: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """One value with its name; where it has no end, `value` is infinite and the bar is full."""

    name: str
    value: float
    text: str
    colour: int


def chart(title: str, lines: Sequence[Line], x: Axis, y: Axis) -> str:
    """Curves over a common axis. Points that a logarithmic axis cannot show are left out; "" if none is left."""
    drawn = [_shown(line, x, y) for line in lines]
    points = [point for pieces in drawn for piece in pieces for point in piece]
    if not points:
        return ""
    across = _Scale([p[0] for p in points], x.logarithmic, _LEFT, WIDTH - _RIGHT)
    up = _Scale([p[1] for p in points], y.logarithmic, HEIGHT - _BOTTOM, _TOP)
    svg = _svg(title, WIDTH, HEIGHT)
    for value, text in across.ticks(5):
        place = across(value)
        _put(svg, "line", "grid", x1=place, y1=_TOP, x2=place, y2=HEIGHT - _BOTTOM)
        _text(svg, text, place, HEIGHT - _BOTTOM + 15, "middle")
    for value, text in up.ticks(5):
        place = up(value)
        _put(svg, "line", "grid", x1=_LEFT, y1=place, x2=WIDTH - _RIGHT, y2=place)
        _text(svg, text, _LEFT - 6, place + 4, "end")
    _text(svg, _cut(x.label, 40), (_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 6, "middle")
    middle = (_TOP + HEIGHT - _BOTTOM) / 2
    _text(svg, _cut(y.label, 24), 12, middle, "middle").set("transform", f"rotate(-90 12 {_number(middle)})")
    for line, pieces in zip(lines, drawn, strict=True):
        for piece in pieces:
            at = [(across(a), up(b)) for a, b in piece]
            if len(at) == 1:
                _put(svg, "circle", f"dot {_colour(line.colour)}", cx=at[0][0], cy=at[0][1], r=3)
            else:
                drawing = _put(svg, "polyline", f"curve {_colour(line.colour)}")
                drawing.set("points", " ".join(f"{_number(a)},{_number(b)}" for a, b in at))
    return _written(svg)


def bars(title: str, rows: Sequence[Bar], most: float) -> str:
    """Values beside each other, from 0 to `most`, which is a full bar; "" if there are none."""
    if not rows:
        return ""
    svg = _svg(title, WIDTH, _BAR * len(rows) + 4)
    room = WIDTH - _NAMES - 66
    for k, row in enumerate(rows):
        top = 2 + _BAR * k
        name = _cut(row.name, _LONGEST)
        text = _text(svg, name, _NAMES - 8, top + 15, "end")
        if sum(_NARROW if c.islower() or c in " _,.:1" else _WIDE for c in name) > _NAMES - 10:
            text.attrib |= {"textLength": _number(_NAMES - 10), "lengthAdjust": "spacingAndGlyphs"}
        _put(svg, "rect", "back", x=_NAMES, y=top + 4, width=room, height=_BAR - 8)
        share = 1.0 if row.value == math.inf else min(1.0, max(0.0, row.value / most)) if most > 0 else 0.0
        if share:
            length = max(1.0, room * share)
            _put(svg, "rect", f"bar {_colour(row.colour)}", x=_NAMES, y=top + 4, width=length, height=_BAR - 8)
        _text(svg, row.text, _NAMES + room + 6, top + 15, "start")
    return _written(svg)


def _shown(line: Line, x: Axis, y: Axis) -> list[list[tuple[float, float]]]:
    """A line's pieces between points that cannot be shown."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for a, b in line.points:
        fine = math.isfinite(a) and math.isfinite(b) and (a > 0 or not x.logarithmic) and (b > 0 or not y.logarithmic)
        if fine:
            pieces[-1].append((a, b))
        elif pieces[-1]:
            pieces.append([])
    return [piece for piece in pieces if piece]


class _Scale:
    """From values to places, with some room around constant values."""

    def __init__(self, values: Sequence[float], logarithmic: bool, start: float, end: float) -> None:
        self.logarithmic, self.start, self.end = logarithmic, start, end
        low, high = min(map(self._plain, values)), max(map(self._plain, values))
        if logarithmic:
            low, high = math.floor(low + 1e-9), math.ceil(high - 1e-9)
        if high - low < 1e-12 * max(1.0, abs(low), abs(high)):
            low, high = (low, low + 1) if logarithmic else (low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2)
        self.low, self.high = low, high

    def _plain(self, value: float) -> float:
        return math.log10(value) if self.logarithmic else value

    def __call__(self, value: float) -> float:
        part = (self._plain(value) - self.low) / (self.high - self.low)
        return self.start + (self.end - self.start) * part

    def ticks(self, about: int) -> list[tuple[float, str]]:
        """Round values within the scale, and how they are written."""
        span = self.high - self.low
        step = 10.0 ** math.floor(math.log10(span / about))
        step *= next(n for n in (1, 2, 5, 10) if span / (step * n) <= about)
        if self.logarithmic:
            step = max(1.0, round(step))
            powers = range(math.ceil(self.low), math.floor(self.high) + 1, int(step))
            return [(10.0**n, f"{10**n:,}" if 0 <= n <= 5 else f"1e{n}") for n in powers]
        first = math.ceil(self.low / step - 1e-9)
        count = math.floor(self.high / step + 1e-9) - first
        values = [(first + k) * step for k in range(count + 1)]
        return [(value, f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}") for value in values]


def _svg(title: str, width: float, height: float) -> Element:
    svg = Element("svg", {"viewBox": f"0 0 {_number(width)} {_number(height)}", "role": "img", "class": "figure"})
    svg.set("aria-label", _clean(title))
    return svg


def _put(parent: Element, tag: str, kind: str, **places: float) -> Element:
    return ElementTree.SubElement(parent, tag, {"class": kind} | {key: _number(n) for key, n in places.items()})


def _text(parent: Element, text: str, x: float, y: float, anchor: str) -> Element:
    element = ElementTree.SubElement(parent, "text", {"x": _number(x), "y": _number(y), "text-anchor": anchor})
    element.text = _clean(text)
    return element


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _clean(text: str) -> str:
    """A text without what a page may not hold."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _colour(number: int) -> str:
    return "ink" if number < 0 else f"c{number % COLOURS}"


def _written(svg: Element) -> str:
    return ElementTree.tostring(svg, "unicode")
