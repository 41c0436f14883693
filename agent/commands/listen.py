"""`columnist listen`: print what an agent publishes."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import zmq

from agent.commands.options import add_settings_options, read_settings
from agent.listening import Listener
from drivers.commands.options import count, seconds
from drivers.keys import read_keys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `columnist listen`."""
    parser.add_argument(
        "topics", nargs="*", help="only these, such as map or doc/event (default: all but doc)"
    )
    parser.add_argument("--at", metavar="ADDRESS", help="the agent's PUB socket, if not that of the settings")
    parser.add_argument("--snapshot", metavar="ADDRESS", help="its snapshot socket")
    parser.add_argument("--keys", metavar="FOLDER", help="your keys, for an agent that asks for one")
    parser.add_argument("--count", metavar="N", type=count, help="stop after this many messages")
    parser.add_argument("--json", action="store_true", help="print each message as a line of JSON")
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=seconds, help="stop when nothing comes for this long"
    )
    add_settings_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print messages until told to stop; 1 if nothing came within the timeout."""
    publish = read_settings(arguments).publish
    maps = arguments.at or publish.maps
    snapshot = arguments.snapshot or (publish.snapshot if arguments.at is None else None)
    print(f"listening at {maps}; nothing comes unless an agent runs there", file=sys.stderr, flush=True)
    shown = 0
    keys = read_keys(Path(arguments.keys)) if arguments.keys else None
    with zmq.Context() as context, Listener(context, maps, snapshot, arguments.topics, keys) as listener:
        for message in listener.messages(arguments.timeout):
            if message.gap:
                print(f"({message.gap} messages of {message.topic} were missed)", file=sys.stderr, flush=True)
            print(json.dumps(message.envelope) if arguments.json else line_of(message.envelope), flush=True)
            shown += 1
            if shown == arguments.count:
                return 0
    return 0 if shown else 1


def line_of(envelope: dict[str, Any]) -> str:
    """One line of plain text."""
    topic, body = envelope["topic"], envelope["body"]
    head = f"{topic} {envelope['number']}"
    match topic:
        case "map":
            context, counts = body["settled"]["context"], body["counts"]
            specimen = context["specimen"]
            names = ", ".join(f"{count} {name}" for name, count in counts.items())
            dopant = f"-{specimen['dopant']}" if specimen["dopant"] else ""
            where = f"{specimen['host']}{dopant} {context['energy_kev']:g} keV"
            return (
                f"{head}: frame {body['frame']['sequence']}, {where} {context['detector']['name']}, "
                f"{body['columns']} columns ({names}), {body['mean_entropy_nats']:.3f} nats, "
                f"{1e3 * envelope['latency_s']['total']:.0f} ms"
                + (f"; flags: {', '.join(flag['kind'] for flag in body['flags'])}" if body["flags"] else "")
            )
        case "request":
            end = f": {body['outcome']}" if body["outcome"] else ""
            return f"{head}: {body['id']} {body['status']}{end}. {body['wish']['reason']}"
        case "rejection":
            frame = f"frame {body['frame']['sequence']}" if body["frame"] else "a message"
            return f"{head}: {frame}: {body['reason']}; {body['remedy']}"
        case "heartbeat":
            frames = ", ".join(f"{count} {what}" for what, count in body["frames"].items())
            return f"{head}: {body['mode']}, link {body['link']}, {body['fps']:.1f} maps/s; {frames}"
        case _:
            known = {key: value for key, value in body.items() if key not in ("kind", "rules", "at_s")}
            return f"{head}: " + ", ".join(f"{key} {value}" for key, value in known.items())
