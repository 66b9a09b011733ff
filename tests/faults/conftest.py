"""The fixtures that play the scenarios of a module, as for the end-to-end tests."""

from tests.e2e.conftest import outcome, stages  # noqa: F401
