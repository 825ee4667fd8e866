"""Texts for latent diffusion models: how they are split and numbered, and what a denoiser of such a model is given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import duoview
from duoview.backends import CpuBackend
from duoview.clip_tokenizer import ClipTokenizer, words
from duoview.errors import ProfileError
from duoview.plugins.filters.dv_human import Human
from duoview.profile import Profile
from duoview.prompt import PromptedDenoiser, load_denoiser


def letters() -> list[str]:
    """GPT-2's printable letter of every byte, in the order of CLIP's vocabulary."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in plain] + [chr(256 + number) for number in range(256 - len(plain))]


@pytest.fixture
def tables() -> dict[str, Any]:
    merges = [["d", "o"], ["o", "g</w>"], ["d", "og</w>"], ["a", "b"], ["ab", "ab</w>"], ["ab", "ab"]]
    names = [*letters(), *(letter + "</w>" for letter in letters()), *(a + b for a, b in merges), "<s>", "<e>"]
    numbers = {name: number for number, name in enumerate(names)}
    numbers.setdefault("ab</w>", len(numbers))
    return {"vocabulary": numbers, "merges": [*merges, ["a", "b</w>"]], "length": 8, "start": numbers["<s>"],
            "end": numbers["<e>"], "padding": numbers["<e>"]}


def written(folder: Path, tables: dict[str, Any]) -> Path:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(tables))
    return path


def test_texts_are_split_into_letters_digits_signs_and_endings() -> None:
    assert list(words("  It's 2 Dogs,\tat 10:30!! é中 ")) == [
        "it", "'s", "2", "dogs", ",", "at", "1", "0", ":", "3", "0", "!!", "é中"]


def test_merges_are_made_in_their_order_and_every_row_is_as_long(tmp_path: Path, tables: dict[str, Any]) -> None:
    tokenizer, numbers = ClipTokenizer(written(tmp_path, tables)), tables["vocabulary"]
    (row,) = tokenizer("DOG x").tolist()
    # "do" is merged first, so that "og" is never there
    expected = [numbers[name] for name in ("<s>", "do", "g</w>", "x</w>")]
    assert row == expected + [tables["end"]] * 4 and tokenizer.count("DOG x") == 3


def test_a_pair_is_merged_wherever_it_stands(tmp_path: Path, tables: dict[str, Any]) -> None:
    numbers = tables["vocabulary"]
    (row,) = ClipTokenizer(written(tmp_path, tables))("ababx").tolist()
    assert row[1:3] == [numbers["abab"], numbers["x</w>"]]


def test_letters_beyond_ascii_are_their_bytes_and_what_is_too_long_is_cut(tmp_path: Path,
                                                                        tables: dict[str, Any]) -> None:
    tokenizer = ClipTokenizer(written(tmp_path, tables))
    (row,) = tokenizer("é").tolist()
    assert row[1:3] == [tables["vocabulary"]["Ã"], tables["vocabulary"]["©</w>"]]
    long = "y " * 20
    assert tokenizer(long).shape == (1, 8) and tokenizer(long)[0, -1] == tables["end"] and tokenizer.count(long) == 20


def test_a_text_that_is_none_is_refused(tmp_path: Path, tables: dict[str, Any]) -> None:
    """As Python gives arguments of a command line that are not in its encoding."""
    with pytest.raises(ProfileError, match=r"text='a \\udcff': not Unicode"):
        ClipTokenizer(written(tmp_path, tables)).count(b"a \xff".decode("utf-8", "surrogateescape"))


@pytest.mark.parametrize(("change", "said"), [
    ({"vocabulary": {"a": 0}}, "its vocabulary lacks 'Ā'"), ({"merges": None}, "not the tables of a tokenizer"),
    ({"length": 1}, "length 1")])
def test_tables_of_another_tokenizer_are_refused(tmp_path: Path, tables: dict[str, Any], change: dict[str, Any],
                                                 said: str) -> None:
    with pytest.raises(ProfileError, match=said):
        ClipTokenizer(written(tmp_path, tables | change))


class Recorder:
    """A network that gives back one of its inputs and notes them all."""

    def __init__(self, gives: str, factor: int = 1) -> None:
        self.gives, self.factor = gives, factor
        self.calls: list[dict[str, Any]] = []

    def __call__(self, **inputs: Any) -> list[Any]:
        self.calls.append(inputs)
        return [inputs[self.gives] * self.factor]


def test_a_prompted_denoiser_is_called_as_any_and_makes_the_picture_once_a_frame() -> None:
    text = np.ones((1, 8, 4), np.float32)
    network, decoder = Recorder("state"), Recorder("z", 2)
    denoiser = PromptedDenoiser(network, text, decoder)
    z_m = np.full((1, 4, 8, 8), 3, np.float32)
    for step in range(3):
        (state,) = denoiser(state=z_m + step, z_m=z_m.copy(), time=np.array([[step / 3]], np.float32),
                            gain=np.array([1], np.float32), q=np.array([24]))
        assert np.array_equal(state, z_m + step)
    assert len(decoder.calls) == 1 and set(network.calls[0]) == {"state", "z_m", "time", "gain", "text", "condition"}
    assert np.array_equal(network.calls[2]["condition"], 2 * z_m) and network.calls[2]["text"] is text
    denoiser(state=z_m, z_m=z_m + 1, time=np.zeros((1, 1)), gain=np.ones(1), q=np.array([24]))
    assert len(decoder.calls) == 2


def test_a_profile_without_text_encoder_refuses_a_text_and_names_it() -> None:
    with pytest.raises(ProfileError, match=r"text='a dog': profile 's' has no text encoder"):
        load_denoiser(Profile("s"), CpuBackend(1), "a dog")
    with pytest.raises(ProfileError, match="no text encoder"):
        duoview.Decoder(profile="s", view="human", text="a dog")
    with pytest.raises(ValueError, match=r"text='a dog': belongs to view='human', not 'machine'"):
        duoview.Decoder(view="machine", text="a dog")


def test_the_filter_hands_its_text_on() -> None:
    with pytest.raises(ProfileError, match="text='a dog'"):
        Human(text="a dog", profile=str(Profile("s").folder)).make_decoder()
