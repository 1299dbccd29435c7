"""Provenance of a number: commit, packages, hardware. The git fields are those of bench's own checkout."""

from __future__ import annotations

import functools
import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("cloakbench", "torch", "numpy", "scipy", "transformers", "soundfile", "muspy", "tinysoundfont", "ray")


@functools.cache
def provenance() -> dict[str, Any]:
    """Return bench's commit, whether its checkout was changed, Python, packages and processor.

    Returns:
        JSON; the same at every call of a process.
    """
    return {
        "git": _git(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git() -> dict[str, Any] | None:
    """Return commit, dirty and origin without credentials; None where bench does not run from a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None

    def git(*words: str) -> str:
        completed = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=20, check=False
        )
        return completed.stdout.strip()

    try:
        origin = re.sub(r"//[^@/]*@", "//", git("remote", "get-url", "origin"))
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain")), "origin": origin}
    except (OSError, subprocess.TimeoutExpired):
        return None


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor()
    match = re.search(r"model name\s*:\s*(.+)", text)
    return match.group(1).strip() if match else platform.processor()
