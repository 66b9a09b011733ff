"""`locust-otel dashboards`: the Grafana dashboards that this package ships, copied out or imported over HTTP.

https://grafana.com/docs/grafana/latest/developers/http_api/dashboard/
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from locust_otel.core.errors import ConfigurationError, ExitCode, LocustOtelError
from locust_otel.slo.rules.command import write

TOKEN = "GRAFANA_TOKEN"  # noqa: S105  # a name
"""Environment variable with the token of a service account that may write dashboards."""

_TIMEOUT_S = 30.0
_HINTS = {
    401: f" The token in {TOKEN} is not valid here.",
    403: " The service account of the token may not write dashboards here: give it the role Editor.",
    404: " Is this the address of a Grafana, including its path?",
    412: " Another dashboard has this name or uid: a provisioned one, or one in another folder.",
}


class GrafanaRefused(LocustOtelError):  # noqa: N818
    """Grafana did not accept a dashboard."""


def add_to(commands: Any) -> None:
    """Add the command."""
    dashboards = commands.add_parser(
        "dashboards",
        help="copy the Grafana dashboards out, or import them into a Grafana",
        description="Copy the Grafana dashboards into a folder, or import them into a Grafana, with the token of a "
        "service account in the environment variable GRAFANA_TOKEN.",
    )
    where = dashboards.add_mutually_exclusive_group(required=True)
    where.add_argument("-o", "--output", type=Path, metavar="DIR", help="copy the JSON files into this folder")
    where.add_argument("--grafana", metavar="URL", help="import them into this Grafana, replacing earlier ones")
    dashboards.add_argument("--folder", default="", metavar="UID", help="uid of Grafana's folder for them")
    dashboards.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Copy or import the dashboards, and print where they are."""
    if options.output:
        texts = {file.name: file.read_text("utf-8") for file in files()}
        places: list[Any] = write(options.output, texts, "dashboards-output")
    else:
        places = import_into(options.grafana, options.folder)
    for place in places:
        print(place)  # noqa: T201
    return ExitCode.OK


def files() -> list[Path]:
    """Return the JSON files: in an installed package beside this module, in a checkout in their own folder."""
    installed = Path(__file__).with_name("json")
    folder = installed if installed.is_dir() else Path(__file__).parents[3] / "dashboards"
    return sorted(folder.glob("*.json"))


def import_into(url: str, folder_uid: str) -> list[str]:
    """Create or replace the dashboards in a Grafana, and return their addresses there.

    With an empty uid Grafana chooses the folder.

    Raises:
        ConfigurationError: The URL or the token in `TOKEN` cannot be used; nothing has been sent.
        GrafanaRefused: Grafana cannot be reached, or refuses a dashboard; those before are imported.
    """
    from locust_otel.core import web  # noqa: PLC0415  # only an import needs it

    slug = "grafana-secret-in-url" if "@" in url else "grafana-url"
    base = web.base_of(url, "--grafana", TOKEN, "http://localhost:3000", slug=slug)
    token = os.environ.get(TOKEN, "").strip()
    if not token:
        found, remedy = "is not set.", "Set it to the token of a service account with the role Editor."
        raise ConfigurationError(TOKEN, found, remedy, slug="grafana-token-missing")
    web.header_value(token, TOKEN, slug="grafana-token")
    parts = urlsplit(base)
    addresses = []
    for file in files():
        dashboard = json.loads(file.read_text(encoding="utf-8"))
        body = {"dashboard": dashboard, "overwrite": True} | ({"folderUid": folder_uid} if folder_uid else {})
        path = _post(f"{base}/api/dashboards/db", json.dumps(body).encode(), dashboard["title"], token)
        addresses.append(f"{parts.scheme}://{parts.netloc}{path}")
    return addresses


def _post(url: str, body: bytes, title: str, token: str) -> str:
    """Send a dashboard, and return its path in Grafana."""
    from locust_otel.core import web  # noqa: PLC0415  # as above

    try:
        reply = web.send(url, body, authorization=f"Bearer {token}", timeout_s=_TIMEOUT_S)
    except web.UnreachableError as error:
        raise GrafanaRefused(f"{title}: {url} cannot be reached: {error.cause}. (grafana-unreachable)") from None
    try:
        answer = web.decoded(reply.body)
    except ValueError:
        answer = None
    fields = answer if isinstance(answer, dict) else {}
    if not reply.is_success:
        message = str(fields.get("message") or reply.body.decode(errors="replace"))
        reason = " ".join(message.split())[:200].rstrip(".") or "no reason given"
        hint = _HINTS.get(reply.status, "")
        raise GrafanaRefused(f"{title}: Grafana at {url} answers {reply.status}: {reason}.{hint} (grafana-refused)")
    path = fields.get("url")
    if not isinstance(path, str):
        lack = "JSON" if answer is None else "url"
        raise GrafanaRefused(f"{title}: {url} is not Grafana: its response has no {lack}. (grafana-answer)")
    return path
