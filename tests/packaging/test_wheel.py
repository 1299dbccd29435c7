"""What the wheel carries, and that it stands beside the Hugging Face library `datasets`."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from bench import plugins
from bench.extras import EXTRAS

ROOT = Path(__file__).resolve().parents[2]
# The tiny MusicGen takes 3.4 MB of 4.3, SymphonyNet .6; records took 14 MB more.
LARGEST = 6_000_000


@pytest.mark.install
def test_the_wheel_carries_plugins_and_suites_and_no_records(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"bench"}
    records = [name for name in names if "/records/" in name]
    assert not records, f"{len(records)} files of records, first {records[0]}"
    assert wheel.stat().st_size < LARGEST
    carried = {name.removeprefix("bench/") for name in names}
    wanted = {file.relative_to(ROOT).as_posix() for file in (ROOT / "leaderboards").rglob("*.toml")}
    for kind in plugins.FOLDERS:
        wanted |= {str(listing.path.relative_to(ROOT)) for listing in plugins.names(kind).values() if listing.path}
    wanted |= {"datasets/chorales.toml", "attackers/musicgen/tiny/model.safetensors", "leaderboards/baseline.json"}
    wanted |= {"attackers/symphonynet/songs/model.safetensors"}
    assert wanted | {"py.typed"} <= carried
    cached = [name for name in names if "__pycache__" in name]
    assert not cached


@pytest.mark.install
def test_the_wheel_stands_beside_hugging_face_datasets(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--target",
        str(site),
        str(wheel),
    ]
    subprocess.run(install, capture_output=True, text=True, check=True)
    code = "import bench.plugins as p, datasets; print(p.__file__, datasets.__file__, *p.names('datasets'))"
    environment = {**os.environ, "PYTHONPATH": str(site)}
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    bench_file, datasets_file, *names = ran.stdout.split()
    assert bench_file.startswith(str(site / "bench"))
    assert not datasets_file.startswith(str(site))
    assert "chorales" in names


def test_every_extra_module_belongs_to_an_extra_of_the_project() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(EXTRAS.values()) == set(extras) - {"all", "dev"}
