"""`locust-otel dashboards`: the Grafana dashboards that this package ships, copied out or imported over HTTP.

https://grafana.com/docs/grafana/latest/developers/http_api/dashboard/
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from locust_otel.core.errors import ConfigurationError, ExitCode, LocustOtelError

TOKEN = "GRAFANA_TOKEN"  # noqa: S105  # a name
"""Environment variable with the token of a service account that may write dashboards."""

TIMEOUT_S = 30.0
_HINTS = {
    401: f"The token in {TOKEN} is not valid here.",
    403: "The service account of the token may not write dashboards there: give it the role Editor.",
    404: "Is the address that of a Grafana, its path included?",
    412: "A dashboard of that name or uid is managed otherwise: by provisioning, or in another folder.",
}


class GrafanaRefused(LocustOtelError):  # noqa: N818
    """Grafana did not take a dashboard."""


def add_to(commands: Any) -> None:
    """Add the command."""
    dashboards = commands.add_parser(
        "dashboards",
        help="copy the Grafana dashboards out, or import them into a Grafana",
        description="Copy the Grafana dashboards into a folder, or import them into a Grafana, with the token of a "
        "service account in the environment variable GRAFANA_TOKEN.",
    )
    where = dashboards.add_mutually_exclusive_group(required=True)
    where.add_argument("-o", "--output", type=Path, metavar="DIR", help="copy the JSON files there")
    where.add_argument("--grafana", metavar="URL", help="import them there, replacing those of before")
    dashboards.add_argument("--folder", default="", metavar="UID", help="uid of Grafana's folder for them")
    dashboards.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Copy or import them."""
    for place in copy_to(options.output) if options.output else import_into(options.grafana, options.folder):
        print(place)  # noqa: T201
    return ExitCode.OK


def files() -> list[Path]:
    """Return the JSON files: in an installed package beside this module, in a checkout in their own folder."""
    installed = Path(__file__).with_name("json")
    folder = installed if installed.is_dir() else Path(__file__).parents[3] / "dashboards"
    return sorted(folder.glob("*.json"))


def copy_to(folder: Path) -> list[Path]:
    """Copy the dashboards into a folder, which is made where there is none, and return the copies.

    Raises:
        ConfigurationError: Nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in files():
            (folder / file.name).write_bytes(file.read_bytes())
    except OSError as error:
        found, remedy = f"{folder}: {error.strerror}.", "Name a folder that can be written to."
        raise ConfigurationError("--output", found, remedy, slug="dashboards-output") from None
    return [folder / file.name for file in files()]


def import_into(url: str, folder_uid: str = "") -> list[str]:
    """Create or replace the dashboards in a Grafana, and return their addresses there.

    Without a folder they go to the one of Grafana's own choice.

    Raises:
        ConfigurationError: The URL is none, or `TOKEN` holds no token; nothing has been sent.
        GrafanaRefused: Grafana is not there or refuses; those sent before are imported.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        found = f"{url!r} is not the address of a Grafana."
        raise ConfigurationError("--grafana", found, "Write http://localhost:3000.", slug="grafana-url")
    if parts.username or parts.password:
        found = "has a user name or a password in it."
        raise ConfigurationError("--grafana", found, f"Put a token into {TOKEN}.", slug="grafana-secret-in-url")
    token = os.environ.get(TOKEN, "").strip()
    if not token:
        found, remedy = "is not set.", "Put the token of a service account with the role Editor there."
        raise ConfigurationError(TOKEN, found, remedy, slug="grafana-token-missing")
    if not token.isascii() or not token.isprintable():
        found = "is no token: it holds characters a header cannot have."
        raise ConfigurationError(TOKEN, found, "Copy it again.", slug="grafana-token")
    base = url.rstrip("/")
    addresses = []
    for file in files():
        body: dict[str, Any] = {"dashboard": json.loads(file.read_text(encoding="utf-8")), "overwrite": True}
        if folder_uid:
            body["folderUid"] = folder_uid
        answer = _post(f"{base}/api/dashboards/db", body, token)
        addresses.append(f"{parts.scheme}://{parts.netloc}{answer['url']}")
    return addresses


def _post(url: str, body: Mapping[str, Any], token: str) -> Mapping[str, Any]:
    """Send a dashboard, and return what Grafana says of it, with a `url`."""
    from locust_otel.core import web  # noqa: PLC0415  # no other command needs it

    title = body["dashboard"]["title"]
    try:
        reply = web.send(url, json.dumps(body).encode(), authorization=f"Bearer {token}", timeout_s=TIMEOUT_S)
    except web.UnreachableError as error:
        raise GrafanaRefused(f"{title}: nobody to talk to at {url}: {error.cause}. (grafana-unreachable)") from None
    try:
        answer = web.decoded(reply.body)
    except ValueError:
        answer = reply.body
    if not reply.is_success:
        is_message = isinstance(answer, dict) and "message" in answer
        message = str(answer["message"] if is_message else reply.body.decode(errors="replace"))
        said = " ".join(message.split())[:200].rstrip(".") or "nothing more"
        parts = (f"{title}: Grafana at {url} answers {reply.status}: {said}.", _HINTS.get(reply.status, ""))
        raise GrafanaRefused(f"{' '.join(filter(None, parts))} (grafana-refused)")
    if not isinstance(answer, dict) or not isinstance(answer.get("url"), str):
        lack = "no JSON" if answer is reply.body else "no url in it"
        raise GrafanaRefused(f"{title}: what answers at {url} is not Grafana: {lack}. (grafana-answer)")
    return answer
