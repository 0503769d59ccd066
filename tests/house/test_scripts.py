"""scripts/bootstrap and scripts/run on a copy of the checkout: real environments, no network.

The copy's project is a small one with the same scripts, a build backend of its own and one dependency that lies in a
folder, so that a machine without a network can run these tests.
"""

from __future__ import annotations

import ensurepip
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import zipfile
from pathlib import Path

import pytest

PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "tiny"
version = "1.0"
dependencies = ["needed"]

[dependency-groups]
dev = ["devtool"]
"""
# A build backend of the standard library alone: what it must do for an editable install is a wheel with one path.
BACKEND = """\
import os
import zipfile

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    files = {
        "tiny.pth": os.getcwd() + "\\n",
        "tiny-1.0.dist-info/METADATA": "Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0\\nRequires-Dist: needed\\n",
        "tiny-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        "tiny-1.0.dist-info/entry_points.txt": "[console_scripts]\\nstagent = tiny:main\\n",
        "tiny-1.0.dist-info/RECORD": "",
    }
    with zipfile.ZipFile(os.path.join(wheel_directory, "tiny-1.0-py3-none-any.whl"), "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return "tiny-1.0-py3-none-any.whl"
"""
MODULE = """\
import os
import sys

import needed

def main():
    print(os.getcwd())
    print(sys.argv[1:])
    return 3
"""
SCRIPTS = ("_bootstrap.py", "bootstrap", "run", "test", "_testing.py")


def write_wheel(folder: Path, name: str) -> None:
    """A wheel with one empty module, for the installers to find."""
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", "")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


class Machine:
    """A copy of the scripts, and an environment in which nothing can be fetched from a network."""

    def __init__(self, checkout: Path, folder: Path) -> None:
        self.root = folder / "a checkout"
        self.wheels = folder / "wheels"
        self.path = folder / "bin"
        for place in (self.root / "scripts", self.wheels, self.path):
            place.mkdir(parents=True)
        for name in SCRIPTS:
            shutil.copy2(checkout / "scripts" / name, self.root / "scripts" / name)
        (self.root / "pyproject.toml").write_text(PYPROJECT)
        (self.root / "backend.py").write_text(BACKEND)
        (self.root / "tiny.py").write_text(MODULE)
        write_wheel(self.wheels, "needed")
        write_wheel(self.wheels, "devtool")
        # Only these programs: no apt-get, no uv, no other Python.
        for name in ("dirname", "env", "git", "ls", "readlink", "rm", "sh", "uname"):
            (self.path / name).symlink_to(shutil.which(name) or name)
        self.replace_python('exec "$REAL" "$@"')

    @property
    def environment(self) -> dict[str, str]:
        """The environment of every command."""
        offline = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": self.wheels.as_uri()}
        return {"HOME": str(self.root.parent), "PATH": str(self.path), **offline}

    def start(self, *command: str | Path, **extra: str) -> subprocess.Popen[str]:
        """Start a command in a process group of its own."""
        return subprocess.Popen(
            [str(word) for word in command],
            env={**self.environment, **extra},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.root.parent,
            start_new_session=True,
        )

    def call(self, *command: str | Path, **extra: str) -> tuple[int, str, str]:
        """Run a command to its end; exit status, stdout and stderr."""
        process = self.start(*command, **extra)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def bootstrap(self, *words: str, **extra: str) -> tuple[int, str, str]:
        """Run scripts/bootstrap."""
        return self.call(self.root / "scripts" / "bootstrap", *words, **extra)

    def has(self, module: str) -> bool:
        """True when the environment of the copy can import `module`."""
        return self.call(self.root / ".venv" / "bin" / "python", "-c", f"import {module}")[0] == 0

    def replace_python(self, script: str) -> None:
        """Put a shell script in the place of python3; `$REAL` in it is the real one."""
        fake = self.path / "python3"
        fake.write_text(f"#!/bin/sh\nREAL='{os.path.realpath(sys.executable)}'\n{script}\n")
        fake.chmod(0o755)


@pytest.fixture
def machine(checkout: Path, tmp_path: Path) -> Machine:
    """A machine on which nothing was set up yet."""
    return Machine(checkout, tmp_path)


@pytest.fixture(scope="module")
def ready(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine that was set up by two calls at the same moment; tests leave it ready."""
    machine = Machine(checkout, tmp_path_factory.mktemp("ready"))
    both = [machine.start(machine.root / "scripts" / "bootstrap") for _ in range(2)]
    answers = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    assert sorted("making .venv" in err for _, err in answers) == [False, True]
    return machine


@pytest.mark.xdist_group("scripts")
def test_the_second_call_does_nothing(ready: Machine) -> None:
    log = ready.root / ".boot" / "set-up.log"
    before = (log.stat().st_mtime_ns, (ready.root / ".venv" / "pyvenv.cfg").stat().st_ino)
    (ready.path / "python3").rename(ready.path / "away")
    try:
        assert ready.bootstrap() == (0, "", "")
    finally:
        (ready.path / "away").rename(ready.path / "python3")
    assert (log.stat().st_mtime_ns, (ready.root / ".venv" / "pyvenv.cfg").stat().st_ino) == before


@pytest.mark.xdist_group("scripts")
def test_run_keeps_folder_words_and_exit_status(ready: Machine, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(os.path.relpath(ready.root / "scripts" / "run", tmp_path))
    second = tmp_path / "second"
    second.symlink_to("link")
    status, out, err = ready.call("sh", "-c", f"cd '{tmp_path}' && exec ./second 'a \"b\"' '' --c")
    assert (status, err) == (3, "")
    assert out.splitlines() == [str(tmp_path), "['run', 'a \"b\"', '', '--c']"]


@pytest.mark.xdist_group("scripts")
def test_dev_tools_come_when_asked_for_and_stay(ready: Machine) -> None:
    assert ready.has("needed")
    assert not ready.has("devtool")
    status, out, err = ready.bootstrap("--dev")
    assert (status, out) == (0, ""), err
    assert ready.has("devtool")
    project = ready.root / "pyproject.toml"
    project.write_text(PYPROJECT.replace("tiny", "tiny", 1) + "\n[tool.other]\nx = 1\n")
    assert ready.bootstrap() == (0, "", ""), "a setting of some tool changes nothing that is installed"
    project.write_text(PYPROJECT + 'more = ["other"]\n')
    assert "its test tools" in ready.bootstrap()[2]


@pytest.mark.xdist_group("scripts")
def test_a_failed_update_shows_the_log_and_keeps_the_environment(ready: Machine) -> None:
    project = ready.root / "pyproject.toml"
    text = project.read_text()
    project.write_text(
        text.replace('["needed"]', '["needed"]\ndescription = "x"').replace("devtool", "nowhere-to-be-found")
    )
    status, out, err = ready.bootstrap("--dev")
    assert (status, out) == (1, "")
    assert "nowhere-to-be-found" in err
    assert "could not be installed. Check the network" in err
    project.write_text(text)
    status, _, err = ready.bootstrap()
    assert status == 0
    assert "making .venv" not in err
    assert ready.has("needed")


@pytest.mark.xdist_group("scripts")
def test_a_moved_checkout_is_set_up_again(ready: Machine, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    ready.root.rename(moved)
    try:
        status, _, err = ready.call(moved / "scripts" / "bootstrap")
        assert status == 0, err
        assert "making .venv" in err
        assert ready.call(moved / ".venv" / "bin" / "stagent")[0] == 3
    finally:
        moved.rename(ready.root)


def test_a_killed_set_up_is_repaired_by_the_next(machine: Machine) -> None:
    process = machine.start(machine.root / "scripts" / "bootstrap")
    limit = time.monotonic() + 60
    while not (machine.root / ".venv" / "bin").exists() and time.monotonic() < limit:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert (machine.root / ".venv" / "bin").exists()
    assert not (machine.root / ".venv" / "stagent-stamp.json").exists()
    status, _, err = machine.bootstrap()
    assert status == 0, err
    assert "removing the unusable .venv" in err
    assert machine.has("needed")
    assert machine.bootstrap() == (0, "", "")


def test_without_the_venv_module_the_remedy_is_told(machine: Machine) -> None:
    machine.replace_python(
        'case "$*" in "-m venv"* | "-m pip"*) echo no such module >&2; exit 1 ;; esac; exec "$REAL" "$@"'
    )
    status, out, err = machine.bootstrap()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert (status, out) == (1, "")
    assert "its venv module is missing or incomplete" in err
    assert f"apt-get install -y python{version}-venv" in err
    assert not (machine.root / ".venv" / "stagent-stamp.json").exists()


def test_root_installs_what_is_missing_and_others_are_told(machine: Machine) -> None:
    machine.replace_python(
        f"""case "$*" in "-m venv"* | "-m pip"*) [ -e '{machine.path}/installed' ] || exit 1 ;; esac
exec "$REAL" "$@\""""
    )
    manager = machine.path / "apt-get"
    manager.write_text(f'#!/bin/sh\ncase "$*" in *install*) echo "$*" > \'{machine.path}/installed\' ;; esac\n')
    manager.chmod(0o755)
    status, _, err = machine.bootstrap()
    if os.geteuid() == 0:
        assert status == 0, err
        assert machine.has("needed")
        wanted = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        assert (machine.path / "installed").read_text().split()[-1] == wanted
    else:
        assert status == 1
        assert not (machine.path / "installed").exists()


def pip_wheel() -> Path:
    """The wheel of pip that this Python carries for making environments."""
    folders = [
        Path(ensurepip.__file__).parent / "_bundled",
        Path(sysconfig.get_config_var("WHEEL_PKG_DIR") or "/nowhere"),
    ]
    return next(wheel for folder in folders for wheel in folder.glob("pip-*.whl"))


def test_without_ensurepip_an_installed_pip_fills_in(machine: Machine) -> None:
    shutil.copy(pip_wheel(), machine.wheels)
    machine.replace_python(
        f"""case "$*" in
  "-m pip"*) exec '{sys.executable}' "$@" ;;
  *--without-pip*) ;;
  "-m venv"*) echo ensurepip is not available >&2; exit 1 ;;
esac
exec "$REAL" "$@\""""
    )
    status, _, err = machine.bootstrap()
    assert status == 0, err
    assert machine.has("needed")


def test_an_old_python_is_refused_with_the_remedy(machine: Machine) -> None:
    machine.replace_python('case "$1" in --version) echo Python 3.9.2 ;; *) exit 1 ;; esac')
    status, out, err = machine.bootstrap()
    assert (status, out) == (1, "")
    assert "Python 3.11 or newer is needed, found: Python 3.9.2." in err
    status, _, err = machine.bootstrap(STAGENT_PYTHON="/nowhere/python3")
    assert status == 1
    assert "STAGENT_PYTHON=/nowhere/python3 is no Python 3.11 or newer." in err


def test_without_git_the_remedy_is_told(machine: Machine) -> None:
    (machine.path / "git").unlink()
    status, out, err = machine.bootstrap()
    assert (status, out) == (1, "")
    assert "git is missing." in err
    assert "apt-get install -y git" in err


def test_a_failed_set_up_ends_the_tests_with_a_count(machine: Machine) -> None:
    (machine.path / "git").unlink()
    status, out, _ = machine.call(machine.root / "scripts" / "test")
    assert status == 1
    assert out.splitlines()[-1] == "0 passed, 1 failed (the set-up)"
