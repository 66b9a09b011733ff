"""All outputs, in the order in which they look at a run."""

from __future__ import annotations

from locust_otel.exporter.endpoint.output import Endpoint
from locust_otel.exporter.otlp.output import OtlpOutput
from locust_otel.exporter.output import Output
from locust_otel.exporter.page.page import Page
from locust_otel.exporter.record.output import RecordOutput
from locust_otel.exporter.session import Session
from locust_otel.exporter.watch import Watch


def outputs_of(session: Session) -> list[Output]:
    """Return the outputs: first who judges a run, then who writes down what was judged."""
    page = Page(session)
    return [Watch(session), RecordOutput(session), page, Endpoint(session, page), OtlpOutput(session)]
