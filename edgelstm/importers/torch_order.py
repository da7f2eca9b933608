"""A state dict names its layers, not how forward() joins them: infer the order, or refuse where it is ambiguous."""

from __future__ import annotations

import re
from itertools import pairwise

from ..errors import CheckpointError
from ..layers import LINEAR, Activation
from .torch_names import Linear, Part, Stack, Table, kind, label
from .torch_steps import DenseStep, EmbeddingStep, LastStep, RecurrentStep, Step, parse_activation

_ADVICE = "describe the layers in an architecture file, architecture=... (docs/pytorch.md)"
_PARTS_LIMIT = 64
_EFFORT = 10_000  # partial orders tried; real models need a few dozen


Link = Table | Stack | Linear
"""A layer whose place can be inferred."""
_RANKS = (Table, Stack, Linear)
_WORDS = {"last": "the last step alone", "sequence": "every step", "state": "the final state alone"}


def infer(parts: list[Part], head: str | None, registered: bool, notes: list[str]) -> list[Step]:
    """The steps: an embedding, recurrent layers, then Linear layers, each reading what the one before it gives.

    registered: whether `parts` stand in the order in which the module registered them (a safetensors file has lost
    it). CheckpointError if nothing fits, something else fits as well, or the registration order says otherwise.
    """
    chain = order([_link(part, notes) for part in parts], registered)
    if not registered and len(chain) > 1:
        notes.append(
            "the file keeps no order of layers: recurrent ones were taken first, then what fits by width and number"
        )
    return apply_head(chain, head, notes)


def _link(part: Part, notes: list[str]) -> Link:
    if isinstance(part, Linear) and part.bias is None and "emb" in part.name.lower():
        notes.append(
            f"assumed: {part.name} is an Embedding, by its name; it reads whole numbers below {part.kernel.shape[0]}"
        )
        return Table(part.name, 1, part.inputs, part.kernel)
    if isinstance(part, Linear | Stack):
        return part
    raise CheckpointError(
        f"layer {label(part)} is of kind {kind(part)}; a state dict tells neither its place nor its settings; {_ADVICE}"
    )


def order(parts: list[Link], registered: bool) -> list[Link]:
    """The one order in which the parts chain."""
    if len(parts) > _PARTS_LIMIT:
        raise CheckpointError(f"no order is inferred for {len(parts)} layers; {_ADVICE}")
    if registered and (reason := _refusal(parts)):
        raise CheckpointError(f"in the order of the file the layers do not chain: {reason}; {_ADVICE}")
    chains = _chains(parts)
    if not chains:
        listed = ", ".join(f"{label(part)} {part.inputs} -> {part.units}" for part in parts)
        raise CheckpointError(
            f"the layers do not chain, recurrent before Linear layers, in any order ({listed}); {_ADVICE}"
        )
    if len(chains) > 1:
        candidates = " or ".join(" -> ".join(label(part) for part in chain) for chain in chains[:2])
        raise CheckpointError(f"the order of the layers is ambiguous ({candidates}); {_ADVICE}")
    if registered and chains[0] != parts:
        other = " -> ".join(label(part) for part in chains[0])
        raise CheckpointError(f"names and shapes say {other}, the order of the file says otherwise; {_ADVICE}")
    return chains[0]


def apply_head(chain: list[Link], head: str | None, notes: list[str]) -> list[Step]:
    """Adds to the chain what the head string says, or the defaults with a note.

    Without a head the activation after the last Linear layer may be unknown, not one between two.

    head: "relu,softmax", one activation per Linear layer, optionally after "last,", "sequence," or "state,".
    """
    linears = [part for part in chain if isinstance(part, Linear)]
    stacks = [part for part in chain if isinstance(part, Stack)]
    reads, words = _split(head)
    if reads is not None and not stacks:
        raise CheckpointError('head: "last", "sequence" and "state" need a recurrent layer, and there is none')
    activations = _activations(linears, head, words, notes)
    if stacks and reads is None:
        reads = _reads(stacks[-1], linears, notes)
    steps: list[Step] = [EmbeddingStep(part) for part in chain if isinstance(part, Table)]
    for part in stacks:
        steps.append(RecurrentStep(part))
        if part.kind == "rnn":
            notes.append(
                f"warning: a state dict does not tell whether {label(part)} is an RNN of tanh or of relu; read with "
                "tanh, PyTorch's default. If it is relu, all answers are wrong: say "
                'nonlinearity = "relu" in an architecture file'
            )
    if reads in ("last", "state"):
        steps.append(LastStep(reads))
    steps += [DenseStep(part, activation) for part, activation in zip(linears, activations, strict=True)]
    return steps


def _activations(
    linears: list[Linear], head: str | None, words: list[str] | None, notes: list[str]
) -> list[Activation]:
    names = [label(part) for part in linears]
    if words is None:
        if len(linears) > 1:
            more = f" and {len(names) - 6} more" if len(names) > 6 else ""
            raise CheckpointError(
                f"which activation follows {', '.join(names[:6])}{more} is not known; name one for each of the "
                f'{len(linears)} Linear layers in order, "none" where there is none, e.g. '
                f'head="{_example(linears, "none")}"'
            )
        if linears:
            notes.append(
                f"assumed, as no head was given: no activation after {names[0]}; otherwise name it, e.g. "
                f'head="{_example(linears, "softmax")}"'
            )
        return [LINEAR] * len(linears)
    if len(words) != len(linears):
        raise CheckpointError(
            f"head {head!r} names {len(words)} activations, the Linear layers are {len(linears)} "
            f'({", ".join(names) or "none"}); name one for each in order, "none" where there is none'
        )
    return [parse_activation(word, "head") for word in words]


def _reads(part: Stack, linears: list[Linear], notes: list[str]) -> str:
    """What leaves the last recurrent layer, where no head says."""
    if linears and part.bidirectional:
        raise CheckpointError(
            f"whether {label(linears[0])} reads the last step of {label(part)}, its final state in both directions, or "
            f'every step is not known; begin the head with "last" (out[:, -1]), "state" (cat(h_n[-2], h_n[-1])) or '
            f'"sequence", e.g. head="state,{_example(linears, "none")}"'
        )
    reads, other = ("last", "sequence") if linears else ("sequence", "last")
    what = f"{label(linears[0])} reads" if linears else "the output is"
    notes.append(f'assumed: {what} {_WORDS[reads]} of the {part.kind.upper()}; otherwise begin the head with "{other}"')
    return reads


def _example(linears: list[Linear], last: str) -> str:
    return ",".join(["relu"] * (len(linears) - 1) + [last])


def _split(head: str | None) -> tuple[str | None, list[str] | None]:
    """(what of a sequence goes on or None if unsaid, the activations or None if there is no head)."""
    if head is None:
        return None, None
    words = [word.strip() for word in re.split(r",(?![^(]*\))", head)] if head.strip() else []
    if words and words[0].lower() in _WORDS:
        return words[0].lower(), words[1:]
    return None, words


def _rank(part: Link) -> int:
    return _RANKS.index(type(part))


def _refusal(parts: list[Link]) -> str:
    """Why these parts, in this order, are not recurrent and then Linear layers that chain; "" if they are."""
    for before, after in pairwise(parts):
        if _rank(after) < _rank(before):
            names = [kind(part).removesuffix(" layer") for part in (after, before)]
            return f"the {names[0]} {label(after)} comes after the {names[1]} {label(before)}"
        if before.units != after.inputs:
            return f"{label(before)} gives {before.units} values, {label(after)} reads {after.inputs}"
    return ""


def _chains(parts: list[Link]) -> list[list[Link]]:
    """Up to two orders, recurrent layers before Linear ones, in which the widths chain and names that differ in
    numbers alone ascend."""
    chains: list[list[Link]] = []
    waits_for = {id(part): [id(other) for other in parts if _numbered_before(other, part)] for part in parts}
    earlier = {id(part): [id(other) for other in parts if _rank(other) < _rank(part)] for part in parts}
    effort = 0
    pending: list[list[Link]] = [[]]
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
            needs = waits_for[id(part)] + earlier[id(part)]
            fits = not chain or chain[-1].units == part.inputs
            if id(part) not in done and fits and done.issuperset(needs):
                pending.append([*chain, part])
    return chains


def _numbered_before(first: Link, second: Link) -> bool:
    numbers = [[int(digits) for digits in re.findall(r"\d+", part.name)] for part in (first, second)]
    skeletons = [re.sub(r"\d+", "#", part.name) for part in (first, second)]
    return skeletons[0] == skeletons[1] and numbers[0] < numbers[1]
