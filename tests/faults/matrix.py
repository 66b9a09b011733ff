"""Play every fault, and write the figures into docs/reliability.md: `python -m tests.faults.matrix [PART-OF-A-NAME]`.

With a part of a name only the matching faults are played, and nothing is written.
"""

import locust  # noqa: F401, I001  # first of all: it patches sockets
import sys
import tempfile
from pathlib import Path

from gevent.pool import Pool

from tests.faults.bench import Figures, Fault, play
from tests.faults.judge import Judged, judge, table
from tests.faults.faults import EVERY, NONE

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
AT_ONCE = 3


def main(part: str) -> int:
    """Play, print, write; return the exit code."""
    chosen = [fault for fault in EVERY if part in fault.title]
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        numbers = iter(range(10_000))

        def once(fault: Fault) -> Figures:
            place = Path(folder, str(next(numbers)))
            place.mkdir()
            return play(fault, place)

        calm = once(NONE)

        def judged(fault: Fault) -> Judged:
            result = judge(fault, once(fault), calm)
            if result.times:  # a busy machine may miss a time once, but never a count
                result = result.better(judge(fault, once(fault), once(NONE)))
            print(f"{fault.title:50} {result.row} {' · '.join(result.misses)}", flush=True)
            if result.misses and part:
                print(result.figures.log[-2500:])
            return result

        results = Pool(AT_ONCE).map(judged, chosen)
    if not part:
        before, mark, rest = PAGE.read_text().partition("<!-- matrix -->\n")
        after = rest.partition("<!-- end of matrix -->")[2]
        PAGE.write_text(f"{before}{mark}\n{table(results, calm)}\n<!-- end of matrix -->{after}")
    missed = [result.fault.title for result in results if result.misses]
    print("missed:", ", ".join(missed) or "none")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:])))
