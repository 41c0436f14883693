"""The `columnist` command: the composition root, and the one module of `agent` that names the simulator."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from drivers.contract.errors import InputError
from drivers.interrupts import hearing_stops

#: Subcommands, each with its one-line help and the module that declares and runs it.  A module is
#: imported only when its subcommand is called, so that `columnist --help` is instant.
COMMANDS = {
    "simulate": ("make frames of a doped monolayer, with their truth", "sim_microscope.commands.simulate"),
    "kernels": ("build the kernel table or study its convergence", "sim_microscope.commands.kernels"),
    "motifs": ("export the 34 motifs of every doped host as CIF", "sim_microscope.commands.motifs"),
    "validate": ("check the physics against full multislice", "sim_microscope.commands.validate"),
    "dataset": ("build the data set that classifiers learn from", "models.training.commands.dataset"),
    "derive": ("derive expected contrasts and constants", "models.training.commands.derive"),
    "train": ("train a classifier", "models.training.commands.train"),
    "run": ("read every frame of a microscope, a simulation, a recording or a folder", "agent.commands.run"),
    "demo": ("show it all on a simulated microscope, in under a minute", "agent.commands.demo"),
    "listen": ("print what a running agent publishes", "agent.commands.listen"),
    "requests": ("show how the agent stands, and its requests", "agent.commands.order"),
    "approve": ("have the agent carry a request out", "agent.commands.order"),
    "deny": ("keep the agent from carrying a request out", "agent.commands.order"),
    "mode": ("show or set what the agent may do by itself", "agent.commands.order"),
    "stop": ("end the session of the running agent", "agent.commands.order"),
    "config": ("settings of the agent", ""),
    "doctor": ("check device, weights, ports, disk and settings", "agent.commands.doctor"),
    "analyse": ("find and classify every column of micrograph files", "agent.commands.analyse"),
    "evaluate": ("score classifiers against known labels", ""),
    "replay": ("run a recorded session through the same decisions again", "agent.commands.replay"),
    "sessions": ("list recorded sessions, and check them", "agent.commands.sessions"),
    "export": ("write what a recorded session found", "agent.commands.export"),
    "sim": ("run the simulated microscope", ""),
    "serve": ("serve a recording or a folder as an instrument", "drivers.commands.serve"),
    "keys": ("make and list the keys of those who may listen or command", "drivers.commands.keys"),
    "faults": ("put a link that fails between a bridge and its clients", "drivers.commands.faults"),
    "bench": ("measure speed, accuracy and endurance", "agent.commands.bench"),
}

#: Subcommands of subcommands, where a command has more than one module.
NESTED = {
    "config": {"init": ("in a new file that explains every field", "agent.commands.config")},
    "evaluate": {
        "labelled": ("on labelled micrographs", "agent.commands.evaluate_labelled"),
        "simulated": ("on simulated frames", "models.training.commands.evaluate_simulated"),
    },
    "sim": {"serve": ("as an instrument on the wire", "sim_microscope.commands.serve")},
}


def build_parser(command: str | None, nested: str | None = None) -> argparse.ArgumentParser:
    """Return the parser, with the options of the one subcommand that is going to run."""
    parser = argparse.ArgumentParser(
        prog="columnist", description="Reads every atomic column that a scanning microscope sees."
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (summary, module) in COMMANDS.items():
        subparser = _add(subparsers, name, summary)
        if name == command and name in NESTED:
            inner = subparser.add_subparsers(dest="nested", metavar="WHAT", required=True)
            for word, (about, inner_module) in NESTED[name].items():
                inner_parser = _add(inner, word, f"{summary} {about}")
                if word == nested:
                    import_module(inner_module).add_arguments(inner_parser)
        elif name == command:
            import_module(module).add_arguments(subparser)
    return parser


def _add(subparsers: Any, name: str, summary: str) -> argparse.ArgumentParser:
    """Add the parser of one subcommand."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name, help=summary, description=summary[0].upper() + summary[1:] + "."
    )
    return parser


# Asked to stop, stop as on Ctrl-C: worker processes are ended and what is finished is kept.
@hearing_stops()
def main(argv: Sequence[str] | None = None) -> int:
    """Run `columnist`; returns the exit status: 0 done, 1 a check failed, 2 unusable input."""
    words = list(sys.argv[1:] if argv is None else argv)
    command = words[0] if words and words[0] in COMMANDS else None
    inner = NESTED.get(command or "", {})
    nested = words[1] if len(words) > 1 and words[1] in inner else None
    name = f"columnist {command} {nested}" if nested else f"columnist {command}"
    try:
        arguments = build_parser(command, nested).parse_args(words)
        module = inner[arguments.nested][1] if inner else COMMANDS[arguments.command][1]
        return int(import_module(module).run(arguments))
    except InputError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except ImportError as error:
        print(
            f"{name}: {error}; install columnist with all its extras: `make setup`",
            file=sys.stderr,
        )
        return 2
    except BrokenPipeError:  # whoever read our lines has gone: `columnist replay SESSION | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted; what was finished is kept", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
