"""Views the page in Locust's web UI as a user does, and prints its findings as JSON: `browser.py URL ENTER`.

A process of its own, without the locks that Locust patches, which the browser's driver cannot use. ENTER is a path that
logs in, or empty. The test starts and stops the run; this process waits for each text that it needs.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from playwright.sync_api import Browser, Page, Playwright, sync_playwright

ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
ONLY_HERE = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
SIZES = {"wide": (1280, 900), "narrow": (400, 800)}

CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgb = color => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
                         return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = element => { for (; element; element = element.parentElement) {
    const color = rgb(getComputedStyle(element).backgroundColor); if (color[3] > 0) return color; }
    return [255, 255, 255]; };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility() || element.matches("script, style, option, noscript")) continue;
    const [a, b] = [light(rgb(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
    found.push([(a + .05) / (b + .05), element.textContent.trim().slice(0, 40)]);
  }
  return found.sort((x, y) => x[0] - y[0])[0];
}"""
"""Returns the lowest contrast of all visible texts, and the text."""

OVERFLOW = """() => [...document.querySelectorAll("body *")].filter(e => e.checkVisibility() && !e.closest("thead")
  && (e.getBoundingClientRect().right > innerWidth + 1 || e.getBoundingClientRect().left < -1))
  .map(e => e.tagName + " " + e.textContent.trim().slice(0, 40)).concat(
  document.documentElement.scrollWidth > innerWidth ? ["the page"] : [])"""


OVERLAPS = """([selector, high]) => {
  const blocks = [...document.querySelectorAll(selector)];
  const inner = blocks.filter(b => !blocks.some(other => other !== b && b.contains(other)) && b.checkVisibility());
  const boxes = inner.map(b => [b, b.getBoundingClientRect()]).filter(([b, r]) => r.width > 1 && r.height > 1);
  const found = [];
  for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < boxes.length; j++) {
    const [a, r] = boxes[i], [b, s] = boxes[j];
    const width = Math.min(r.right, s.right) - Math.max(r.left, s.left);
    const height = Math.min(r.bottom, s.bottom) - Math.max(r.top, s.top);
    if (width > 1 && height > high) found.push(a.outerHTML.slice(0, 60) + ' | ' + b.outerHTML.slice(0, 60));
  }
  return found;
}"""
"""Returns the pairs of blocks that overlap by more than so many pixels in height."""

TWICE = """() => (ids => ids.filter((id, at) => ids.indexOf(id) !== at))(
  [...document.querySelectorAll('[id]')].map(e => e.id))"""
"""Returns the ids that more than one element has."""


class Tab(NamedTuple):
    """A page, and the messages and requests of its browser so far."""

    page: Page
    messages: list[str]
    requests: list[str]


def launched(playwright: Playwright) -> Browser:
    """Start Chromium, which can reach 127.0.0.1 only."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    return playwright.chromium.launch(executable_path=chromium, args=[*ARGUMENTS, ONLY_HERE])


@contextmanager
def opened(browser: Browser, url: str, size: str = "wide", scheme: Any = "light") -> Iterator[Tab]:
    """Open a page in a tab of its own; `size` is a key of `SIZES`."""
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    tab = Tab(context.new_page(), [], [])
    tab.page.on("console", lambda message: tab.messages.append(message.text))
    tab.page.on("pageerror", lambda error: tab.messages.append(str(error)))
    tab.page.on("request", lambda request: tab.requests.append(request.url))
    tab.page.goto(url)
    yield tab
    context.close()


def main(url: str, enter: str) -> dict[str, Any]:
    """View the page before, during and after a run, and return the findings."""
    seen: dict[str, Any] = {"errors": [], "looks": {}}
    with sync_playwright() as playwright:
        browser = launched(playwright)
        context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
        page = context.new_page()
        page.on("console", lambda line: seen["errors"].append(line.text) if line.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: seen["errors"].append(str(error)))
        page.on("requestfailed", lambda request: seen["errors"].append(request.url))
        if enter:
            page.goto(f"{url}/slo")
            seen["turned away to"] = page.url.removeprefix(url)
            page.goto(url + enter)
            seen["errors"].clear()
        page.goto(url)
        page.get_by_role("link", name="SLO and marks").click()
        page.get_by_text("No run has started yet.").wait_for()
        seen["before"] = page.inner_text("main")
        print("ready", flush=True)
        seen["requests"] = [more_than(page, 0)]
        seen["requests"].append(more_than(page, seen["requests"][0]))
        mark(page, seen)
        seen["tree"] = page.locator("main").aria_snapshot()
        for width in (1280, 400):
            for scheme in ("light", "dark"):
                page.set_viewport_size({"width": width, "height": 900})
                page.emulate_media(color_scheme=scheme)
                seen["looks"][f"{width} {scheme}"] = [page.evaluate(CONTRASTS), page.evaluate(OVERFLOW)]
        print("seen", flush=True)
        page.locator("#sentence").filter(has_text="is over").wait_for(timeout=60_000)
        page.wait_for_timeout(4500)
        seen["after"] = page.inner_text("main")
        browser.close()
    return seen


def mark(page: Page, seen: dict[str, Any]) -> None:
    """Mark with the keyboard, from the top of the page."""
    page.evaluate("document.activeElement.blur()")
    seen["tabs"] = []
    for _ in range(5):
        page.keyboard.press("Tab")
        seen["tabs"].append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
        if seen["tabs"][-1] == "mark":
            break
    page.keyboard.type("seen in the browser <b>&")
    page.keyboard.press("Enter")
    page.locator("#answer").filter(has_text="Marked at").wait_for()
    page.locator("#marks td").filter(has_text="seen in the browser").wait_for()
    seen["focus"] = page.evaluate("document.activeElement.id")
    seen["mark"] = page.locator("#marks tbody tr").first.inner_text()


def more_than(page: Page, known: int) -> int:
    """Wait until the page shows more requests, and return their number."""
    shown = "Number((document.querySelector('#requests') || {textContent: '0'}).textContent.replaceAll(',', ''))"
    page.wait_for_function(f"known => {shown} > known", arg=known, timeout=60_000)
    return int(page.evaluate(shown))


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:3])))
