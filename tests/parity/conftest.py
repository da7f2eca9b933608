"""The frameworks use one thread each: answers do not depend on how many cores there are."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.update(OMP_NUM_THREADS="1", TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1")

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tools")]  # the noise model, and what draws models

collect_ignore = [] if os.environ.get("EDGELSTM_FULL") else ["test_keras_masks.py"]
"""What takes ten minutes alone; `make parity-full` runs it too."""


@pytest.fixture(scope="module", autouse=True)
def what_lives_stays() -> Iterator[None]:
    """Keras collects garbage for each model: it need not look at the millions of objects that frameworks hold."""
    gc.collect()
    gc.freeze()
    yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest test first: at the end it would keep one process busy and the others idle."""
    items.sort(key=lambda item: item.path.name != "test_support.py")
