"""Windows as short as the interval at which the burn rates are looked at."""

from __future__ import annotations

from decimal import Decimal

from locust_otel.slo.burn import BurnRates
from locust_otel.slo.counts import Counts
from locust_otel.slo.objectives import Objective, Sli, Slo, Window


def test_a_window_of_one_look_still_has_a_rate() -> None:
    """Looks that come 1.01 s after each other know the rate over 1 s: what came since the look before."""
    objective = Objective("availability", Sli.SUCCESS, target=Decimal("0.9"))
    window = Window("critical", Decimal(4), Decimal(1), Decimal("0.2"))
    slo = Slo(
        service="shop",
        period_s=Decimal(30),
        scrape_interval_s=Decimal("0.25"),
        warmup_s=Decimal(0),
        min_requests=1,
        slow_s=Decimal(5),
        objectives=(objective,),
        windows=(window,),
    )
    rates = BurnRates(slo)
    for look in range(8):
        rates.add(look * 1.01, {"availability": Counts(good=40 * look, bad=10 * look)})
    assert rates.rate(objective, Decimal(1)) == 10 / 50 / 0.1
    (burning,) = rates.burning()
    assert (burning.short_rate, burning.long_rate, burning.factor) == (2.0, 2.0, 1.5)
