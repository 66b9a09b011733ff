"""Tests of the file of a run record: full disks, removed files, and restarts of the exporter."""

from __future__ import annotations

import gzip
import os
import pickle
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from locust_otel.exporter.record.storage import RecordFile, Stored
from locust_otel.review.record.reader import load
from tests.unit.factories import Load, record
from tests.unit.tapes import FAILED, HOME, Tape, facts, small


def test_a_name_that_is_taken_is_left_alone(tmp_path: Path) -> None:
    """Another record of the same run id gets another name, and nothing is overwritten."""
    paths = [small(tmp_path).path for _ in range(3)]
    assert [path.name for path in paths] == ["run-1.jsonl.gz", "run-1.2.jsonl.gz", "run-1.3.jsonl.gz"]
    assert len({path.read_bytes() for path in paths}) == 1


@pytest.fixture
def limit() -> Iterator[Callable[[int | None], None]]:
    """Give a function that limits the size of files of this process, until the end of the test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def to(size: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))

    yield to
    to(None)


def test_a_full_disk_costs_nothing_once_there_is_room(tmp_path: Path, limit: Callable[[int | None], None]) -> None:
    """Bytes that could not be written are written later, and one long interval has the changes in between."""
    tape = Tape(tmp_path, Load(slow_s=5.0, max_names=10))
    record(tape.aggregate, HOME, [1, 2, 3])
    tape.interval(1.0)
    limit(tape.sizes[-1] + 10)
    record(tape.aggregate, HOME, [4, 5])
    with pytest.raises(OSError, match="too large"):
        tape.interval(2.0)
    assert tape.writer.written.stored.pending
    assert tape.path.stat().st_size == tape.sizes[-1] + 10
    assert len(load(tape.path).intervals) == 1
    with pytest.raises(OSError, match="too large"):
        tape.writer.file.write()
    limit(None)
    tape.writer.file.write()
    record(tape.aggregate, HOME, [6])
    tape.interval(5.0)
    tape.end()
    read = load(tape.path)
    assert read.is_complete
    assert [interval.end_s for interval in read.intervals] == [1.0, 2.0, 5.0]
    assert facts(read.requests()) == facts(tape.aggregate.snapshot())


def test_a_folder_that_vanishes_is_made_again(tmp_path: Path) -> None:
    """The new file has everything that was written before the folder was removed."""
    folder = tmp_path / "runs"
    tape = Tape(folder, Load(slow_s=5.0, max_names=10))
    record(tape.aggregate, HOME, [1])
    tape.interval(1.0)
    shutil.rmtree(folder)
    folder.write_text("in the way")
    record(tape.aggregate, HOME, [2])
    with pytest.raises(OSError, match="exists"):
        tape.interval(2.0)
    folder.unlink()
    tape.writer.file.write()
    record(tape.aggregate, FAILED, [2])
    tape.interval(3.0)
    tape.end()
    assert facts(load(tape.path).requests()) == facts(tape.aggregate.snapshot())
    assert len(load(tape.path).intervals) == 3


def resumed(path: Path, stored: Stored, *more: str) -> RecordFile:
    """Continue a file as a restarted exporter does, and write some more."""
    file = RecordFile(path.parent, "run-1", stored)
    assert file.resume()
    for lines in more:
        file.add(lines)
        file.write()
    return file


@pytest.mark.parametrize("written", [1, 2])
def test_another_process_continues_the_file(tmp_path: Path, written: int) -> None:
    """Bytes behind the checkpoint of a dead process are replaced, and gzip reads the whole file."""
    first = RecordFile(tmp_path, "run-1", Stored())
    for number in range(written):
        first.add(f"line {number}\n")
        first.write()
    kept = pickle.dumps(first.stored)
    first.add(f"{os.urandom(999).hex()}\n")  # longer than all that follows
    first.write()
    first.close()
    second = resumed(tmp_path / "run-1.jsonl.gz", pickle.loads(kept), "a\n", "b\n")  # noqa: S301  # our own
    second.close()
    kept = pickle.dumps(second.stored)
    third = resumed(tmp_path / "run-1.jsonl.gz", pickle.loads(kept), "c\n")  # noqa: S301  # our own
    third.end_member()
    third.write()
    third.close()
    (path,) = tmp_path.iterdir()
    assert gzip.decompress(path.read_bytes()).decode() == "".join(f"line {n}\n" for n in range(written)) + "a\nb\nc\n"


def test_a_file_that_is_not_as_it_was_left(tmp_path: Path) -> None:
    """A file cannot be continued if it is missing or too short, or if its folder is a file now."""
    first = RecordFile(tmp_path / "runs", "run-1", Stored())
    first.add("a\n")
    first.write()
    first.close()
    path = Path(first.stored.path)
    path.write_bytes(path.read_bytes()[:-1])
    assert not RecordFile(path.parent, "run-1", first.stored).resume()
    path.unlink()
    assert not RecordFile(path.parent, "run-1", first.stored).resume()
    path.parent.rmdir()
    path.parent.write_text("in the way")
    assert not RecordFile(path.parent, "run-1", first.stored).resume()
