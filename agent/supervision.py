"""What a supervisor gets to know: systemd's notifications, and figures for Prometheus."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from agent.snapshot import Snapshot

#: Longest request that is read, and how long it may take [bytes, s].
_MOST_BYTES, _PATIENCE_S = 8192, 5.0


class Notifier:
    """Tells systemd how the process is, by plain datagrams (man sd_notify); without systemd it does nothing.

    Parameters
    ----------
    environment : mapping
        Of it ``NOTIFY_SOCKET`` and ``WATCHDOG_USEC``, which systemd sets.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        microseconds = environment.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(microseconds) / 1e6 if microseconds.isdigit() else 0.0
        """Without a sign of life for so long [s] systemd ends the process; 0: it does not watch."""

    def tell(self, text: str) -> None:
        """Send lines such as ``READY=1``."""
        if not self._address:
            return
        # A supervisor that has gone must not end what it supervised.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(text.encode(), self._address)


async def give_signs_of_life(
    notifier: Notifier, is_well: Callable[[], str], every_s: float | None = None
) -> None:
    """Tell systemd that the agent is ready, and then that it is well as long as it is; until cancelled.

    Parameters
    ----------
    notifier : Notifier
    is_well : callable
        Returns a line on how it is; empty if it is not well, and should be started anew.
    every_s : float, optional
        By default a third of what systemd waits for, or ten seconds.
    """
    notifier.tell("READY=1")
    pause_s = every_s or (notifier.watchdog_s / 3 if notifier.watchdog_s else 10.0)
    try:
        while True:
            status = is_well()
            if status:
                notifier.tell(f"WATCHDOG=1\nSTATUS={status}")
            await asyncio.sleep(pause_s)
    finally:
        notifier.tell("STOPPING=1")


async def serve_metrics(port: int, figures: Callable[[], str]) -> None:
    """Answer ``GET /metrics`` on the loopback, in Prometheus' text format, until cancelled.

    Parameters
    ----------
    port : int
    figures : callable
        Makes the text.

    Raises
    ------
    OSError
        If the port is in use.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                line = await reader.readline()
                while (await reader.readline()).strip():
                    pass
                is_known = line.startswith(b"GET /metrics ")
                body = (figures() if is_known else "expected GET /metrics\n").encode()
                head = f"HTTP/1.1 {'200 OK' if is_known else '404 Not Found'}\r\n"
                head += "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
                head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()
        except (TimeoutError, ValueError, OSError):
            pass  # who is slow, sends lines without end or goes away gets nothing
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port, limit=_MOST_BYTES)
    async with server:
        await server.serve_forever()


def figures_of(snapshot: Snapshot, health: Any, is_held: bool, since_tick_s: float) -> str:
    """The figures of a session in Prometheus' text format.

    Parameters
    ----------
    snapshot : Snapshot
    health : HealthTaken or None
    is_held : bool
        Whether the disk takes nothing at present.
    since_tick_s : float
        Seconds since the last tick was recorded.
    """
    lines = [f'columnist_info{{session="{snapshot.session}",mode="{snapshot.mode}"}} 1']
    lines += _counter("frames_total", "what", vars(snapshot.counts).items())
    lines += _counter("latency_seconds", "stage", snapshot.latency_s.items())
    gauges = {
        "link_up": int(snapshot.link == "up"),
        "maps_per_second": snapshot.fps,
        "requests_waiting": sum(request.status == "proposed" for request in snapshot.requests),
        "recording_held": int(is_held),
        "since_tick_seconds": since_tick_s,
        "uptime_seconds": snapshot.uptime_s,
    }
    if health is not None:
        gauges |= {
            "memory_bytes": health.memory_bytes,
            "threads": health.threads,
            "descriptors": health.descriptors,
            "disk_free_bytes": health.disk_free_bytes,
        }
    lines += [f"columnist_{name} {value:.17g}" for name, value in gauges.items()]
    return "\n".join(lines) + "\n"


def _counter(name: str, label: str, values: Iterable[tuple[str, float]]) -> list[str]:
    return [f'columnist_{name}{{{label}="{key}"}} {value:.17g}' for key, value in values]
