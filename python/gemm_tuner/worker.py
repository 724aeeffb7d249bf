"""The process at the other end of worker_process: reads jobs as JSON lines, writes results as JSON lines.

    python -m gemm_tuner.worker MODULE:FUNCTION

It imports the module, says that it is ready, and calls the function for each job. What a compiler prints goes to
stderr, so that stdout carries results alone. It ends when its input does.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import sys


def main(job: str) -> None:
    """Serves until stdin closes."""
    faulthandler.enable()
    results = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    module, function = job.split(":")
    call = getattr(importlib.import_module(module), function)
    print(json.dumps({"ready": True}), file=results, flush=True)
    for line in sys.stdin:
        print(json.dumps(call(json.loads(line))), file=results, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
