"""`columnist doctor`: check everything that a run needs, and say how to mend what is amiss."""

import argparse
import json
from dataclasses import asdict

from agent.commands.options import add_settings_options
from agent.diagnosis import examine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `columnist doctor`."""
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    add_settings_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print a line a finding; 1 if something keeps a run from working."""
    findings = examine(arguments)
    if arguments.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            mark = {"good": "ok  ", "warning": "warn", "bad": "BAD "}[finding.verdict]
            print(f"{mark}  {finding.subject}: {finding.seen}")
            if finding.remedy:
                print(f"      {finding.remedy}")
    return 1 if any(finding.verdict == "bad" for finding in findings) else 0
