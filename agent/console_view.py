"""What the console shows of one moment: from a snapshot to something that Rich can draw; pure."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.layout import Layout
from rich.text import Text

from agent.assessment import Assessment
from agent.console_picture import DEFECT_COLOURS, Picture
from agent.requests import Request
from agent.snapshot import Snapshot
from drivers.contract.instrument import AcquireImage, Command, SwitchDetector, SwitchEnergy
from drivers.contract.maps import MapHeader

_BARS = "▁▂▃▄▅▆▇█"

_LINK_STYLES = {"up": "green", "connecting": "yellow", "down": "bold red"}
_MODE_STYLES = {"observe": "cyan", "advise": "yellow", "auto": "bold magenta"}


def split(width: int, height: int) -> tuple[int, int, int]:
    """Divide the terminal: lines of the body, characters across the picture, lines below the body."""
    below = max(5, height // 4)
    body = max(6, height - 1 - below)
    return body, min(2 * body, width // 2), below


def render(snapshot: Snapshot, picture: Picture | None, width: int, height: int) -> RenderableType:
    """Lay a moment out on a terminal of `width` characters by `height` lines.

    Parameters
    ----------
    snapshot : Snapshot
    picture : Picture or None
        The frame as drawn by `agent.console_picture.draw` into the room that `split` gives it.
    """
    body, across, below = split(width, height)
    layout = Layout()
    layout.split_column(
        Layout(_headline(snapshot), size=1), Layout(name="body", size=body), Layout(name="below", size=below)
    )
    shown: RenderableType = picture or Text("waiting for the first map", style="dim")
    layout["body"].split_row(Layout(shown, size=across + 1), Layout(Group(*_facts(snapshot))))
    asked = list(_requests(snapshot.requests))[: max(1, below // 2)]
    room = below - 1 - len(asked)
    log = [_line(line, "dim") for line in snapshot.log[-room:]] if room > 0 else []
    layout["below"].update(Group(Text("─" * width, style="dim"), *asked, *log))
    return layout


def sparkline(values: Sequence[float], width: int) -> str:
    """Draw the last values as bars from zero to the largest."""
    last = values[-width:]
    top = max(last, default=0.0) or 1.0
    return "".join(_BARS[min(len(_BARS) - 1, int(value / top * len(_BARS)))] for value in last)


def _headline(snapshot: Snapshot) -> Text:
    minutes, seconds = divmod(int(snapshot.uptime_s), 60)
    hours, minutes = divmod(minutes, 60)
    return Text.assemble(
        (" columnist ", "bold reverse"),
        f" {snapshot.session}  ",
        (snapshot.mode, _MODE_STYLES[snapshot.mode]),
        "  link ",
        (snapshot.link, _LINK_STYLES[snapshot.link]),
        f"  {hours}:{minutes:02}:{seconds:02}  ",
        (snapshot.source, "dim"),
        no_wrap=True,
        overflow="ellipsis",
    )


def _facts(snapshot: Snapshot) -> Iterator[Text]:
    """Yield lines on the newest map, then on the session."""
    if snapshot.defect_map is not None:
        yield from _map_facts(snapshot, snapshot.defect_map.header)
    if snapshot.evidence is not None:
        yield from _evidence(snapshot.evidence)
    yield Text()
    counts = snapshot.counts
    yield _line(f"{counts.seen} frames, {counts.mapped} mapped, {snapshot.fps:.1f} a second")
    lost = {name: getattr(counts, name) for name in ("skipped", "rejected", "dropped", "missing")}
    yield _line(", ".join(f"{n} {name}" for name, n in lost.items()), "yellow" if any(lost.values()) else "")
    yield _line(f"{counts.columns:,} columns read")


def _map_facts(snapshot: Snapshot, header: MapHeader) -> Iterator[Text]:
    context, frame = header.settled.context, snapshot.frame
    specimen = context.specimen.host + (f":{context.specimen.dopant}" if context.specimen.dopant else "")
    where = "" if frame is None else f"frame {frame.sequence}  {frame.shape[0]} x {frame.shape[1]}  "
    yield _line(f"{where}{specimen}  {context.energy_kev:g} keV  {context.detector.name}", "bold")
    counts = header.counts
    yield _line(f"{header.columns} columns: {counts.metal} metal, {counts.x2} X2")
    found = {one.defect: one for one in header.concentrations}
    for kind, colour in DEFECT_COLOURS.items():
        name = kind.name.lower()
        share = found.get(name)  # type: ignore[call-overload]
        text = f"{name:<7}{getattr(counts, name):>6}"
        if share is not None:
            text += f"  {100 * share.value:6.2f} %  ({100 * share.low:.2f} to {100 * share.high:.2f})"
        yield Text.assemble(("■ ", "rgb({},{},{})".format(*colour)), text, no_wrap=True, overflow="ellipsis")
    history = sparkline(snapshot.entropy_history, 20)
    yield _line(f"entropy {header.mean_entropy_nats:.4f} nats  {history}")
    margin = min((grain.margin_nats for grain in header.grains), default=0.0)
    is_decided = all(grain.is_decided for grain in header.grains)
    decided = "decided" if is_decided else "NOT DECIDED"
    yield _line(f"sublattice {decided}, margin {margin:.1f} nats", "" if is_decided else "bold yellow")
    stages = {name: value for name, value in snapshot.latency_s.items() if name not in ("total", "overhead")}
    parts = " + ".join(f"{name} {1e3 * value:.1f}" for name, value in stages.items())
    yield _line(f"latency {1e3 * snapshot.latency_s.get('total', 0.0):.1f} ms to published")
    yield _line(f"  {parts}", "dim")
    for flag in header.flags:
        yield _line(f"! {flag.kind.replace('_', ' ')}: {flag.message}", "yellow")


def _evidence(told: Assessment) -> Iterator[Text]:
    """Yield lines on what all maps say together, and on how far the goals are."""
    if told.mean_entropy_nats is not None:
        known = f"{told.in_view} in view at {told.mean_entropy_nats:.4f} nats by all maps"
        yield _line(f"evidence on {told.columns} columns, {known}")
    if told.remark:
        yield _line(f"  {told.remark}", "dim")
    for standing in told.verdict.standings if told.verdict else ():
        yield _line(f"goal {standing.status.replace('_', ' ')}: {standing.sentence}")


def _requests(requests: Sequence[Request]) -> Iterator[Text]:
    """Yield lines on the requests that wait for an answer, and on the newest that does not."""
    waiting = [request for request in requests if request.status == "proposed"]
    for request in waiting:
        answer = f"columnist approve {request.id}  or  columnist deny {request.id}"
        yield _line(f"? {request.id} {_wish(request)}:  {answer}", "bold yellow")
        yield _line(f"  {request.wish.reason}", "yellow")
    others = [request for request in requests if request.status != "proposed"]
    if others and not waiting:
        last = others[-1]
        style = "red" if last.status in ("failed", "expired", "unscored") else "green"
        yield _line(f"  {last.id} {_wish(last)} {last.status} {last.outcome}".rstrip(), style)


def _wish(request: Request) -> str:
    return ", then ".join(_what(command) for command in request.wish.commands)


def _what(command: Command) -> str:
    match command:
        case SwitchDetector():
            return f"switch to {', '.join(command.detectors)}"
        case SwitchEnergy():
            return f"switch to {command.energy_kev:g} keV"
        case AcquireImage(window=None):
            return "scan the field again"
        case AcquireImage():
            return "scan a window again"
        case _:
            return command.kind.replace("_", " ")


def _line(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")
