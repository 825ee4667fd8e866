"""The text of a filtergraph: any label, any option value and any damage, read without knowing a filter."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoview.plugins.errors import GraphSyntaxError
from duoview.plugins.grammar import LabelText, parse_text, split_options

SPECIAL = "\\':,;[]=@ \n\t\r"
TEXTS = st.text(
    st.sampled_from(SPECIAL + "ab0") | st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12
)


def escaped(value: str, special: str) -> str:
    return "".join("\\" + letter if letter in special else letter for letter in value)


def quoted(value: str) -> str:
    """The other way: in quotes, each quote itself outside of them."""
    return "'" + value.replace("'", "'\\''") + "'"


@given(TEXTS, TEXTS, st.booleans(), st.booleans())
def test_a_value_comes_through_both_levels_of_quoting_as_it_was(
    first: str, second: str, inner_quotes: bool, outer_quotes: bool
) -> None:
    inner = quoted if inner_quotes else lambda value: escaped(value, "\\':" + " \n\t\r")
    outer = quoted if outer_quotes else lambda value: escaped(value, "\\'[],;" + " \n\t\r")
    (chain,) = parse_text(f"one=a={outer(inner(first))}:b={outer(inner(second))},two").chains
    options = split_options(chain[0].options)
    assert [(option.key, option.value) for option in options] == [("a", first), ("b", second)]
    assert chain[1].name == "two"


@given(st.lists(TEXTS.filter(lambda text: text.strip(" \n\t\r") == text != ""), min_size=1, max_size=4), st.booleans())
def test_any_label_can_be_quoted(names: list[str], quotes: bool) -> None:
    write = quoted if quotes else lambda value: escaped(value, "\\']")
    text = " ".join(f"[{write(name)}]" for name in names) + "null"
    ((item,),) = parse_text(text).chains
    assert [label.name for label in item.inputs] == names


@given(st.text(st.sampled_from(SPECIAL + "[]=;,ab|"), max_size=30))
def test_every_text_is_read_or_refused_with_a_column_inside_it(text: str) -> None:
    try:
        read = parse_text(text)
    except GraphSyntaxError as error:
        assert 1 <= error.column <= len(text) + 1
        return
    for chain in read.chains:
        for item in chain:
            assert item.name and text[item.column - 1] not in " \n\t\r"
            for option in split_options(item.options):
                assert 1 <= option.column <= len(text) + 1


@given(st.text(st.sampled_from(" \n\t\r"), max_size=3))
def test_space_around_names_labels_and_separators_means_nothing(space: str) -> None:
    text = "~[a]~[b]~overlay~=~x=1~[c]~;~null~,~hflip~@x~".replace("~@", "@").replace("~", space)
    tight = parse_text("[a][b]overlay=x=1[c];null,hflip@x")
    loose = parse_text(text)
    for tight_chain, loose_chain in zip(tight.chains, loose.chains, strict=True):
        for want, got in zip(tight_chain, loose_chain, strict=True):
            assert (got.name, got.instance) == (want.name, want.instance)
            assert [x.name for x in (*got.inputs, *got.outputs)] == [x.name for x in (*want.inputs, *want.outputs)]
            assert [(o.key, o.value) for o in split_options(got.options)] == [
                (o.key, o.value) for o in split_options(want.options)
            ]


def test_columns_count_from_the_first_character_of_the_text() -> None:
    text = "  [in] scale@left = 8 : flags='area' [x y];\n[x y]null"
    first, second = (chain[0] for chain in parse_text(text).chains)
    assert (first.column, second.column) == (text.index("scale") + 1, text.index("null") + 1)
    assert first.inputs == (LabelText("in", 3),)
    assert first.outputs == (LabelText("x y", text.index("[x y]") + 1),)
    assert [option.column for option in split_options(first.options)] == [text.index("8") + 1, text.index("flags") + 1]


def test_a_name_and_its_instance_are_told_apart_at_the_first_sign() -> None:
    ((item,),) = parse_text("scale@left@top=8:8").chains
    assert (item.name, item.instance, item.label) == ("scale", "left@top", "scale@left@top")


def test_sws_flags_stand_before_all_chains_and_are_options_of_scalers() -> None:
    read = parse_text(" sws_flags=lanczos+accurate_rnd:param0=2; null")
    assert [(option.key, option.value) for option in read.scale_options] == [
        ("flags", "lanczos+accurate_rnd"),
        ("param0", "2"),
    ]
    assert len(read.chains) == 1
    with pytest.raises(GraphSyntaxError, match=re.escape("sws_flags=... needs a ';'")):
        parse_text("sws_flags=lanczos")


def test_separators_in_a_label_or_behind_a_backslash_separate_nothing() -> None:
    read = parse_text(r"[a,b;c]null=x\,y\;z[d\]e]")
    ((item,),) = read.chains
    assert (item.inputs[0].name, item.outputs[0].name) == ("a,b;c", "d]e")
    assert [option.value for option in split_options(item.options)] == ["x,y;z"]
