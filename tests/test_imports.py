"""Reading results needs no engine: no torch, no plugin, and little time."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "transformers", "ray", "matplotlib.pyplot")
MODULES = [
    f"bench.{path.relative_to(ROOT / 'bench').with_suffix('').as_posix().replace('/', '.')}"
    for room in ("results", "regression")
    for path in sorted((ROOT / "bench" / room).glob("[a-z]*.py"))
]
REPORT = [f"bench.report.{name}" for name in ("markdown", "tables", "losses", "music", "columns", "views", "site")]


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_results_regression_and_report_import_no_torch() -> None:
    imports = ", ".join(["bench.results", *MODULES, *REPORT])
    assert run(f"import sys, {imports}\nprint([name for name in {HEAVY} if name in sys.modules])").strip() == "[]"


@pytest.mark.parametrize(
    "words",
    [["leaderboard", "digits-smoke", "--out", "OUT"], ["verify", "RECORDS", "--sample", "0"]],
    ids=lambda words: words[0],
)
def test_commands_that_read_import_no_torch(words: list[str], tmp_path: Path) -> None:
    records = ROOT / "leaderboards" / "records"
    if not records.is_dir():
        pytest.skip("not a checkout: a wheel has no records")
    (smoke,) = records.glob("digits-smoke*")
    words = [{"OUT": str(tmp_path / "site"), "RECORDS": str(smoke)}.get(word, word) for word in words]
    code = (
        "import contextlib, os, sys\n"
        f"os.environ['BENCH_STORE'] = {str(tmp_path / 'store')!r}\n"
        "from bench.commands import main\n"
        "with contextlib.suppress(SystemExit):\n"
        f"    main({words})\n"
        f"print([name for name in {HEAVY} if name in sys.modules])\n"
    )
    assert run(code).splitlines()[-1] == "[]"


def test_importing_the_tables_imports_nothing_that_only_some_commands_need() -> None:
    """Importing the tables takes less than 0.5 s of processor time, of which numpy and pydantic take most."""
    code = (
        "import sys, bench.results.board, bench.report.markdown\nprint(*{name.split('.')[0] for name in sys.modules})"
    )
    slow = {"scipy", "pandas", "matplotlib", "rich", "fsspec", "torch", "soundfile", "importlib_resources"}
    assert not slow & set(run(code).split())
