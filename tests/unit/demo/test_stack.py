"""Tests of `locust-otel demo --stack` without its servers: configurations and ports."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from locust_otel.core.errors import ConfigurationError
from locust_otel.demo import stack


def test_the_shipped_configuration_is_used() -> None:
    """Only addresses and intervals differ from the files of `deploy/`."""
    prometheus = stack.prometheus_configuration("127.0.0.1:1", "127.0.0.1:2")
    assert prometheus["global"] == {"scrape_interval": "1s", "evaluation_interval": "1s"}
    assert prometheus["scrape_configs"] == [
        {
            "job_name": "locust",
            "always_scrape_classic_histograms": True,
            "static_configs": [{"targets": ["127.0.0.1:1"]}],
        }
    ]
    alertmanager = stack.alertmanager_configuration("127.0.0.1:3")
    hooks = [hook for receiver in alertmanager["receivers"] for hook in receiver.get("webhook_configs", ())]
    assert [hook["url"] for hook in hooks] == ["http://127.0.0.1:3/pages", "http://127.0.0.1:3/tickets"]
    assert alertmanager["inhibit_rules"]


@pytest.mark.parametrize("wanted", ["off", "0", "70000", "x"])
def test_a_stack_needs_a_port_to_scrape(wanted: str) -> None:
    """Off, 0 and other texts that are not ports are refused."""
    with pytest.raises(ConfigurationError, match="stack-port"):
        stack.metrics_port(wanted)


@pytest.mark.parametrize(("taken", "port"), [(set(), 9646), ({9646, 9647}, 9648)])
def test_the_first_free_port_is_taken(monkeypatch: pytest.MonkeyPatch, taken: set[int], port: int) -> None:
    """Without a port it is the first free one from 9646 up; a port of the user is kept."""

    def create_server(address: tuple[str, int]) -> object:
        if address[1] in taken:
            raise OSError("taken")
        return nullcontext()

    monkeypatch.setattr("locust_otel.demo.stack.socket.create_server", create_server)
    assert stack.metrics_port(None) == port
    assert stack.metrics_port("9700") == 9700
    taken |= set(range(9646, 9656))
    with pytest.raises(ConfigurationError, match="9646 to 9655 are taken"):
        stack.metrics_port(None)
