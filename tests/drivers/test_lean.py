"""A microscope PC that only serves frames needs numpy, pydantic and pyzmq."""

import subprocess
import sys

ALLOWED = {"numpy", "pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection"}

PROGRAM = """
import sys, threading
import drivers.bridge, drivers.client, drivers.commands.serve, drivers.fake, drivers.replay, drivers.watch
names = {name.split(".")[0] for name in sys.modules if not name.startswith("_")}
print(*sorted(names - set(sys.stdlib_module_names)))
print(threading.active_count())
"""


def test_serving_imports_little_and_starts_nothing():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    packages, threads = done.stdout.splitlines()
    assert set(packages.split()) - {"drivers", "zmq", "cython_runtime"} <= ALLOWED
    assert threads == "1"
