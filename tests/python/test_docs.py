"""Every Python block and every gemm-tuner command of README and docs runs, as written, block after block."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def as_script(page: Path) -> str:
    """The page's blocks as one script; `gemm-tuner` lines become calls that must not be refused."""
    script = ["import subprocess, sys"]
    for kind, block in BLOCK.findall(page.read_text()):
        if kind == "python":
            script.append(block)
            continue
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["gemm-tuner"]:
                # 1 is "done but something fell short", as doctor says of a machine without a GPU
                script.append(f"assert subprocess.call([sys.executable, '-m', 'gemm_tuner', *{words[1:]!r}]) in (0, 1)")
    return "\n".join(script)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_the_page_shows_runs(page: Path, tmp_path: Path) -> None:
    script = as_script(page)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "GEMM_TUNER_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"


def test_readme_is_not_empty_of_examples() -> None:
    assert "gt.rank" in as_script(ROOT / "README.md") and "'tune'" in as_script(ROOT / "README.md")
