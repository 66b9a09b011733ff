"""Serves the live page of several runs, views it in Chromium, and prints its findings as JSON.

    python live_page_facts.py FOLDER     the screenshots go into the folder

A process of its own, without Locust: Playwright does not work with the locks that Locust patches.
"""

from __future__ import annotations

import json
import sys
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from playwright.sync_api import Browser, sync_playwright

from locust_otel.core.cardinality import Names
from locust_otel.core.histogram import layout
from locust_otel.core.settings import values_of
from locust_otel.core.snapshot import SeriesKey
from locust_otel.exporter.endpoint.output import Endpoint
from locust_otel.exporter.merged import Merged
from locust_otel.exporter.page.page import Page
from locust_otel.exporter.run import Phase, Run
from locust_otel.exporter.session import Origin, Session
from locust_otel.exporter.settings import Settings, resolve
from locust_otel.exporter.watch import Watch
from locust_otel.slo.file import parse
from locust_otel.slo.progress import Progress
from locust_otel.wire.report import Piece, SeriesReport, Vitals, fingerprint
from tests.e2e.browser import CONTRASTS, OVERFLOW, OVERLAPS, SIZES, TWICE, launched, opened

START = 1_764_000_000.0
SLO = b"""
service: webshop
period: 30m
scrape_interval: 1s
warmup: 30s
min_requests: 100
objectives:
  availability: {sli: success, target: 99%}
  latency-p95: {sli: latency, target: 95%, within: 500ms}
  latency-mean: {sli: mean, within: 200ms}
  checkout-p99: {sli: latency, target: 99%, within: 1.5s, match: {name: /api/orders, method: POST}}
windows:
  - {severity: critical, long: 2m, short: 30s, budget: 20%}
  - {severity: warning, long: 10m, short: 2m, budget: 50%}
"""
ENDPOINTS = (
    ("GET", "/api/products"), ("GET", "/api/products/[id]"), ("POST", "/api/cart"), ("POST", "/api/login"),
    ("POST", "/api/orders"),
)  # fmt: skip
LONG = ("GET", "/api/a-path-without-any-place-to-break-it/" + "x" * 120)


class Stage:
    """An exporter without a process, whose clock is set by `play`.

    Attributes:
        counted: Requests and failures by method and name: the oracle for the page.
    """

    def __init__(self, slo: bytes | None = SLO) -> None:
        self.now_s = 0.0
        self.settings: Settings = resolve(values_of(None, {"prometheus_port": "0"}))
        self.session = Session(self.settings, Origin(name="host-0"), lambda *_: None)
        self.page, self.watch = Page(self.session), Watch(self.session)
        self.endpoint = Endpoint(self.session, self.page)
        self.endpoint.start(self.settings)
        self.slo = parse(slo, "slo.yaml") if slo is not None else None
        self.counted: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
        self._random = Random(1)
        self._counts: dict[SeriesKey, Counter[int]] = defaultdict(Counter)
        self._sums: Counter[SeriesKey] = Counter()
        self._lag: Counter[int] = Counter()
        self._lag_s = 0.0

    def begin(self) -> Run:
        """Begin a run."""
        thresholds_s = self.slo.thresholds_s if self.slo is not None else ()
        run = Run(
            "2026-11-24T16-00-00Z-3f9a", {"host": "http://shop.example:8080"}, START, self.now_s, {},
            Merged(layout((5.0, *thresholds_s)), 5.0, Names(200)),
            Progress(self.slo, START) if self.slo is not None else None,
        )  # fmt: skip
        run.users_target = {"Shopper": 200}
        self.session.state.run = run
        return run

    def play(
        self,
        seconds: int,
        *,
        delay_s: float = 0.04,
        failing: float = 0.0,
        reasons: tuple[str, ...] = (),
        endpoints: tuple[tuple[str, str], ...] = ENDPOINTS,
    ) -> None:
        """Simulate so many seconds of load."""
        run = self.session.run
        assert run is not None
        bounds = run.merged.layout.bounds
        for _ in range(seconds):
            self.now_s += 1
            users = min(200, int(4 * self.now_s))
            run.users = {"Shopper": users}
            run.go_on(Phase.RUNNING if users == 200 else Phase.SPAWNING)
            for number in range(users // 4):
                method, name = endpoints[number % len(endpoints)]
                is_failure = self._random.random() < failing
                key = SeriesKey(method, name, "Shopper", "failure" if is_failure else "success")
                time_s = delay_s * self._random.lognormvariate(0, 0.5)
                self._counts[key][bisect_left(bounds, time_s)] += 1
                self._sums[key] += time_s  # type: ignore[assignment]  # seconds
                self.counted[method, name][0] += 1
                self.counted[method, name][1] += is_failure
            self._report(run, users, reasons)
            snapshot = self.session.snapshot()
            self.watch.collect(snapshot)
            self.page.collect(snapshot)

    def _report(self, run: Run, users: int, reasons: tuple[str, ...]) -> None:
        lag_s = 0.02 if reasons else 0.0008
        self._lag[bisect_left(layout().bounds, lag_s)] += 10
        self._lag_s += 10 * lag_s
        vitals = Vitals(0.97 if reasons else users / 600, 64_000_000, reasons, self._lag_s, dict(self._lag), 0.0, {})
        series = tuple(
            SeriesReport(key, 0, self._sums[key], 1_200 * counts.total(), dict(counts), {})
            for key, counts in self._counts.items()
        )
        piece = Piece(run.run_id, fingerprint(run.merged.layout), series, (), (), None)
        run.merged.merge("host-0", piece)
        self.session.state.workers.vitals["host-0"] = vitals

    def end(self) -> None:
        """Stop and finish the run."""
        run = self.session.run
        assert run is not None
        run.stop(self.now_s)
        run.finish()


def before(_: Stage) -> None:
    """No run has started."""


def short(stage: Stage) -> None:
    """A run has just begun and is in its warm-up."""
    stage.begin()
    stage.play(4)


def healthy(stage: Stage) -> None:
    """A run of twelve minutes meets its objectives."""
    stage.begin()
    stage.play(300)
    stage.session.mark("deploy v2", "deployment")
    stage.play(200)
    stage.session.mark("lunch", "note")
    stage.play(220)


def failing(stage: Stage) -> None:
    """A longer run misses them all, and has a late generator, long names and long marks."""
    stage.begin()
    stage.play(600)
    stage.session.mark("db primary killed " + "and so on " * 17, "fault-start")
    stage.play(120, delay_s=0.9, failing=0.3, endpoints=(*ENDPOINTS, LONG))
    stage.session.mark("db-primary-is-back-" + "x" * 170, "fault-end")
    stage.play(300, delay_s=0.35, failing=0.02, reasons=("cpu", "lag"), endpoints=(*ENDPOINTS, LONG))


def over(stage: Stage) -> None:
    """A run is over."""
    healthy(stage)
    stage.end()


def plain(stage: Stage) -> None:
    """A run without objectives."""
    stage.slo = None
    stage.begin()
    stage.play(90)


SCENES: dict[str, Callable[[Stage], None]] = {
    scene.__name__: scene for scene in (before, short, healthy, failing, over, plain)
}

_BLOCKS = (
    "header *, main > *, section > *, .tiles > div, .tiles dt, .tiles dd, figure > *, .legend li, .chart text, "
    ".moment > *, form *, td, th"
)
_CUT = """() => {
  const beyond = [...document.querySelectorAll('.chart text, .chart path')].filter(e => {
    const r = e.getBoundingClientRect(), s = e.ownerSVGElement.getBoundingClientRect();
    return r.left < s.left - 1 || r.right > s.right + 1 || r.top < s.top - 2 || r.bottom > s.bottom + 1; });
  const wide = [...document.querySelectorAll('body *')].filter(e => e.checkVisibility() && !e.closest('thead, svg')
    && !e.matches('input') && e.clientWidth && e.scrollWidth > e.clientWidth + 1);
  return [...beyond, ...wide].map(e => e.tagName + ' ' + (e.id || e.textContent.trim().slice(0, 40)));
}"""
"""Returns the elements that do not fit into their chart or their block."""

_LINES = """() => [...document.querySelectorAll('.chart .line, .chart .mark')].map(e => {
  const sum = color => color.match(/\\d+/g).slice(0, 3).map(v => v / 255)
    .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const card = getComputedStyle(e.closest('section')).backgroundColor;
  const [a, b] = [sum(getComputedStyle(e).stroke), sum(card)].sort((x, y) => y - x);
  return (a + .05) / (b + .05);
})"""
"""Returns the contrasts of all lines of the charts."""

_VALUES = """() => ({
  title: document.title,
  hidden: [...document.querySelectorAll('main > [hidden]')].map(e => e.id),
  sentence: document.getElementById('sentence').textContent,
  tiles: Object.fromEntries([...document.querySelectorAll('#tiles dd')].map(dd => [dd.id, dd.innerText])),
  objectives: [...document.querySelectorAll('#objectives tbody tr')].map(row => [...row.cells].map(c => c.innerText)),
  marks: [...document.querySelectorAll('#marks tbody tr')].map(row => [...row.cells].map(c => c.innerText)),
  endpoints: [...document.querySelectorAll('#endpoints tbody tr')].map(row => [...row.cells].map(c => c.innerText)),
  legends: [...document.querySelectorAll('.legend li')].map(item => item.innerText),
  charts: [...document.querySelectorAll('.chart')].map(svg => ({
    label: svg.getAttribute('aria-label'), lines: svg.querySelectorAll('.line').length,
    marks: [...svg.querySelectorAll('.mark title')].map(t => t.textContent),
    texts: [...svg.querySelectorAll('text')].map(t => t.textContent),
  })),
  moment: document.getElementById('moment-text').textContent,
})"""
"""Returns the texts of the page."""


def view(browser: Browser, stage: Stage, path: Path, size: str, scheme: str) -> dict[str, Any]:
    """Return the findings of one view of the page; its screenshot goes to the path."""
    url = (stage.session.url or "").removesuffix("metrics")
    with opened(browser, url, size, scheme) as tab:
        page = tab.page
        page.locator("#sentence").filter(has_text="un").wait_for()  # "Run …", "No run …"
        page.wait_for_timeout(100)
        page.screenshot(path=str(path), full_page=True)
        return {
            "messages": tab.messages,
            "elsewhere": [request for request in tab.requests if not request.startswith((url, "data:"))],
            "overlaps": page.evaluate(OVERLAPS, [_BLOCKS, 2.5]),
            "cut": page.evaluate(_CUT) + page.evaluate(OVERFLOW),
            "twice": page.evaluate(TWICE),
            "contrast": page.evaluate(CONTRASTS),
            "contrasts of lines": page.evaluate(_LINES),
            "shown": page.evaluate(_VALUES),
            "data": stage.page.data(),
            "tree": page.locator("main").aria_snapshot(),
        }


def touched(browser: Browser, stage: Stage, path: Path) -> dict[str, Any]:
    """Return the effects of pointer and keyboard: values of a moment, a mark, and the end of the load test."""
    with opened(browser, (stage.session.url or "").removesuffix("metrics")) as tab:
        page = tab.page
        chart = page.locator(".chart").first
        chart.scroll_into_view_if_needed()
        box = chart.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        seen: dict[str, Any] = {"hovered": page.evaluate(_VALUES), "data": stage.page.data()}
        page.screenshot(path=str(path))
        page.mouse.move(5, 5)
        seen["left"] = page.inner_text("#moment-text")
        page.locator("#moment").focus()
        for _ in range(60):
            page.keyboard.press("ArrowLeft")
        seen["by keyboard"] = page.inner_text("#moment-text")
        page.keyboard.press("End")
        seen["at the end"] = page.inner_text("#moment-text")
        page.keyboard.press("Tab")
        page.keyboard.type("by keyboard <b>&")
        page.keyboard.press("Enter")
        page.locator("#answer").filter(has_text="Marked at").wait_for()
        page.locator("#marks td").filter(has_text="by keyboard <b>&").wait_for()
        run = stage.session.run
        assert run is not None
        seen["marks"] = list(run.marks)
        stage.play(30)
        page.locator("#requests").filter(has_text=f"{run.merged.total:,}").wait_for()
        stage.end()
        stage.page.finish(run)
        stage.endpoint.stop(0.0)
        page.locator("#lost").filter(has_text="The load test has ended.").wait_for()
        seen["ended"] = page.evaluate(_VALUES)["sentence"]
        return seen


def main(folder: str) -> None:
    """Print the findings of all views."""
    views: dict[str, Any] = {}
    with sync_playwright() as playwright:
        browser = launched(playwright)
        for name, scene in SCENES.items():
            stage = Stage()
            with patch("locust_otel.exporter.run.monotonic", lambda stage=stage: stage.now_s):
                scene(stage)
                for size in SIZES:
                    for scheme in ("light", "dark"):
                        path = Path(folder, f"{name}-{size}-{scheme}.png")
                        views[f"{name}-{size}-{scheme}"] = view(browser, stage, path, size, scheme)
                views[name] = {" ".join(endpoint): list(counts) for endpoint, counts in stage.counted.items()}
                if name == "healthy":
                    views["touched"] = touched(browser, stage, Path(folder, "touched.png"))
                stage.endpoint.stop(0.0)
        browser.close()
    print(json.dumps(views))


if __name__ == "__main__":
    main(*sys.argv[1:])
