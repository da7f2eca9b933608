"""Files written whole or not at all."""

import os
import stat

import pytest

from edgelstm.errors import InputError
from edgelstm.files import write_whole


def test_a_link_stays_a_link_and_the_mode_is_the_users(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "link", b"new")
    finally:
        os.umask(before)
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o640


def test_devices_pipes_and_directories_are_left_alone(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(InputError, match="not a regular file"):
            write_whole(path, b"x")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_failure_leaves_nothing_behind(tmp_path):
    with pytest.raises(InputError, match="cannot be written: No such file"):
        write_whole(tmp_path / "none" / "x", b"x")
    with pytest.raises(TypeError):
        write_whole(tmp_path / "x", "text")
    assert list(tmp_path.iterdir()) == []
