"""Tests of the public names of the package."""

from __future__ import annotations

from importlib import import_module

import pytest

import locust_otel


def test_unknown_names() -> None:
    """An unknown name is an AttributeError."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        locust_otel.nothing  # noqa: B018


def test_public_names() -> None:
    """Each name of `__all__` is the object of that name in its module, and is listed by `dir`."""
    for name in locust_otel.__all__:
        public = getattr(locust_otel, name)
        assert public is getattr(import_module(public.__module__), name)
        assert name in dir(locust_otel)
