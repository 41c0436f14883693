import os
import select
import subprocess
import sys

from sim_microscope.workers import worker_pool

PARENT = """
import os, sys
from sim_microscope.workers import worker_pool
if __name__ == "__main__":
    with worker_pool(1) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        sys.stdin.read()
"""


def test_a_worker_ends_with_a_parent_that_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        worker = os.pidfd_open(int(parent.stdout.readline()))
        try:
            assert select.select([worker], [], [], 0)[0] == []
            parent.kill()
            assert select.select([worker], [], [], 30)[0] == [worker]
        finally:
            os.close(worker)


def test_a_pool_works_in_other_processes():
    with worker_pool(1) as pool:
        assert pool.submit(os.getpid).result() != os.getpid()
