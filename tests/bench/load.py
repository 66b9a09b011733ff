"""The load of the bench: names, durations and events as in a real load test.

It sends no requests. Events have the arguments of Locust's `HttpUser`, and are fired in a user's greenlet, whose
`args[0]` is the user: a listener finds the user there.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import gevent
from locust import HttpUser
from locust.env import Environment
from locust.event import Events
from requests import PreparedRequest, Request, Response
from requests.exceptions import HTTPError

_METHODS = ("GET", "GET", "GET", "POST", "PUT")
_T = TypeVar("_T")

SAMPLED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
"""A `traceparent` whose trace is sampled."""


class Shopper(HttpUser):
    """The one user class of the bench."""

    host = "http://127.0.0.1"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Properties of the requests of one name.

    Attributes:
        median_ms: Median of their durations.
        response: Answer to a good request.
        failure: Answer to a failed one.
    """

    method: str
    name: str
    median_ms: float
    response: Response
    failure: Response

    def milliseconds(self, rng: random.Random) -> float:
        """Return a lognormal duration: one in a thousand takes five times the median."""
        return self.median_ms * rng.lognormvariate(0, 0.5)

    def event(self, rng: random.Random, **other: Any) -> dict[str, Any]:
        """Return the arguments of `request.fire`, in the order of Locust's HTTP client."""
        return {
            "request_type": self.method,
            "response_time": self.milliseconds(rng),
            "name": self.name,
            "context": {},
            "response": self.response,
            "exception": None,
            "start_time": 1.79e9 + rng.random(),
            "url": f"http://127.0.0.1{self.name}",
            "response_length": rng.randrange(200, 20_000),
        } | other

    def failed_event(self, rng: random.Random) -> dict[str, Any]:
        """Return the arguments of `request.fire` for an answer of 503."""
        return self.event(rng, response=self.failure, exception=HTTPError("503 Server Error", response=self.failure))


def endpoints(count: int, *, traceparent: str | None = None) -> list[Endpoint]:
    """Return endpoints with medians from 10 to 600 ms, always the same ones.

    Args:
        count: Number of endpoints.
        traceparent: Header of their requests.
    """
    rng = random.Random(count)
    result = []
    for number in range(count):
        method, name = _METHODS[number % len(_METHODS)], f"/api/v1/resources/{number:04}/items"
        median_ms = 10 * 60 ** rng.random()
        answers = [_response(method, name, status, traceparent) for status in (200, 503)]
        result.append(Endpoint(method, name, median_ms, *answers))
    return result


def environment() -> Environment:
    """Return an environment with its own events, without a runner."""
    return Environment(user_classes=[Shopper], events=Events())


def in_user(function: Callable[[], _T]) -> _T:
    """Call a function in the greenlet of a simulated user."""

    def task(user: HttpUser) -> _T:
        return function()

    user = Shopper(environment())  # type: ignore[no-untyped-call]  # Locust's
    result: _T = gevent.spawn(task, user).get()
    return result


def rotation(among: list[Endpoint], count: int, seed: int = 1, *, failing: int = 0) -> Iterator[dict[str, Any]]:
    """Yield events of all endpoints in turn.

    Args:
        among: The endpoints.
        count: Number of events.
        seed: Seed of the durations.
        failing: One in so many fails; 0 for none. For failures of every endpoint it must have no divisor in common with
            the number of endpoints.
    """
    rng = random.Random(seed)
    for number in range(count):
        endpoint = among[number % len(among)]
        yield endpoint.failed_event(rng) if failing and number % failing == 0 else endpoint.event(rng)


def _response(method: str, name: str, status: int, traceparent: str | None) -> Response:
    headers = {"traceparent": traceparent} if traceparent else {}
    request: PreparedRequest = Request(method, f"http://127.0.0.1{name}", headers=headers).prepare()
    request.headers.update({"User-Agent": "python-requests", "Accept": "*/*", "Connection": "keep-alive"})
    response = Response()
    response.status_code = status
    response.request = request
    return response
