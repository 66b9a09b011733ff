"""The scenarios of a module are played beside each other; a test gets the outcome of its own."""

from collections.abc import Iterator
from typing import cast

import pytest

from tests.e2e.harness import Outcome, Scenario, Stages


@pytest.fixture(scope="module")
def stages(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stages]:
    """Play the scenarios that the selected tests of this module ask for, in their order."""
    asked: dict[Scenario, None] = {
        cast("Scenario", item.callspec.params["outcome"]): None
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.module is request.module
        and hasattr(item, "callspec")
        and "outcome" in item.callspec.params
    }
    yield from Stages(tmp_path_factory.mktemp).play(list(asked))


@pytest.fixture
def outcome(request: pytest.FixtureRequest, stages: Stages) -> Outcome:
    """Give the outcome of the scenario this test is parametrized with."""
    return stages.of(request.param)
