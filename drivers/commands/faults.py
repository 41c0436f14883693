"""`columnist faults`: put a link that fails between a bridge and its clients, as a script says."""

import argparse
from pathlib import Path

from pydantic import ValidationError

from drivers.contract.codec import explain
from drivers.contract.errors import InputError
from drivers.fault_relay import FaultRelay
from drivers.faults import LINK_FAULTS, Fault, FaultyLink, Script, read_script


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("bridge", help="control address of the bridge, such as tcp://127.0.0.1:5555")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--script", type=Path, metavar="TOML", help="[[fault]] tables: kind, begins_s, lasts_s")
    what.add_argument("--kind", choices=LINK_FAULTS, help="one fault, from now on")
    parser.add_argument("--share", type=float, default=0.1, help="of the messages that it hits (default 0.1)")
    parser.add_argument("--by-s", type=float, default=0.2, help="how late messages come (default 0.2)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed hits the same messages")
    parser.add_argument("--port", type=int, default=0, help="to listen on, of the loopback (default: any)")


def run(arguments: argparse.Namespace) -> int:
    """Relay until interrupted."""
    relay = FaultRelay(arguments.bridge, FaultyLink(_script(arguments), arguments.seed), port=arguments.port)
    print(f"clients of {arguments.bridge} connect to {relay.address} instead", flush=True)
    try:
        relay.run()
    except KeyboardInterrupt:
        print("stopped", flush=True)
    return 0


def _script(arguments: argparse.Namespace) -> Script:
    if arguments.script is None:
        kind, share, by_s = arguments.kind, arguments.share, arguments.by_s
        try:
            return (Fault(kind=kind, share=share, by_s=by_s, lasts_s=1e9, direction="both"),)
        except ValidationError as error:
            raise InputError(explain(error)) from None
    script = read_script(arguments.script)
    others = sorted({fault.kind for fault in script} - set(LINK_FAULTS))
    if others:
        raise InputError(
            f"{arguments.script}: {', '.join(others)}: faults of an instrument, which a relay cannot make; "
            "put the instrument into drivers.faulty_microscope.FaultyMicroscope"
        )
    return script
