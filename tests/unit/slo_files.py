"""SLO files for tests: valid files with their values, and broken files.

A seeded `Random` makes them: to draw each part by hypothesis takes ten times as long.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from decimal import Decimal
from random import Random
from typing import Any

import yaml
from hypothesis import strategies as st

MINIMAL = "service: shop\nobjectives:\n  availability: {sli: success, target: 99%}\n"
"""The shortest valid file."""

RUBBISH: tuple[object, ...] = (
    None, True, False, 0, -1, 1, 7, 99, 1e9, 10**30, -0.5, 0.5, 1.5, float("nan"), float("inf"), "", " ", "0", "0s",
    "-5s", "5", "5 parsecs", "1h30", "99.99999999%", "100%", "0%", "%", "99 percent", "101%", "5000d", "0.1ms", "1:30",
    "é", "٩٩%", "🦗", "x" * 2_000, "\n", "\x00", "a: b", "{{ x }}", "{found}", "%s", "success", "latency", "mean",
    "critical", [], {}, [None], [[]], [{}], ["", "a"], {"a": "b"}, {"": ""}, {"sli": "success", "target": "99%"},
)  # fmt: skip
"""Values that fit almost nowhere, and values that fit elsewhere."""

_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1))
_ODD_BYTES = (
    b"\t", b": ", b"&a ", b"*a", b"!!x ", b"\n---\n", b"\xff", b"\x00", b'"\\ud800"', b'"\\UFFFFFFFF"', b"[" * 10,
    b"- ",
)  # fmt: skip
Written = dict[str, Any]


def name(random: Random) -> str:
    """Return a valid name of an objective."""
    middle = "".join(random.choices("abcXYZ019._ -", k=random.randint(0, 20)))
    return random.choice("abcXYZ019") + (middle + random.choice("abcXYZ019") if middle else "")


def text(random: Random) -> str:
    """Return the name of a request, with any characters of YAML."""
    return "".join(random.choices("/ab 09:#{}[]&*!%'\"\\-?,|>@`é日🦗~=", k=random.randint(1, 30))).strip() or "/"


def time(random: Random, milliseconds: int) -> str:
    """Return a time in one of its forms."""
    style = random.choice(["parts", "spaced", "ms", "seconds"])
    if style == "ms":
        return f"{milliseconds}ms"
    if style == "seconds":
        return f"{milliseconds // 1000}.{milliseconds % 1000:03d}{random.choice(['', ' '])}s"
    parts, left = [], milliseconds
    for unit, length in _UNITS:
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count}{unit}")
    return (" " if style == "spaced" else "").join(parts) or "0s"


def ratio(random: Random, highest: int) -> tuple[str | float, Decimal]:
    """Return a ratio of at most `highest` millionths, in percent or plain, and its value."""
    millionths = random.choice([random.randint(1, highest), min(highest, random.choice([10_000, 500_000, 990_000]))])
    value = Decimal(millionths) / 1_000_000
    # A float where YAML makes one of the same digits.
    if random.random() < 0.5 and str(float(value)) == f"{value:f}":
        return float(value), value
    return f"{millionths // 10_000}.{millionths % 10_000:04d}{random.choice(['', ' '])}%", value


def _objective(random: Random) -> tuple[Written, Written]:
    sli = random.choice(["success", "latency", "mean"])
    written: Written = {"sli": sli}
    meant: Written = {"sli": sli, "target": None, "within": None, "only": False, "match": {}}
    if sli != "mean":
        written["target"], meant["target"] = ratio(random, 999_999)
    if sli != "success":
        milliseconds = random.randint(1, 600_000)
        written["within"], meant["within"] = time(random, milliseconds), Decimal(milliseconds) / 1000
        if random.random() < 0.5:
            written["only"], meant["only"] = "success", True
    if random.random() < 0.5:
        for key in random.sample(["name", "method", "user_class"], random.randint(1, 3)):
            texts = [text(random) for _ in range(random.randint(1, 3))]
            written.setdefault("match", {})[key] = texts if len(texts) > 1 or random.random() < 0.5 else texts[0]
            meant["match"][key] = tuple(dict.fromkeys(texts))
    return written, meant


def _windows(random: Random, scrape_ms: int, period_s: int, lowest: Decimal | None) -> list[tuple[Written, Any]]:
    shortest_s = -(-scrape_ms * 4 // 1000)
    pairs = []
    for long_s in {random.randint(shortest_s + 1, period_s) for _ in range(random.randint(1, 3))}:
        short_s = random.randint(shortest_s, long_s - 1)
        # All requests bad burn at 1 / (1 - target), which the factor must stay below.
        reachable = Decimal(1) if lowest is None else 1 / (1 - lowest) * long_s / period_s
        budget, value = ratio(random, max(1, min(1_000_000, int(reachable * 990_000))))
        severity = random.choice(["critical", "warning"])
        written = {"severity": severity, "long": f"{long_s}s", "short": f"{short_s}s", "budget": budget}
        pairs.append((written, (severity, Decimal(long_s), Decimal(short_s), value)))
    return pairs


def valid_file(random: Random) -> tuple[Written, Written]:
    """Return a valid file, and its values after parsing."""
    scrape_ms = random.choice([5000, 15000, random.randint(1, 60_000)])
    period_s = random.choice([1800, 14400, 604_800, -(-scrape_ms * 8 // 1000) + random.randint(1, 2_000_000)])
    milliseconds = {
        "period": period_s * 1000,
        "scrape_interval": scrape_ms,
        "warmup": random.choice([0, random.randrange(period_s * 1000)]),
        "slow_request": random.randint(1, 100_000),
    }
    both = {name(random): _objective(random) for _ in range(random.randint(1, 5))}
    written: Written = {key: time(random, value) for key, value in milliseconds.items()}
    meant: Written = {key: Decimal(value) / 1000 for key, value in milliseconds.items()}
    written["service"] = meant["service"] = name(random)
    written["min_requests"] = meant["min_requests"] = random.choice([1, 100, random.randint(1, 10**9)])
    written["objectives"] = {key: text for key, (text, _) in both.items()}
    meant["objectives"] = {key: values for key, (_, values) in both.items()}
    meant["windows"] = None
    if random.random() < 0.5:
        targets = [values["target"] for _, values in both.values() if values["target"] is not None]
        pairs = _windows(random, scrape_ms, period_s, min(targets, default=None))
        written["windows"], meant["windows"] = [text for text, _ in pairs], [values for _, values in pairs]
    keys = list(written)
    random.shuffle(keys)
    return {key: written[key] for key in keys}, meant


class _Plain(yaml.SafeDumper):
    """Dumper without anchors."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  # of the base class
        return True


def dumped(values: object) -> bytes:
    """Return values as YAML without anchors."""
    return yaml.dump(values, Dumper=_Plain, allow_unicode=True, sort_keys=False).encode()


def _places(values: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the places of all nested values."""
    items = values.items() if isinstance(values, Mapping) else enumerate(values) if isinstance(values, list) else ()
    return [place for key, value in items for place in ((*path, key), *_places(value, (*path, key)))]


def mutated_file(random: Random) -> Written:
    """Return a valid file with values replaced, renamed, removed, wrapped or copied."""
    values = valid_file(random)[0]
    for _ in range(random.randint(1, 3)):
        if not (places := _places(values)):
            break
        *around, key = random.choice(places)
        parent: Any = values
        for step in around:
            parent = parent[step]
        match random.choice(["replace", "replace", "rename", "remove", "wrap", "copy"]):
            case "rename" if isinstance(parent, dict):
                new = random.choice(["", "?", "x", "a.b", "Service", "targt", "match", text(random)])
                parent[new] = parent.pop(key)
            case "remove":
                del parent[key]
            case "wrap":
                parent[key] = random.choice([[parent[key]], {"x": parent[key]}])
            case "copy" if isinstance(parent, dict):
                parent["again"] = copy.deepcopy(parent[key])
            case _:
                parent[key] = copy.deepcopy(random.choice(RUBBISH))
    return values


def broken_file(random: Random) -> bytes:
    """Return the bytes of a file with changed values, bytes or lines."""
    data = bytearray(dumped(mutated_file(random) if random.random() < 0.6 else valid_file(random)[0]))
    for _ in range(random.randint(0, 3)):
        at = random.randrange(len(data) + 1)
        match random.choice(["flip", "cut", "insert", "line"]):
            case "flip" if at < len(data):
                data[at] ^= 1 << random.randrange(8)
            case "cut":
                del data[at : at + random.randint(1, 20)]
            case "insert":
                data[at:at] = random.choice(_ODD_BYTES)
            case _:  # duplicate or remove a line
                lines = data.splitlines(keepends=True)
                if lines:
                    number = random.randrange(len(lines))
                    lines[number : number + 1] = [lines[number]] * random.choice([0, 2])
                    data = bytearray(b"".join(lines))
    return bytes(data)


_RANDOMS = st.integers(0, 2**64 - 1).map(Random)
VALID = _RANDOMS.map(valid_file)
"""Valid files, each with its values after parsing."""

MUTATED = _RANDOMS.map(mutated_file)
"""Files as values, most of them broken."""

BROKEN = _RANDOMS.map(broken_file)
"""Files as bytes, most of them broken."""
