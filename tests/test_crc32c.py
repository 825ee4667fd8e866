"""CRC-32C against the published vectors, on each path."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoview.kernels import crc32c, crc32c_paths

# RFC 3720, appendix B.4, and the check value of the CRC catalogue.
KNOWN = [
    (b"123456789", 0xE3069283),
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(reversed(range(32))), 0x113FDB5C),
    (b"", 0),
]


@pytest.mark.parametrize("path", crc32c_paths())
@pytest.mark.parametrize(("data", "expected"), KNOWN)
def test_every_path_gives_the_published_values(path: str, data: bytes, expected: int) -> None:
    assert crc32c(data, path=path) == expected


@given(st.binary(max_size=200), st.integers(0, 2**32 - 1))
def test_all_paths_agree_for_any_data_and_start(data: bytes, value: int) -> None:
    assert len({crc32c(data, value, path=path) for path in ("auto", *crc32c_paths())}) == 1


@given(st.binary(max_size=200), st.integers(0, 200))
def test_parts_chain_to_the_checksum_of_the_whole(data: bytes, cut: int) -> None:
    assert crc32c(data[cut:], crc32c(data[:cut])) == crc32c(data)


def test_any_bytes_like_object_is_taken_without_a_copy() -> None:
    data = array("H", range(1000))
    assert crc32c(data) == crc32c(memoryview(data)) == crc32c(bytearray(data.tobytes())) == crc32c(data.tobytes())


def test_an_unknown_path_is_refused_with_the_known_ones_named() -> None:
    with pytest.raises(ValueError, match=r"path is 'sse9'.*'auto', 'table'"):
        crc32c(b"", path="sse9")


@pytest.mark.parametrize("value", [-1, 2**32])
def test_a_start_value_beyond_32_bits_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match=rf"value is {value}"):
        crc32c(b"", value)


def test_an_object_without_bytes_is_refused_by_type() -> None:
    with pytest.raises(TypeError, match="str"):
        crc32c("text")  # type: ignore[arg-type]
