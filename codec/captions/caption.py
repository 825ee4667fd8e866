"""What a caption says: phrases of a small grammar, in one canonical order, so that one meaning has one text.

    caption = "nothing" | phrase *(", " phrase)
    phrase  = count " " class " " place [" " motion]

as in ``2 person left moving right, 1 car centre still``. Nothing here knows bytes (``section``) or networks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Self

from duoview.detectors.coco import COCO
from duoview.errors import LimitError

#: Of what is none of COCO's classes.
OTHER = "object"
CLASSES: tuple[str, ...] = (*COCO, OTHER)
#: Words of counts, and the least number that each stands for.
COUNTS: tuple[str, ...] = ("1", "2", "3", "4", "5", "several", "many")
_LEAST = (1, 2, 3, 4, 5, 6, 10)
#: Thirds of the picture, row by row.
PLACES: tuple[str, ...] = ("top-left", "top", "top-right", "left", "centre", "right", "bottom-left", "bottom",
                           "bottom-right")
#: The first is for where nothing is known of it, and no word.
MOTIONS: tuple[str, ...] = ("", "still", "moving left", "moving right", "moving up", "moving down", "coming", "leaving")
MAX_PHRASES = 6
NOTHING = "nothing"


@dataclass(frozen=True, order=True)
class Phrase:
    """Objects of one class in one place with one motion: indices of CLASSES, PLACES, MOTIONS and COUNTS.

    Phrases are in the order of their fields. Raises LimitError for an index that none of the words has.
    """

    class_id: int
    place: int
    motion: int = 0
    count: int = 0

    def __post_init__(self) -> None:
        for name, value, words in (("class_id", self.class_id, CLASSES), ("place", self.place, PLACES),
                                   ("motion", self.motion, MOTIONS), ("count", self.count, COUNTS)):
            if not 0 <= value < len(words):
                raise LimitError(f"{name}={value}: expected 0 to {len(words) - 1}, an index of {words[0] or words[1]} "
                                 f"to {words[-1]}")

    @property
    def subject(self) -> tuple[int, int, int]:
        """What no two phrases of a caption have in common: class, place and motion."""
        return self.class_id, self.place, self.motion

    @property
    def indices(self) -> tuple[int, int, int, int]:
        """Class, count, place and motion: what a text encoder is given."""
        return self.class_id, self.count, self.place, self.motion

    def __str__(self) -> str:
        words = COUNTS[self.count], CLASSES[self.class_id], PLACES[self.place], MOTIONS[self.motion]
        return " ".join(word for word in words if word)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one phrase; an ``s`` behind a class and a missing count are forgiven. Raises LimitError."""
        count, rest = _leading(text, COUNTS)
        class_, rest = _leading(rest, CLASSES, plural=True)
        if class_ is None:
            raise LimitError(f"caption phrase {text!r}: expected a class behind the count"
                             f"{_closest(rest, CLASSES)}; the form is '2 person left moving right'")
        place, rest = _leading(rest, PLACES)
        if place is None:
            raise LimitError(f"caption phrase {text!r}: expected a place behind the class, one of {', '.join(PLACES)}"
                             f"{_closest(rest, PLACES)}")
        if rest not in MOTIONS:
            raise LimitError(f"caption phrase {text!r}: {rest!r} is no motion; expected one of "
                             f"{', '.join(MOTIONS[1:])}{_closest(rest, MOTIONS[1:])}")
        return cls(class_, place, MOTIONS.index(rest), count or 0)


@dataclass(frozen=True)
class Caption:
    """What is seen, at most MAX_PHRASES phrases in their order; none for a picture without objects.

    Raises LimitError for more, for another order, and for two phrases on one subject.
    """

    phrases: tuple[Phrase, ...] = ()

    def __post_init__(self) -> None:
        if len(self.phrases) > MAX_PHRASES:
            raise LimitError(f"caption of {len(self.phrases)} phrases, at most {MAX_PHRASES} are allowed")
        for first, second in zip(self.phrases, self.phrases[1:], strict=False):
            if first.subject >= second.subject:
                raise LimitError(f"caption with '{first}' before '{second}': expected phrases by class, place and "
                                 "motion, no two on the same")

    def __str__(self) -> str:
        return ", ".join(map(str, self.phrases)) or NOTHING

    @classmethod
    def of(cls, phrases: Iterable[Phrase]) -> Self:
        """Phrases in any order. Raises LimitError for two on one subject, and for too many."""
        return cls(tuple(sorted(phrases)))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a text of the grammar, phrases in any order. Raises LimitError that names the phrase."""
        plain = " ".join(text.split()).lower()
        if plain == NOTHING:
            return cls()
        if not plain:
            raise LimitError(f"caption {text!r}: expected phrases as in '2 person left moving right, 1 car centre', or "
                             f"'{NOTHING}'")
        return cls.of(Phrase.parse(part.strip()) for part in plain.split(","))


def count_index(number: int) -> int:
    """Index of the word of COUNTS for a number of objects, 1 or more."""
    return max(index for index, least in enumerate(_LEAST) if least <= max(number, 1))


def _leading(text: str, words: tuple[str, ...], *, plural: bool = False) -> tuple[int | None, str]:
    """Index of the longest of the words that a text begins with, and what is behind it."""
    forms = [(word + ending, index) for index, word in enumerate(words) for ending in (("", "s") if plural else ("",))]
    for form, index in sorted(forms, key=lambda one: -len(one[0])):
        if text == form or text.startswith(form + " "):
            return index, text[len(form) + 1:]
    return None, text


def _closest(text: str, words: tuple[str, ...]) -> str:
    """A hint at the word that was meant, empty without one."""
    parts = text.split()
    near = [match for length in (2, 1) for match in get_close_matches(" ".join(parts[:length]), words, 1)]
    return f"; did you mean '{near[0]}'?" if near else ""
