"""Files that Locust wrote, read with a bound."""

from __future__ import annotations

from pathlib import Path

from locust_otel.core import documents
from locust_otel.core.errors import ConfigurationError

MAX_BYTES = 64 << 20
"""A run of 10,000 request names takes 3 MiB."""


def read(path: Path, where: str, slug: str) -> str:
    """Return the text of a file.

    Args:
        path: The file.
        where: The flag that named it.
        slug: What the slugs of errors begin with.

    Raises:
        ConfigurationError: It cannot be read, is larger than `MAX_BYTES`, or is not in UTF-8.
    """
    wanted, smaller = "Name a file that Locust wrote.", "Give requests with ids in their URLs one name."
    data = documents.read(path, where, slug, limit=MAX_BYTES, wanted=wanted, smaller=smaller)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(
            where, f"{str(path)!r} is not UTF-8.", "Run Locust with PYTHONUTF8=1.", slug=f"{slug}-encoding"
        ) from None


def found(given: str, ending: str) -> Path:
    """Return the file a name stands for, with the ending that Locust adds or without."""
    return Path(given if given.endswith(ending) else given + ending)
