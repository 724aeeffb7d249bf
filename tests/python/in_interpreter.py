"""For tests of what Triton's interpreter computes: it must be chosen before triton is first imported, so such a module
runs itself in a process of its own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

IN_INTERPRETER = os.environ.get("TRITON_INTERPRET") == "1"


def passes_in_the_interpreter(module: str, *, at_least: int) -> None:
    """Runs the tests of the module's file there: all must pass, and so many there must be."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", module],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= at_least
