"""The SLO file, read in a child process: the code that validates it takes 11 MiB and 0.1 s, and is used once."""

from __future__ import annotations

import os
import pickle
from functools import cache

from locust_otel.core.errors import ConfigurationError
from locust_otel.slo.objectives import Slo


@cache
def begin(path: object) -> tuple[int, int]:
    """Start a child that reads a file; return its process id, and the descriptor with its answer."""
    receiver, sender = os.pipe()
    child = os.fork()
    if not child:
        try:
            with open(sender, "wb") as file:
                pickle.dump(_loaded(str(path)), file)
        finally:
            os._exit(0)
    os.close(sender)
    return child, receiver


def read(path: object) -> Slo:
    """Return the objectives in a file, which a child may already be reading.

    Raises:
        ConfigurationError: The file cannot be used.
    """
    child, receiver = begin(path)
    with open(receiver, "rb") as file:
        slo: Slo | ConfigurationError = pickle.load(file)  # noqa: S301  # our own
    os.waitpid(child, 0)
    begin.cache_clear()
    if isinstance(slo, ConfigurationError):
        raise slo
    return slo


def _loaded(path: str) -> Slo | ConfigurationError:
    from locust_otel.slo.file import load  # noqa: PLC0415  # see above

    try:
        return load(path)
    except ConfigurationError as error:
        return error
