"""Opens a page in Chromium, wide and narrow, light and dark, and prints as JSON what is to be seen.

    python page_facts.py PAGE FOLDER     the screenshots go into the folder

A process of its own: Playwright and the locks that Locust patches do not go together.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)  # fmt: skip
SIZES = {"wide": (1280, 900), "narrow": (400, 800)}

_OVERLAPS = """() => {
  const blocks = [...document.querySelectorAll('main > *, header > *, .tile, .finding > *, figure > *')];
  const inner = blocks.filter(b => !blocks.some(other => other !== b && b.contains(other)));
  const boxes = inner.map(b => [b, b.getBoundingClientRect()]).filter(([b, r]) => r.width && r.height);
  const found = [];
  for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < boxes.length; j++) {
    const [a, r] = boxes[i], [b, s] = boxes[j];
    const wide = Math.min(r.right, s.right) - Math.max(r.left, s.left);
    const high = Math.min(r.bottom, s.bottom) - Math.max(r.top, s.top);
    if (wide > 1 && high > 1) found.push(a.outerHTML.slice(0, 60) + ' | ' + b.outerHTML.slice(0, 60));
  }
  return found;
}"""
_TEXT_OVERLAPS = """() => {
  const found = [];
  for (const svg of document.querySelectorAll('svg.picture')) {
    const texts = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
    for (let i = 0; i < texts.length; i++) for (let j = i + 1; j < texts.length; j++) {
      const [a, r] = texts[i], [b, s] = texts[j];
      const wide = Math.min(r.right, s.right) - Math.max(r.left, s.left);
      const high = Math.min(r.bottom, s.bottom) - Math.max(r.top, s.top);
      if (wide > 2 && high > 3) found.push(svg.id + a + ' | ' + b);
    }
  }
  return found;
}"""

_PICTURES = """() => [...document.querySelectorAll('svg')].map(svg => ({
  role: svg.getAttribute('role'),
  told: (svg.getAttribute('aria-labelledby') || '').split(' ')
    .map(id => document.getElementById(id)?.textContent || ''),
}))"""
_TWICE = """() => { const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
  return ids.filter((id, at) => ids.indexOf(id) !== at); }"""


def facts(browser: Browser, page: Path, folder: Path, size: str, scheme: Any) -> dict[str, Any]:
    """Return what one view of the page shows."""
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    tab = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(page.as_uri())
    tab.screenshot(path=str(folder / f"{size}-{scheme}.png"), full_page=True)
    seen = {
        "said": said,
        "asked": [url for url in asked if not url.startswith(("file:", "data:"))],
        "width": tab.evaluate("document.documentElement.scrollWidth"),
        "overlaps": tab.evaluate(_OVERLAPS),
        "text_overlaps": tab.evaluate(_TEXT_OVERLAPS),
        "pictures": tab.evaluate(_PICTURES),
        "twice": tab.evaluate(_TWICE),
    }
    context.close()
    return seen


def main(page: str, folder: str) -> None:
    """Print the facts of all views."""
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        views = {
            f"{size}-{scheme}": facts(browser, Path(page).resolve(), Path(folder), size, scheme)
            for size in SIZES
            for scheme in ("light", "dark")
        }
        browser.close()
    print(json.dumps(views))


if __name__ == "__main__":
    main(*sys.argv[1:])
