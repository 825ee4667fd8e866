"""Every option that the documentation names is one that its command takes."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import av
import pytest

from duoview.pipelines.command import COMMANDS
from duoview.pipelines.options import CommandOption

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])
OPTION = re.compile(r"(?<![^\s\[(|])(--?[A-Za-z][\w-]*)")
#: What every command answers before it reads its options; what ends the name of a profile; an option of CMake's.
ALWAYS, NOT_OURS = {"-h", "-i", "-version"}, {"-int8", "-DDUOVIEW_CUDA"}
COMMAND = re.compile(r"(?<!from )(?<!\S)(?:duoview ([a-z]+)|"
                     r"python3? (?:-m ((?:duoview|bench)\.[\w.]+)|([\w/]+\.py)))(?!\S)")


@cache
def of_command(name: str) -> set[str]:
    """Options of a command of duoview, with their dashes; encoders' too where the command hands them on."""
    module = importlib.import_module(COMMANDS[name].module)
    tables = [value for value in vars(module).values() if isinstance(value, tuple) and value
              and all(isinstance(one, CommandOption) for one in value)]
    found = {f"-{word}" for table in tables for one in table for word in (one.name, *one.aliases)}
    if not tables and hasattr(module, "parser"):
        found = {word for action in module.parser()._actions for word in action.option_strings}
    if name in ("decode", "run"):
        for codec in ("libx264", "libx265", "libsvtav1", "ffv1"):
            known = av.CodecContext.create(codec, "w").supported_options
            found |= {f"-{one.name}" for one in (*known.generic, *known.private)}
    return found | ALWAYS


@cache
def of_file(path: Path) -> set[str]:
    """Options that a Python file gives to argparse; where their names are made of others, of any of its strings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
            for given in node.args:
                if isinstance(given, ast.Constant) and str(given.value).startswith("-"):
                    found.add(str(given.value))
                elif isinstance(given, ast.JoinedStr):
                    found |= {f"--{one.value}" for one in ast.walk(tree)
                              if isinstance(one, ast.Constant) and isinstance(one.value, str)
                              and re.fullmatch(r"[a-z]\w*", one.value)}
    return found


def of_module(path: Path) -> set[str]:
    """Those of a file and of the files of this project that it imports from."""
    found = of_file(path)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for name in (node.module, *(f"{node.module}.{one.name}" for one in node.names)):
                beside = file_of(name) or path.parent / f"{name.rpartition('.')[2]}.py"
                if beside.is_file():
                    found = found | of_file(beside)
    return found | {"-h"}


def file_of(module: str) -> Path | None:
    """Where a module of this project stands; None for others."""
    for stem in (ROOT / module.removeprefix("duoview.").replace(".", "/"), ROOT / module.replace(".", "/")):
        for path in (stem.with_name(stem.name + ".py"), stem / "__main__.py"):
            if path.is_file():
                return path
    return None


def commands(text: str) -> Iterator[str]:
    """Texts that stand in code, blocks and spans, a command that goes on in the next line put together."""
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield from block.replace("\\\n", " ").splitlines()
    rest = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from re.sub(r"\\\n", " ", "\n".join(re.findall(r"^ {4,}.*", rest, re.MULTILINE))).splitlines()
    yield from (span.replace("\n", " ") for span in re.findall(r"`([^`]+)`", rest))


def wrong(line: str) -> Iterator[str]:
    """Options in a line that its commands do not take."""
    line = re.sub(r"(?:^|\s)#.*", "", line)
    for part in re.split(r"\s[|;&]+\s", line):
        found = COMMAND.search(part)
        if found is None:
            continue
        name, module, script = found.groups()
        path = file_of(module) if module else ROOT / script if script else None
        if name == "bench":  # hands all of them on to a measurement
            known = set[str]().union(*(of_file(one) for one in (ROOT / "bench").rglob("*.py")))
        elif name in COMMANDS:
            known = of_command(name)
        elif path is not None and path.is_file():
            known = of_module(path)
        else:
            yield f"{part.strip()}: no such command"
            continue
        yield from (f"{part.strip()}: {word}" for word in OPTION.findall(part[found.end():]) if word not in known)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_on_a_page_have_the_options_that_they_are_given(page: Path) -> None:
    assert [one for line in commands(page.read_text(encoding="utf-8")) for one in wrong(line)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_an_option_that_a_page_speaks_of_belongs_to_some_command(page: Path) -> None:
    known = set(NOT_OURS).union(*(of_command(name) for name in COMMANDS))
    for folder in ("models", "export", "bench", "pipelines", "tests/fuzz"):
        known = known.union(*(of_file(path) for path in (ROOT / folder).rglob("*.py")))
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    spans = [span for span in re.findall(r"`([^`]+)`", text) if span.startswith("-")]
    assert [word for span in spans for word in OPTION.findall(span) if word not in known] == []


def test_an_option_that_is_gone_is_found() -> None:
    assert list(wrong("duoview encode -i a.mp4 -gone 3 b.nut")) == ["duoview encode -i a.mp4 -gone 3 b.nut: -gone"]
    assert list(wrong("python -m duoview.models.texture_command --gone")) == [
        "python -m duoview.models.texture_command --gone: --gone"]
    assert list(wrong("duoview gone -i a.mp4")) == ["duoview gone -i a.mp4: no such command"]
    assert list(wrong("duoview decode -i a.nut -crf 20 b.mp4")) == list(wrong("ffmpeg -i a -gone b")) == []
