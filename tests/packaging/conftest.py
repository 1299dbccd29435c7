"""The wheel that users get, and an environment that holds nothing but it and what it requires without extras."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PACKED = ("bench", "defenses", "attackers", "datasets", "leaderboards", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the tracked files, so that the checkout stays as it is."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    clone, out = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("dist")
    listed = subprocess.run(["git", "ls-files", *PACKED], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, clone / name)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(clone)]
    built = subprocess.run(build, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (file,) = out.glob("cloakbench-*.whl")
    return file


@pytest.fixture(scope="session")
def light(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment with the wheel and its requirements without extras, and nothing else.

    Nothing is downloaded: the packages are links to those of this environment, found by following the requirements
    that the wheel states.
    """
    root = tmp_path_factory.mktemp("light")
    venv.create(root, with_pip=False, symlinks=True)
    (site,) = root.glob("lib/python*/site-packages")
    pip = [sys.executable, "-m", "pip", "--python", str(root / "bin" / "python")]
    install = [*pip, "install", "-q", "--no-deps", "--no-index", str(wheel)]
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (installed,) = metadata.distributions(name="cloakbench", path=[str(site)])
    for distribution in _required(installed.requires or []):
        for top in {file.parts[0] for file in distribution.files or () if file.parts[0] != ".."}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(distribution.locate_file(top))).resolve())
    return root / "bin"


def _required(requirements: list[str]) -> Iterator[metadata.Distribution]:
    """The distributions of this environment that the requirements name, directly or through each other."""
    queue = [(requirement, "") for requirement in requirements]
    seen: set[tuple[str, str]] = set()
    while queue:
        text, extra = queue.pop()
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        distribution = metadata.distribution(requirement.name)
        yield distribution
        for wanted in {"", *requirement.extras} - {
            was for name, was in seen if name == canonicalize_name(requirement.name)
        }:
            seen.add((canonicalize_name(requirement.name), wanted))
            queue += [(line, wanted) for line in distribution.requires or ()]
