"""Reader of SLO files: it reports all problems of a file at once, each with its line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

from locust_otel.core.documents import Document, Place, read
from locust_otel.core.shape import Problem, validated
from locust_otel.slo.burn import MIN_SCRAPES, default_windows
from locust_otel.slo.objectives import TOLERANCE, Match, Objective, Sli, Slo, Window, percent, span
from locust_otel.slo.schema import NEEDED, FileShape, MatchShape, ObjectiveShape, RequestsShape, WindowShape

_SLUG = "slo"
_PLACEHOLDERS = {"service": "x", "objectives": {"x": {"sli": "mean", "within": "1s"}}}
_WANTED = "Write service, period and objectives; see docs/slo-file.md."
_EXAMPLES = {"target": "99%", "within": "500ms"}


def load(path: str) -> Slo:
    """Read an SLO file.

    Raises:
        ConfigurationError: It cannot be used; `problems` has one error for each problem.
    """
    return parse(read(Path(path), path, _SLUG), path)


def parse(data: bytes, name: str) -> Slo:
    """Return the objectives of the content of an SLO file; errors name the file `name`.

    Raises:
        ConfigurationError: As in `load`.
    """
    document = Document(name, data, _SLUG)
    shape, left_out = validated(document, FileShape, _PLACEHOLDERS, _WANTED)
    for problem in _contradictions(shape, left_out):
        document.refuse(*problem)
    document.raise_problems()
    return _slo(shape, name, data)


def _contradictions(shape: FileShape, left_out: set[Place]) -> Iterator[Problem]:
    for objective in shape.objectives.values():
        if objective.place:
            yield from _objective_problems(objective)
    has_period = ("period",) not in left_out
    if has_period and ("warmup",) not in left_out and shape.warmup >= shape.period:
        found = f"A warm-up of {span(shape.warmup)} is not shorter than the period of {span(shape.period)}."
        yield ("warmup",), found, "Write a shorter warmup, or a longer period.", "warmup"
    if not has_period or ("scrape_interval",) in left_out:
        return
    shortest, interval = MIN_SCRAPES * shape.scrape_interval, span(shape.scrape_interval)
    if shape.period < 2 * shortest:
        found = f"A period of {span(shape.period)} is too short for windows of four scrapes of {interval}."
        remedy = f"Write {span(2 * shortest)} or more, or a shorter scrape_interval."
        yield ("period" if "period" in shape.model_fields_set else "scrape_interval",), found, remedy, "period-short"
    windows = shape.windows or []
    for index, window in enumerate(windows):
        problems = (*_length_problems(window, windows[:index], shape), *_unreachable(window, shape))
        for key, found, remedy, slug in problems:
            yield (*window.place, key), found, remedy, f"window-{slug}"


def _objective_problems(objective: ObjectiveShape) -> Iterator[Problem]:
    place, sli = objective.place, objective.sli
    needed, meaningless = NEEDED[sli]
    given = {key for key in ("target", "within", "only") if getattr(objective, key) is not None}
    for key in sorted(needed - given):
        found = f"An objective with sli: {sli} needs {key}."
        yield (*place, key), found, f"Add {key}: {_EXAMPLES[key]}.", "missing"
    for key in sorted(meaningless & given):
        found = f"{key} has no meaning with sli: {sli}."
        yield (*place, key), found, "Remove it, or choose another sli.", "contradiction"
    match = objective.match
    for keys, shape in (("match",), match), (("match", "not"), match and match.exclude):
        if shape is not None and not shape.model_fields_set:
            remedy = "Add name, method or user_class, or remove it."
            yield (*place, *keys), "This match has no key.", remedy, "match-empty"


_WindowProblems = Iterator[tuple[str, str, str, str]]
"""Key of the window, finding, remedy, and slug without `slo-window-`."""


def _length_problems(window: WindowShape, above: Sequence[WindowShape], shape: FileShape) -> _WindowProblems:
    shortest, interval = MIN_SCRAPES * shape.scrape_interval, span(shape.scrape_interval)
    long, short = span(window.long), span(window.short)
    for key, length in (("long", window.long), ("short", window.short)):
        if length < shortest:
            remedy = f"Write {span(shortest)} or more, or a shorter scrape_interval."
            yield key, f"{span(length)} holds fewer than four scrapes of {interval}.", remedy, "short"
    if window.short >= window.long:
        remedy = f"Write a twelfth to a quarter of it, {span(max(window.long // 4, shortest))}."
        yield "short", f"The short window of {short} is not shorter than the long one of {long}.", remedy, "order"
    if window.long > shape.period:
        found = f"{long} is longer than the period of {span(shape.period)}."
        yield "long", found, "Write a shorter window, or a longer period.", "long"
    if (window.severity, window.long) in {(other.severity, other.long) for other in above}:
        found = f"There is another {window.severity} pair of {long} above."
        yield "long", found, "Remove one of them.", "twice"


def _unreachable(window: WindowShape, shape: FileShape) -> _WindowProblems:
    factor = _window(window).factor(shape.period)
    for name, objective in shape.objectives.items():
        highest = None if objective.target is None else 1 / (1 - objective.target)
        if highest is not None and factor >= highest:
            bound = (window.long / shape.period * highest).quantize(Decimal("0.0001"))
            found = (
                f"{percent(window.budget)} of {span(shape.period)} in {span(window.long)} is a burn rate of "
                f"{float(factor):.4g}; with all requests bad, {name} burns at {float(highest):.4g}: "
                "the alert can never fire."
            )
            yield "budget", found, f"Write less than {percent(bound)}, or a longer window.", "unreachable"


def _slo(shape: FileShape, name: str, data: bytes) -> Slo:
    objectives = tuple(
        Objective(
            name=key,
            sli=Sli(objective.sli),
            target=objective.target,
            within_s=objective.within,
            match=Match() if objective.match is None else _match(objective.match),
            only_success=objective.only is not None,
        )
        for key, objective in shape.objectives.items()
    )
    if shape.windows is not None:
        windows = tuple(map(_window, shape.windows))
    else:
        targets = (objective.target for objective in objectives if objective.target is not None)
        windows = default_windows(shape.period, shape.scrape_interval, min(targets, default=None))
    return Slo(
        service=shape.service,
        period_s=shape.period,
        scrape_interval_s=shape.scrape_interval,
        warmup_s=shape.warmup,
        min_requests=shape.min_requests,
        slow_s=shape.slow_request,
        objectives=objectives,
        windows=windows,
        tolerance=TOLERANCE if shape.validity is None else shape.validity.tolerance,
        source=Path(name).name,
        text=data.decode("utf-8-sig"),
    )


def _match(shape: RequestsShape) -> Match:
    exclude = shape.exclude if isinstance(shape, MatchShape) else None
    return Match(
        methods=shape.method or (),
        names=shape.name or (),
        user_classes=shape.user_class or (),
        exclude=None if exclude is None else _match(exclude),
    )


def _window(shape: WindowShape) -> Window:
    return Window(shape.severity, shape.long, shape.short, shape.budget)
