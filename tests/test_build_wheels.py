"""tools/build_wheels.py: which wheels it would make with the Pythons that a machine has."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

import build_wheels
from build_wheels import Failure, find_python, found_free, jobs

LOCKED = [(machine, version) for machine in build_wheels.TARGETS for version in ("3.11", "3.12")]


@pytest.fixture
def have(monkeypatch, tmp_path):
    """Gives the machine Pythons, of whose commands it has no others."""
    place = tmp_path / "bin"
    place.mkdir()
    monkeypatch.setenv("PATH", str(place))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    (tmp_path / "pyconfig.h").touch()

    def give(version, headers="pyconfig.h", status=0, free=None):
        command = place / f"python{version}"
        free = version.endswith("t") if free is None else free
        command.write_text(f"#!/bin/sh\necho {command}\necho {tmp_path / headers}\necho {free}\nexit {status}\n")
        command.chmod(0o755)
        return str(command)

    return give


def test_without_free_threaded_pythons_the_others_are_made(have, capsys):
    assert found_free() == [] and jobs(list(build_wheels.TARGETS), None) == LOCKED
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[0] == lines[1]  # one a call
    assert lines[0].startswith("no wheel for python3.13t and python3.14t: ") and "--disable-gil" in lines[0]
    assert jobs(["armv6l"], None) == [("armv6l", "3.11"), ("armv6l", "3.12")]
    assert capsys.readouterr().out == ""  # which has none anywhere


def test_the_free_threaded_pythons_that_are_there_get_wheels(have, capsys):
    have("3.14t")
    assert jobs(list(build_wheels.TARGETS), None) == [*LOCKED, ("x86_64", "3.14t")]
    assert capsys.readouterr().out.startswith("no wheel for python3.13t: ")
    have("3.13t")
    assert jobs(["x86_64"], None)[-2:] == [("x86_64", "3.13t"), ("x86_64", "3.14t")]
    assert capsys.readouterr().out == ""


def test_wheels_that_were_asked_for_are_made_or_refused(have):
    assert jobs(["aarch64"], ["3.13t"]) == [("aarch64", "3.13t")]
    with pytest.raises(Failure, match="armv7l: NumPy has nothing for free-threaded"):
        jobs(["x86_64", "armv7l"], ["3.11", "3.13t"])


def test_a_python_is_found_with_its_headers_or_what_to_install_is_said(have):
    with pytest.raises(Failure, match=r"no Python 3\.11 with its headers: install python3\.11 and python3\.11-dev"):
        find_python("3.11")
    with pytest.raises(Failure, match=r"no python3\.13t .* --disable-gil"):
        find_python("3.13t")
    command = have("3.11")
    assert find_python("3.11") == command
    for fault in ({"headers": "none.h"}, {"status": 1}, {"free": True}):
        have("3.12", **fault)
        with pytest.raises(Failure, match="python3.12-dev"):
            find_python("3.12")
