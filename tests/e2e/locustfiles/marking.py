"""Users that mark from their tasks; with TEST_LOGIN the web UI requires a login."""

import os
from typing import Any

from locust import HttpUser, constant, events, task

import locust_otel

locust_otel.register()


class Marking(HttpUser):
    """Fetches, and marks once."""

    wait_time = constant(0.1)
    fetched = 0

    @task
    def data(self) -> None:
        """Fetch, and mark after the tenth time."""
        self.client.get("/api/v1/data", headers={"X-API-Key": "demo-key"})
        self.fetched += 1
        if self.fetched == 10:
            assert locust_otel.mark("ten fetched", kind="note")


@events.init.add_listener  # type: ignore[untyped-decorator]  # it is not typed
def ask_for_a_login(environment: Any, **_: object) -> None:
    """Log in every visitor of /enter."""
    if not os.environ.get("TEST_LOGIN") or environment.web_ui is None:
        return
    from flask_login import UserMixin, login_user

    class Visitor(UserMixin):  # type: ignore[misc]  # it is not typed
        """A user of the web UI."""

        id = "visitor"

    web_ui = environment.web_ui
    web_ui.app.secret_key = "for a test"
    web_ui.login_manager.user_loader(lambda _: Visitor())

    @web_ui.app.route("/enter")  # type: ignore[untyped-decorator]  # it is not typed
    def enter() -> str:
        login_user(Visitor())
        return '<link rel="icon" href="data:,">in'  # a browser would request an icon
