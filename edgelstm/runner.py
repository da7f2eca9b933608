"""Runner: friendly arrays around the C core."""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from . import _core
from .description import MASK, Description, describe, one_id_a_step
from .errors import ImageError, InputError
from .meta import Array, Meta

if TYPE_CHECKING:
    from .model import Model, QuantizedModel
    from .tfl8_model import Tfl8Model

Source: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | Model | QuantizedModel | Tfl8Model"
"""What a Runner runs."""


class Runner(_core.Core):
    """Runs an image, step by step or over whole sequences. Belongs to one thread at a time.

    model: an image's path or bytes, or a Model or QuantizedModel to pack. kernels: a name of `kernels()`; None takes
    EDGELSTM_KERNELS from the environment, else the best. streams: independent states that step together. max_steps:
    steps worked on at once in `run`, which costs arena, not correctness; where a layer needs steps to come, a longer
    run makes the arena grow. Starts from a reset state.
    """

    image: bytes
    description: Description
    _single: tuple[bool, ...]  # of each input: it takes one row a run
    _own: tuple[bool, ...]  # of each input: it may have another number of steps than the others
    _types: tuple[Any, ...]  # of each input's values: float32, but of tfl8 images
    _plain: bool  # each step has one row, and any number will do

    def __new__(cls, model: Source, kernels: str | None = None, *, streams: int = 1, max_steps: int = 64) -> Runner:
        limits = _whole("streams", streams), _whole("max_steps", max_steps)
        if kernels is None or kernels == "":
            kernels = os.environ.get("EDGELSTM_KERNELS") or None
        image = read_image(model)
        try:
            self = super().__new__(cls, image, kernels, *limits)
            self.description = describe(image)
        except ImageError as error:
            if isinstance(model, str | os.PathLike):
                raise ImageError(f"{os.fspath(model)}: {error}") from None
            raise
        self.image = image
        self._limit_ids(self.description.vocabularies)
        tensors = [self.description.tensors[k] for k in self.description.inputs]
        self._single = tuple(t.single for t in tensors)
        self._own = tuple(t.clock > 0 for t in tensors)
        self._types = tuple(x.dtype for x in self.xs)
        self._plain = (
            self.causal and not self.uneven and not any(self.description.vocabularies) and not any(self._single)
        )
        return self

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass  # all is set up in __new__, which opens the image

    @property
    def meta(self) -> Meta:
        """Scalers, channel names, units, labels, window and hop."""
        return self.description.meta

    @property
    def input_widths(self) -> tuple[int, ...]:
        """Values a step of each input."""
        return tuple(x.shape[1] for x in self.xs)

    @property
    def output_widths(self) -> tuple[int, ...]:
        """Values a step of each output."""
        return tuple(y.shape[1] for y in self.ys)

    def run(self, xs: Any, every_step: bool = False, carry: bool = False, *, lengths: Any = None) -> Any:  # type: ignore[override]
        """Run whole sequences and return what the checkpoint's framework returns.

        xs: (T, inputs) or (N, T, inputs), a tuple of such for several inputs; (inputs,) or (N, inputs) for one that
        takes a single row, as an initial state; (N, T) for one of ids, one a step, where T is not 1. Where a layer
        needs steps to come, inputs may have different T. Every sequence starts from a reset state, or with `carry`
        continues from the present one (then N must be `streams`).
        Returns (rows, outputs) or (N, rows, outputs); where the model keeps the last step alone the rows' axis is gone,
        unless `every_step` asks for all: then the answers equal calling `step` so many times. A tuple for several
        outputs. What is int8 in an int8 TFLite model is int8 here. lengths: of each sequence the steps that count, (N,)
        whole numbers, for a model with an input named "mask", which xs then leaves out. The GIL is free meanwhile;
        Ctrl-C ends a run early unless its answer is that of the last step alone. InputError for NaN, infinity and
        wrong shapes, for ids beyond their vocabulary, for numbers of steps that do not fit a layer, and for
        `every_step` or `carry` where a layer needs steps to come.
        """
        return self._run(xs, every_step, carry, lengths, integers=False)

    def run_integers(self, xs: Any, every_step: bool = False, carry: bool = False, *, lengths: Any = None) -> Any:
        """`run` at the integer door of an s8 image: int16 arrays in and out; see `input_scales`, `output_scales`."""
        if not self.integer:
            raise InputError(f"this image is {self.description.number_type}; run_integers is for s8 images")
        return self._run(xs, every_step, carry, lengths, integers=True)

    def _run(self, xs: Any, every_step: bool, carry: bool, lengths: Any, integers: bool) -> Any:
        if type(xs) is np.ndarray and not integers and lengths is None and self._lies_ready(xs):
            return self._run_ready(xs, every_step, carry)
        arrays, batched = self._inputs(xs, lengths, integers)
        count = len(arrays[0])
        steps = max((x.shape[1] for x, own in zip(arrays, self._own, strict=True) if not own), default=1)
        if carry and count != self.streams:
            raise InputError(f"{count} sequences cannot carry the state of {self.streams} streams")
        if not self._plain:
            if every_step or carry:
                self.check_steps()
            if any(self._own):
                self.set_lengths([x.shape[1] if own else 0 for x, own in zip(arrays, self._own, strict=True)])
            if self.uneven and not carry:
                self.reset()  # refused or not: how many rows there are depends on the state
            self.check_run(steps, every_step)
        streams, batches = self.streams, -(-count // self.streams)
        rows = [self.output_rows(k, steps, every_step) for k in range(len(self.ys))]
        ys: list[Array] = [
            np.empty((batches, n, streams, y.shape[1]), np.int16 if integers else y.dtype)
            for n, y in zip(rows, self.ys, strict=True)
        ]
        # one call for all: no other thread comes between the sequences
        laid = [_lay_out(x, streams) for x in arrays]
        super().run(laid, ys, steps, every_step, integers, batches, fresh=not carry)
        shaped = []
        for k, y in enumerate(ys):
            y = y.transpose(0, 2, 1, 3).reshape(batches * streams, rows[k], self.output_widths[k])[:count]
            single = self.description.tensors[self.description.outputs[k]].single and not every_step
            y = y[:, -1] if single else y
            shaped.append(y if batched else y[0])
        return shaped[0] if len(shaped) == 1 else tuple(shaped)

    def sequences(self, xs: Any) -> list[Array]:
        """The arrays that `run` would run, float32 [N, T, width] an input, [N, width] of one that takes a single row.

        InputError where `run` refuses their number, shapes or values.
        """
        arrays, _ = self._inputs(xs, None, integers=False)
        return [x[:, 0] if single else x for x, single in zip(arrays, self._single, strict=True)]

    def check_run(self, steps: int, every_step: bool = False) -> None:
        """InputError, which names layer and numbers, where a run of `steps` steps does not fit the model, continuing
        from the present state."""
        if every_step:
            self.check_steps()
        refused = self.refusal(steps, every_step)
        if refused is None:
            return
        layer, needs, rows, wanted = refused
        text = {
            "rows": f"{rows} steps, expected {wanted}",
            "periods": f"{rows} steps, expected a multiple of {wanted}",
            "alike": f"it reads tensors of {rows} and {wanted} steps",
        }.get(needs, "the sequence is too short; it gives no row")
        raise InputError(f"{self.description.layers[layer].name}: {text}")

    def check_steps(self) -> None:
        """InputError, which names the first layer that needs steps to come, where the model cannot be stepped."""
        if not self.causal:
            waits = self.description.waits
            reason = ": ".join(waits[0]) if waits else "a layer needs steps to come"
            raise InputError(f"the model cannot be stepped, only run over whole sequences: {reason}")

    def _refuse_step(self) -> None:
        self.check_steps()

    def _lies_ready(self, x: Array) -> bool:
        """Whether x is one sequence for a runner of one stream, input and output, as C wants it."""
        return (
            self._plain
            and x.ndim == 2
            and x.dtype == self._types[0]
            and x.flags.c_contiguous
            and x.flags.aligned
            and self.streams == len(self.xs) == len(self.ys) == 1
            and x.shape[1] == self.x.shape[0]
            and x.shape[0] > 0
            and (x.dtype != np.float32 or _core.is_finite(x))
        )

    def _run_ready(self, x: Array, every_step: bool, carry: bool) -> Array:
        """`_run` without the detours, which take longer than 128 steps of a small model."""
        steps = len(x)
        y: Array = np.empty((self.output_rows(0, steps, every_step), self.y.shape[0]), self.y.dtype)
        super().run([x], [y], steps, every_step, False, 1, fresh=not carry)
        single = self.description.tensors[self.description.outputs[0]].single and not every_step
        return y[-1] if single else y

    def _inputs(self, xs: Any, lengths: Any, integers: bool) -> tuple[list[Array], bool]:
        """The arrays [N, T, width], [N, 1, width] of single inputs; and whether they came with an axis of sequences."""
        left_out = None if lengths is None else self._mask()
        names = [k for k in range(len(self.xs)) if k != left_out]
        try:
            given: Sequence[Any] = (xs,) if len(names) == 1 and not isinstance(xs, tuple) else tuple(xs)
        except TypeError:
            raise InputError(f"expected a tuple with the array of each input, not {type(xs).__name__}") from None
        if len(given) != len(names):
            raise InputError(f"{len(given)} inputs given, the model has {len(names)}")
        arrays = {k: self._input(k, x, integers) for k, x in zip(names, given, strict=True)}
        batched = {array.ndim == (2 if self._single[k] else 3) for k, array in arrays.items()}
        # a single input's row stands where other inputs have their steps
        arrays = {k: a[..., None, :] if self._single[k] else a for k, a in arrays.items()}
        arrays = {k: a if a.ndim == 3 else a[None] for k, a in arrays.items()}
        steps = {a.shape[1] for k, a in arrays.items() if not self._single[k] and not self._own[k]} or {1}
        counts = {len(a) for a in arrays.values()}
        if len(batched) > 1 or len(counts) > 1 or len(steps) > 1:
            raise InputError("the inputs disagree in their number of sequences or steps")
        if left_out is not None:
            arrays[left_out] = _counted(lengths, counts.pop(), steps.pop(), integers)
        return [arrays[k] for k in range(len(self.xs))], batched == {True}

    def _input(self, k: int, x: Any, integers: bool) -> Array:
        """One input's array, of its width, its type and its values."""
        width = self.input_widths[k]
        try:
            array = np.asarray(x)
        except ValueError as error:
            raise InputError(f"input {k} is not an array: {error}") from None
        if array.dtype.kind not in "fiub":
            raise InputError(f"input {k} holds {array.dtype} values, expected numbers")
        axes = 1 if self._single[k] else 2
        if self.description.vocabularies[k] and not self._single[k]:
            array = one_id_a_step(array, width)
        if array.ndim not in (axes, axes + 1) or array.shape[-1] != width or 0 in array.shape:
            expected = f"({width},) or (N, {width})" if self._single[k] else f"(T, {width}) or (N, T, {width})"
            expected += ", or (N, T)" if self.description.vocabularies[k] and width == 1 and axes == 2 else ""
            if array.ndim in (axes, axes + 1) and array.shape[-1] == width:
                expected += f"; it holds no {'sequences' if array.ndim > axes and not len(array) else 'steps'}"
            raise InputError(f"input {k} has shape {array.shape}, expected {expected}")
        if integers and array.dtype != np.int16:
            raise InputError(f"input {k} is {array.dtype}, expected int16")
        if self._types[k].kind == "i":
            array = _core.whole_numbers(array, self._types[k], k)
        elif not integers:
            with np.errstate(over="ignore"):  # what overflows is refused below
                array = array.astype(np.float32, copy=False)
            if not np.isfinite(array).all():
                raise InputError(f"input {k} holds NaN or infinite values")
        vocabulary = self.description.vocabularies[k]
        if vocabulary and not ((array >= 0) & (array < vocabulary) & (array == np.floor(array))).all():
            raise InputError(f"input {k} holds ids, expected whole numbers from 0 to {vocabulary - 1}")
        return array

    def _mask(self) -> int:
        """The input that says which steps count."""
        names = self.description.input_names
        if MASK not in names or self.input_widths[names.index(MASK)] != 1 or len(names) == 1:
            raise InputError("lengths are for a model with an input named mask; this one has none")
        return names.index(MASK)


def _counted(lengths: Any, count: int, steps: int, integers: bool) -> Array:
    """The mask [N, T, 1] of so many sequences, of each of which so many steps count."""
    array = np.atleast_1d(np.asarray(lengths))
    if array.shape != (count,) or array.dtype.kind not in "iu" or array.min() < 0 or array.max() > steps:
        raise InputError(f"lengths must be {count} whole numbers from 0 to {steps}")
    counts: Array = np.arange(steps)[None, :, None] < array[:, None, None]
    return counts.astype(np.int16 if integers else np.float32)


def _whole(name: str, value: Any) -> int:
    try:
        whole = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        whole = 0
    if not 1 <= whole < 2**31:
        raise InputError(f"{name} is {value!r}, expected a whole number of at least 1")
    return whole


def _lay_out(x: Array, streams: int) -> Array:
    """Sequences [N, T, width] as batches [batches, T, streams, width]; the last one may leave some streams idle."""
    count, steps, width = x.shape
    if streams == 1:
        return np.require(x, requirements=("C", "A"))  # it lies so already
    full, rest = divmod(count, streams)
    laid: Array = np.zeros((full + (rest > 0), steps, streams, width), x.dtype)
    laid[:full] = x[: full * streams].reshape(full, streams, steps, width).transpose(0, 2, 1, 3)
    if rest:
        laid[full, :, :rest] = x[full * streams :].transpose(1, 0, 2)
    return laid


def kernels() -> list[str]:
    """Names of the kernel sets this machine can run, best first."""
    return _core.kernels()


def read_image(model: Source) -> bytes:
    """The bytes of an image: as given, from a file, or packed from a model."""
    if isinstance(model, bytes | bytearray | memoryview):
        return bytes(model)
    if isinstance(model, str | os.PathLike):
        try:
            return Path(model).read_bytes()
        except (OSError, TypeError, ValueError) as error:
            raise ImageError(f"cannot read image {model!r}: {error}") from None
    # who only runs images never loads what packs them
    from .image import pack
    from .model import Model, QuantizedModel
    from .tfl8_model import Tfl8Model

    if not isinstance(model, Model | QuantizedModel | Tfl8Model):
        raise ImageError(f"expected an image's path or bytes, or a model, not {type(model).__name__}")
    return pack(model)
