"""A defense in a package of somebody else's is installed, listed, checked and run, and takes no name of ours."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import plugins
from tests.processes import Python

pytestmark = pytest.mark.install
PACKAGE = Path(__file__).parent / "third_party"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the package as pip installs it; built from a copy, so that the tree stays as it is."""
    pytest.importorskip("hatchling", reason="hatchling, which builds the package, is not installed")
    source, target = tmp_path_factory.mktemp("source") / "package", tmp_path_factory.mktemp("site")
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("__pycache__"))
    install = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    ran = subprocess.run([sys.executable, "-m", "pip", *install, str(source)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return target


@pytest.fixture
def printed(python: Python) -> Callable[[Path, str], str]:
    """What an interpreter prints that finds the package."""

    def run(installed: Path, code: str) -> str:
        ran = python.run("-c", code, cwd=installed, PYTHONPATH=os.pathsep.join([str(installed), str(plugins.home())]))
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    return run


def test_it_is_listed_under_its_distribution_without_being_imported(
    printed: Callable[[Path, str], str], installed: Path
) -> None:
    out = printed(
        installed,
        "import sys, json\nfrom bench import plugins\nfound = plugins.names('defenses')\n"
        "hum = found['cloakbench-example/hum']\n"
        "print(json.dumps([list(found), hum.summary, hum.origin, 'cloakbench_example' in sys.modules]))",
    )
    names, summary, origin, imported = json.loads(out)
    assert "clean" in names
    assert "hum" not in names
    assert summary == "Mains hum: one low tone beneath every clip, each in a phase of its own."
    assert origin == "cloakbench-example 0.1.0"
    assert not imported


def test_it_passes_the_conformance_kit(printed: Callable[[Path, str], str], installed: Path) -> None:
    out = printed(
        installed,
        "from bench import plugins\nfrom bench.check import checks, outcome\n"
        "plugin = plugins.build('defenses', 'cloakbench-example/hum', preset='smoke')\n"
        "for check in checks('defenses', plugin): print(outcome(check).status)",
    )
    assert set(out.split()) == {"passed"}
    assert len(out.split()) > 20


def test_it_runs_with_its_parameters_and_has_a_digest_of_its_own_file(
    printed: Callable[[Path, str], str], installed: Path
) -> None:
    out = printed(
        installed,
        "import json, torch\nfrom bench import plugins\nfrom bench.api import Clips, Knowledge\n"
        "hum = plugins.build('defenses', 'cloakbench-example/hum', {'hz': 100.0, 'snr_db': 20.0})\n"
        "clips = Clips.of(torch.sin(torch.arange(8000.0)).mul(0.5)[None, None], 8000)\n"
        "noise = hum.protect(clips, Knowledge(), torch.Generator().manual_seed(0)).audio - clips.audio\n"
        "snr = float(20 * torch.log10(clips.audio.norm() / noise.norm()))\n"
        "print(json.dumps([int(torch.fft.rfft(noise[0, 0]).abs().argmax()), snr, "
        "plugins.digest('defenses', 'cloakbench-example/hum')]))",
    )
    peak, snr, digest = json.loads(out)
    assert peak == 100, "a spectrum of one second: bins of one hertz"
    assert snr == pytest.approx(20.0, abs=0.1)
    file = installed / "cloakbench_example" / "hum.py"
    file.write_text(file.read_text() + "\nANOTHER = True\n")
    changed = "from bench import plugins\nprint(plugins.digest('defenses', 'cloakbench-example/hum'))"
    assert printed(installed, changed).strip() != digest


def test_the_nearest_name_of_a_wrong_one_may_be_theirs(printed: Callable[[Path, str], str], installed: Path) -> None:
    out = printed(
        installed,
        "from bench import plugins\nfrom bench.errors import PluginError\n"
        "try: plugins.load('defenses', 'cloakbench-exmple/hum')\n"
        "except PluginError as error: print(error)",
    )
    assert "did you mean 'cloakbench-example/hum'?" in out


def test_a_package_that_breaks_is_named_and_hides_no_other(
    printed: Callable[[Path, str], str], installed: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "site"
    shutil.copytree(installed, broken)
    (broken / "cloakbench_example" / "__init__.py").write_text("1 / 0\n")
    out = printed(
        broken,
        "from bench import plugins\nfrom bench.errors import PluginError\n"
        "print(plugins.names('defenses')['cloakbench-example/hum'].origin)\n"
        "try: plugins.load('defenses', 'cloakbench-example/hum')\n"
        "except PluginError as error: print(error)\n"
        "print(plugins.load('defenses', 'clean').__name__)",
    )
    origin, error, name = out.splitlines()
    assert origin == "cloakbench-example 0.1.0"
    assert "defense 'cloakbench-example/hum'" in error
    assert "ZeroDivisionError" in error
    assert name == "Clean"
