"""Cores kept from idling while waits are measured: what wakes a virtual machine's core takes as long as a whole answer.

A process a core spins at Linux's idle priority, so whoever has something to do takes its place at once. It costs some
microseconds, and saves the hundreds that each hand-over to a sleeping core takes here; a busy server has no such cores.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SPIN = "import os\nos.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\nwhile True: pass"


@contextmanager
def awake() -> Iterator[None]:
    """Keep every core awake in the block."""
    spinning = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()
