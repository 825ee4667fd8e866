"""Texts as the numbers of CLIP's text encoders (Radford et al., 2021): byte-pair encoding of lower-case words.

The tables are those of a model's folder, ``tokenizer/vocab.json`` and ``merges.txt``, put together in one JSON file of
the profile by the exporter. Nothing here learns or downloads anything.
"""

from __future__ import annotations

import functools
import itertools
import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duoview.errors import ProfileError

_CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
_END_OF_WORD = "</w>"


class ClipTokenizer:
    """Splits and numbers texts.

    Args:
        path: JSON with ``vocabulary`` (text of a token to its number), ``merges`` (pairs, the first comes first),
            ``length`` of every result, and the numbers ``start``, ``end`` and ``padding``.

    Raises ProfileError for a file that holds something else.
    """

    def __init__(self, path: Path) -> None:
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            self._numbers: dict[str, int] = {str(text): int(number) for text, number in content["vocabulary"].items()}
            self._ranks = {(str(one), str(other)): rank for rank, (one, other) in enumerate(content["merges"])}
            self.length, self._start = int(content["length"]), int(content["start"])
            self._end, self._padding = int(content["end"]), int(content["padding"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProfileError(f"{path}: not the tables of a tokenizer ({type(error).__name__}: {error})") from None
        lacking = [symbol for symbol in _byte_symbols() for symbol in (symbol, symbol + _END_OF_WORD)
                   if symbol not in self._numbers]
        if lacking or self.length < 2:
            raise ProfileError(f"{path}: no tokenizer of CLIP: "
                               + (f"its vocabulary lacks {lacking[0]!r}" if lacking else f"length {self.length}"))

    def __call__(self, text: str) -> NDArray[np.int64]:
        """(1, length) numbers of a text; what is too long is left out at its end."""
        found = [number for word in words(text) for number in self._tokens(word)][:self.length - 2]
        row = [self._start, *found, self._end]
        return np.array([row + [self._padding] * (self.length - len(row))], np.int64)

    def count(self, text: str) -> int:
        """How many numbers a text takes, however long; `length - 2` of them are taken."""
        return sum(len(self._tokens(word)) for word in words(text))

    def _tokens(self, word: str) -> list[int]:
        symbols = _byte_symbols()
        parts = [symbols[byte] for byte in word.encode()]
        parts[-1] += _END_OF_WORD
        while len(parts) > 1:
            rank, at = min((self._ranks.get(pair, len(self._ranks)), place)
                           for place, pair in enumerate(itertools.pairwise(parts)))
            if rank == len(self._ranks):
                break
            pair, merged = (parts[at], parts[at + 1]), []
            while parts:  # wherever the pair stands
                if tuple(parts[:2]) == pair:
                    merged.append(parts.pop(0) + parts.pop(0))
                else:
                    merged.append(parts.pop(0))
            parts = merged
        lacking = next((part for part in parts if part not in self._numbers), None)
        if lacking is not None:
            raise ProfileError(f"tokenizer: its vocabulary lacks {lacking!r}, which its merges make")
        return [self._numbers[part] for part in parts]


def words(text: str) -> Iterator[str]:
    """The pieces that are encoded apart: letters in a row, single digits, other signs in a row, short endings.

    Raises ProfileError for a text that is none in Unicode, as of a command line in another encoding.
    """
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ProfileError(f"text={text!r}: not Unicode; expected a text in the terminal's encoding")
    text = " ".join(unicodedata.normalize("NFC", text).lower().split())
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        ending = next((one for one in _CONTRACTIONS if text.startswith(one, at)), None)
        if ending is not None:
            yield ending
            at += len(ending)
            continue
        kind, first = _kind(text[at]), at
        at += 1
        while at < len(text) and kind != "digit" and _kind(text[at]) == kind:
            at += 1
        yield text[first:at]


def _kind(letter: str) -> str:
    if letter.isspace():
        return "space"
    return {"L": "letter", "N": "digit"}.get(unicodedata.category(letter)[0], "sign")


@functools.cache
def _byte_symbols() -> tuple[str, ...]:
    """A printable letter for every byte, as GPT-2 chose them."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = iter(range(256, 512))
    return tuple(chr(byte) if byte in plain else chr(next(others)) for byte in range(256))
