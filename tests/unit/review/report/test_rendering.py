"""Tests of the page, Markdown and JSON, with and without the extra."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from locust_otel.cli import main
from locust_otel.core.snapshot import SeriesKey
from locust_otel.review.report import summary
from locust_otel.slo.file import parse
from locust_otel.wire.record import Mark
from tests.unit.factories import Load, record
from tests.unit.tapes import SLO_TEXT, Tape

EVIL = '<script>alert("$x_1$")</script>|`*'


class Tags(HTMLParser):
    """Tags and texts of a page; each tag must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002  # of the parser
        """Note a tag."""
        self.tags.append(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002  # likewise
        """Note a tag that closes itself."""
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Remove the last open tag, which must be this one."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.texts.append(data)


def run(folder: Path, seconds: int = 60, slow_ms: float = 20.0) -> Path:
    """Return the record of a run with hostile names."""
    tape = Tape(folder, Load(slow_s=2.0, max_names=10, thresholds_s=(0.3,)), parse(SLO_TEXT.encode(), "slo.yaml"))
    good, bad = (SeriesKey("GET", EVIL, "Shopper", outcome) for outcome in ("success", "failure"))
    for second in range(1, seconds + 1):
        record(tape.aggregate, good, [slow_ms, 2 * slow_ms, 30.0, 40.0], 7)
        if second % 5 == 0:
            record(tape.aggregate, bad, [5.0])
            tape.aggregate.count_error("GET", EVIL, EVIL)
        marks = (Mark(30.0, EVIL, "fault"),) if second == 30 else ()
        tape.interval(float(second), marks=marks, users={"Shopper": second // 10 + 1})
    tape.end()
    return tape.path


def test_page_holds_everything(tmp_path: Path) -> None:
    """The page has the verdict first, then story, pictures and tables, without scripts and other files."""
    path, other = run(tmp_path), run(tmp_path / "other", slow_ms=10.0)
    out = tmp_path / "out.html"
    assert main(["report", str(path), "--baseline", str(other), "-o", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    tags = Tags(text)
    assert tags.open == []
    assert "script" not in tags.tags
    assert "link" not in tags.tags
    assert tags.tags.count("svg") == 6
    assert EVIL in "".join(tags.texts)
    body = "".join(tags.texts)
    order = ["bjectives are", "252 requests", "Findings", "Latency and throughput over time", "Comparison with the",
             "Latency heatmap", "Budget burn", "Load generator", "Endpoints", "Errors", "and the baseline"]  # fmt: skip
    places = [body.index(heading) for heading in order]
    assert places == sorted(places)
    assert not [url for url in re.findall(r'(?:src|href)="([^"]+)"', text) if not url.startswith(("#", "data:"))]


def test_same_page_each_time(tmp_path: Path) -> None:
    """The same record gives the same page."""
    path = run(tmp_path)
    for name in ("one", "two"):
        main(["report", str(path), "-o", str(tmp_path / name)])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without numpy and matplotlib the report has its tables, and says what to install."""
    monkeypatch.setattr(summary, "find_spec", lambda _name: None)
    path = run(tmp_path)
    for form in ("html", "markdown"):
        assert main(["report", str(path), "--format", form, "-o", str(tmp_path / form)]) == 0
        text = (tmp_path / form).read_text(encoding="utf-8")
        assert "locust-otel" in text
        assert "pip install" in text
        assert "<svg" not in text


def test_markdown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Markdown has the verdict, the objectives and the endpoints, with names as plain text."""
    assert main(["report", str(run(tmp_path)), "--format", "markdown"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("### ")
    assert "| works | " in text
    assert "<script>" not in text
    tables = [line for line in text.splitlines() if line.startswith("| GET")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in tables if "ms" in line}) == 1


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON has the figures of the run and of the baseline, and the analysis."""
    path = run(tmp_path)
    assert main(["report", str(path), "--format", "json", "--baseline", str(path)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["requests"]["requests"] == document["baseline"]["requests"]["requests"] == 252
    assert document["errors"] == [{"endpoint": f"GET {EVIL}", "error": EVIL, "count": 12}]
    assert {objective["name"]: objective["status"] for objective in document["objectives"]}["mean"] == "met"
    assert document["analysis"]["pattern"] in ("none", "cannot-tell")


def test_names_that_hold_ids(tmp_path: Path) -> None:
    """The formats name request names that hold ids, if there are any."""
    tape = Tape(tmp_path, Load(slow_s=2.0, max_names=99))
    for number in range(4):
        record(tape.aggregate, SeriesKey("GET", f"/items/{number}", "Shopper", "success"), [10.0])
    tape.interval(1.0)
    tape.end()
    texts = {}
    for form in ("html", "markdown"):
        assert main(["report", str(tape.path), "--format", form, "-o", str(tmp_path / form)]) == 0
        texts[form] = (tmp_path / form).read_text(encoding="utf-8")
    sentence = "4 request names hold ids: GET /items/0, /items/1, … look like one: /items/[id]."
    assert f"<p>{sentence}</p>" in texts["html"]
    assert sentence.replace("[", r"\[").replace("]", r"\]") in texts["markdown"]
    plain = run(tmp_path / "plain")
    assert main(["report", str(plain), "-o", str(tmp_path / "plain.html")]) == 0
    assert "hold ids" not in (tmp_path / "plain.html").read_text(encoding="utf-8")
