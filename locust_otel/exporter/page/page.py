"""The live page as an output: collects the values of each run, and returns them to pages and to Locust's process."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from time import monotonic, time
from typing import Any

from locust_otel.core.events import MARK, Event
from locust_otel.core.snapshot import Snapshot
from locust_otel.exporter.output import Output
from locust_otel.exporter.page.content import content
from locust_otel.exporter.page.curves import Curves
from locust_otel.exporter.run import Run
from locust_otel.exporter.session import Session

INTERVAL_S = 1.0  # between new values, for any number of pages
_OPEN_S = 2.5  # after its last request a page counts as closed; it sends one a second
_LAST_LOOK_S = 1.2  # in which each open page sends one more request


class Page(Output):
    """The live page: `html`, which fetches its values, and `policy`, its Content-Security-Policy."""

    def __init__(self, session: Session) -> None:
        self.html = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
        self.policy = policy(self.html)
        self._session = session
        self._curves = Curves(session)
        self._data: dict[str, Any] = {}
        self._made = float("-inf")
        self._looked = float("-inf")

    def data(self) -> dict[str, Any]:
        """Return the current values; called from any thread."""
        self._looked = monotonic()
        return self._current()

    def _current(self) -> dict[str, Any]:
        with self._session.lock:
            if monotonic() - self._made >= INTERVAL_S:
                self._data = self._content() | {"curves": self._curves.columns()}
                self._made = monotonic()
            return self._data

    def _content(self) -> dict[str, Any]:
        run, known = self._session.run, self._data.get("run")
        if run is not None and known and known["is_final"] and known["id"] == run.run_id:
            return self._data | {"time": time()}  # a final run does not change
        return content(self._session.snapshot(), run, self._curves)

    def collect(self, snapshot: Snapshot) -> None:
        """Add a point to the curves."""
        self._curves.add(snapshot)

    def note(self, event: Event) -> None:
        """Show a mark at once."""
        if event.name == MARK:
            self._made = float("-inf")

    def answer(self, question: str, argument: object) -> Any:  # noqa: ARG002
        """Answer Locust's process: `page` for new values, `json` for those of `data` as text, `html` for the page."""
        match question:
            case "page":
                with self._session.lock:
                    return self._content()
            case "json":
                return json.dumps(self._current())
            case "html":
                return {"html": self.html, "policy": self.policy}
        return None

    def finish(self, run: Run) -> None:  # noqa: ARG002
        """Wait until open pages have the final values."""
        if monotonic() - self._looked < _OPEN_S:
            self._session.hurry.wait(self._session.patience_s(_LAST_LOOK_S))


def policy(html: str) -> str:
    """Return the policy that lets a browser load only the style and script in the page itself."""

    def hashes(tag: str) -> str:
        blocks = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digests = (base64.b64encode(hashlib.sha256(block.encode()).digest()).decode() for block in blocks)
        return " ".join(f"'sha256-{digest}'" for digest in digests)

    return (
        f"default-src 'none'; script-src {hashes('script')}; style-src {hashes('style')}; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
