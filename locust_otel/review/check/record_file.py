"""Source for a run record: objectives are judged as in the run itself, with its warm-up and its late generator."""

from __future__ import annotations

from locust_otel.core.errors import ConfigurationError
from locust_otel.review.check.assessments import Assessments, Source, exactly, undecided
from locust_otel.review.record.reader import Record, load
from locust_otel.review.record.rejudge import results
from locust_otel.slo.objectives import Slo
from locust_otel.wire.record import RecordError


def own_slo(path: str) -> Slo:
    """Return the SLO file of the recorded run.

    Raises:
        ConfigurationError: The run had no SLO file, or the file cannot be read, or it is not a record.
    """
    slo = _record(path, "RECORD").slo
    if slo is None:
        raise ConfigurationError("RECORD", "The run had no --slo.", "Add --slo FILE.", slug="check-record-slo")
    return slo


def _record(path: str, flag: str) -> Record:
    try:
        return load(path)
    except RecordError as error:
        remedy = "Name a file that --run-record wrote, RUN_ID.jsonl.gz."
        raise ConfigurationError(flag, f"{error}", remedy, slug="check-record") from None


def source(path: str, flag: str = "RECORD") -> Source:
    """Return the source for a record.

    Raises:
        ConfigurationError: The file cannot be read, or it is not a record.
    """
    record = _record(path, flag)

    def assessments(slo: Slo) -> Assessments:
        if record.end is None or record.end.state == "lost":
            why = "not decidable: Locust ended before it stopped the run, or the record was cut off"
            return Assessments(path, tuple(undecided(objective, why) for objective in slo.objectives))
        judged = results(record, None if slo == record.slo else slo)
        return Assessments(path, tuple(map(exactly, judged)), is_aborted=record.is_aborted)

    return assessments
