"""pipelines.yaml: what is wrong is told with its line, its key and what would be right; passwords never."""

from __future__ import annotations

import json
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoview.errors import Error
from duoview.pipelines.run.configuration import Configuration, read_duration, read_size
from duoview.pipelines.run.configuration_file import ConfigurationError, json_schema, parse_configuration
from duoview.plugins.analytics import SINKS

GOOD = """
    storage: {folder: /recordings, retention: {continuous: {age: 3d, size: 200GiB}}}
    cameras:
      gate:
        url: rtsp://user:pa55word@camera/stream
        options: {fpsprobesize: 2}
        record: {segment: 1min, format: mkv}
        graph: "fps=2, dv_encode [machine]"
        outputs:
          machine: {record: {segment: 10m}}
"""


def parse(text: str, **environment: str) -> Configuration:
    return parse_configuration(textwrap.dedent(text), "p.yaml", environment=environment)


def faults(text: str, **environment: str) -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        parse(text, **environment)
    return [str(fault) for fault in raised.value.faults]


def test_a_configuration_is_read_with_its_units() -> None:
    gate = parse(GOOD).cameras["gate"]
    assert gate.record is not None and gate.record.segment == 60.0
    assert gate.options == {"fpsprobesize": "2"}
    storage = parse(GOOD).storage
    assert storage is not None and storage.retention.continuous.age == 259200.0
    assert storage.retention.continuous.size == 200 << 30


@pytest.mark.parametrize("form", SINKS)
def test_every_analytics_output_can_be_named(form: str) -> None:
    outputs = f"{{s: {{analytics: {{url: b, format: {form}}}}}}}"
    gate = parse(f"cameras: {{gate: {{url: a, graph: 'null [s]', outputs: {outputs}}}}}").cameras["gate"]
    analytics = gate.outputs["s"].analytics
    assert analytics is not None and analytics.format == form


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("record: {segment", "recrd: {segment", "line 7: cameras.gate.recrd: no such key; did you mean 'record'?"),
        ("segment: 1min", "segment: 1 minute", "line 7: cameras.gate.record.segment: expected a time like 90"),
        ("format: mkv", "format: mkw",
         "line 7: cameras.gate.record.format: expected 'mkv', 'mp4', 'mov', 'ts' or 'nut'; did you mean 'mkv'?"),
        ("200GiB", "200 gigs", "line 2: storage.retention.continuous.size: expected bytes like"),
        ("gate:", "the gate:", "line 4: cameras.the gate: expected letters, digits"),
        ("{record: {segment: 10m}}", "{}",
         "line 10: cameras.gate.outputs.machine: nothing given: expected exactly one"),
        ("{record: {segment: 10m}}", "{record: {}, discard: true}", "record and discard given"),
        ("{segment: 1min, format: mkv}", "[]",
         "line 7: cameras.gate.record: expected keys and values below it: segment"),
        ("folder: /recordings, ", "", "line 2: storage.folder: is missing"),
        ("url: rtsp", "ulr: rtsp", "line 4: cameras.gate.url: is missing"),
        ("storage: {folder: /recordings, retention: {continuous: {age: 3d, size: 200GiB}}}", "version: 1",
         "camera gate records, but there is no storage"),
        ("graph:", "grph:", "outputs are given but no graph"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place_and_what_would_be_right(before: str, after: str, expected: str) -> None:
    assert before in GOOD
    if expected.startswith("outputs are given"):  # an unknown key is told first, by itself
        assert any("did you mean 'graph'?" in fault for fault in faults(GOOD.replace(before, after)))
        return
    found = faults(GOOD.replace(before, after, 1))
    assert any(expected in fault for fault in found), found


def test_all_that_is_wrong_is_told_at_once() -> None:
    found = faults(GOOD.replace("segment: 1min", "segment: x").replace("age: 3d", "age: x"))
    assert [fault.partition(":")[0] for fault in found] == ["line 2", "line 7"]


def test_a_key_that_is_there_twice_is_told_with_both_lines() -> None:
    assert faults("cameras:\n  gate: {url: a}\n  gate: {url: b}\n") == [
        "line 3: cameras.gate: given twice, first in line 2"]


def test_what_is_no_yaml_is_told_with_its_line() -> None:
    assert faults("cameras:\n  gate: [1, 2\n")[0].startswith("line 3: no YAML")
    assert faults("") == ["line 1: empty: expected cameras:"]


def test_urls_take_variables_of_the_environment_and_missing_ones_are_told() -> None:
    text = GOOD.replace("pa55word", "${GATE_PASSWORD}")
    gate = parse(text, GATE_PASSWORD="s3cret").cameras["gate"]
    assert gate.url.get_secret_value() == "rtsp://user:s3cret@camera/stream"
    assert faults(text) == ["line 5: cameras.gate.url: variable GATE_PASSWORD is not in the environment"]


def test_passwords_are_in_no_text_about_a_configuration() -> None:
    assert "pa55word" not in repr(parse(GOOD)) + str(parse(GOOD).cameras)
    with pytest.raises(ConfigurationError) as raised:
        parse(GOOD.replace("options: {fpsprobesize: 2}", "options: {a: [1]}\n        timeout: 3"))
    assert "pa55word" not in str(raised.value) + repr(raised.value.__context__) + repr(raised.value.__cause__)


def test_two_recordings_of_one_name_are_refused() -> None:
    both = GOOD.replace("outputs:", "clips: {}\n        outputs:").replace("[machine]", "[clips]").replace(
        "machine: {rec", "clips: {rec")
    assert any("both record as 'gate.clips'" in fault for fault in faults(both))


def test_the_schema_names_every_section_and_forbids_unknown_keys() -> None:
    schema = json.loads(json_schema())
    assert {"storage", "http", "detection", "networks", "cameras", "version"} == set(schema["properties"])
    sections = schema["$defs"].values()
    assert all(section["additionalProperties"] is False for section in sections)
    assert all("description" in field for section in sections for field in section["properties"].values())


@given(st.floats(0, 1e6, allow_nan=False), st.sampled_from(("ms", "s", "min", "m", "h", "d", "w")))
def test_times_are_read_in_their_units(value: float, unit: str) -> None:
    text = f"{value:.3f}"
    factor = {"ms": 0.001, "s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400, "w": 604800}[unit]
    assert read_duration(f"{text}{unit}") == pytest.approx(float(text) * factor)
    assert read_duration(f" {text} {unit} ") == read_duration(f"{text}{unit}")


@given(st.integers(0, 1 << 40), st.sampled_from(("", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti")))
def test_sizes_are_read_in_their_units(value: int, unit: str) -> None:
    binary = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    power = ({"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12} | binary)[unit]
    assert read_size(f"{value}{unit}B") == pytest.approx(value * power)


@given(st.text(max_size=60))
def test_any_text_is_a_configuration_or_a_clear_error(text: str) -> None:
    try:
        parse_configuration(text, "p.yaml", environment={})
    except Error as error:
        assert str(error).startswith("p.yaml: line ")


_TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(("rtsp://a:b@c/d", "3d", "2GiB", "mkv", "x")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from((
            "cameras", "gate", "url", "record", "segment", "graph", "outputs", "storage", "folder", "clips", "analysis",
            "timeout", "http", "detection", "retention", "events", "age", "encode", "options")),
        inner, max_size=5), max_leaves=30)  # fmt: skip


@given(_TREES)
def test_any_tree_is_a_configuration_or_a_clear_error(tree: object) -> None:
    try:
        parse_configuration(json.dumps(tree), "p.yaml", environment={})
    except Error as error:
        assert all(line.startswith("p.yaml: line ") for line in str(error).splitlines())


def test_aliases_that_stand_for_millions_of_values_are_refused_at_once() -> None:
    cameras = "cameras: {a: {url: x, record: {}}}\n"
    for head, row in (("a0: &a0 [x]\n", "a{0}: &a{0} [{1}]\n"), ("a0: &a0 {x: 1}\n", "a{0}: &a{0} {{<<: [{1}]}}\n")):
        rows = [row.format(number, ",".join([f"*a{number - 1}"] * 10)) for number in range(1, 10)]
        with pytest.raises(ConfigurationError, match="more than 100000 values, those repeated by aliases counted"):
            parse_configuration(head + "".join(rows) + cameras)
    with pytest.raises(ConfigurationError, match="more than 100000 values"):
        parse_configuration("x: &a [*a]\n" + cameras)


@pytest.mark.parametrize("value", ["2024-99-99", "!!int x", "!!bool x", "!!timestamp x", "0b_"])
def test_a_date_or_number_that_is_none_is_told_with_its_line(value: str) -> None:
    (fault,) = faults(GOOD + f"    version: {value}\n")
    assert fault.startswith("line 11: version: ") and "cannot be read as" in fault
