"""The page of a report: whole, escaped, the same each time, and with no more sections than there is to say."""

from __future__ import annotations

import base64
import hashlib
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pages import HOSTILE, ORIGIN, extreme, full, hostile

from edgelstm import page
from edgelstm.errors import MissingError
from edgelstm.page import Origin, figures
from edgelstm.page.figures import Axis, Bar, Line, bars, chart
from edgelstm.report import Saturation

VOID = {"meta", "link", "br", "img", "hr", "input"}
SECTIONS = {
    "advice": "advice", "outputs": "rows", "tasks": "tasks", "layers": "layers", "drift": "drift",
    "saturation": "saturation", "arithmetic": "arithmetic", "converted": "converted", "traces": "traces",
    "notes": "notes",
}  # fmt: skip


class Page(HTMLParser):
    """A page's elements, checked to be closed in the order they were opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.seen if name == tag]


IDS = ["full", "failing", "hostile", "extreme"]


@pytest.mark.parametrize("report", [full(), full(True), hostile(full()), extreme()], ids=IDS)
def test_every_page_is_whole_and_asks_for_nothing(report: page.Report) -> None:
    text = page.render(report, ORIGIN)
    parsed = Page(text)
    tags = {tag for tag, _ in parsed.seen}
    assert not tags & {"script", "img", "link", "iframe", "object", "embed", "a:href", "form", "base", "foreignobject"}
    names = {name for _, attributes in parsed.seen for name in attributes}
    assert not {name for name in names if name.startswith("on")} and not names & {
        "src",
        "style",
        "srcset",
        "xlink:href",
    }
    assert all((attributes.get("href") or "#").startswith("#") for attributes in parsed.all("a"))
    assert "http:" not in text and "https:" not in text and "url(" not in text and "@import" not in text
    identities = [attributes["id"] for _, attributes in parsed.seen if "id" in attributes]
    assert len(set(identities)) == len(identities)
    assert {a["href"] for a in parsed.all("a")} <= {f"#{one}" for one in identities}
    policy = next(m["content"] for m in parsed.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy is not None and policy.startswith("default-src 'none'; ") and f"'sha256-{digest}'" in policy


def test_tables_and_figures_can_be_read_aloud() -> None:
    parsed = Page(page.render(full(), ORIGIN))
    tables = len(parsed.all("table"))
    assert tables == len(parsed.all("caption")) == 9
    assert all(cell.get("scope") in ("col", "row") for cell in parsed.all("th"))
    drawn = [svg for svg in parsed.all("svg") if "aria-hidden" not in svg]
    assert len(drawn) == len(parsed.all("figcaption")) == 9
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in drawn)
    assert len(parsed.all("h1")) == 1 and parsed.all("html")[0]["lang"] == "en"


def test_no_text_of_a_report_becomes_markup() -> None:
    text = page.render(hostile(full()), hostile(ORIGIN))
    shown = HOSTILE.replace("\u202e", "\ufffd")
    assert Page(text).text.count(shown) > 60
    assert "\u202e" not in text and "<script" not in text and "{{7*7}}" in text


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        page.write(full(), tmp_path / name, ORIGIN)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() == page.render(full(), ORIGIN).encode()
    assert page.render(full(True)) != page.render(full())


@pytest.mark.parametrize(("section", "field"), list(SECTIONS.items()))
def test_a_section_is_there_if_it_has_content(section: str, field: str) -> None:
    assert f'id="{section}"' in page.render(full(), ORIGIN) and f'href="#{section}"' in page.render(full())
    without = page.render(replace(full(), **{field: ()}), ORIGIN)
    assert f'id="{section}"' not in without and f'href="#{section}"' not in without


def test_where_it_came_from_is_told_if_it_is_known() -> None:
    text = page.render(full(), ORIGIN)
    assert ORIGIN.command in text and "ab" * 32 in text and "1.26.4" in text
    assert 'id="origin"' not in page.render(full())
    assert 'id="origin"' in page.render(full(), Origin("edgelstm validate"))


def test_the_verdict_comes_first() -> None:
    fine, failed = Page(page.render(full())).text, Page(page.render(full(True))).text
    assert fine.index("Passed") < fine.index("What to do") and "All 4 requirements are met" in fine
    assert "Failed" in failed and "1 of 4 requirements is missed" in failed
    assert failed.index("at least 20 dB") < failed.index("Reference")
    own = Page(page.render(replace(full(), independent=False, remedy="run pip install tensorflow"))).text
    assert "on this package's own reading alone" in own and "run pip install tensorflow" in own


def test_what_is_many_is_drawn_in_part_and_listed_whole() -> None:
    text = page.render(extreme())
    assert "the 24 worst of 60" in text
    assert text.count('<tr><th scope="row" class="name">encoder.') >= 60


def test_an_error_is_drawn_where_there_is_one() -> None:
    report = full()
    traces = tuple(replace(one, channel="2", found=(("s8", one.expected),)) for one in report.traces)
    exact = page.render(replace(report, traces=traces))
    assert ": the error" in page.render(report) and ": the error" not in exact and ", value 2 in sequence 7" in exact


def test_curves_leave_out_what_an_axis_cannot_show() -> None:
    log, plain = Axis("step", True), Axis("answer")
    assert chart("t", [Line(0, ((0.0, 1.0), (-1.0, 1.0)))], log, log) == ""
    assert chart("t", [Line(0, ((1.0, float("nan")), (2.0, float("inf"))))], plain, plain) == ""
    assert chart("t", [], plain, plain) == "" and bars("t", [], 1.0) == ""
    gap = chart("t", [Line(0, tuple((float(k), 0.0 if k == 3 else 10.0**-k) for k in range(1, 7)))], log, log)
    assert gap.count("<polyline") == 2
    one = chart("t", [Line(-1, ((5.0, 2.0),))], plain, plain)
    assert "<circle" in one and "<polyline" not in one


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (-3, 7e5), (5, 5), (0, 0), (-1e-9, 1e-9), (1e30, 2e30), (1e-300, 2e-300), (-1e300, 1e300)]
)
@pytest.mark.parametrize("logarithmic", [False, True])
def test_axes_have_ticks_within_them(low: float, high: float, logarithmic: bool) -> None:
    values = [v for v in (low, high) if v > 0 or not logarithmic]
    if not values:
        return
    scale = figures._Scale(values, logarithmic, 10, 300)
    ticks = scale.ticks(5)
    assert 1 <= len(ticks) <= 8 and all(9.9 <= scale(value) <= 300.1 for value, _ in ticks)
    assert all(9.9 <= scale(value) <= 300.1 for value in values)
    assert len({text for _, text in ticks}) == len(ticks)


def test_bars_stay_in_their_room() -> None:
    drawn = bars("t", [Bar("a" * 99, 500.0, "x", 0), Bar("b", -5.0, "y", 1), Bar("c", float("inf"), "z", 2)], 140.0)
    widths = [float(n) for n in re.findall(r'class="bar[^/]*? width="([\d.]+)"', drawn)]
    room = float(re.findall(r'class="back"[^/]*? width="([\d.]+)"', drawn)[0])
    assert widths == [room, room] and "a" * 23 not in drawn and "…" in drawn


def test_a_full_bar_of_saturation_is_all_values() -> None:
    few = replace(full(), saturation=(Saturation("s8", "lstm", "c", "s16", 0, 5, 50_000),))
    drawn = page.render(few)
    figure = drawn[drawn.index("values at the ends of their type") :]
    width = float(re.findall(r'class="bar[^/]*? width="([\d.]+)"', figure)[0])
    assert width == 1.0  # 0.01 % is as little as can be drawn


def test_without_jinja2_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingError, match=r'pip install "edgelstm\[validate\]"'):
        page.render(full())
