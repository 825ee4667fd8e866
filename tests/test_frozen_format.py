"""The format is frozen: golden files never change, and there is none that nobody watches."""

from __future__ import annotations

import hashlib
import json
import runpy
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest

from duoview import BitstreamError
from duoview.access_unit import AccessUnit, Section, SectionType, parse, parse_header, serialize
from duoview.kernels import crc32c

MAKE = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "golden" / "make_frozen.py")))
FROZEN: dict[str, str] = json.loads(MAKE.LIST.read_text())


@pytest.mark.parametrize("name", sorted(FROZEN))
def test_a_golden_file_has_the_bytes_that_were_frozen(name: str) -> None:
    path = MAKE.HERE / name
    assert path.is_file(), "a golden file is gone: later versions have to read what this one wrote"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == FROZEN[name], (
        "a golden file has other bytes: the format is frozen, see docs/bitstream.md")


def test_every_golden_file_is_in_the_list() -> None:
    assert {path.name for path in MAKE.golden_files()} == set(FROZEN)


def test_the_list_is_not_written_anew_over_a_file_that_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HERE", "LIST"):
        monkeypatch.setitem(MAKE.main.__globals__, name, tmp_path if name == "HERE" else tmp_path / "frozen.json")
    (tmp_path / "a.bin").write_bytes(b"1")
    MAKE.main()
    (tmp_path / "b.bin").write_bytes(b"2")
    MAKE.main()
    assert set(json.loads((tmp_path / "frozen.json").read_text())) == {"a.bin", "b.bin"}
    (tmp_path / "a.bin").write_bytes(b"3")
    with pytest.raises(ValueError, match=r"a\.bin: the format is frozen"):
        MAKE.main()


def unit(*sections: Section) -> AccessUnit:
    machine = Section(SectionType.MACHINE, None, b"\1")
    return AccessUnit(False, None, 1, 0, None, (machine, *sections))


def test_unknown_sections_below_128_are_kept_and_those_from_128_on_refused() -> None:
    kept = parse(serialize(unit(Section(99, None, b"private"), Section(50, None, b"of a later version"))))
    assert [section.type for section in kept.sections] == [SectionType.MACHINE, 99, 50]
    data = bytearray(serialize(unit(Section(99, None, b"required"))))
    end = parse_header(bytes(data)).entries[0].offset - 4
    data[data.index(99)] = 128
    data[end:end + 4] = struct.pack("<I", crc32c(bytes(data[:end])))
    with pytest.raises(BitstreamError, match="128"):
        parse(bytes(data))


def test_another_version_is_refused_by_name() -> None:
    data = bytearray(serialize(unit(Section(99, None, b"private"))))
    assert data[:2] == b"\xd5\x02"
    data[1] = 3
    with pytest.raises(BitstreamError, match="version 3"):
        parse(bytes(data))
