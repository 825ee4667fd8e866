"""ADTS headers, and what MP4 wants to know instead."""

from __future__ import annotations

import pytest

from duoview.errors import ContainerFormatError
from duoview.pipelines.adts import low_complexity_config, without_header

LC_16000_MONO = bytes.fromhex("1408")
HEADER = bytes([0xFF, 0xF1, 0x60, 0x40, 0x01, 0x7F, 0xFC])  # AAC-LC, 16 kHz, mono, no check sum


def test_the_configuration_is_that_of_the_standard() -> None:
    assert low_complexity_config(16000, 1) == LC_16000_MONO
    assert low_complexity_config(44100, 2) == bytes.fromhex("1210")


def test_the_header_goes_and_the_frame_stays() -> None:
    assert without_header(HEADER + b"frame", LC_16000_MONO) == b"frame"
    checked = bytes([0xFF, 0xF0]) + HEADER[2:] + b"ab"
    assert without_header(checked + b"frame", LC_16000_MONO) == b"frame"
    assert without_header(b"frame without", LC_16000_MONO) == b"frame without"


def test_what_would_not_be_decodable_is_refused() -> None:
    with pytest.raises(ContainerFormatError, match="AAC with parameters 1408, not 1210"):
        without_header(HEADER + b"frame", low_complexity_config(44100, 2))
    with pytest.raises(ContainerFormatError, match="AAC of 12345 Hz and 1 channels"):
        low_complexity_config(12345, 1)
