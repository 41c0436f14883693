"""`columnist keys`: make, list, allow, forget and trust CURVE keys."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from drivers.keys import Access, allow, entries, forget, make_own, own, trust

#: Where keys are looked for if no folder is named.
DEFAULT_FOLDER = Path("keys")

_KEY_HELP = "as `columnist keys make` printed it, in single quotes; put -- before one that begins with -"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="WHAT")
    made = actions.add_parser("make", help="make the pair of this computer, and print its public key")
    listed = actions.add_parser("list", help="list those who may command, and those who may only listen")
    allowed = actions.add_parser("allow", help="let somebody's key in")
    allowed.add_argument("name", help="of its holder, for the list")
    allowed.add_argument("key", help=f"the public key: 40 characters, {_KEY_HELP}")
    allowed.add_argument(
        "--control", action="store_true", help="let it command, too; else it may only listen"
    )
    forgotten = actions.add_parser("forget", help="let a key in no longer")
    forgotten.add_argument("name", help="as `columnist keys list` shows it")
    trusted = actions.add_parser("trust", help="note the key of the bridge or agent to connect to")
    trusted.add_argument("key", help=f"its public key, {_KEY_HELP}")
    for one in (made, listed, allowed, forgotten, trusted):
        one.add_argument(
            "--folder", type=Path, default=DEFAULT_FOLDER, help="of the keys (default: %(default)s)"
        )
    listed.add_argument("--json", action="store_true", help="print the list as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Do it, and say what was done."""
    folder: Path = arguments.folder
    match arguments.action:
        case "make":
            print(make_own(folder).public.decode())
        case "allow":
            access: Access = "control" if arguments.control else "listen"
            allow(folder, access, arguments.name, arguments.key)
            print(f"{arguments.name} may {access} from the next connection on")
        case "forget":
            forget(folder, arguments.name)
            print(f"{arguments.name} gets in no longer; restart what runs to end a connection that stands")
        case "trust":
            print(f"wrote {trust(folder, arguments.key)}")
        case _:
            _list(folder, as_json=arguments.json)
    return 0


def _list(folder: Path, *, as_json: bool) -> None:
    found = list(entries(folder))
    public = own(folder).public.decode()
    if as_json:
        print(json.dumps({"own": public, "allowed": [asdict(entry) for entry in found]}, indent=1))
        return
    print(f"own      {public}")
    for entry in found:
        print(f"{entry.access:8} {entry.public} {entry.name}")
    if not found:
        print("nobody else: `columnist keys allow NAME 'KEY'` lets somebody in")
