"""Load shapes that show how a service degrades: steps, ramp, spike and soak, for any user class.

Load this file together with a locustfile, and choose a shape by the environment variable SHAPE. Without it Locust takes
the steps; with the web UI's `--class-picker` you can choose. `locust-otel analyze` then names the pattern of the run:

    SHAPE=steps SHAPE_USERS=400 SHAPE_TIME=360 locust-otel run --headless --run-record runs \
        -f locustfiles/webshop.py,locustfiles/shapes.py
    locust-otel analyze runs/RUN_ID.jsonl.gz

*Steps* separate a growth with the load from a cliff, and stalls and leaks from both. *Ramp* finds the knee in less
time, but cannot separate a leak from a growth. *Spike* shows how the service recovers. *Soak* shows leaks.
"""

import os

from locust import LoadTestShape

USERS = int(os.environ.get("SHAPE_USERS", "200"))  # highest number
TIME_S = float(os.environ.get("SHAPE_TIME", "320"))  # length of the run
CHOSEN = os.environ.get("SHAPE", "").lower()
STEPS = 8
RATE = min(100, USERS)  # new users a second: Locust warns above


class Steps(LoadTestShape):
    """Eight equal steps, each long enough to settle and to be measured; the last one lasts twice as long."""

    def tick(self) -> tuple[int, float] | None:
        """Return users and spawn rate; None ends the run."""
        step = int(_gone(self) * (STEPS + 1))
        return None if step > STEPS else (_share((min(step, STEPS - 1) + 1) / STEPS), RATE)


class Ramp(LoadTestShape):
    """More users with every second for nine tenths of the time, then all users."""

    def tick(self) -> tuple[int, float] | None:
        """Return users and spawn rate; None ends the run."""
        gone = _gone(self)
        return None if gone > 1 else (_share(min(1.0, gone / 0.9)), RATE)


class Spike(LoadTestShape):
    """A quarter of the users, then all of them for a fifth of the time, then a quarter again to recover."""

    def tick(self) -> tuple[int, float] | None:
        """Return users and spawn rate; None ends the run."""
        gone = _gone(self)
        return None if gone > 1 else (USERS if 0.4 <= gone < 0.6 else _share(0.25), RATE)


class Soak(LoadTestShape):
    """All users for the whole time."""

    def tick(self) -> tuple[int, float] | None:
        """Return users and spawn rate; None ends the run."""
        return None if _gone(self) > 1 else (USERS, max(1.0, USERS / 20))


SHAPES = {"steps": Steps, "ramp": Ramp, "spike": Spike, "soak": Soak}
if CHOSEN and CHOSEN not in SHAPES:
    raise ValueError(f"SHAPE={CHOSEN} is none of {', '.join(SHAPES)}.")
for name, shape in SHAPES.items():
    shape.abstract = CHOSEN not in ("", name)  # Locust offers only shapes that are not abstract


def _gone(run: LoadTestShape) -> float:
    seconds: float = run.get_run_time()
    return seconds / TIME_S


def _share(of_all: float) -> int:
    return max(1, round(USERS * of_all))
