"""What compiling one transformer block costs in Triton candidates and wall time: ours cold and warm, and stock Inductor
with its gate forced open, with its DEFAULT and its EXHAUSTIVE list.

Everything is Inductor's own on this machine's CPUs; the GPU is a double (tests/doubles/virtual_gpu.py): candidates are
compiled by Triton for its architecture, none runs, and every time that Inductor would take on a GPU is answered at
once. The wall time is that of tracing, lowering and compiling, in a fresh process each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
WAYS = ("ours cold", "ours warm", "stock DEFAULT", "stock EXHAUSTIVE")
SHAPE = (2, 72, 192)


def measured(way: str, folder: Path, arguments: list[str]) -> dict[str, Any]:
    """One way, in a process of its own; `folder` holds what is learned."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", way, *arguments],
        env={
            **os.environ,
            "GEMM_TUNER_CACHE_DIR": str(folder),
            "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), str(ROOT / "tests" / "python")]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{way} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def child(way: str, device: str, sample: int, *, backward: bool) -> dict[str, Any]:
    """Compiles the block that way, and counts. Of EXHAUSTIVE, `sample` candidates of each product are compiled."""
    import gemm_tuner as gt
    from blocks import LlamaBlock, on_meta
    from doubles.virtual_gpu import virtual_gpu

    offered: list[int] = []
    options = None
    if way.startswith("stock"):
        options = {"max_autotune_gemm": True, "max_autotune_gemm_search_space": way.split()[1]}
    tuned = gt.enabled() if options is None else gate_open(sample if "EXHAUSTIVE" in way else None, offered)
    with virtual_gpu(device, timings=lambda choice: 1.0) as gpu, tuned:
        started_s = time.perf_counter()
        gpu.compile(on_meta(LlamaBlock), SHAPE, backward=backward, options=options)
        seconds = time.perf_counter() - started_s
    compiled = len(gpu.clock.compiled) + len(gpu.clock.refused)
    return {"compiled": compiled, "refused": len(gpu.clock.refused), "offered": sum(offered) or compiled, "s": seconds}


@contextmanager
def gate_open(sample: int | None, offered: list[int]) -> Iterator[None]:
    """Stock Inductor with the gate forced open; counts the Triton candidates that it makes of each product, and, where
    told, keeps a sample of them."""
    import random
    from unittest import mock

    from torch._inductor import utils
    from torch._inductor.choices import InductorChoices
    from torch._inductor.virtualized import V

    class Counting(InductorChoices):
        def _finalize_template_configs(self, *args: Any, **kwargs: Any) -> list[Any]:
            choices = super()._finalize_template_configs(*args, **kwargs)
            triton = [choice for choice in choices if choice.template.uid.startswith("triton::")]
            offered.append(len(triton))
            kept = triton if sample is None else random.Random(0).sample(triton, min(sample, len(triton)))
            return [choice for choice in choices if choice not in triton or choice in kept]

    with mock.patch.object(utils, "is_big_gpu", return_value=True), V.set_choices_handler(Counting()):
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="rtx-3060", help="of the catalogue")
    parser.add_argument("--sample", type=int, default=4, help="candidates of EXHAUSTIVE compiled per product")
    parser.add_argument("--backward", action="store_true", help="and the backward pass of the block")
    parser.add_argument("--check", action="store_true", help="fail unless cold costs a fifth of DEFAULT, warm nothing")
    parser.add_argument("--json", type=Path, help="also write what was found there")
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        print(json.dumps(child(asked.child, asked.device, asked.sample, backward=asked.backward)))
        return
    with tempfile.TemporaryDirectory() as folder:
        ways = WAYS[:3] if asked.sample == 0 else WAYS
        found = {way: measured(way, Path(folder), sys.argv[1:]) for way in ways}
    passes = "forward and backward" if asked.backward else "forward"
    print(f"one Llama block, float16, {passes}, for {asked.device} (a double), {os.cpu_count()} cores")
    print(f"{'':18}{'offered':>9}{'compiled':>9}{'refused':>9}{'wall s':>9}")
    for way, row in found.items():
        print(f"{way:18}{row['offered']:9}{row['compiled']:9}{row['refused']:9}{row['s']:9.1f}")
    if "stock EXHAUSTIVE" in found:
        print(f"stock EXHAUSTIVE is a sample: of each product's candidates {asked.sample} are compiled")
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")
    if asked.check:
        cold, warm, default = (found[way]["compiled"] for way in WAYS[:3])
        if cold * 5 > default or warm:
            raise SystemExit(f"cold compiled {cold}, warm {warm}, stock DEFAULT {default}: more than expected")


if __name__ == "__main__":
    main()
