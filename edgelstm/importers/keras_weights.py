"""Hands every layer of a Keras configuration the tensors that are its own, and refuses what is left over."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from ..errors import CheckpointError
from ..model import Array
from . import hdf5
from .keras_config import shown
from .keras_files import Checkpoint
from .keras_roles import COUNT, Slot, roles, slots
from .keras_spec import MODELS, Spec, snake_case

TRAINING = {True: ("optimizer_weights",), False: ("optimizer", "metrics")}
"""Groups of what training needs and running does not, in files by layer name and by class."""

EARLY = "_layer_checkpoint_dependencies"
"""The group that tf.keras 2.12 uses for `layers`; it counts layers with weights twice when it numbers them."""


def attach(model: Spec, checkpoint: Checkpoint) -> tuple[str, ...]:
    """Fills `tensors` of every layer; returns notes. CheckpointError names what is missing or left over."""
    used: set[str] = set()
    if checkpoint.legacy:
        notes = _attach_named(model, checkpoint, used)
    else:
        early = any(path.startswith(EARLY + "/") for path in checkpoint.tensors.tensors)
        _attach_by_class(model, checkpoint, "", early, used)
        notes = ()
    training = TRAINING[checkpoint.legacy]
    unused = (path for path in checkpoint.tensors.tensors if path not in used and not _is_seed(path))
    left = [path for path in unused if path.split("/")[0] not in training]
    if left:
        more = f" and {len(left) - 5} more" if len(left) > 5 else ""
        listed = ", ".join(shown(path) for path in left[:5])
        raise CheckpointError(f"no layer uses these tensors of the file: {listed}{more}; config and weights disagree")
    return notes


def _is_seed(path: str) -> bool:
    """Random generators' states: dropout keeps them beside its weights."""
    return any(part in ("seed_generator", "seed_generator_state") for part in path.split("/"))


def _give(spec: Spec, role: str, values: Array) -> None:
    if role == COUNT and values.dtype.kind in "iu":
        return
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    if values.dtype.kind != "f":
        raise CheckpointError(f"layer {spec.name!r}: its {role} holds {values.dtype}, expected floating point numbers")
    if not np.isfinite(narrow).all():
        raise CheckpointError(f"layer {spec.name!r}: its {role} holds NaN or infinite values; train or save it again")
    spec.tensors.append((role, narrow))


def _attach_by_class(model: Spec, checkpoint: Checkpoint, path: str, early: bool, used: set[str]) -> None:
    """Keras 3: <path>/layers/<class in snake case, counted>/vars/<n>; a model's layers lie in its own group."""
    counts: dict[str, int] = {}
    for spec in model.inner:
        snake = snake_case("Functional" if spec.kind == "Model" else spec.kind)
        count = counts.get(snake, 0)
        counts[snake] = count + (2 if early and any(roles(leaf) for leaf in spec.leaves()) else 1)
        group = f"{path}{EARLY if early else 'layers'}/{snake}" + (f"_{count}" if count else "")
        _check_label(spec, checkpoint, group)
        _attach_group(spec, checkpoint, group, early, used)


def _attach_group(spec: Spec, checkpoint: Checkpoint, group: str, early: bool, used: set[str]) -> None:
    """What lies in one layer's group: its tensors, those of the layers it wraps, or a model."""
    if spec.kind in MODELS:
        _attach_by_class(spec, checkpoint, group + "/", early, used)
        return
    for inner in spec.inner:
        _attach_group(inner, checkpoint, f"{group}/{inner.place}", early, used)
    for slot in slots(spec):
        # tf.keras names the parts of an attention with a line before
        found = next((p for p in (f"{group}/{slot.place}", f"{group}/_{slot.place}") if p in _all(checkpoint)), None)
        if found is None:
            raise CheckpointError(
                f"layer {spec.name!r}: its {slot.role} is missing; the file has no {group + '/' + slot.place}"
            )
        used.add(found)
        _give(spec, slot.role, _all(checkpoint)[found])


def _all(checkpoint: Checkpoint) -> dict[str, Array]:
    return checkpoint.tensors.tensors


def _check_label(spec: Spec, checkpoint: Checkpoint, group: str) -> None:
    """Later Keras 3 label groups with the layer's name; a whole model's file must agree with its configuration."""
    label = checkpoint.tensors.attributes.get(f"{group}/vars", {}).get("name")
    if checkpoint.whole and isinstance(label, str) and label != spec.name:
        raise CheckpointError(f"layer {spec.name!r}: its group {group!r} holds the weights of {label!r}")


def _attach_named(model: Spec, checkpoint: Checkpoint, used: set[str]) -> tuple[str, ...]:
    """Keras 1, 2 and the .h5 of Keras 3: a group per layer of the outermost model, and a list of its tensors."""
    groups = {name: _listed(checkpoint, name) for name in _layer_names(checkpoint)}
    groups = {name: paths for name, paths in groups.items() if paths}
    specs = [spec for spec in model.inner if any(roles(leaf) for leaf in spec.leaves())]
    notes: tuple[str, ...] = ()
    if {spec.name for spec in specs} - set(groups):
        if len(specs) != len(groups):
            raise CheckpointError(
                f"the file holds weights of {len(groups)} layers ({', '.join(shown(g) for g in list(groups)[:5])}), "
                f"the configuration has {len(specs)} with weights; they do not belong together"
            )
        notes = ("layer names of weights and configuration differ; they were matched in order, as Keras does",)
        groups = {spec.name: paths for spec, paths in zip(specs, groups.values(), strict=True)}
    for spec in specs:
        _share_out(spec, groups[spec.name], checkpoint, used)
    return notes


def _layer_names(checkpoint: Checkpoint) -> list[str]:
    names = hdf5.joined(checkpoint.tensors.attributes[checkpoint.root], "layer_names") or []
    if len(set(names)) != len(names):
        raise CheckpointError("layer_names lists a layer twice; the file is damaged")
    return names


def _listed(checkpoint: Checkpoint, layer: str) -> list[str]:
    """Paths of a layer's tensors in the order Keras wrote them."""
    group = f"{checkpoint.root}/{layer}".lstrip("/")
    names = hdf5.joined(checkpoint.tensors.attributes.get(group, {}), "weight_names")
    if names is None:
        raise CheckpointError(f"layer {layer!r}: the file lists no weight_names for it; the file is damaged")
    paths = [f"{group}/{name}" for name in names if not _is_seed(name)]
    for path in paths:
        if path not in checkpoint.tensors.tensors:
            raise CheckpointError(f"layer {layer!r}: its tensor {path!r} is missing; the file is damaged")
    return paths


def _share_out(spec: Spec, paths: list[str], checkpoint: Checkpoint, used: set[str]) -> None:
    """Deals a group's tensors to the layers inside: those that train first, as Keras lists them."""
    wanted = _trained_first(spec)
    if len(wanted) != len(paths):
        raise CheckpointError(
            f"layer {spec.name!r}: the file holds {len(paths)} tensors for it, expected {len(wanted)}"
        )
    inside = {leaf.name for leaf, _ in wanted}
    for (leaf, slot), path in zip(wanted, paths, strict=True):
        owners = inside.intersection(path.split("/")[1:])
        found = _role_of(path)
        role = slot.role.split(" ")[-1]
        # Keras 3 calls the kernel of a DepthwiseConv1D just that in its .h5 files
        misplaced = found is not None and found not in (role, role.removeprefix("depthwise_"))
        if (owners and leaf.name not in owners and spec.kind in MODELS) or misplaced:
            raise CheckpointError(f"layer {leaf.name!r}: expected its {slot.role}, the file holds {path!r}")
        used.add(path)
        _give(leaf, slot.role, checkpoint.tensors.tensors[path])


def _trained_first(spec: Spec) -> list[tuple[Spec, Slot]]:
    """The tensors of all layers inside, as Keras lists them: what trains, then the rest."""
    leaves = [(leaf, slot, trains) for leaf, trains in _with_trainable(spec, True) for slot in slots(leaf)]
    return [(leaf, slot) for first in (True, False) for leaf, slot, t in leaves if (t and slot.trained) is first]


def _with_trainable(spec: Spec, trainable: bool) -> Iterator[tuple[Spec, bool]]:
    trainable = trainable and spec.config.get("trainable", True) is not False
    if not spec.inner:
        yield spec, trainable
    for inner in spec.inner:
        yield from _with_trainable(inner, trainable)


LATE = re.compile(
    r"(kernel|recurrent_kernel|bias|embeddings|depthwise_kernel|pointwise_kernel|gamma|beta|moving_mean|moving_variance"
    r"|mean|variance|count|alpha|scale|concat_score_weight)(_\d+)?"
)
EARLY_NAMES = re.compile(r"_([WUb](_[icfozrh])?|gamma|beta|running_mean|running_std)$")


def _role_of(path: str) -> str | None:
    """The role a tensor's name tells, if it does: .../recurrent_kernel_1:0, lstm_1_W_i."""
    name = re.sub(r":\d+$", "", path.rsplit("/", 1)[-1])
    late, early = LATE.fullmatch(name), EARLY_NAMES.search(name)
    return late.group(1) if late else early.group(1) if early else None
