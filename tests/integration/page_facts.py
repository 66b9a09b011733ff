"""Views a page in Chromium, wide and narrow, light and dark, and prints its findings as JSON.

    python page_facts.py PAGE FOLDER     the screenshots go into the folder

A process of its own: Playwright does not work with the locks that Locust patches.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from tests.e2e.browser import OVERLAPS, SIZES, TWICE, launched, opened

_BLOCKS = "main > *, header > *, .tile, .finding > *, figure > *"
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
  texts: (svg.getAttribute('aria-labelledby') || '').split(' ')
    .map(id => document.getElementById(id)?.textContent || ''),
}))"""


def facts(browser: Browser, page: Path, folder: Path, size: str, scheme: str) -> dict[str, Any]:
    """Return the findings of one view of the page."""
    with opened(browser, page.as_uri(), size, scheme) as tab:
        tab.page.screenshot(path=str(folder / f"{size}-{scheme}.png"), full_page=True)
        return {
            "messages": tab.messages,
            "requests": [url for url in tab.requests if not url.startswith(("file:", "data:"))],
            "width": tab.page.evaluate("document.documentElement.scrollWidth"),
            "overlaps": tab.page.evaluate(OVERLAPS, [_BLOCKS, 1]),
            "text_overlaps": tab.page.evaluate(_TEXT_OVERLAPS),
            "pictures": tab.page.evaluate(_PICTURES),
            "twice": tab.page.evaluate(TWICE),
        }


def main(page: str, folder: str) -> None:
    """Print the findings of all views."""
    with sync_playwright() as playwright:
        browser = launched(playwright)
        views = {
            f"{size}-{scheme}": facts(browser, Path(page).resolve(), Path(folder), size, scheme)
            for size in SIZES
            for scheme in ("light", "dark")
        }
        browser.close()
    print(json.dumps(views))


if __name__ == "__main__":
    main(*sys.argv[1:])
