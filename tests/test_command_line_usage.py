"""The command line's grammar: options bind to the file that follows, mistakes are named, exit code 2."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest

from duoview.pipelines import encode as encode_command
from duoview.pipelines.command import COMMANDS, main
from duoview.pipelines.errors import UsageError
from duoview.pipelines.options import duration, frame_rate, split


def test_options_bind_to_the_file_that_follows_them() -> None:
    line = split(["-ss", "1", "-y", "-i", "in.mp4", "-ss", "2", "-q:v", "9", "out.nut"], encode_command.TABLE)
    assert line.inputs[0].url == "in.mp4" and line.inputs[0].values == {"ss": 1}
    assert line.outputs[0].url == "out.nut" and line.outputs[0].values == {"ss": 2, "q:v": 9}
    assert line.globals == {"y": True}


def test_global_options_may_stand_at_the_end() -> None:
    line = split(["-i", "in.mp4", "out.nut", "-loglevel", "error", "-device", "cpu"], encode_command.TABLE)
    assert line.globals == {"loglevel": 16, "device": "cpu"}


@pytest.mark.parametrize("words", [
    ["probe", "-progress", "-", "a.nut"], ["filters", "-stats"], ["doctor", "-y"], ["engines", "list", "-n"],
    ["run", "-c", "pipelines.yaml", "-progress", "-"],
])
def test_what_a_command_would_do_nothing_for_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert next(word for word in reversed(words) if len(word) > 1 and word[0] == "-") in capsys.readouterr().err


def test_map_collects_all_its_values() -> None:
    line = split(["-i", "in.mp4", "-map", "0:v", "-map", "0:a:1?", "out.nut"], encode_command.TABLE)
    assert line.outputs[0].get("map") == ("0:v", "0:a:1?")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12.5", Fraction(25, 2)),
        ("01:02:03.5", Fraction(7447, 2)),
        ("2:03", 123),
        ("250ms", Fraction(1, 4)),
        ("-1", -1),
    ],
)
def test_times_are_read_as_ffmpeg_reads_them(text: str, seconds: Fraction) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "rate"), [("25", 25), ("29.97", Fraction(2997, 100)), ("30000/1001", Fraction(30000, 1001)), ("pal", 25)]
)
def test_frame_rates_are_read_as_ffmpeg_reads_them(text: str, rate: Fraction) -> None:
    assert frame_rate(text) == rate


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["encoode"], "unknown command encoode; did you mean 'encode'?"),
        (["encode"], "encode: expected one input, as in -i in.mp4; none was given"),
        (["encode", "-i", "a"], "encode: expected one output, as in out.nut; none was given"),
        (["encode", "-i", "a", "-i", "b", "c"], "encode: expected one input, as in -i in.mp4; 2 were given: a, b"),
        (["encode", "-i", "a", "-qq", "3", "b"], "unknown option -qq; did you mean -q?"),
        (["encode", "-i", "a", "-q", "64", "b"], "-q 64: expected a whole number, 0 to 63"),
        (["encode", "-i", "a", "-q:a", "6", "b"], "-q:a: expected -q:v"),
        (["encode", "-i", "a", "b", "-q", "6"], "-q: no file name follows it"),
        (["encode", "-i", "a", "b", "-i"], "-i: a value is missing after it"),
        (["encode", "-g", "6", "-i", "a", "b"], "-g: it stands before -i a but belongs to an output: put it after -i"),
        (["encode", "-i", "a", "-framerate", "6", "b"], "-framerate: it stands before b but belongs to an input"),
        (["encode", "-i", "a", "-r", "0", "b"], "-r 0: expected frames per second like 25, 29.97 or 30000/1001"),
        (["encode", "-ss", "x", "-i", "a", "b"], "-ss x: expected a time like 12.5"),
        (["encode", "-i", "a", "-map", "1:v", "b"], "-map 1:v: expected 0, 0:v, 0:a"),
        (["encode", "-ss", "5", "-to", "4", "-i", "a", "b"], "-to 4: expected a time behind -ss 5"),
        (["encode", "-i", "a", "-latency", "zero", "b"], "-latency: belongs to the inner codec"),
        (["encode", "-i", "a", "-machine", "copy", "-g", "9", "b"], "-g: an option of the output that needs frames"),
        (["encode", "-i", "a", "-machine", "inner", "-b:v", "fast", "b"], "-b:v fast: expected bits like 64000, 200k"),
        (["encode", "-i", "a", "-machine", "inner", "-maxrate", "9k", "b"], "expected both or neither"),
        (["encode", "-i", "a", "-machine", "inner", "-inner_codec", "h264", "-inner_encoder", "libx265", "b"],
         "-inner_encoder libx265: makes hevc, not h264"),
        (["encode", "-i", "a", "-machine", "neutral", "b"], "did you mean 'neural'?"),
        (["encode", "-i", "a", "-c:a", "aac", "b"], "-c:a aac: expected copy"),
        (["encode", "-i", "a", "-c:v", "libx264", "b"], "-c:v libx264: expected duoview"),
        (["decode", "-i", "a", "-view", "textures", "b"], "expected one of machine, human, texture"),
        (["decode", "-i", "a", "-view", "hunam", "b"],
         "expected one of machine, human, texture; did you mean 'human'?"),
        (["decode", "-i", "a", "-steps", "3", "b"], "-steps: belongs to the human view; expected -view human with it"),
        (["decode", "-i", "a", "-loglevel", "loud", "b"], "-loglevel loud: expected one of quiet"),
        (["probe"], "probe: expected one file"),
        (["filters", "x"], "filters: takes no file"),
        (["doctor", "-device", "tpu"], "-device tpu: expected auto, cpu, cuda, tensorrt"),
        (["-h", "filter=dv_encoder"], "-h filter=dv_encoder: no filter 'dv_encoder'; did you mean 'dv_encode'?"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert err.startswith("duoview: ") and message in err


def test_an_unknown_name_in_a_table_raises_usage_error_for_callers_too() -> None:
    with pytest.raises(UsageError, match="unknown option -zz"):
        split(["-zz", "1", "out.nut"], encode_command.TABLE)


@pytest.mark.parametrize("words", [[], ["-h"], ["-version"], ["-h", "filter=scale"]])
def test_help_goes_to_stdout_with_exit_code_0(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert "duoview" in capsys.readouterr().out or words[-1:] == ["filter=scale"]


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("export", "train", "bench")])
def test_every_command_lists_its_options(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "-h"]) == 0
    assert "-loglevel level" in capsys.readouterr().out


def test_the_help_of_a_filter_names_its_options_limits_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-h", "filter=dv_encode"]) == 0
    out = capsys.readouterr().out
    assert "Encode frames for machines" in out
    assert "quality; 0 smallest, 63 best (an integer, 0 to 63; default 24)" in out
    assert "(one of neural, inner, auto; default neural)" in out


def test_filters_lists_ours_with_their_links_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["filters", "-of", "json", "-native"]) == 0
    document = json.loads(capsys.readouterr().out)
    ours = {item["name"]: item for item in document["filters"]}
    assert {"dv_encode", "dv_machine", "dv_human"} <= ours.keys()
    assert (ours["dv_encode"]["input"], ours["dv_encode"]["output"]) == ("video frames", "access units")
    native = {item["name"] for item in document["native"]}
    assert {"scale", "fps", "crop"} <= native and not {"overlay", "split", "volume", "testsrc"} & native
