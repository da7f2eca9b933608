"""docs/support.md says what the importers do."""

import pytest


@pytest.mark.filterwarnings("ignore")
def test_the_page_is_what_the_importers_do() -> None:
    for module in ("tensorflow", "keras", "tf_keras", "torch", "onnx"):
        pytest.importorskip(module)
    import make_support

    assert make_support.page() == make_support.PAGE.read_text(), "run: python tools/make_support.py"
