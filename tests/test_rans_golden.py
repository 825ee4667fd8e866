"""The entropy coder's bytes are a promise: golden streams, committed with the script that made them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from duoview.kernels import rans

GOLDEN = Path(__file__).resolve().parent / "golden"


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_rans", GOLDEN / "make_rans.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_the_ones_streams_were_made_with() -> None:
    assert rans.tables_digest() == json.loads((GOLDEN / "rans.json").read_text())["tables"]


@pytest.mark.parametrize("path", rans.paths())
@pytest.mark.parametrize("lanes", rans.LANES)
@pytest.mark.parametrize("name", ["empty", "single", "small", "medium"])
def test_golden_streams_are_written_and_read_on_every_path(maker: ModuleType, name: str, lanes: int, path: str) -> None:
    symbols, classes = maker.mixed(maker.CASES[name])
    golden = (GOLDEN / f"rans_{name}_{lanes}.bin").read_bytes()
    assert rans.encode(symbols, classes, lanes=lanes, path=path) == golden
    decoder = rans.Decoder(golden, path=path)
    np.testing.assert_array_equal(decoder.decode(classes), symbols)
    decoder.finish()


@pytest.mark.parametrize("path", rans.paths())
@pytest.mark.parametrize("lanes", rans.LANES)
def test_golden_streams_of_several_chunks_are_written_and_read_on_every_path(
    maker: ModuleType, lanes: int, path: str
) -> None:
    symbols, classes = maker.mixed(maker.CASES["medium"])
    golden = (GOLDEN / f"rans_chunks_{lanes}.bin").read_bytes()
    assert rans.encode(symbols, classes, lanes=lanes, chunk=maker.CHUNK, threads=2, path=path) == golden
    decoder = rans.Decoder(golden, threads=2, path=path)
    np.testing.assert_array_equal(decoder.decode(classes), symbols)
    decoder.finish()


@pytest.mark.parametrize("path", rans.paths())
@pytest.mark.parametrize("name", ["escapes", "state_23", "state_30", "state_32"])
def test_golden_streams_of_every_escape_and_every_form_of_a_state_are_written_and_read(
    maker: ModuleType, name: str, path: str
) -> None:
    symbols, classes = maker.OTHERS[name]()
    golden = (GOLDEN / f"rans_{name}.bin").read_bytes()
    assert rans.encode(symbols, classes, lanes=1, path=path) == golden
    decoder = rans.Decoder(golden, path=path)
    np.testing.assert_array_equal(decoder.decode(classes), symbols)
    decoder.finish()


def test_the_golden_states_have_the_three_forms_there_are() -> None:
    first = [(GOLDEN / f"rans_state_{bits}.bin").read_bytes()[0] >> 6 for bits in (23, 30, 32)]
    assert first[0] in (0, 1) and first[1:] == [2, 3]
