"""Which layer or range is to blame, and what to do: sentences from what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..calibration import FAINT
from ..comparison import Difference, Row
from ..model import Array
from ..report import Arithmetic, Drift, Layer, Point, Saturation
from .variants import Variant

NOTABLE = 30.0  # dB; sound int8 conversions of trained nets reach more (docs/quantization.md)
FOREIGN = 10.0  # dB; a layer this far off computes something else
FINE = 60.0  # dB that what a layer reads may have before its own int8 is what counts
SATURATED, MUCH = 1e-3, 1e-2
"""Shares of a tensor's values that are worth a sentence: of a variant that is poor, and of any."""
FEW = 5  # values at an end may be the largest of the samples themselves, to which TFLite's ranges reach
STEADY = 60.0  # dB; a float32 run that is further off from float64 is of a model that lets errors grow
GROWTH = 6.0  # dB that are lost between the first hundred steps and the last
UNUSED = 64  # inputs that stay so many times smaller than their range waste 6 of 16 bits


@dataclass(frozen=True, slots=True)
class Found:
    """What has been measured."""

    subject: str  # the variant that the image is
    peer: str  # who answered
    variants: Sequence[Variant]
    rows: Sequence[Row]
    layers: Sequence[Layer]
    saturation: Sequence[Saturation]
    drift: Sequence[Drift] = ()
    arithmetic: Sequence[Arithmetic] = ()
    own: Difference | None = None  # of the float64 reference beside an independent one, its worst output
    xs: Sequence[Array] = ()
    input_names: Sequence[str] = ()
    generated: bool = False  # xs
    spoiled: Sequence[str] = field(default_factory=tuple)  # what in a .tflite spoils its answers, and what to do
    window: int | None = None  # steps that the model was made to run from a reset state


def advice(found: Found) -> tuple[str, ...]:
    """Sentences, the most important first; none where all is well."""
    said = [*_clips(found), *_other_file(found), *(foreign := _foreign(found))]
    if not any(text.startswith(f"{found.subject}: from") for text in foreign):  # all else would follow from that
        said += [*_ranges(found), *_saturated(found), *_worst(found), *_channels(found), *_growth(found)]
    return tuple(dict.fromkeys((*said, *_rules(found))))


def _poor(found: Found, variant: str) -> bool:
    """Whether a variant fails, or is worse than sound conversions are."""
    rows = [row for row in found.rows if row.variant == variant and row.passed is not None]
    if variant == "f32":
        return any(row.passed is False for row in rows)
    return any(row.passed is False or row.difference.decibels < NOTABLE for row in rows)


# ---- other weights, other readings ----


def _foreign(found: Found) -> list[str]:
    """A model that is another one than the reference, not a coarse copy of it."""
    said = []
    for variant in found.variants:
        layers = [layer for layer in found.layers if layer.variant == variant.name]
        first = next((layer for layer in layers if layer.difference.decibels < FOREIGN), None)
        saturated = any(one.variant == variant.name and one.share > MUCH for one in found.saturation)
        # a model that lets rounding grow agrees at first
        grown = any(one.variant == variant.name and one.points[0].decibels > NOTABLE for one in found.drift)
        if variant.name == found.subject and first is not None and not saturated and not grown:
            said.append(
                f"{variant.name}: from {_named(first)} on ({_decibels(first.difference)}) the image computes something "
                "else than the reference: it was made of other weights or settings; convert the checkpoint again"
            )
    failing = [row for row in found.rows if row.variant == "f32" and row.passed is False]
    if failing and not said and found.own is not None:
        worst = max(row.difference.max_error for row in failing)
        if found.own.max_error > worst / 2:
            said.append(
                f"f32: the model as read is off from {found.peer} even in float64, by {found.own.max_error:.2g}: no "
                "rounding, but its reading, the data's scale or the reference's own settings; compare layer by layer"
            )
        else:
            said.append(
                "f32: float64 agrees with the reference and float32 does not: rounding grows in this model; "
                "if its answers are good enough, allow more with --limit"
            )
    return said


def _other_file(found: Found) -> list[str]:
    """An int8 TFLite image that does not hold the numbers of the .tflite beside it."""
    one = next((one for one in found.arithmetic if not one.same and one.differing), None)
    if one is None:
        return []
    return [
        f"tfl8: the image was made of another file, and {one.differing:,} of {one.values:,} answers are other bytes "
        f"than {one.runtime}'s with {one.resolver} kernels; convert the .tflite again"
    ]


def _clips(found: Found) -> list[str]:
    return list(found.spoiled)


# ---- ranges ----


def _ranges(found: Found) -> list[str]:
    """Inputs that do not fit the range that int8 was calibrated for."""
    said = []
    again = {
        "s8": "calibrate with samples as in use (convert --int8 --samples X.npy)",
        "tfl8": "the .tflite file has this range; convert it again with data as in use",
    }
    for one in found.saturation:
        if found.generated or one.layer or one.variant not in again or not one.low + one.high:
            continue
        said.append(
            f"{one.variant}: {one.low + one.high:,} of {one.values:,} values of input {one.tensor} "
            f"({_percent(one.share)}) reach or exceed the range it was calibrated for: {again[one.variant]}"
        )
    for variant in found.variants:
        if variant.name != "s8":
            continue
        scales = zip(found.input_names, found.xs, variant.runner.input_scales, strict=True)
        for name, x, scale in scales:
            reach, most = float(np.abs(x).max()), 32767 * scale
            if scale != 1 and 0 < reach < most / UNUSED:
                said.append(
                    f"s8: input {name} stays within {reach:.2g} of the {most:.2g} it was calibrated for, which leaves "
                    f"{max(1, int(math.log2(reach / scale)))} of 16 bits: {again['s8']}"
                )
    return said


def _saturated(found: Found) -> list[str]:
    said = []
    for one in sorted(found.saturation, key=lambda one: -one.share):
        least = SATURATED if _poor(found, one.variant) else MUCH
        few = one.type != "f32" and (one.share <= least or one.low + one.high < FEW)
        if not one.layer or few or not one.low + one.high:
            continue
        share = f"{_percent(one.share)} of {one.layer}'s {one.tensor}"
        if one.type == "f32":
            said.append(f"f32: {share} are not finite: the model overflows on these data; look at their size")
        elif one.variant == "tfl8":
            said.append(
                f"tfl8: {share} stand at the ends of {one.type}: the .tflite file's range (or its clip) is smaller "
                "than these data need; convert it again with data as in use"
            )
        else:
            said.append(
                f"s8: {share} saturate at the ends of {one.type}: give --samples that hold such sequences, as long "
                "as in use"
            )
    return said


# ---- layers ----


def _worst(found: Found) -> list[str]:
    """Where an int8 variant that is poor loses most."""
    said = []
    for variant in found.variants:
        saturated = any(one.variant == variant.name and one.share > MUCH for one in found.saturation)
        if variant.name == "f32" or saturated or not _poor(found, variant.name):
            continue  # what saturates is to blame first
        layers = [layer for layer in found.layers if layer.variant == variant.name and layer.tensor != "c"]
        lost = [(_lost(layer), layer) for layer in layers]
        lost = [(much, layer) for much, layer in lost if much > 3]
        if not lost:
            if any(row.passed is False for row in found.rows if row.variant == variant.name):
                said.append(f"{variant.name}: no layer stands out, it is int8 that is coarse; keep the model in f32")
            continue
        much, layer = max(lost, key=lambda pair: pair[0])
        said.append(
            f"{variant.name}: {_named(layer)} loses most, {much:.0f} dB down to {_decibels(layer.difference)}: "
            f"{_remedy(variant, layer)}"
        )
    return said


def _lost(layer: Layer) -> float:
    """dB that a layer adds to the loss, of what it reads no more counted than is fine."""
    if layer.lost is None:
        return max(0.0, FINE - layer.difference.decibels)
    before = min(FINE, layer.difference.decibels + layer.lost)
    return before - layer.difference.decibels


def _remedy(variant: Variant, layer: Layer) -> str:
    described = {one.name: one for one in variant.runner.description.layers}.get(layer.layer)
    kind = described.hidden_type if described is not None else ""
    if variant.name == "tfl8":
        return "TFLite's int8 is as coarse as this; --int8 of the float checkpoint gives s8, which is finer"
    if kind == "s8":
        return "its h has 8 bits; convert --hidden-bits 16 gives it 16"
    if kind == "s16":
        return "its h has 16 bits already, so its int8 weights are what is coarse; keep the model in f32"
    return "give --samples as in use, or keep the model in f32"


def _channels(found: Found) -> list[str]:
    """Channels that one scale for all leaves few bits."""
    said = []
    coarse = [variant.name for variant in found.variants if variant.name != "f32" and _poor(found, variant.name)]
    for name, x in zip(found.input_names, found.xs, strict=False):
        reach = np.abs(x).reshape(-1, x.shape[-1]).max(axis=0)
        most = FAINT if "s8" in coarse else FAINT / 16
        faint = np.flatnonzero((reach > 0) & (reach < reach.max() / most))
        if coarse and len(faint):
            listed = ", ".join(map(str, faint[:8])) + (f" and {len(faint) - 8} more" if len(faint) > 8 else "")
            said.append(
                f"input {name}, channel{'s' * (len(faint) > 1)} {listed}: at most {reach[faint].max():.2g} where the "
                f"input reaches {reach.max():.2g}, and all share one scale; bring them to like sizes before training"
            )
    return said


# ---- over time, and between runtimes ----


def _growth(found: Found) -> list[str]:
    """What drifts within the steps that the model was made for, all of them unless it has a window."""
    return [_drifting(found, one, last) for one, last in _grown(found, found.window)]


def beyond_windows(found: Found) -> list[str]:
    """What drifts, but only past the window that the model was made for: for the notes, since no window gets there."""
    if found.window is None:
        return []
    inside = {(one.variant, one.output) for one, _ in _grown(found, found.window)}
    return [
        f"{one.variant}: output {one.output} drifts past the {found.window:,} steps that the model was made for: "
        f"{_early(one, last):.0f} dB over the first steps, {last.decibels:.0f} dB over {last.step:,}; runs on windows "
        "(run --windows) never get there"
        for one, last in _grown(found, None)
        if (one.variant, one.output) not in inside
    ]


def _grown(found: Found, most: int | None) -> list[tuple[Drift, Point]]:
    """The runs that lose what they had, and the last point that counts, at `most` steps where that is given."""
    grown = []
    unsteady = set()
    for one in sorted(found.drift, key=lambda one: one.variant != "f32"):
        last = one.points[-1]
        if most is not None and most < last.step:
            last = [point for point in (*one.points[:1], *one.curve) if point.step <= most][-1]
        if not _early(one, last) - last.decibels > GROWTH or one.output in unsteady:
            continue
        if one.variant == "f32":
            if last.decibels < STEADY:
                unsteady.add(one.output)
                grown.append((one, last))
        elif len(one.points) > 3 and last.decibels < NOTABLE:
            grown.append((one, last))
    return grown


def _early(one: Drift, last: Point) -> float:
    """dB that a run has at first; no more than 200, where nothing differs yet."""
    return min(max(point.decibels for point in one.points[:3] if point.step <= last.step), 200.0)


def _drifting(found: Found, one: Drift, last: Point) -> str:
    if one.variant == "f32":
        return (
            f"f32: output {one.output} drifts from float64 over {last.step:,} steps with carried state, to "
            f"{last.decibels:.0f} dB: this model lets rounding grow, whatever the number type; run it on windows as it "
            "was trained (run --windows), or reset its state at times"
        )
    cells = [layer.hidden_type for v in found.variants for layer in v.runner.description.layers]
    remedy = ", or convert --hidden-bits 16" if one.variant == "s8" and "s8" in cells else ""
    return (
        f"{one.variant}: output {one.output} drifts: {_early(one, last):.0f} dB over the first steps, "
        f"{last.decibels:.0f} dB over {last.step:,}; reset the state at times (windows){remedy}"
    )


def _rules(found: Found) -> list[str]:
    said = []
    for one in found.arithmetic:
        if not one.same or not one.differing or not one.exact or one.exact == one.image:
            continue
        package = one.runtime.split()[0]
        said.append(
            f"tfl8: {one.differing:,} of {one.values:,} answers are other bytes than {one.runtime}'s with "
            f"{one.resolver} kernels on {one.machine}; to have its bytes convert with "
            f"--for {package}:{one.resolver}:{one.machine} ({one.exact})"
        )
    return said


def _named(layer: Layer) -> str:
    return f"{layer.layer}" if layer.tensor in ("h", "y") else f"{layer.layer}'s {layer.tensor}"


def _decibels(difference: Difference) -> str:
    return f"{difference.decibels:.1f} dB"


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else f"{share:.1e}"
