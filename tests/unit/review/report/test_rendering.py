"""Tests of the report: the page, Markdown and JSON, with and without the extra."""

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
from tests.unit.tapes import SLO_TEXT, Tape, small

EVIL = '<script>alert("$x_1$")</script>|`*'


class Tags(HTMLParser):
    """The tags of a page, and whether each that was opened is closed."""

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
        """Take the last one away, which it must be."""
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
    """Verdict first, then story, pictures and tables; well formed, nothing from elsewhere, no script."""
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
    order = ["bjectives are", "252 requests", "Latency and throughput over time", "Beside the baseline",
             "Latency heatmap", "Budget burn", "Load generator", "Endpoints", "Errors", "Against the"]  # fmt: skip
    places = [body.index(each) for each in order]
    assert places == sorted(places)
    assert not [url for url in re.findall(r'(?:src|href)="([^"]+)"', text) if not url.startswith(("#", "data:"))]


def test_same_page_each_time(tmp_path: Path) -> None:
    """The same record gives the same page, to the byte."""
    path = run(tmp_path)
    for name in ("one", "two"):
        main(["report", str(path), "-o", str(tmp_path / name)])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_page_lies_beside_the_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without -o the page gets the name of the record, and its path is printed."""
    path = small(tmp_path).path
    assert main(["report", str(path)]) == 0
    page = Path(capsys.readouterr().out.strip())
    assert page == path.with_name(path.name.replace(".jsonl.gz", ".html"))
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without numpy and matplotlib the report has its tables, and says what is missing."""
    monkeypatch.setattr(summary, "find_spec", lambda _name: None)
    path = run(tmp_path)
    for form in ("html", "markdown"):
        assert main(["report", str(path), "--format", form, "-o", str(tmp_path / form)]) == 0
        text = (tmp_path / form).read_text(encoding="utf-8")
        assert "locust-otel" in text
        assert "pip install" in text
        assert "<svg" not in text
    monkeypatch.setattr("locust_otel.review.analysis.command.find_spec", lambda _name: None)
    assert main(["analyze", str(path)]) == 78
    assert "pip install 'locust-otel[analysis]'" in capsys.readouterr().err


def test_markdown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Markdown has the verdict, the objectives and the endpoints; names in it are only text."""
    assert main(["report", str(run(tmp_path)), "--format", "markdown"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("### ")
    assert "| works | " in text
    assert "<script>" not in text
    tables = [line for line in text.splitlines() if line.startswith("| GET")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in tables if "ms" in line}) == 1


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON has the same figures, and the analysis."""
    path = run(tmp_path)
    assert main(["report", str(path), "--format", "json", "--baseline", str(path)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["requests"]["requests"] == document["baseline"]["requests"]["requests"] == 252
    assert document["errors"] == [{"endpoint": f"GET {EVIL}", "error": EVIL, "count": 12}]
    assert {each["name"]: each["status"] for each in document["objectives"]}["mean"] == "met"
    assert document["analysis"]["pattern"] in ("none", "cannot-tell")


def test_names_that_look_like_one(tmp_path: Path) -> None:
    """Each format says which names hold ids; of a run without ids none says anything."""
    tape = Tape(tmp_path, Load(slow_s=2.0, max_names=99))
    for number in range(4):
        record(tape.aggregate, SeriesKey("GET", f"/items/{number}", "Shopper", "success"), [10.0])
    tape.interval(1.0)
    tape.end()
    texts = {}
    for form in ("html", "markdown", "json"):
        assert main(["report", str(tape.path), "--format", form, "-o", str(tmp_path / form)]) == 0
        texts[form] = (tmp_path / form).read_text(encoding="utf-8")
    sentence = "4 request names hold ids: GET /items/0, /items/1, … look like one: /items/[id]."
    assert f"<p>{sentence}</p>" in texts["html"]
    assert sentence.replace("[", r"\[").replace("]", r"\]") in texts["markdown"]
    alike = {"method": "GET", "name": "/items/[id]", "names": 4, "examples": ["/items/0", "/items/1"]}
    assert json.loads(texts["json"])["alike"] == [alike]
    plain = run(tmp_path / "plain")
    assert main(["report", str(plain), "-o", str(tmp_path / "plain.html")]) == 0
    assert "hold ids" not in (tmp_path / "plain.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "arguments", [[], ["record", "--prometheus", "http://x"], ["--prometheus", "http://x"], ["record", "--run-id", "x"]]
)
def test_analyze_wants_one_source(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A record, or a Prometheus with a run: anything else is refused with what would be right."""
    assert main(["analyze", *arguments]) == 78
    assert "analyze-" in capsys.readouterr().err


def test_analyze_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints text, or JSON that says the same."""
    path = run(tmp_path)
    assert main(["analyze", str(path)]) == 0
    told = capsys.readouterr().out
    assert main(["analyze", str(path), "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["pattern"].upper() in told
