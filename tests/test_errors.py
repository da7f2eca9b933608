"""What an error says, whatever a file put into it."""

from __future__ import annotations

import pickle

import pytest

from edgelstm.errors import LONGEST, CheckpointError, EdgeLstmError, MissingError


@pytest.mark.parametrize("kind", [EdgeLstmError, CheckpointError, MissingError])
def test_messages_are_one_printable_line(kind: type[EdgeLstmError]) -> None:
    assert str(kind("layer 'a': no")) == "layer 'a': no"
    assert str(kind("a\x1b[2J\x07\nb\u202e\ud800")) == r"a\x1b[2J\x07 b\u202e\ud800"
    assert str(pickle.loads(pickle.dumps(kind("a\x1b")))) == r"a\x1b"


def test_long_messages_lose_their_middle() -> None:
    for text in ("start " + "x" * 1_000_000 + " end", "start " + "\x1b" * 5000 + " end"):
        said = str(EdgeLstmError(text))
        assert len(said) == LONGEST and said.isprintable()
        assert said.startswith("start ") and said.endswith(" end")
    assert len(str(EdgeLstmError("x" * LONGEST))) == LONGEST
