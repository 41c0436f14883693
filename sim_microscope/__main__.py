"""`python -m sim_microscope`: serve the simulated microscope; the same as `columnist sim serve`."""

import argparse
import signal
import sys
from collections.abc import Sequence

from drivers.contract.errors import InputError
from sim_microscope.commands.serve import add_arguments, run


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until interrupted; returns the exit status: 0 done, 2 unusable input."""
    parser = argparse.ArgumentParser(
        prog="python -m sim_microscope", description="Serve a simulated microscope."
    )
    add_arguments(parser)
    # Asked to stop, stop as on Ctrl-C: the beam is blanked and clients are told.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return run(parser.parse_args(argv))
    except InputError as error:
        print(f"sim_microscope: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("sim_microscope: interrupted before it served", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
