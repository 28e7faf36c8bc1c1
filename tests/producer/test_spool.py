from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from producer import spool as spool_module
from producer.spool import Record, Spool, Trouble

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 2**30
RECORDS = [Record(f"u-{n}", b'{"n":%d}\n' % n) for n in range(100)]


def test_what_was_appended_is_read_back_after_a_restart(tmp_path: Path) -> None:
    with Spool(tmp_path, LIMIT) as spool:
        spool.append(RECORDS[:60])
        spool.append(RECORDS[60:])
        size = spool.size
    with Spool(tmp_path, LIMIT) as spool:
        assert [record for path in spool.segments() for record in spool.read(path)] == RECORDS
        assert spool.size == size > 0


def test_a_torn_tail_is_skipped_at_any_cut(tmp_path: Path) -> None:
    with Spool(tmp_path, LIMIT) as spool:
        spool.append(RECORDS)
        (segment,) = spool.segments()
        whole = segment.read_bytes()
        frame = len(whole) // 100
        for cut in range(len(whole) - 3 * frame, len(whole)):
            segment.write_bytes(whole[:cut])
            read = spool.read(segment)
            assert read == RECORDS[: len(read)]
            assert len(read) >= 96


def test_a_flipped_byte_is_found_and_the_rest_kept_for_a_person(tmp_path: Path) -> None:
    with Spool(tmp_path, LIMIT) as spool:
        spool.append(RECORDS)
        (segment,) = spool.segments()
        content = bytearray(segment.read_bytes())
        content[len(content) // 2] ^= 1
        segment.write_bytes(content)
        read = spool.read(segment)
        assert read == RECORDS[: len(read)]
        assert 40 < len(read) < 60
        kept = segment.with_suffix(".damaged").read_bytes()
        assert content.endswith(kept)
        assert RECORDS[-1].data in kept


def test_nothing_is_written_behind_an_old_segment(tmp_path: Path) -> None:
    with Spool(tmp_path, LIMIT) as spool:
        spool.append(RECORDS[:1])
    with Spool(tmp_path, LIMIT) as spool:
        before = spool.segments()[0].read_bytes()
        spool.append(RECORDS[1:2])
        first, second = spool.segments()
        assert first.read_bytes() == before
        assert spool.read(second) == RECORDS[1:2]


def test_segments_are_cut_and_removed_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES", 500)
    with Spool(tmp_path, LIMIT) as spool:
        for record in RECORDS:
            spool.append([record])
        segments = spool.segments()
        assert len(segments) > 3
        for segment in segments:
            spool.remove(segment)
        assert spool.size == 0
        assert spool.segments() == []


def test_a_record_is_on_the_disk_before_append_returns(tmp_path: Path) -> None:
    program = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from producer.spool import Record, Spool\n"
        f"spool = Spool(Path({str(tmp_path)!r}), 2**30)\n"
        "spool.append([Record('u', b'kept\\n')])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)
    with Spool(tmp_path, LIMIT) as spool:
        assert spool.read(spool.segments()[0]) == [Record("u", b"kept\n")]


def test_a_second_producer_does_not_share_a_spool(tmp_path: Path) -> None:
    in_use = pytest.raises(Trouble, match=r"another producer uses the spool .* --spool")
    with Spool(tmp_path, LIMIT), in_use:
        Spool(tmp_path, LIMIT)
    with Spool(tmp_path, LIMIT):
        pass


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Trouble, match="cannot be used"):
        Spool(tmp_path / "file", LIMIT)
