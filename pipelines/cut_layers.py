"""``duoview cut``: less of a stream, without coding anything again: the machine layer alone, or less texture."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import duoview
from duoview.access_unit import SectionType, parse, serialize
from duoview.errors import BitstreamError, ContainerError
from duoview.plugins.containers.packet import with_payload
from duoview.plugins.links import Link, LinkType
from duoview.texture import Depths
from duoview.texture.cutting import TextureCutter
from duoview.unit_origin import is_discarded

from .console import LEVELS, Console
from .destination import claim
from .encode import one_input_one_output
from .errors import MediaError, UsageError
from .finishing import run_and_finish
from .interrupt import EXIT_CODE, Interrupt
from .options import (
    ANYWHERE,
    FORMAT_OPTION,
    GLOBAL_OPTIONS,
    CommandLine,
    CommandOption,
    FileArguments,
    help_lines,
    one_of,
    split,
    stats_wanted,
    texture_depths,
)
from .progress import Progress
from .unit_output import AccessUnitOutput

TABLE = (
    *GLOBAL_OPTIONS,
    CommandOption("device", "name", "accepted as everywhere; cutting runs no network", ANYWHERE),
    CommandOption("layers", "layers", "machine: nothing else is kept", ANYWHERE, one_of("machine")),
    CommandOption("texture", "depth", "texture of at most this depth, and TILE=DEPTH where tiles differ, as in 2,0=6",
                  ANYWHERE, texture_depths),
    FORMAT_OPTION,
)


#: What only human views read.
_HINTS = frozenset((SectionType.CAPTION, SectionType.SEED))
#: Units that are looked at behind one: no codec shows a picture later than 16 that come after it.
_AHEAD = 16


@dataclass(frozen=True)
class CutResult:
    """What was written: access units, bytes of them before and after, and whether it was stopped."""

    units: int
    before: int
    after: int
    interrupted: bool


def usage() -> str:
    """The help of the command."""
    return "\n".join(("duoview cut -texture depth [-i] input output", "", *help_lines(TABLE)))


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    line = split(arguments, TABLE)
    console = Console(line.globals.get("loglevel", LEVELS["info"]))
    source, output, depths = read_job(line)
    claim(output.url, source.url, line.globals, console)
    result = cut(source, output, depths, console, bare="layers" in line.globals,
                 progress_url=line.globals.get("progress"), stats=stats_wanted(line))
    console.info(f"{output.url}: {result.units} access units, {result.after} of {result.before} bytes")
    return EXIT_CODE if result.interrupted else 0


def read_job(line: CommandLine) -> tuple[FileArguments, FileArguments, Depths]:
    """Input, output and depths of a line with ``in.nut out.nut`` or ``-i in.nut out.nut``. Raises UsageError."""
    if not line.inputs and len(line.outputs) == 2:
        source, output = line.outputs
    else:
        source, output = one_input_one_output(line, "cut")
    if ("layers" in line.globals) == ("texture" in line.globals):
        raise UsageError("cut: expected one of -texture DEPTH and -layers machine")
    return source, output, line.globals.get("texture", Depths(0))


def in_decode_order(packets: Iterable[Any]) -> Iterator[Any]:
    """Packets as they come, units (those without a stream) with a dts that rises and is never later than a pts.

    NUT and Matroska keep no dts, and libavformat puts the pts there. A dts that is right stays as it is.
    """
    held: deque[Any] = deque()
    last: int | None = None

    def timed() -> Any:
        nonlocal last
        first = held.popleft()
        if first.stream is None and first.pts is not None:
            following = (one.pts for one in held if one.stream is None and one.pts is not None)
            dts = min(first.pts if first.dts is None else first.dts, first.pts,
                      *(pts - count for count, pts in enumerate(following, 1)))
            last = first.dts = dts if last is None else min(max(dts, last + 1), first.pts)
        return first

    for packet in packets:
        held.append(packet)
        while sum(one.stream is None for one in held) > _AHEAD:
            yield timed()
    while held:
        yield timed()


def cut(source: FileArguments, target: FileArguments, depths: Depths, console: Console, *, bare: bool = False,
        progress_url: str | None = None, stats: bool | None = None) -> CutResult:
    """Cut a file; ``bare`` leaves nothing but the machine layer.

    What was written before a failure stays in the finished file; the failure is raised after that.
    """
    with ExitStack() as stack:
        container = duoview.open(source.url, format=source.get("f"))
        stack.callback(container.close)
        output = AccessUnitOutput(target.url, target.get("f"), list(container.other_streams))
        dropped = _HINTS if bare else frozenset()
        progress = Progress(console, url=progress_url, stats=stats)
        stack.callback(progress.finish)
        work = _Cutting(container, output, TextureCutter(depths), console, source.url, dropped, progress)
        interrupt = stack.enter_context(Interrupt())
        run_and_finish(lambda: work.run(interrupt), output.close)
        if work.hidden:
            console.warning(f"{target.url}: {work.hidden} access units that {source.url} keeps from being shown, as by "
                            "an edit list, will be shown; the file has no mark for that")
        if not output.packets and not interrupt.requested:
            raise MediaError(f"{source.url}: holds no access unit; expected a stream made by `duoview encode`")
        return CutResult(output.packets, work.before, output.size, interrupt.requested)


class _Cutting:
    """One run: units through the cutter into the output; everything else as it is."""

    def __init__(self, container: Any, output: AccessUnitOutput, cutter: TextureCutter, console: Console, name: str,
                 dropped: frozenset[SectionType], progress: Progress) -> None:
        self.container, self.output, self.cutter, self.progress = container, output, cutter, progress
        self.console, self.name, self.dropped = console, name, dropped
        self.before = 0
        #: Units that the input marks as not to be shown.
        self.hidden = 0
        #: Presentation time of the first unit: files of cameras may begin at any, progress counts from there.
        self._zero: Fraction | None = None

    def run(self, interrupt: Interrupt) -> None:
        """Cut to the end, or to an interrupt."""
        for packet in in_decode_order(self._packets()):
            if interrupt.requested:
                return
            if packet.stream is not None:
                self.output.copy(packet)
                continue
            data = bytes(packet)
            self.before += len(data)
            cut = with_payload(packet, self._cut(data))
            sequence = self.cutter.sequence
            if sequence is None:
                self.console.warning(f"{self.name}: an access unit before the first key unit is left out")
                continue
            self.hidden += is_discarded(packet)
            self.output.write(cut, Link(LinkType.ACCESS_UNITS, rate=self.container.stream.average_rate or None,
                                        width=sequence.width, height=sequence.height))
            self.progress.advance(1, cut.size, self._end_of(cut))

    def _end_of(self, packet: Any) -> Fraction | None:
        """Seconds from the begin of the output to the end of a unit's frame; None where it has no time."""
        if packet.pts is None or not packet.time_base:
            return None
        at = packet.pts * packet.time_base
        self._zero = at if self._zero is None else self._zero
        return Fraction(at - self._zero + (packet.duration or 0) * packet.time_base)

    def _cut(self, data: bytes) -> bytes:
        try:
            unit = parse(data)
            # First: damage to what is dropped keeps nothing else from being cut.
            sections = tuple(section for section in unit.sections if section.type not in self.dropped)
            damaged = tuple(damage for damage in unit.damaged if damage.type not in self.dropped)
            return serialize(self.cutter.cut(dataclasses.replace(unit, sections=sections, damaged=damaged)))
        except BitstreamError as error:
            self.console.warning(f"{self.name}: an access unit is damaged and stays as it is: {error}")
            return data

    def _packets(self) -> Iterator[Any]:
        packets = self.container.demux(*self.container.other_streams)
        while True:
            try:
                yield next(packets)
            except StopIteration:
                return
            except ContainerError as error:
                self.console.warning(f"{self.name}: reading stopped here: {error}")
                return
