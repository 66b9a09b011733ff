"""The scenarios of a module are played beside each other, as for the end-to-end tests."""

from tests.e2e.conftest import outcome, stages  # noqa: F401
