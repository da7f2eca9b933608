"""The C core's files, which export-c takes from the wheel or from the clone."""

import re

from edgelstm.exporters import sources


def test_core_holds_what_it_includes():
    folder = sources.core()
    files = {path.name: path.read_text("utf-8") for path in folder.glob("*.[ch]")}
    assert {"edgelstm.h", "model.c", "runner.c", "ops.c", "kernels.h", "kernels_scalar.c"} <= set(files)
    for name, text in files.items():
        assert set(re.findall(r'#include "(.+)"', text)) <= set(files), name
