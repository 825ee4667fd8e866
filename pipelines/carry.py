"""``duoview encode -machine copy``: the packets of a video as they are, as the machine layer of a stream."""

from __future__ import annotations

from contextlib import ExitStack
from fractions import Fraction
from typing import Any

from duoview.errors import LimitError
from duoview.inner.carrier import PacketCarrier
from duoview.plugins.links import Link, LinkType

from .console import Console
from .cut import Cut, is_priming, shift_item
from .encode_job import EncodeJob, EncodeResult
from .errors import MediaError, UsageError
from .finishing import run_and_finish
from .inputs import VideoInput
from .interrupt import Interrupt
from .options import FileArguments
from .progress import Progress
from .unit_output import AccessUnitOutput

#: What can only be had by coding frames: options of the output, and of the input.
_RECODING = ("vf", "g", "r", "threads", "ss", "t", "frames")
_INPUT_RECODING = ("r", "loop", "s", "pix_fmt", "noautorotate")


def refuse_recoding(source: FileArguments, output: FileArguments) -> None:
    """Raise UsageError for options that need frames."""
    for names, found, where in ((_RECODING, output, "output"), (_INPUT_RECODING, source, "input")):
        for key in found.values:
            if key.partition(":")[0] in names:
                raise UsageError(
                    f"-{key}: an option of the {where} that needs frames, which -machine copy does not decode; "
                    "cut with -ss, -t or -to before -i, or use -machine inner")


def carry(
    job: EncodeJob, console: Console, *, progress_url: str | None = None, stats: bool | None = None
) -> EncodeResult:
    """Carry the packets of a file. What was written before a failure stays in the finished file."""
    with ExitStack() as stack:
        source = VideoInput(job.source, console)
        stack.callback(source.close)
        try:
            carrier = PacketCarrier(source.stream, q=job.q, profile=job.profile, rate=source.rate)
        except LimitError as error:
            raise MediaError(f"{source.name}: {error}; or encode it with -machine inner") from error
        output = AccessUnitOutput(job.output, job.format, source.copied)
        expected = Cut().expected(source.expected, source.rate)
        progress = Progress(console, url=progress_url, stats=stats, expected=expected)
        stack.callback(progress.finish)
        interrupt = stack.enter_context(Interrupt())
        work = _Carrying(source, carrier, output, progress)
        run_and_finish(lambda: work.run(interrupt), output.close)
        if carrier.dropped:
            console.warning(f"{source.name}: {carrier.dropped} packets left out: nothing before them to refer to; a "
                            "stream begins with a key frame")
        if not output.packets and not interrupt.requested:
            raise MediaError(f"{job.output}: nothing was carried; {source.name} holds no key frame in that part")
        return EncodeResult(output.packets, output.size, interrupt.requested)


class _Carrying:
    """One run: packets through the carrier into the output."""

    def __init__(self, source: VideoInput, carrier: PacketCarrier, output: AccessUnitOutput,
                 progress: Progress) -> None:
        self.source, self.carrier, self.output, self.progress = source, carrier, output, progress

    def run(self, interrupt: Interrupt) -> None:
        """Carry to the end, to what was asked for, or to an interrupt."""
        for packet in self.source.packets():
            if interrupt.requested:
                break
            if packet.stream_index == self.source.stream.index:
                self._write(packet)
            elif not is_priming(packet):
                self.output.copy(packet)
        self._write(None)

    def _write(self, packet: Any) -> None:
        try:
            units = self.carrier.carry(packet)
        except LimitError as error:
            raise MediaError(f"{self.source.name}: {error}") from error
        for unit in units:
            sequence = self.carrier.sequence
            assert sequence is not None and unit.pts is not None  # a unit came out
            shift_item(unit, self.source.shift)
            link = Link(LinkType.ACCESS_UNITS, rate=self.carrier.rate or None, width=sequence.width,
                        height=sequence.height)
            self.output.write(unit, link)
            end = (unit.pts + (unit.duration or 0)) * Fraction(unit.time_base)
            self.progress.advance(1, unit.size, end)
