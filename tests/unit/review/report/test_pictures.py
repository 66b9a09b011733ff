"""Tests of the pictures: which ones a run has, their captions, and SVG that a page can hold."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from locust_otel.review.analysis.analyze import analyze
from locust_otel.review.analysis.timeline import Timeline
from locust_otel.review.record.reader import load
from locust_otel.review.report.pictures import Picture, pictures
from locust_otel.slo.file import parse
from locust_otel.wire.record import Mark
from tests.unit.tapes import SLO_TEXT, small
from tests.unit.timelines import capped, flat, made, stairs

RUN = made(stairs(480), {"/a": capped, "/b": capped}, marks=(Mark(30.0, "m", "fault"),))


def drawn(folder: Path, timeline: Timeline, baseline: Timeline | None = None) -> dict[str, Picture]:
    """Return the pictures of a run by slug, with the objectives of a record."""
    record = load(small(folder, parse(SLO_TEXT.encode(), "slo.yaml")).path)
    return {picture.slug: picture for picture in pictures(record, timeline, analyze(timeline), baseline)}


def test_svg(tmp_path: Path) -> None:
    """Each picture is one SVG element with a text alternative, colours of the page, and ids of its own."""
    timeline = replace(RUN, slo=parse(SLO_TEXT.encode(), "slo.yaml"))
    all_pictures = drawn(tmp_path, timeline, RUN)
    assert list(all_pictures) == ["time", "compared", "load", "heat", "budget", "generator"]
    for slug, picture in all_pictures.items():
        root = ET.fromstring(picture.markup)  # noqa: S314
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        title, description = (root.find(f"{{*}}{tag}") for tag in ("title", "desc"))
        assert title is not None
        assert description is not None
        assert description.text == picture.caption
        assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
        assert all(element.get("id", slug).startswith(slug) for element in root.iter())
        assert all(name.startswith(f"{slug}-") for name in re.findall(r'(?:href="#|url\(#)([^")]+)', picture.markup))
        assert "currentColor" in picture.markup
        assert not re.search("#01020[34]", picture.markup)
    assert "objective 300 ms" in all_pictures["time"].markup


def test_captions(tmp_path: Path) -> None:
    """Captions have the figures of the run."""
    all_pictures = drawn(tmp_path, replace(RUN, keeps_up=np.arange(360) < 350), made(stairs(480), {"/a": flat()}))
    assert re.search(r"throughput up to 1\d\d requests per second with up to 480 users", all_pictures["time"].caption)
    assert re.search(r"The knee is at (29|30|31)\d users; the capacity is (9\d|10\d)", all_pictures["load"].caption)
    assert re.search(r"works \d+ %, fast \d+ %; 100 % is the whole budget", all_pictures["budget"].caption)
    assert "behind in 3% of the run" in all_pictures["generator"].caption
    assert "up to 2." in all_pictures["compared"].caption


@pytest.mark.parametrize(("seconds", "slugs"), [(1, []), (5, ["time", "heat", "budget", "generator"]), (0, [])])
def test_short_runs(tmp_path: Path, seconds: int, slugs: list[str]) -> None:
    """A run of few intervals has no picture of its load, and a run of one interval has no picture."""
    assert list(drawn(tmp_path, made(np.full(seconds, 50.0), {"/a": flat()}))) == slugs


def test_constant_latency(tmp_path: Path) -> None:
    """The caption says that latency does not depend on the load, and that the generator was never behind."""
    all_pictures = drawn(tmp_path, made(stairs(300), {"/a": flat(), "/b": flat(0.02)}))
    assert all_pictures["load"].caption.endswith("Latency does not depend on the load.")
    assert "never behind" in all_pictures["generator"].caption
