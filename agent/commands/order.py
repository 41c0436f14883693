"""`columnist requests`, `approve`, `deny`, `mode` and `stop`: orders to the agent that runs elsewhere.

The five share a module for they differ in one message; which it is, the parser's name tells.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from agent.commands.options import add_settings_options, read_settings
from agent.control import send_order
from drivers.commands.options import seconds
from drivers.keys import read_keys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of one of the orders."""
    name = parser.prog.split()[-1]
    if name in ("approve", "deny"):
        parser.add_argument("request", help="as `columnist requests` names it, for example r1")
    elif name == "mode":
        parser.add_argument("mode", nargs="?", choices=("observe", "advise", "auto"), help="default: show it")
    parser.add_argument(
        "--at", metavar="ADDRESS", help="the agent's control socket, if not that of the settings"
    )
    parser.add_argument("--keys", metavar="FOLDER", help="your keys, for an agent that asks for one")
    parser.add_argument("--timeout", type=seconds, default=5.0, metavar="SECONDS", help="wait so long")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    add_settings_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Send the order and print the answer; 1 if nothing came of it, as of a request that has ended."""
    publish = read_settings(arguments).publish
    keys = read_keys(Path(arguments.keys)) if arguments.keys else None
    answer = send_order(arguments.at or publish.control, _order(arguments), arguments.timeout, keys=keys)
    is_done = answer.get("done", True)
    if arguments.json:
        print(json.dumps(answer, indent=1))
    elif "said" not in answer:
        _show(answer)
    for line in [] if arguments.json else answer.get("said", []):
        print(line, file=sys.stdout if is_done else sys.stderr)
    return 0 if is_done else 1


def _order(arguments: argparse.Namespace) -> dict[str, Any]:
    """The message of an order."""
    match arguments.command:
        case "approve" | "deny":
            return {"kind": arguments.command, "request": arguments.request}
        case "mode" if arguments.mode:
            return {"kind": "set_mode", "mode": arguments.mode}
        case "stop":
            return {"kind": "stop"}
        case _:
            return {"kind": "status"}


def _show(answer: dict[str, Any]) -> None:
    """Print how the agent stands, and its requests."""
    frames = ", ".join(f"{count} {what}" for what, count in answer["frames"].items())
    if answer.get("halted"):
        print(f"the agent has stopped acting: {answer['halted']}")
    for sentence in answer.get("goals", []):
        print(f"goal: {sentence}")
    print(f"session {answer['session']}: mode {answer['mode']}, link {answer['link']}; {frames}")
    for request in answer["requests"]:
        end = f": {request['outcome']}" if request["outcome"] else ""
        print(f"{request['id']}  {request['status']}{end}\n    {request['wish']['reason']}")
        promise = request["wish"].get("promise")
        if promise:
            named = ", ".join(f"({one['x_nm']:.2f}, {one['y_nm']:.2f})" for one in promise["concerns"][:5])
            print(f"    most about the columns at {named} nm (x, y)")
    waiting = [request["id"] for request in answer["requests"] if request["status"] == "proposed"]
    if waiting:
        print(f"waiting for an answer: {', '.join(waiting)} (`columnist approve ID` or `columnist deny ID`)")
    elif not answer["requests"]:
        print("no requests")
