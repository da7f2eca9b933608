"""Live PyTorch modules and TorchScript: traced by PyTorch, and the graph read. Here PyTorch is used."""

from __future__ import annotations

import contextlib
import inspect
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ..errors import CheckpointError
from ..layers import MAX_READS, TANH, Activation, Group, Split, Transpose
from ..model import Model, Source
from . import torch_names, torch_steps
from .torch_build import Builder, Options
from .torch_graph import Const, Lengths, Packed, Refused, Walk
from .torch_names import Stack, Weight
from .torch_ops import HANDLERS, OWN, ROWWISE
from .torch_values import BATCH, Axis, Misplaced, Rows, plain_output, rows, values

_WRAPPERS = {"OptimizedModule": "_orig_mod", "DataParallel": "module", "DistributedDataParallel": "module"}
_CELLS = {"LSTMCell": "lstm", "GRUCell": "gru", "RNNCell": "rnn"}
_UNCLEAR = (
    "with an input of (batch, values) it computes other than with (batch, steps, values); give the one it is for: "
    "example=array"
)
_PACKED = ("_pack_padded_sequence", "_pad_packed_sequence", "lstm", "gru", "rnn_tanh", "rnn_relu")
_STEPS = ((23, 31), (131, 149))  # of the two traces without an example: primes, which no layer is wide
_SHAPES = {
    "bts": ("batch", "steps", "values"),
    "tbs": ("steps", "batch", "values"),
    "bst": ("batch", "values", "steps"),
    "ts": ("steps", "values"),
    "bs": ("batch", "values"),
    "bt": ("batch", "steps"),
    "tb": ("steps", "batch"),
    "t": ("steps",),
    "lbs": ("layers", "batch", "values"),
    "s": ("values",),
    "lengths": ("lengths",),
}
"""What the axes of an input may be."""


@dataclass(frozen=True, slots=True)
class Input:
    """An input of a module."""

    name: str
    kinds: tuple[str, ...]  # of _SHAPES
    sizes: tuple[int, ...]  # with one sequence; of the steps those of an example
    whole: bool  # whether it reads whole numbers
    more: int = 0  # steps it has beyond the first sequence's

    def shape(self, steps: int) -> tuple[int, ...]:
        own = steps + self.more
        return tuple(own if kind == "steps" else n for kind, n in zip(self.kinds, self.sizes, strict=True))


@dataclass(frozen=True, slots=True)
class Traced:
    """A traced graph, and what its names stand for."""

    graph: Any
    placeholders: list[Any]  # of the inputs
    constants: dict[Any, Const]  # of the other placeholders
    attribute: Callable[[str], tuple[str, Any]]
    answer: Callable[[Any], Any]  # the output node's values as the module returns them


def read(module: Any, example: Any = None) -> Model:
    """The model of a live torch.nn.Module or a loaded TorchScript module, in evaluation mode.

    example: an input array (batch, steps, values), or several; needed where the module reads several, or a fixed
    number of steps.
    """
    module = unwrapped(module)
    if not callable(getattr(module, "state_dict", None)) or not callable(getattr(module, "forward", None)):
        raise CheckpointError("not a torch.nn.Module")
    weights = _weights(module)
    if type(module).__name__ in _CELLS and type(module).__module__.startswith("torch.nn.modules."):
        return _bare_cell(module, weights)
    with _evaluating(module):
        return _fitting(module, _candidates(module, weights, example), example is not None)


def _fitting(module: Any, candidates: Iterator[list[Input]], exemplary: bool) -> Model:
    """The model with the first input that fits; a step (batch, values) and a sequence must not fit in other ways."""
    first: CheckpointError | None = None
    flat: Model | None = None
    for inputs in candidates:
        is_flat = inputs[0].kinds == _SHAPES["bs"] and not exemplary
        try:
            model = _read(module, inputs, exemplary)
            _check_steps(model, inputs)
        except CheckpointError as error:
            if flat is not None and isinstance(error, _Untraced):
                return flat
            if flat is not None:
                raise CheckpointError(_UNCLEAR) from None
            if not is_flat and not isinstance(error, _Untraced | Misplaced):
                raise
            if first is None or (isinstance(first, _Untraced) and not isinstance(error, _Untraced)):
                first = error
            continue
        if is_flat:
            flat = model
            continue
        if flat is not None and not _same(flat, model):
            raise CheckpointError(_UNCLEAR)
        return model
    if flat is not None:
        return flat
    raise first or CheckpointError("no input fits it")


class _Untraced(CheckpointError):
    """PyTorch could not trace the module with such an input."""


def unwrapped(module: Any) -> Any:
    """The module inside torch.compile's and DataParallel's wrappers."""
    while type(module).__name__ in _WRAPPERS and type(module).__module__.startswith("torch."):
        module = getattr(module, _WRAPPERS[type(module).__name__])
    return module


def _is_script(module: Any) -> bool:
    return type(module).__module__.startswith("torch.jit")


def _weights(module: Any) -> list[Weight]:
    found = []
    for name, tensor in module.state_dict().items():
        if not hasattr(tensor, "shape"):
            continue
        if tensor.device.type == "meta" or tensor.is_sparse or tensor.is_quantized:
            raise CheckpointError(f"tensor {name} is not a plain tensor with values")
        found.append(Const(name, tensor).weight())
    return found


def _bare_cell(module: Any, weights: list[Weight]) -> Model:
    """A cell module alone, which is a layer stepped by hand."""
    (part,) = torch_names.parts(weights, [])
    assert isinstance(part, Stack)
    activation = Activation("relu") if getattr(module, "nonlinearity", "tanh") == "relu" else TANH
    notes = [f"a {type(module).__name__} is read as the layer it makes when it is called step by step"]
    return torch_steps.build([torch_steps.RecurrentStep(part, Options(activation))], Source("torch", "", ""), notes)


@contextlib.contextmanager
def _evaluating(module: Any) -> Iterator[None]:
    """In evaluation mode, without the shortcuts that hide what an attention does; all as it was afterwards."""
    import torch

    training = [(child, child.training) for child in module.modules()]
    fast = torch.backends.mha.get_fastpath_enabled()
    disabled = logging.root.manager.disable
    try:
        logging.disable()  # of attempts that fail
        with contextlib.suppress(NotImplementedError):  # of a module that torch.export made, which is trained already
            module.eval()
        torch.backends.mha.set_fastpath_enabled(False)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        torch.backends.mha.set_fastpath_enabled(fast)
        for child, mode in training:
            child.training = mode


# ---- inputs ----


def _candidates(module: Any, weights: list[Weight], example: Any) -> Iterator[list[Input]]:
    """What the module's inputs may be, the likeliest first."""
    names = _parameters(module)
    if example is not None:
        yield from _of_example(names, example)
        return
    required = [name for name, needed in names if needed]
    if len(required) != 1:
        raise CheckpointError(
            f"its forward() reads {len(required)} inputs ({', '.join(required)}); give one of each: "
            "example=(array, ...), each (batch, steps, values) or as it reads them"
        )
    if not weights:
        raise CheckpointError("no weights in it; give an input: example=array, (batch, steps, values)")
    kinds = {type(child).__name__ for child in module.modules()} | {
        str(getattr(child, "original_name", "")) for child in module.modules()
    }
    several = bool(kinds & {"LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell", "Conv1d", "MultiheadAttention"})
    for width, whole in _widths(module, weights)[:3]:
        if whole:
            for shape in ("bt", "tb", "t"):
                yield [_plain(shape, 1, True)]
            continue
        for shape in ("bts", "tbs", "bst", "ts") if several else ("bs", "bts", "tbs", "bst"):
            yield [_plain(shape, width, False)]


def _plain(shape: str, width: int, whole: bool) -> Input:
    kinds = _SHAPES[shape]
    return Input("x", kinds, tuple(width if kind == "values" else 1 for kind in kinds), whole)


def _parameters(module: Any) -> list[tuple[str, bool]]:
    """The names of forward()'s inputs, and whether each is needed."""
    if _is_script(module):
        arguments = module.forward.schema.arguments[1:]
        return [(a.name, not a.has_default_value()) for a in arguments]
    found = inspect.signature(module.forward).parameters.values()
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [(p.name, p.default is inspect.Parameter.empty) for p in found if p.kind in plain]
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in found):
        names += [(f"x{k}" if k else "x", not names and not k) for k in range(MAX_READS)]
    return names


def _widths(module: Any, weights: list[Weight]) -> list[tuple[int, bool]]:
    """How many values a step the module may read, and whether they are whole numbers: as its first layers."""
    tables = {
        name for name, child in module.named_modules()
        if "Embedding" in (type(child).__name__, getattr(child, "original_name", ""))
    }  # fmt: skip
    modules: dict[str, list[Weight]] = {}
    for weight in weights:
        modules.setdefault(weight.name.rpartition(".")[0], []).append(weight)
    found: list[tuple[int, bool]] = []
    groups = {name: getattr(child, "groups", 1) for name, child in module.named_modules()}
    for name, own in modules.items():
        if name.endswith(".out_proj") or name == "out_proj":
            continue
        matrices = [w.shape for w in own if len(w.shape) in (2, 3) and not w.name.endswith(("original0", "weight_g"))]
        shapes = matrices or [w.shape for w in own if len(w.shape) == 1]
        if not shapes:
            continue
        shape = shapes[0]
        width = shape[1] * groups.get(name, 1) if len(shape) == 3 else shape[-1]
        entry = (1, True) if name in tables else (width, False)
        if entry not in found:
            found.append(entry)
    return found or [(1, False)]


def _of_example(names: list[tuple[str, bool]], example: Any) -> Iterator[list[Input]]:
    arrays = [np.asarray(_array(x)) for x in (example if isinstance(example, list | tuple) else (example,))]
    if len(arrays) > len(names) or len(arrays) < sum(needed for _, needed in names):
        raise CheckpointError(f"the example has {len(arrays)} arrays; forward() reads {', '.join(n for n, _ in names)}")
    first = arrays[0]
    for (name, _), array in zip(names, arrays, strict=False):
        if array.dtype.kind == "b":
            raise CheckpointError(
                f"input {name} holds truth values, as a mask of steps or of an attention does; such an input is not "
                "supported: give the lengths of packed sequences, or a model without it"
            )
    whole = first.dtype.kind in "iu"
    shapes = {1: ["t"], 2: ["bt", "tb"] if whole else ["ts", "bs", "bt"], 3: ["bts", "tbs", "bst"]}.get(first.ndim)
    if shapes is None or 0 in first.shape:
        raise CheckpointError(f"the example has shape {first.shape}, expected (batch, steps, values)")
    for shape in shapes:
        kinds = _SHAPES[shape]
        batch = first.shape[kinds.index("batch")] if "batch" in kinds else None
        count = first.shape[kinds.index("steps")] if "steps" in kinds else None
        labels = ["x"] if len(arrays) == 1 else [name for name, _ in names]
        others = list(zip(labels[1:], arrays[1:], strict=False))
        alike = [_other(name, array, kinds, batch, count) for name, array in others]
        apart = [_apart(x, array, kinds, batch, count) for x, (_, array) in zip(alike, others, strict=True)]
        states = [array for x, (_, array) in zip(alike, others, strict=True) if x.kinds == _SHAPES["lbs"]]
        if apart == alike or batch is None or all(array.shape[1] == batch for array in states):
            yield [_input(labels[0], first, kinds), *alike]
        if apart != alike:
            yield [_input(labels[0], first, kinds), *apart]


def _array(value: Any) -> Any:
    return value.detach().cpu().float().numpy() if getattr(value, "is_floating_point", bool)() else np.asarray(value)


def _input(name: str, array: Any, kinds: tuple[str, ...]) -> Input:
    sizes = tuple(1 if kind == "batch" else n for kind, n in zip(kinds, array.shape, strict=True))
    return Input(name, kinds, sizes, array.dtype.kind in "iu")


def _other(name: str, array: Any, kinds: tuple[str, ...], batch: int | None, count: int | None) -> Input:
    """An input beside the first: another sequence, lengths, or a row."""
    if array.ndim == 1 and array.dtype.kind in "iu" and (batch is None or len(array) == batch):
        return Input("mask", _SHAPES["lengths"], (1,), True)
    plain = kinds if array.ndim == len(kinds) else tuple(kind for kind in kinds if kind != "values")
    fits = len(plain) == array.ndim and all(
        {"batch": batch, "steps": count}.get(kind, n) == n for kind, n in zip(plain, array.shape, strict=True)
    )
    if fits and "steps" in plain:
        return _input(name, array, plain)
    rest = {1: ("values",), 2: ("batch", "values"), 3: ("layers", "batch", "values")}.get(array.ndim)
    if rest is None:
        raise CheckpointError(
            f"input {name} has shape {array.shape}, expected (batch, steps, values) or (batch, values)"
        )
    return _input(name, array, rest)


def _apart(x: Input, array: Any, kinds: tuple[str, ...], batch: int | None, count: int | None) -> Input:
    """The same as a sequence with a number of steps of its own, where it may be one."""
    steps = kinds.index("steps") if "steps" in kinds else None
    if (
        steps is None
        or count is None
        or x.kinds == _SHAPES["lengths"]
        or "steps" in x.kinds
        or array.ndim != len(kinds)
    ):
        return x
    if "batch" in kinds and array.shape[kinds.index("batch")] != batch:
        return x
    return replace(_input(x.name, array, kinds), more=array.shape[steps] - count)


# ---- reading ----


def _read(module: Any, inputs: list[Input], exemplary: bool) -> Model:
    """The model, read twice over different numbers of steps: what depends on their number cannot hide."""
    if not exemplary and any("steps" in x.kinds for x in inputs):
        for first, second in _STEPS:
            try:
                return _twice(module, inputs, first, second)
            except _Untraced as error:
                if first == _STEPS[-1][0] or not re.search("[Kk]ernel size|[Oo]utput size", str(error)):
                    raise
    count = next((x.sizes[x.kinds.index("steps")] for x in inputs if "steps" in x.kinds), 0)
    model = _model(module, inputs, count, False)
    if not count:
        return model
    try:
        # those of another number of steps grow by another, so that the difference cannot hide either
        grown = [replace(x, more=x.more + 3 * k) if x.more else x for k, x in enumerate(inputs)]
        other = _model(module, grown, count + 8, False)
    except CheckpointError:
        other = None
    if other is not None and _same(model, other):
        return model
    if other is None and any((isinstance(x, Group) and x.single) or isinstance(x, Transpose) for x in model.layers):
        return model
    return _model(module, inputs, count, True)


def _check_steps(model: Model, inputs: list[Input]) -> None:
    """Refuse where sequences of different numbers of steps would be read side by side, step by step."""
    beside = {x.name: x.more for x in inputs if "steps" in x.kinds and x.name in model.inputs}
    beside = {name: more for name, more in beside.items() if not model.timing.clocks[name]}
    if len(set(beside.values())) > 1:
        raise CheckpointError(
            f"its inputs {', '.join(beside)} differ in their number of steps, and it joins them before it has read one "
            "to its end, as an encoder would; such inputs must have as many steps"
        )


def _twice(module: Any, inputs: list[Input], first: int, second: int) -> Model:
    model = _model(module, inputs, first, False)
    if not _same(model, _model(module, inputs, second, False)):
        raise CheckpointError(
            "what it computes depends on the number of steps; give the input it is for: example=array, "
            "(batch, steps, values)"
        )
    return model


def _same(first: Model, second: Model) -> bool:
    """Whether two models compute the same, whatever their tensors are called."""
    if len(first.layers) != len(second.layers):
        return False
    names = dict(zip((t.name for t in first.tensors), (t.name for t in second.tensors), strict=False))
    for a, b in zip(first.layers, second.layers, strict=True):
        if type(a) is not type(b) or [names.get(t) for t in (*a.reads, *a.writes)] != [*b.reads, *b.writes]:
            return False
        for field in fields(a):
            if field.name not in ("name", "reads", "writes"):
                mine, theirs = getattr(a, field.name), getattr(b, field.name)
                if not (np.array_equal(mine, theirs) if isinstance(mine, np.ndarray) else mine == theirs):
                    return False
    return [names.get(t) for t in first.outputs] == list(second.outputs)


def _model(module: Any, inputs: list[Input], count: int, pinned: bool) -> Model:
    traced = _trace(module, inputs, count)
    builder = Builder(reserved=set())
    walk = Walk(builder, HANDLERS, frozenset(ROWWISE), frozenset(OWN))
    notes: list[str] = []
    given: dict[Any, Any] = dict(traced.constants)
    for node, x in zip(traced.placeholders, inputs, strict=True):
        given[node] = _placed(builder, x, count, pinned, notes)
    found = traced.answer(walk.run(traced.graph, given, traced.attribute))
    outputs = []
    for k, value in enumerate(answers(module, found, notes)):
        if isinstance(value, Refused):
            raise (Misplaced if value.misplaced else CheckpointError)(value.reason)
        if isinstance(value, Packed):
            value = value.rows
        if not isinstance(value, Rows):
            raise CheckpointError(f"answer {k} is the same for every input, or no tensor of values")
        value = plain_output(builder, value)
        _note_layout(f"answer {k}", value.axes, notes)
        outputs.append(value.tensor)
    if pinned:
        counts = dict.fromkeys(count + x.more for x in inputs if "steps" in x.kinds)
        notes.append(f"read for sequences of {' and '.join(map(str, counts))} steps, as the example has")
    torch_steps.note_types(list(walk.used.values()), notes)
    notes += [f"computed in float32, also where the module casts to {kind}" for kind in sorted(walk.rounded)]
    model = builder.finish(outputs, Source("torch", "", ""), notes)
    return Model(
        model.tensors, model.layers, model.inputs, model.outputs, model.source,
        notes=("read as: " + torch_steps.listed(model), *notes),
    )  # fmt: skip


def _placed(builder: Builder, x: Input, count: int, pinned: bool, notes: list[str]) -> Any:
    """An input of the model, as the graph sees it."""
    if x.kinds == ("lengths",):
        notes.append(
            f"input {x.name}: in place of lengths it reads 1 for each step that counts and 0 for the others; what "
            "PyTorch would leave out is 0 behind a recurrent layer"
        )
        return Lengths(builder.input(x.name, 1))
    width = int(np.prod([n for kind, n in zip(x.kinds, x.sizes, strict=True) if kind in ("values", "layers")]))
    # a first input of (batch, values) is a step, a later one is the start of all
    single = "steps" not in x.kinds and (x.kinds != _SHAPES["bs"] or bool(builder.inputs))
    tensor = builder.input(x.name, width, single)
    axes = []
    for kind, size in zip(x.kinds, x.shape(count), strict=True):
        axes.append({"batch": BATCH, "steps": Axis("steps", size)}.get(kind, values(size)))
    if pinned and "steps" in x.kinds:
        own = count + x.more
        tensor = builder.add(Split, f"{x.name}.steps", (builder.add(
            Group, f"{x.name}.whole", (tensor,), own, True),), own)  # fmt: skip
    made = rows(tensor, axes)
    if x.kinds == ("batch", "values") and not single:
        notes.append(f"assumed: input {x.name} is (batch, {width}), a row a step; otherwise give example=array")
    if x.kinds == ("batch", "steps") or x.kinds[0] != "batch" or x.kinds == ("batch", "values", "steps"):
        _note_layout(f"input {x.name}", made.axes, notes)
    return made


def _note_layout(what: str, axes: tuple[Axis, ...], notes: list[str]) -> None:
    """Says where PyTorch's axes are not (batch, steps, values) or (batch, values)."""
    kinds = [axis.kind for axis in axes]
    if "batch" not in kinds and "one" in kinds:
        kinds[kinds.index("one")] = "batch"  # lost in a view
    sizes = [str(axis.size) if kind in ("one", "values") else kind for kind, axis in zip(kinds, axes, strict=True)]
    shown = ", ".join(sizes)
    usual = [["batch", "steps", "values"], ["batch", "values"]]
    here = "(batch, steps, values)" if "steps" in kinds else "(batch, values)"
    flat = [kind if kind != "one" or k < len(kinds) - 1 else "values" for k, kind in enumerate(kinds)]
    if flat not in usual:
        notes.append(f"{what}: PyTorch's is ({shown}), the model's {here}")


def answers(module: Any, found: Any, notes: list[str]) -> list[Any]:
    """The answers among what a module returns: of (answers, (state, state)) the answers."""
    if isinstance(found, dict):
        found = list(found.values())
    if not isinstance(found, list | tuple):
        return [found]
    kept = [value for value in found if not isinstance(value, list | tuple | dict) and value is not None]
    if type(module).__module__ == "torch.nn.modules.rnn" and type(module).__name__ in ("LSTM", "GRU", "RNN"):
        kept = [found[0]]
    if kept and len(kept) < len(found):
        notes.append(
            "left out: the state that is returned beside the answers; return its tensors one by one to have it"
        )
    if not kept and len(found) == 1:
        return answers(module, found[0], notes)
    if not kept:
        raise CheckpointError("it returns no tensor")
    return kept


# ---- tracing ----


def _arguments(module: Any, inputs: list[Input], count: int) -> tuple[Any, ...]:
    import torch

    first = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(()))
    made = []
    for x in inputs:
        if x.kinds == ("lengths",):
            made.append(torch.tensor([count]))
        elif x.whole:
            made.append(torch.zeros(x.shape(count), dtype=torch.int64, device=first.device))
        else:
            made.append(torch.zeros(x.shape(count), dtype=first.dtype, device=first.device))
    return tuple(made)


def _trace(module: Any, inputs: list[Input], count: int) -> Traced:
    arguments = _arguments(module, inputs, count)
    packed = any(x.kinds == ("lengths",) for x in inputs)
    try:
        return _recorded(module, arguments) if packed or _is_script(module) else _exported(module, arguments)
    except Exception as error:  # a user's forward() may raise anything
        shape = ", ".join(str(tuple(x.shape)) for x in arguments)
        text = " ".join(str(error).split())
        raise _Untraced(
            f"PyTorch cannot trace it with an input of shape {shape}: {type(error).__name__}: {text[:240]}; give an "
            "input it takes (example=...), or save its state_dict() and describe it (docs/pytorch.md)"
        ) from None


def _exported(module: Any, arguments: tuple[Any, ...]) -> Traced:
    """Through torch.export."""
    import torch

    return of_program(torch.export.export(module, arguments, strict=False))


def of_program(program: Any) -> Traced:
    """The graph of a torch.export.ExportedProgram."""
    from torch.utils import _pytree

    signature = program.graph_signature
    targets = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    lifted = dict(signature.inputs_to_lifted_tensor_constants)
    if signature.buffers_to_mutate:
        raise CheckpointError(f"it changes its buffer {next(iter(signature.buffers_to_mutate.values()))}")
    placeholders, constants = [], {}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            target = targets.get(node.name) or lifted.get(node.name)
            if target is None:
                placeholders.append(node)
            else:
                held = program.state_dict if target in program.state_dict else program.constants
                constants[node] = Const(target, held[target])
    spec = program.call_spec.out_spec
    return Traced(
        program.graph,
        placeholders,
        constants,
        lambda name: (name, getattr(program.graph_module, name)),
        lambda found: _pytree.tree_unflatten(list(found), spec),
    )


def _recorded(module: Any, arguments: tuple[Any, ...]) -> Traced:
    """What a call does, recorded: for TorchScript, and for packed sequences, which torch.export does not take."""
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx

    class Sizes(torch.Tensor):  # type: ignore[misc]  # mypy takes torch as Any
        """Of batches, step by step, of one sequence of full length: here they can be looked into, recorded ones not."""

        __torch_function__: Any = torch._C._disabled_torch_function_impl

        def __getitem__(self, index: Any) -> Any:
            return 1

    functions: Any = torch._VF
    lengths = [int(x.max()) for x in arguments if x.ndim == 1 and not x.is_floating_point()]
    plain = torch.ones(max(lengths, default=1), dtype=torch.int64)
    sizes = plain.as_subclass(Sizes)

    def shown(function: Any) -> Any:
        def call(*args: Any) -> Any:
            made = function(*(plain if x is sizes else x for x in args))
            return (made[0], sizes) if function is kept["_pack_padded_sequence"] else made

        return call

    kept = {name: getattr(functions, name) for name in _PACKED}
    for name in _PACKED:
        setattr(functions, name, shown(kept[name]))
    try:
        made = make_fx(lambda *args: module(*args), pre_dispatch=True)(*arguments)
    finally:
        for name in _PACKED:
            setattr(functions, name, kept[name])
    names = {(t.data_ptr(), tuple(t.shape)): name for name, t in module.state_dict().items() if t.numel()}

    def attribute(target: str) -> tuple[str, Any]:
        tensor = getattr(made, target)
        return names.get((tensor.data_ptr(), tuple(tensor.shape)), target), tensor

    placeholders = [node for node in made.graph.nodes if node.op == "placeholder"]
    return Traced(made.graph, placeholders, {}, attribute, lambda found: found)
