"""`python -m sim_microscope`: serve the simulated microscope; the same as `columnist sim serve`."""

import argparse
import sys
from collections.abc import Sequence

from drivers.contract.errors import InputError
from drivers.interrupts import hearing_stops
from sim_microscope.commands.serve import add_arguments, run


# Asked to stop, stop as on Ctrl-C: the beam is blanked and clients are told.
@hearing_stops()
def main(argv: Sequence[str] | None = None) -> int:
    """Serve until interrupted; returns the exit status: 0 done, 2 unusable input."""
    parser = argparse.ArgumentParser(
        prog="python -m sim_microscope", description="Serve a simulated microscope."
    )
    add_arguments(parser)
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
