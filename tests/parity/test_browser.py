"""The page of a report in a real Chromium: it asks for nothing, complains of nothing, and all of it can be seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Browser, installed
from nets import signal, stack
from pages import HOSTILE, ORIGIN, extreme, full, hostile

from edgelstm import page, validate

LOOK = """(() => {
  const seen = one => { const box = one.getBoundingClientRect(), style = getComputedStyle(one);
    return box.width > 0 && box.height > 0 && style.visibility === "visible" && style.display !== "none"; };
  const figures = [...document.querySelectorAll("figure > svg")];
  return {
    verdict: document.querySelector("#verdict").innerText,
    seen: [...document.querySelectorAll("#verdict, h1, h2, table, caption, figcaption")].every(seen),
    tables: document.querySelectorAll("table").length,
    figures: figures.length,
    empty: figures.filter(f => { const box = f.getBoundingClientRect(), inside = f.getBBox();
      return box.width < 200 || box.height < 12 || inside.width < 100
        || !f.querySelector("rect.back, polyline.curve, circle.dot");
    }).length,
    outside: figures.filter(f => { const view = f.viewBox.baseVal, inside = f.getBBox();
      return inside.x < -1 || inside.y < -1 || inside.x + inside.width > view.width + 1
        || inside.y + inside.height > view.height + 1; }).length,
    tops: [...document.querySelectorAll("#verdict, section")].map(one => one.getBoundingClientRect().top),
    width: document.documentElement.scrollWidth,
    background: getComputedStyle(document.body).backgroundColor,
    title: document.title,
    scripts: document.scripts.length,
    images: document.images.length,
  };
})()"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = installed()
    if program is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    with Browser(program) as opened:
        yield opened


def look(browser: Browser, path: Path, width: int = 360, **how: Any) -> dict[str, Any]:
    """What a page looks like; every fault of it, by name, under "faults"."""
    browser.open(path, width, **how)
    found: dict[str, Any] = browser.value(LOOK)
    asked = [url for url in browser.requests() if url != path.resolve().as_uri()]
    faults = {
        "asks": asked,
        "complains": browser.complaints(),
        "hidden": not found["seen"],
        "empty figures": found["empty"],
        "figures cut off": found["outside"],
        "wider than the window": max(0, found["width"] - width),
        "runs or shows what is not its own": found["scripts"] + found["images"],
        "no order": found["tops"] != sorted(found["tops"]),
    }
    return found | {"faults": {name: what for name, what in faults.items() if what}}


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize(("name", "report"), [("full", full()), ("hostile", hostile(full())), ("extreme", extreme())])
def test_all_can_be_seen(browser: Browser, name: str, report: page.Report, width: int, tmp_path: Path) -> None:
    page.write(report, tmp_path / "report.html", hostile(ORIGIN) if name == "hostile" else ORIGIN)
    found = look(browser, tmp_path / "report.html", width)
    assert not found["faults"]
    tables, figures = {"full": (9, 9), "hostile": (9, 8), "extreme": (8, 3)}[name]
    assert (found["tables"], found["figures"]) == (tables, figures)
    assert found["verdict"].splitlines()[0] == ("Failed" if name == "extreme" else "Passed")
    assert found["title"] != "run" and (HOSTILE[:8] in found["title"]) == (name == "hostile")


def test_light_dark_and_print(browser: Browser, tmp_path: Path) -> None:
    page.write(full(), tmp_path / "report.html", ORIGIN)
    light, dark = (look(browser, tmp_path / "report.html", 800, dark=dark) for dark in (False, True))
    assert not light["faults"] and not dark["faults"] and light["background"] != dark["background"]
    assert browser.printed().startswith(b"%PDF") and len(browser.picture()) > 20_000


def test_a_validation_as_it_comes(browser: Browser, tmp_path: Path) -> None:
    model, x = stack(3, (9,), 4), signal((6, 40, 3))
    page.write(validate(model, model, x, samples=x), tmp_path / "report.html", ORIGIN)
    found = look(browser, tmp_path / "report.html")
    assert not found["faults"] and found["tables"] >= 2 and found["figures"] >= 1


@pytest.mark.parametrize(
    ("find", "put", "fault"),
    [
        ("<h2", '<img src="https://example.invalid/x.png" alt=""><h2', "complains"),
        ("<h2", "<script>document.title = 1</script><h2", "complains"),
        ("<h2", '<p style="color:red">styled</p><h2', "complains"),
        ("default-src 'none'; ", "default-src *; ", ""),
        ("<rect ", "<none ", "empty figures"),
        ('viewBox="0 0 420', 'viewBox="0 0 42', "figures cut off"),
        ("<h2", f"<code>{'n' * 400}</code><h2", ""),
        ("<h2", f"<table><caption>{'n' * 9}</caption><tr><td class=\"number\">{'n' * 400}</td></tr></table><h2",
         "wider than the window"),
        ("<table>", '<table hidden="">', "hidden"),
    ],
)  # fmt: skip
def test_planted_faults_are_found(browser: Browser, find: str, put: str, fault: str, tmp_path: Path) -> None:
    text = page.render(replace(full(), tasks=()), ORIGIN)
    assert find in text
    (tmp_path / "report.html").write_text(text.replace(find, put))
    assert (fault in look(browser, tmp_path / "report.html")["faults"]) == bool(fault)


def test_a_request_is_seen(browser: Browser, tmp_path: Path) -> None:
    """Where no policy forbids it, an image from elsewhere is asked for."""
    text = page.render(full()).replace("default-src 'none'", "img-src *")
    (tmp_path / "report.html").write_text(text.replace("<h2", '<img src="https://example.invalid/x.png" alt=""><h2'))
    assert look(browser, tmp_path / "report.html")["faults"]["asks"] == ["https://example.invalid/x.png"]


def test_numbers_are_shown_as_they_are(browser: Browser, tmp_path: Path) -> None:
    report = full()
    page.write(report, tmp_path / "report.html")
    browser.open(tmp_path / "report.html", 800)
    shown = browser.value("[...document.querySelectorAll('#outputs tbody tr')].map(r => r.cells[4].innerText)")
    assert np.allclose([float(text) for text in shown], [row.difference.decibels for row in report.rows], atol=0.06)
