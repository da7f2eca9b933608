"""The C core's files, which export-c takes from the wheel or from the clone."""

import re
import tarfile
from pathlib import Path

from edgelstm.exporters import sources

CORE = Path(__file__).parents[1] / "src_c"


def test_core_holds_what_it_includes():
    files = sources.core()
    assert {"edgelstm.h", "model.c", "runner.c", "ops.c", "kernels.h", "kernels_scalar.c"} <= set(files)
    for name, text in files.items():
        assert set(re.findall(r'#include "(.+)"', text)) <= set(files), name


def test_an_archive_is_read_as_the_folder_is(tmp_path, monkeypatch):
    folder = sources.core()
    with tarfile.open(tmp_path / "src_c.tar.bz2", "w:bz2") as archive:
        for name in ("edgelstm.h", "model.c"):
            archive.add(CORE / name, name)
    monkeypatch.setattr(sources, "ARCHIVE", tmp_path / "src_c.tar.bz2")
    assert sources.core() == {name: folder[name] for name in ("edgelstm.h", "model.c")}
