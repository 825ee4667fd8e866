"""The ledger of `bench accuracy`: what is in it comes back, a cut line is dropped, versions keep results apart."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

BENCH = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("accuracy_bench.py"))))
ledger = BENCH.module("bench.accuracy.ledger")


def test_what_was_added_is_there_in_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "new" / "ledger.jsonl"
    one, other = BENCH.verdict(), BENCH.verdict(ap75=None, judge="crossroad")
    with ledger.Ledger(path) as book:
        book.add(one)
        book.add(ledger.Size("c", "x", "v", 30, 1234))
        book.add(other)
    with ledger.Ledger(path) as book:
        assert list(book) == [one, other]
        assert book.size("c", "x", "v", 30) == 1234
        assert book.verdict("c", one.codec, "v", 30, "crossroad") == other


@pytest.mark.parametrize("change", [{"clip_sha256": "d"}, {"codec": "y"}, {"version": "w"}, {"quality": 31},
                                    {"judge_version": "z"}])
def test_another_clip_coder_version_quality_or_judge_is_not_known(tmp_path: Path, change: dict[str, object]) -> None:
    with ledger.Ledger(tmp_path / "a.jsonl") as book:
        book.add(BENCH.verdict())
        asked = replace(BENCH.verdict(), **change)
        assert book.verdict(asked.clip_sha256, asked.codec, asked.version, asked.quality, asked.judge_version) is None
        assert book.size("c", "x265-medium, key 2s", "v", 30) is None


def test_a_line_that_was_cut_off_is_dropped_and_written_again(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.jsonl"
    with ledger.Ledger(path) as book:
        book.add(BENCH.verdict(quality=30))
        book.add(BENCH.verdict(quality=31))
    path.write_bytes(path.read_bytes()[:-20])
    with ledger.Ledger(path) as book:
        assert [item.quality for item in book] == [30]
        book.add(BENCH.verdict(quality=32))
    with ledger.Ledger(path) as book:
        assert [item.quality for item in book] == [30, 32]
    assert "the last line was cut off" in capsys.readouterr().out


@pytest.mark.parametrize("line", ["{}", "[]", "text", '{"kind": "rumour"}', '{"kind": "size", "bytes": 1}',
                                  '{"kind": "verdict", "accuracy": {}}'])
def test_any_other_line_that_is_no_result_is_an_error_with_its_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.jsonl"
    with ledger.Ledger(path) as book:
        book.add(BENCH.verdict())
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ValueError, match=r"a\.jsonl, line 2: no result of this program .* move the file away"):
        ledger.Ledger(path)


def test_two_runs_cannot_write_one_ledger(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with ledger.Ledger(path), pytest.raises(BlockingIOError, match="another run is writing it"):
        ledger.Ledger(path)
    ledger.Ledger(path).close()
