"""Reading and checking a pipelines.yaml: whatever is wrong is told with its line, its key, and what would be right."""

from __future__ import annotations

import json
import os
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duoview.errors import BackendUnavailableError, Error
from duoview.pipelines.errors import media_error
from duoview.plugins.errors import suggestion

if TYPE_CHECKING:
    from .configuration import Configuration

_LARGEST = 4 << 20  # bytes
_MOST = 100_000  # values, each counted as often as aliases repeat it: a few lines of them stand for millions
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: where (line 0: unknown; keys from the top), and what would be right."""

    line: int
    place: Place
    message: str

    def __str__(self) -> str:
        where = ".".join(str(part) for part in self.place)
        return f"line {self.line}: {where}: {self.message}" if where else f"line {self.line}: {self.message}"


class ConfigurationError(Error, ValueError):
    """A file that cannot be used; `faults` holds all that is wrong with it, by line."""

    def __init__(self, path: str, faults: Sequence[Fault]) -> None:
        self.faults = tuple(sorted(faults, key=lambda fault: fault.line))
        super().__init__("\n".join(f"{path}: {fault}" for fault in self.faults))


def read_configuration(path: Path, *, environment: Mapping[str, str] | None = None) -> Configuration:
    """Read and check a file; its graphs are not looked at.

    Raises ConfigurationError, MediaError where it cannot be read, BackendUnavailableError without pydantic or PyYAML.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise ConfigurationError(str(path), [Fault(1, (), f"larger than {_LARGEST} bytes")])
        text = data.decode("utf-8")
    except OSError as error:
        raise media_error(str(path), "cannot read the configuration", error) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(str(path), [Fault(1, (), f"no UTF-8 text: {error.reason}")]) from error
    return parse_configuration(text, str(path), environment=environment)


def parse_configuration(
    text: str, name: str = "configuration", *, environment: Mapping[str, str] | None = None
) -> Configuration:
    """The configuration that a text holds. Raises as `read_configuration`."""
    yaml, pydantic = require_libraries()
    from .configuration import Configuration

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is None:
            raise ConfigurationError(name, [Fault(1, (), "empty: expected cameras:")])
        lines: dict[Place, int] = {}
        _count(root, yaml, name)
        faults = list(_walk(root, (), lines, yaml))
        if faults:
            raise ConfigurationError(name, faults)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        said = getattr(error, "problem", None) or str(error)
        raise ConfigurationError(name, [Fault(mark.line + 1 if mark else 1, (), f"no YAML: {said}")]) from error
    except RecursionError:
        raise ConfigurationError(name, [Fault(1, (), "no YAML: nested too deeply")]) from None
    variables = os.environ if environment is None else environment
    content, missing = _filled(content, (), variables)
    faults = [Fault(_line(lines, place), place, f"variable {variable} is not in the environment")
              for place, variable in missing]
    if faults:
        raise ConfigurationError(name, faults)
    try:
        return Configuration.model_validate(content)
    except pydantic.ValidationError as error:
        found = [_fault(one, content, lines, Configuration) for one in error.errors(include_url=False)]
        # Out of the handler's context: the library's own text shows the values, passwords among them.
    raise ConfigurationError(name, found)


def fault_at(path: Path, place: Place, message: str) -> ConfigurationError:
    """The error for what is wrong at a place of a file that was read before, as only its graphs tell."""
    yaml, _ = require_libraries()
    lines: dict[Place, int] = {}
    list(_walk(yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader), (), lines, yaml))
    return ConfigurationError(str(path), [Fault(_line(lines, place), place, message)])


def json_schema() -> str:
    """The JSON Schema of the file, for editors. Raises BackendUnavailableError without pydantic."""
    require_libraries()
    from .configuration import Configuration

    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Configuration.model_json_schema()}
    return json.dumps(schema, indent=2)


def require_libraries() -> tuple[Any, Any]:
    """PyYAML and pydantic. Raises BackendUnavailableError that says what to install."""
    try:
        import pydantic
        import yaml
    except ImportError as error:
        raise BackendUnavailableError(
            f"pipelines.yaml needs the packages pydantic and PyYAML ({error}): pip install 'duoview[live]'"
        ) from error
    return yaml, pydantic


def _count(root: Any, yaml: Any, name: str) -> None:
    """Raise ConfigurationError where aliases and merged keys make more of a text than anybody means."""
    seen, open_ = 0, [root]
    while open_:
        node = open_.pop()
        seen += 1
        if seen > _MOST:
            words = f"more than {_MOST} values, those repeated by aliases counted"
            raise ConfigurationError(name, [Fault(1, (), words)])
        if isinstance(node, yaml.MappingNode):
            open_ += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            open_ += node.value


def _walk(node: Any, place: Place, lines: dict[Place, int], yaml: Any) -> Iterator[Fault]:
    """Note the line of every key, and tell of values that PyYAML cannot read and of keys that are there twice."""
    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.ScalarNode):
        yield from _unreadable(node, place, yaml)
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                yield Fault(line, place, "a key that is no text")
                continue
            if key.value == "<<":
                yield from _walk(value, place, lines, yaml)
                continue
            yield from _unreadable(key, place, yaml)
            if key.value in seen:
                yield Fault(line, (*place, key.value), f"given twice, first in line {seen[key.value]}")
            seen[key.value] = line
            lines[(*place, key.value)] = line
            yield from _walk(value, (*place, key.value), lines, yaml)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _walk(value, (*place, index), lines, yaml)


def _unreadable(node: Any, place: Place, yaml: Any) -> Iterator[Fault]:
    """Tell of a date or a number that is none, as 2024-99-99: what PyYAML raises for it tells no line."""
    try:
        yaml.constructor.SafeConstructor().construct_object(node)
    except (ValueError, LookupError, AttributeError):
        yield Fault(node.start_mark.line + 1, place, f"{node.value!r} cannot be read as {node.tag.rpartition(':')[2]}")


def _line(lines: Mapping[Place, int], place: Place) -> int:
    for length in range(len(place), -1, -1):
        if place[:length] in lines:
            return lines[place[:length]]
    return 1


def _filled(value: Any, place: Place, variables: Mapping[str, str]) -> tuple[Any, list[tuple[Place, str]]]:
    """The values with variables in their ``url`` keys, and those that are not set."""
    missing: list[tuple[Place, str]] = []
    if isinstance(value, dict):
        filled = {}
        for key, one in value.items():
            if key == "url" and isinstance(one, str):
                missing += [((*place, key), name) for name in _VARIABLE.findall(one) if name not in variables]
                filled[key] = _VARIABLE.sub(lambda found: variables.get(found[1], ""), one)
            else:
                filled[key], lost = _filled(one, (*place, key), variables)
                missing += lost
        return filled, missing
    return value, missing


def _fault(error: Any, content: Any, lines: Mapping[Place, int], root: Any) -> Fault:
    """One of pydantic's errors in our words."""
    place: Place = tuple(part for part in error["loc"] if part != "[key]")
    known = _keys(root, place[:-1])
    kind, message = error["type"], error["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        names = ", ".join(known)
        message = f"no such key{suggestion(str(place[-1]), known)}; there are {names}"
    elif kind == "missing":
        message = "is missing"
        return Fault(_line(lines, place[:-1]), place, message)
    elif kind == "literal_error":
        message = f"expected {error['ctx']['expected']}{_near(content, place, error['ctx']['expected'])}"
    elif kind == "string_pattern_mismatch":
        message = "expected letters, digits, '_', '-' and '.', as in gate-1"
    elif kind == "model_type":
        message = f"expected keys and values below it: {', '.join(_keys(root, place))}"
    else:
        message = message.replace("Input should be", "expected")
    return Fault(_line(lines, place), place, message)


def _near(content: Any, place: Place, expected: str) -> str:
    value = content
    for part in place:
        value = value[part] if isinstance(value, dict) and part in value else None
    return suggestion(value, re.findall(r"'([^']*)'", expected)) if isinstance(value, str) else ""


def _keys(model: Any, place: Place) -> list[str]:
    """The keys that the section at a place may have."""
    kind = model
    for part in place:
        kind = _inside(kind, part)
        if kind is None:
            return []
    fields = getattr(_section(kind), "model_fields", None)
    return list(fields) if fields else []


def _inside(kind: Any, part: str | int) -> Any:
    section = _section(kind)
    if section is not None:
        field = section.model_fields.get(part)
        return field.annotation if field is not None else None
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is dict:
        return arguments[1]
    if origin in (typing.Union, types.UnionType):
        return next((found for one in arguments if (found := _inside(one, part)) is not None), None)
    return None


def _section(kind: Any) -> Any:
    """The model class that a type is, or may be besides None."""
    for one in (kind, *typing.get_args(kind)):
        if isinstance(one, type) and hasattr(one, "model_fields"):
            return one if typing.get_origin(kind) is not dict else None
    return None
