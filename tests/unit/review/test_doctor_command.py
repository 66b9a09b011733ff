"""Tests of `locust-otel doctor`."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from locust_otel.cli import main
from locust_otel.core.catalogue import OTHER
from locust_otel.core.snapshot import SeriesKey
from locust_otel.review.doctor_command import explained
from locust_otel.slo.file import load
from tests.unit.check_files import slo
from tests.unit.factories import Load, record
from tests.unit.tapes import Tape

TOP = Path(__file__).parents[3]
SLO = load(str(TOP / "locustfiles/slo.yaml"))


def test_the_shipped_file_at_ten_requests_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    """The explanation is that of the golden file."""
    assert main(["doctor", "--slo", str(TOP / "locustfiles/slo.yaml"), "--expect-rps", "10"]) == 0
    assert capsys.readouterr().out == (TOP / "tests/golden/doctor.txt").read_text()


def test_every_number_in_it() -> None:
    """The numbers follow from the file: 30 min at 10 a second, 99 % and 95 %, 20 % in 2 min and 50 % in 10."""
    text = "\n".join(explained(SLO, Decimal(10)))
    requests = 30 * 60 * 10
    assert requests == 18_000
    assert f"about {requests:,} requests" in text
    assert f"takes {10 + 100 // 10} s from the start" in text  # the warm-up, and 100 requests
    for target, bad, may, rest in (("1 %", 0.01, "fail", "availability"), ("5 %", 0.05, "take longer", "latency-p95")):
        part = text.split(f"\n{rest}: ")[1].split("\n\n")[0]
        assert f"{target} of about 18,000 requests may {may}: {requests * bad:.0f} in 30 min." in part
        for severity, budget, long_s, window in (("critical", 0.2, 120, "2m"), ("warning", 0.5, 600, "10m")):
            factor = budget * 1800 / long_s  # 3 and 1.5
            share = factor * bad
            lines = part.splitlines()
            at = next(at for at, line in enumerate(lines) if f"The {severity} alert" in line)
            line, after = lines[at : at + 2]
            many = f"(about {share * long_s * 10:.0f} of {long_s * 10:,})"
            assert f"more than {share * 100:g} % of the requests {many}" in line
            assert f"over {window}, and more than {share * 100:g} % over" in line
            assert f"burns {factor:g} times as fast" in line
            assert f"it fires after {share * long_s:.1f} s" in after


def test_an_objective_with_a_match() -> None:
    """Of an objective that judges a part of the requests the shares are known, and not the numbers."""
    text = "\n".join(explained(slo("o: {sli: success, target: 99%, match: {name: /a}}"), Decimal(10)))
    assert "A run is judged from its first request on." in text
    assert "1 % of the requests that it judges may fail; that is its error budget." in text
    assert "requests (about" not in text


@pytest.mark.parametrize("rate", ["", "ten", "0", "-1", "nan", "inf", "1e10"])
def test_rates(rate: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A rate is a positive number of at most 1e9."""
    with pytest.raises(SystemExit):
        main(["doctor", f"--expect-rps={rate}"])
    assert f"{rate} is not a number of requests a second" in capsys.readouterr().err


def test_names_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names of a record that hold ids are listed; requests with folded names are counted."""
    requests = Load(slow_s=2.0, max_names=99)
    tape = Tape(tmp_path, requests)
    for number in range(5):
        record(requests, SeriesKey("GET", f"/items/{number}", "", "success"), [10])
    for name in ("/", OTHER):
        record(requests, SeriesKey("GET", name, "", "success"), [10])
    tape.interval(1.0)
    tape.end()
    assert main(["doctor", str(tape.path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "6 request names, of which 5 hold ids.",
        "  GET /items/0, /items/1, … look like one: /items/[id] (5 names)",
        'Give the calls name="…", or run with --group-names.',
        "1 requests of further names are counted as _OTHER.",
    ]


def test_without_a_file_it_says_what_is_installed(capsys: pytest.CaptureFixture[str]) -> None:
    """Without arguments there is a line for Python and for each package that a bug report needs."""
    assert main(["doctor"]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("Python 3.")
    assert [line.split(" ")[0] for line in rest] == [
        "locust-otel", "locust", "gevent", "uvicorn", "opentelemetry-sdk", "pydantic",
    ]  # fmt: skip
    assert all(line.split(" ")[1][0].isdigit() for line in rest)
