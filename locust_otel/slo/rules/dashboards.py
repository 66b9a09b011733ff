"""The Grafana dashboards: the JSON files this package ships, copied into a folder or imported over Grafana's HTTP API.

https://grafana.com/docs/grafana/latest/developers/http_api/dashboard/
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from locust_otel.core import web
from locust_otel.core.errors import ConfigurationError, LocustOtelError

TOKEN = "GRAFANA_TOKEN"  # noqa: S105  # the name of the environment variable that holds it
TIMEOUT_S = 30.0


class GrafanaRefused(LocustOtelError):  # noqa: N818
    """Grafana did not take a dashboard."""


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
    copies = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in files():
            copy = folder / file.name
            copy.write_bytes(file.read_bytes())
            copies.append(copy)
    except OSError as error:
        raise ConfigurationError(
            "--output",
            f"{folder}: {error.strerror}.",
            "Name a folder that can be written to.",
            slug="dashboards-output",
        ) from None
    return copies


def import_into(url: str, folder_uid: str = "", environment: Mapping[str, str] = os.environ) -> list[str]:
    """Create or replace the dashboards in a Grafana, and return their addresses there.

    Args:
        url: Where Grafana is, with its path where it has one.
        folder_uid: The folder they go to; empty for the one of Grafana's own choice.
        environment: Holds the token of a service account that may write dashboards, under `TOKEN`.

    Raises:
        ConfigurationError: The URL is none, or there is no token; nothing has been sent.
        GrafanaRefused: Grafana is not there or refuses; those sent before are imported.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        found = f"{url!r} is not the address of a Grafana."
        raise ConfigurationError("--grafana", found, "Write http://localhost:3000.", slug="grafana-url")
    if parts.username or parts.password:
        found = "has a user name or a password in it."
        raise ConfigurationError("--grafana", found, f"Put a token into {TOKEN}.", slug="grafana-secret-in-url")
    token = environment.get(TOKEN, "").strip()
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


_HINTS = {
    401: f"The token in {TOKEN} is not valid here.",
    403: "The service account of the token may not write dashboards there: give it the role Editor.",
    404: "Is the address that of a Grafana, its path included?",
    412: "A dashboard of that name or uid is managed otherwise: by provisioning, or in another folder.",
}


def _post(url: str, body: Mapping[str, Any], token: str) -> Mapping[str, Any]:
    title = body["dashboard"]["title"]
    request = urllib.request.Request(url, json.dumps(body).encode(), method="POST")  # noqa: S310  # http or https
    request.add_header("Content-Type", "application/json")
    request.add_header("Accept", "application/json")
    request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        with web.opener().open(request, timeout=TIMEOUT_S) as response:
            answer = json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            said = _message(error.read())
        hint = _HINTS.get(error.code, "")
        text = " ".join(part for part in (f"{title}: Grafana answers {error.code}: {said}.", hint) if part)
        raise GrafanaRefused(f"{text} (grafana-refused)") from None
    except ValueError:
        raise GrafanaRefused(f"{title}: what answers at {url} is not Grafana: no JSON. (grafana-answer)") from None
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise GrafanaRefused(f"{title}: nobody to talk to at {url}: {reason}. (grafana-unreachable)") from None
    if not isinstance(answer, dict) or not isinstance(answer.get("url"), str):
        raise GrafanaRefused(f"{title}: what answers at {url} is not Grafana: no url in it. (grafana-answer)")
    return answer


def _message(body: bytes) -> str:
    """Return what an error's body says, on one line."""
    try:
        message = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        message = body.decode(errors="replace")
    return " ".join(str(message).split())[:200].rstrip(".") or "nothing more"
