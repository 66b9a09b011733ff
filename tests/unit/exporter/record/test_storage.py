"""Tests of the file of a run record: what happens to it costs nothing that can be kept."""

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
    """Another record of the same run id gets a name of its own."""
    paths = [small(tmp_path).path for _ in range(3)]
    assert [path.name for path in paths] == ["run-1.jsonl.gz", "run-1.2.jsonl.gz", "run-1.3.jsonl.gz"]
    assert len({path.read_bytes() for path in paths}) == 1


@pytest.fixture
def limit() -> Iterator[Callable[[int | None], None]]:
    """Give what limits the size of files this process writes; the limit goes with the test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def to(size: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))

    yield to
    to(None)


def test_a_full_disk_costs_nothing_once_there_is_room(tmp_path: Path, limit: Callable[[int | None], None]) -> None:
    """What could not be written is written later, and what happened meanwhile is in one long interval."""
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
    """What was written before the folder was removed is in the new file too."""
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
    """Go on with a file as the process that took over does, and write some more."""
    file = RecordFile(path.parent, "run-1", stored)
    assert file.resume()
    for lines in more:
        file.add(lines)
        file.write()
    return file


@pytest.mark.parametrize("written", [1, 2])
def test_another_process_goes_on_with_the_file(tmp_path: Path, written: int) -> None:
    """Whatever a dead process had written after its checkpoint is replaced, and gzip reads the file as a whole."""
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


def test_what_could_not_be_written_is_not_lost_with_the_process(
    tmp_path: Path, limit: Callable[[int | None], None]
) -> None:
    """Bytes that wait for room are written by the process that takes over."""
    first = RecordFile(tmp_path, "run-1", Stored())
    first.add("a\n")
    first.write()
    limit(first.stored.offset + 3)
    first.add("b\n" * 99)
    with pytest.raises(OSError, match="too large"):
        first.write()
    first.close()
    limit(None)
    kept = pickle.dumps(first.stored)
    second = resumed(tmp_path / "run-1.jsonl.gz", pickle.loads(kept), "c\n")  # noqa: S301  # our own
    second.end_member()
    second.write()
    second.close()
    assert gzip.decompress((tmp_path / "run-1.jsonl.gz").read_bytes()).decode() == "a\n" + "b\n" * 99 + "c\n"


def test_a_file_that_is_not_as_it_was_left(tmp_path: Path) -> None:
    """A file that is gone, shorter or under a folder that is a file now is none to go on with."""
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
