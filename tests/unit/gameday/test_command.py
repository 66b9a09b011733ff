"""Tests of the flags of `locust-otel gameday`."""

from __future__ import annotations

import pytest

from locust_otel import cli
from locust_otel.gameday import scoreboard
from locust_otel.gameday.command import GAMEDAY_FORMATS


def test_the_choices_are_the_formats() -> None:
    """The flag's choices, which are read before the formats are loaded, are those of the scoreboard."""
    assert set(GAMEDAY_FORMATS) == set(scoreboard.FORMATS)


def test_modes_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    """The parser refuses --undo with --score-only, with exit code 2."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["gameday", "day.yaml", "--undo", "--score-only"])
    assert ended.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err
