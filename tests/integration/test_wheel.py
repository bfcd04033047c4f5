"""The wheel: built, unpacked into an empty folder, and run from another one."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from peft_study.report.page.document import SCRIPTS
from tests.conftest import QUICK
from tests.report_cells import prediction, write_cell

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's files, without the checkout around them."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # An editable install of the checkout would be found through site-packages: the wheel's folder comes before it.
    script = (
        "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); import peft_study; "
        f"assert peft_study.__file__.startswith({str(installed)!r}), peft_study.__file__; "
        f"runpy.run_module('peft_study', run_name='__main__', alter_sys=True)"
    )
    return subprocess.run(
        [sys.executable, "-P", "-c", script, str(installed), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=240,
        check=False,
    )


def test_it_carries_the_config_and_the_tokenizer(installed: Path) -> None:
    names = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}

    yamls = {str(path.relative_to(ROOT)) for path in (ROOT / "conf").rglob("*.yaml")}
    assert {f"peft_study/{name}" for name in yamls} <= names
    assert {"peft_study/models/tiny/tokenizer.json", "peft_study/py.typed"} <= names
    assert not [name for name in names if name.startswith(("tests", "scripts", "multirun"))]


def test_it_runs_from_any_folder(installed: Path, small_data: Path, tmp_path: Path) -> None:
    ended = run(
        installed,
        tmp_path,
        "model=tiny-llama",
        *QUICK,
        f"dataset.path={small_data}",
        "hardware=cpu",
    )

    assert ended.returncode == 0, ended.stderr
    assert len(list((tmp_path / "multirun").glob("single/*/result.json"))) == 1


def test_it_writes_a_report_from_any_folder(installed: Path, tmp_path: Path) -> None:
    write_cell(tmp_path / "study", predictions=[prediction("t-0", ["xs.sort()"])])

    ended = run(installed, tmp_path, "report", "study", "--against", "paper")

    assert ended.returncode == 0, ended.stderr
    page = (tmp_path / "report" / "index.html").read_text()
    assets = ROOT / "peft_study" / "report" / "page" / "assets"
    for script in assets.glob("*.js"):
        assert script.read_text().splitlines()[0] in page
    assert {path.name for path in assets.glob("*.js")} == {f"{name}.js" for name in SCRIPTS}
