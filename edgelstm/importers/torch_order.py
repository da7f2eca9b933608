"""A state dict names its layers, not how forward() joins them: infer the order, or refuse where it is ambiguous."""

from __future__ import annotations

import re
from itertools import pairwise

from ..errors import CheckpointError
from ..layers import LINEAR, Activation
from .torch_names import Part, Stack, label
from .torch_steps import DenseStep, LastStep, LstmStep, Step, parse_activation, spelled

_ADVICE = "describe the layers in an architecture file, architecture=... (docs/pytorch.md)"
_PARTS_LIMIT = 64
_EFFORT = 10_000  # partial orders tried; real models need a few dozen


def infer(parts: list[Part], head: str | None, registered: bool, notes: list[str]) -> list[Step]:
    """The steps: LSTMs, then Linear layers, each reading what the one before it gives.

    registered: whether `parts` stand in the order in which the module registered them (a safetensors file has lost
    it). CheckpointError if nothing fits, something else fits as well, or the registration order says otherwise.
    """
    chain = order(parts, registered)
    if not registered and len(chain) > 1:
        notes.append("the file keeps no order of layers: LSTMs were taken first, then what fits by width and number")
    return apply_head(chain, head, {}, notes)


def order(parts: list[Part], registered: bool) -> list[Part]:
    """The one order in which the parts chain."""
    if len(parts) > _PARTS_LIMIT:
        raise CheckpointError(f"no order is inferred for {len(parts)} layers; {_ADVICE}")
    if registered and (reason := _refusal(parts)):
        raise CheckpointError(f"in the order of the file the layers do not chain: {reason}; {_ADVICE}")
    chains = _chains(parts)
    if not chains:
        listed = ", ".join(f"{label(part)} {part.inputs} -> {part.units}" for part in parts)
        raise CheckpointError(
            f"the layers do not chain, LSTMs before Linear layers, in any order ({listed}); {_ADVICE}"
        )
    if len(chains) > 1:
        candidates = " or ".join(" -> ".join(label(part) for part in chain) for chain in chains[:2])
        raise CheckpointError(f"the order of the layers is ambiguous ({candidates}); {_ADVICE}")
    if registered and chains[0] != parts:
        other = " -> ".join(label(part) for part in chains[0])
        raise CheckpointError(f"names and shapes say {other}, the order of the file says otherwise; {_ADVICE}")
    return chains[0]


def apply_head(chain: list[Part], head: str | None, known: dict[str, Activation], notes: list[str]) -> list[Step]:
    """Adds to the chain what the head string says, or the defaults with a note.

    Without a head the activation after the last Linear layer may be unknown, not one between two.

    head: "relu,softmax", one activation per Linear layer, optionally after "last," or "sequence,".
    known: activations a live module shows, by layer; a head may repeat but not change them.
    """
    linears = [part for part in chain if not isinstance(part, Stack)]
    has_lstm = len(linears) < len(chain)
    last, words = _split(head)
    if last is not None and not has_lstm:
        raise CheckpointError('head: "last" and "sequence" need an LSTM, and there is none')
    if words is not None and len(words) != len(linears):
        names = ", ".join(label(part) for part in linears) or "none"
        raise CheckpointError(
            f"head {head!r} names {len(words)} activations, the Linear layers are {len(linears)} ({names}); name one "
            'for each in order, "none" where there is none'
        )
    if words is None:
        activations = [known.get(part.name, LINEAR) for part in linears]
        unknown = [label(part) for part in linears if part.name not in known]
        if any(part.name not in known for part in linears[:-1]):
            more = f" and {len(unknown) - 6} more" if len(unknown) > 6 else ""
            raise CheckpointError(
                f"which activation follows {', '.join(unknown[:6])}{more} is not known; name one for each of the "
                f'{len(linears)} Linear layers in order, "none" where there is none, e.g. '
                f'head="{example(chain, known, "none")}"'
            )
        if unknown:
            notes.append(
                f"assumed, as no head was given: no activation after {unknown[0]}; otherwise name it, e.g. "
                f'head="{example(chain, known, "softmax")}"'
            )
    else:
        activations = [parse_activation(word, "head") for word in words]
        for part, activation in zip(linears, activations, strict=True):
            if known.get(part.name, activation) != activation:
                shown = known[part.name].name
                raise CheckpointError(f"head: {activation.name} after {label(part)}, but the module has {shown} there")
    if has_lstm and last is None:
        last = bool(linears)
        reads = "the last step alone" if last else "every step"
        what = f"{label(linears[0])} reads" if linears else "the output is"
        other = "sequence" if last else "last"
        notes.append(f'assumed: {what} {reads} of the LSTM; otherwise begin the head with "{other}"')
    steps: list[Step] = [LstmStep(part) for part in chain if isinstance(part, Stack)]
    if last:
        steps.append(LastStep())
    steps += [DenseStep(part, activation) for part, activation in zip(linears, activations, strict=True)]
    return steps


def example(chain: list[Part], known: dict[str, Activation], last: str) -> str:
    """A head with one activation per Linear layer: those known, else relu, and `last` after the last layer."""
    linears = [part for part in chain if not isinstance(part, Stack)]
    words = [spelled(known[part.name]) if part.name in known else "relu" for part in linears]
    if linears and linears[-1].name not in known:
        words[-1] = last
    return ",".join(words)


def _split(head: str | None) -> tuple[bool | None, list[str] | None]:
    """(whether the last step goes on or None if unsaid, the activations or None if there is no head)."""
    if head is None:
        return None, None
    words = [word.strip() for word in head.split(",")] if head.strip() else []
    if words and words[0].lower() in ("last", "sequence"):
        return words[0].lower() == "last", words[1:]
    return None, words


def _refusal(parts: list[Part]) -> str:
    """Why these parts, in this order, are not LSTMs and then Linear layers that chain; "" if they are."""
    for before, after in pairwise(parts):
        if isinstance(after, Stack) and not isinstance(before, Stack):
            return f"the LSTM {label(after)} comes after the Linear {label(before)}"
        if before.units != after.inputs:
            return f"{label(before)} gives {before.units} values, {label(after)} reads {after.inputs}"
    return ""


def _chains(parts: list[Part]) -> list[list[Part]]:
    """Up to two orders, LSTMs first, in which the widths chain and names that differ in numbers alone ascend."""
    chains: list[list[Part]] = []
    waits_for = {id(part): [id(other) for other in parts if _numbered_before(other, part)] for part in parts}
    stack_ids = [id(part) for part in parts if isinstance(part, Stack)]
    effort = 0
    pending: list[list[Part]] = [[]]
    while pending and len(chains) < 2:
        chain = pending.pop()
        effort += 1
        if effort > _EFFORT:
            raise CheckpointError(f"the order of the {len(parts)} layers cannot be inferred; {_ADVICE}")
        if len(chain) == len(parts):
            chains.append(chain)
            continue
        done = {id(part) for part in chain}
        for part in parts:
            needs = waits_for[id(part)] if isinstance(part, Stack) else waits_for[id(part)] + stack_ids
            fits = not chain or chain[-1].units == part.inputs
            if id(part) not in done and fits and done.issuperset(needs):
                pending.append([*chain, part])
    return chains


def _numbered_before(first: Part, second: Part) -> bool:
    numbers = [[int(digits) for digits in re.findall(r"\d+", part.name)] for part in (first, second)]
    skeletons = [re.sub(r"\d+", "#", part.name) for part in (first, second)]
    return skeletons[0] == skeletons[1] and numbers[0] < numbers[1]
