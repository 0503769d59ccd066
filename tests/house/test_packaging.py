"""What is published is complete, and says one version everywhere."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import zipfile
from datetime import date
from pathlib import Path

import pytest

import stagent

HEADING = re.compile(r"^## \[(\d+\.\d+\.\d+)\] - (Unreleased|\d{4}-\d{2}-\d{2})$")
SECTIONS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built once; it needs no network."""
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [built] = target.glob("*.whl")
    return built


def releases(checkout: Path) -> list[tuple[str, str]]:
    """Version and date of each heading of the changelog, newest first."""
    lines = (checkout / "CHANGELOG.md").read_text("utf-8").splitlines()
    found = [HEADING.match(line) for line in lines if line.startswith("## ")]
    assert all(found), "a heading of the changelog is not `## [1.2.3] - 2030-01-31`"
    return [(match[1], match[2]) for match in found if match]


def test_the_version_is_the_newest_of_the_changelog(checkout: Path) -> None:
    assert releases(checkout)[0][0] == stagent.__version__


def test_releases_are_in_order(checkout: Path) -> None:
    found = releases(checkout)
    numbers = [tuple(int(part) for part in version.split(".")) for version, _ in found]
    assert numbers == sorted(set(numbers), reverse=True)
    dates = [date.fromisoformat(day) for index, (_, day) in enumerate(found) if index or day != "Unreleased"]
    assert dates == sorted(dates, reverse=True)


def test_the_changelog_keeps_its_format(checkout: Path) -> None:
    text = (checkout / "CHANGELOG.md").read_text("utf-8")
    assert text.startswith("# Changelog\n")
    sections = re.findall(r"^### (.+)$", text, flags=re.MULTILINE)
    assert sections
    assert set(sections) <= SECTIONS
    body = text[text.index("\n## ") :]
    wrong = [line for line in body.splitlines() if line and not line.startswith(("## ", "### ", "- ", "  ", "["))]
    assert wrong == []


@pytest.mark.xdist_group("wheel")
def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path, checkout: Path, project_files: list[Path]) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    source = checkout / "src"
    ours = {path.relative_to(source).as_posix() for path in project_files if path.is_relative_to(source)}
    info = f"stagent-{stagent.__version__}.dist-info/"
    assert {name for name in names if not name.startswith(info)} == ours
    assert f"{info}licenses/LICENSE" in names


@pytest.mark.xdist_group("wheel")
@pytest.mark.parametrize(
    "pattern",
    [r"stagent/py\.typed", r"stagent/workflows/[^/]+/workflow\.json", r"stagent/schemas/.+\.json", r"stagent/.+\.sql"],
)
def test_the_wheel_holds_the_data_files(wheel: Path, pattern: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert any(re.fullmatch(pattern, name) for name in archive.namelist())


@pytest.mark.xdist_group("wheel")
def test_the_installed_wheel_works(wheel: Path, tmp_path: Path) -> None:
    place = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True, capture_output=True)
    python = place / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--no-index", "--no-deps", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    paths = subprocess.check_output(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    )
    # The dependencies come from the environment of the tests; an editable install there is not followed from here.
    (Path(paths.strip()) / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    where = subprocess.check_output(
        [str(python), "-c", "import stagent; print(stagent.__file__)"], text=True, cwd=tmp_path
    )
    assert Path(where.strip()).is_relative_to(place)
    shown = subprocess.check_output([str(place / "bin" / "stagent"), "--version"], text=True, cwd=tmp_path)
    assert stagent.__version__ in shown
