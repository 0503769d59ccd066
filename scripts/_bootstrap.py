"""Makes the checkout's private virtual environment; started by scripts/bootstrap. Standard library only.

`.venv` holds the environment and, once it is complete, a stamp that says what it was made from. `.boot` holds the
lock, the log of the last set-up and a marker that stands while an environment is half-made.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "stagent-stamp.json"
WORK = ROOT / ".boot"
LOG = WORK / "set-up.log"
HALF_MADE = WORK / "half-made"
AGAIN = "then call this again."


class SetUpError(Exception):
    """The set-up cannot go on; the text says what is missing and what to do about it."""


def say(text: str) -> None:
    """Tell the person, on stderr: stdout belongs to the command that follows."""
    sys.stderr.write(f"stagent: {text}\n")
    sys.stderr.flush()


# --- is there anything to do? ---------------------------------------------------------------------------------


def project() -> dict[str, object]:
    """The parts of pyproject.toml that decide what is installed."""
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return {name: whole[name] for name in ("build-system", "project", "dependency-groups") if name in whole}


def wanted_stamp() -> dict[str, object]:
    """What the stamp of an environment that fits this checkout says, apart from `dev` and `chosen`."""
    digest = hashlib.sha256(json.dumps(project(), sort_keys=True).encode()).hexdigest()
    return {"root": str(ROOT), "project": digest}


def read_stamp() -> dict[str, object]:
    """The stamp of the present environment; empty when there is none or it cannot be read."""
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def interpreter_changed(stamp: dict[str, object]) -> bool:
    """True when STAGENT_PYTHON names another interpreter than the one the environment was made with."""
    chosen = os.environ.get("STAGENT_PYTHON")
    return bool(chosen) and bool(stamp) and stamp.get("chosen") != chosen


def is_ready(dev: bool) -> bool:
    """True when the environment fits; to be asked in the environment's own interpreter."""
    stamp = read_stamp()
    if any(stamp.get(name) != value for name, value in wanted_stamp().items()) or interpreter_changed(stamp):
        return False
    if stamp.get("python") != list(sys.version_info[:2]) or not (VENV / "bin" / "stagent").exists():
        return False
    return bool(stamp.get("dev")) or not dev


# --- running the steps ----------------------------------------------------------------------------------------


def clean_environment() -> dict[str, str]:
    """The environment without what would make an installer write somewhere else than into `.venv`."""
    strangers = ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT")
    kept = {name: value for name, value in os.environ.items() if name not in strangers}
    return kept | {"PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "DEBIAN_FRONTEND": "noninteractive"}


class Steps:
    """Runs the commands of one set-up; their output goes to the log.

    Each command inherits the lock: when this process is killed, the next set-up waits until its orphan has ended.
    """

    def __init__(self, lock: int) -> None:
        self.lock = lock

    def attempt(self, *command: str | Path) -> bool:
        """Run one command; true when it exits 0."""
        words = [str(word) for word in command]
        with LOG.open("ab") as log:
            log.write(f"$ {' '.join(words)}\n".encode())
            log.flush()
            try:
                done = subprocess.run(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=clean_environment(),
                    pass_fds=(self.lock,),
                    cwd=ROOT,
                    check=False,
                )
            except OSError as error:
                log.write(f"{error}\n".encode())
                return False
        return done.returncode == 0

    def must(self, problem: str, *command: str | Path) -> None:
        """Run one command; raises SetUpError with `problem` and the end of the log when it fails."""
        if not self.attempt(*command):
            raise SetUpError(f"{problem}\n{log_end()}")


def log_end(lines: int = 40) -> str:
    """The last lines of the log, for a person who has to see what went wrong."""
    text = LOG.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(["", *text[-lines:], f"(the whole log: {LOG})"])


@contextlib.contextmanager
def locked() -> Iterator[Steps]:
    """Hold the checkout's set-up lock, waiting for another set-up to end; yields the runner of steps, log empty."""
    WORK.mkdir(exist_ok=True)
    lock = os.open(WORK / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up of this checkout is running, waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        LOG.write_bytes(b"")
        yield Steps(lock)
    finally:
        os.close(lock)


# --- system packages ------------------------------------------------------------------------------------------


def may_install() -> bool:
    """True on a Debian-like machine where this process may install system packages."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install_packages(steps: Steps, packages: Sequence[str], why: str) -> None:
    """Install system packages with apt-get; raises SetUpError with the remedy where that is not possible."""
    names = " ".join(packages)
    remedy = f"Install what is missing (Debian, Ubuntu: sudo apt-get install -y {names}), {AGAIN}"
    if not may_install():
        raise SetUpError(f"{why} {remedy}")
    say(f"installing {names} (apt-get)")
    wait = ("-o", "DPkg::Lock::Timeout=300")
    # A stale or partly unreachable index need not stop the installation, so only the second command decides.
    steps.attempt("apt-get", *wait, "update", "-q")
    problem = f"{why} apt-get could not install {names}. {remedy}"
    steps.must(problem, "apt-get", *wait, "install", "-y", "-q", "--no-install-recommends", *packages)


# --- the environment ------------------------------------------------------------------------------------------


def remove_venv() -> None:
    """Remove the environment, or the link that stands in its place."""
    if VENV.is_symlink():
        VENV.unlink()
    elif VENV.exists():
        say("removing the unusable .venv")
        shutil.rmtree(VENV)


def venv_is_usable(steps: Steps) -> bool:
    """True when the present environment can be brought up to date in place."""
    stamp = read_stamp()
    moved = bool(stamp) and stamp.get("root") != str(ROOT)
    if HALF_MADE.exists() or moved or interpreter_changed(stamp) or not PYTHON.exists():
        return False
    return steps.attempt(PYTHON, "-c", "import sys; sys.exit(sys.version_info < (3, 11))")


def make_venv(steps: Steps, python: str) -> None:
    """Make an empty environment with pip in it, by the first way that works on this machine."""
    plain = (python, "-m", "venv", "--clear", VENV)
    if steps.attempt(*plain):
        return
    # Debian keeps ensurepip in a package of its own; a pip that is already there can fill in for it.
    if steps.attempt(python, "-m", "pip", "--version"):
        bare = steps.attempt(python, "-m", "venv", "--clear", "--without-pip", VENV)
        if bare and steps.attempt(python, "-m", "pip", "--python", PYTHON, "install", "pip"):
            return
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    why = f"{python} (Python {version}) cannot make virtual environments: its venv module is missing or incomplete."
    install_packages(steps, [f"python{version}-venv"], why)
    steps.must(f"{why} Set STAGENT_PYTHON to the path of a complete Python, {AGAIN}", *plain)


def dev_requirements() -> list[str]:
    """What tests and lint need: the dev group, and the build tools for the test that builds a wheel."""
    parts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    group = parts.get("dependency-groups", {}).get("dev", [])
    return [*group, *parts["build-system"]["requires"]]


def install_project(steps: Steps, dev: bool) -> None:
    """Install the project so that the environment uses this checkout's sources."""
    what = ["-e", str(ROOT), *(dev_requirements() if dev else [])]
    uv = shutil.which("uv")
    # uv does not read pip's settings, so a machine with a mirror of its own may need pip all the same.
    if uv and steps.attempt(uv, "pip", "install", "--python", PYTHON, *what):
        return
    if not steps.attempt(PYTHON, "-m", "pip", "--version"):
        steps.attempt(PYTHON, "-m", "ensurepip")
    problem = f"the packages could not be installed. Check the network and pip's settings, {AGAIN}"
    steps.must(problem, PYTHON, "-m", "pip", "install", "--no-input", *what)


def write_stamp(dev: bool) -> None:
    """Record what the environment was made from; its presence says that it is complete."""
    config = (VENV / "pyvenv.cfg").read_text(encoding="utf-8")
    version = next(line for line in config.splitlines() if line.startswith("version")).partition("=")[2]
    python = [int(number) for number in version.strip().split(".")[:2]]
    stamp = wanted_stamp() | {"dev": dev, "python": python, "chosen": os.environ.get("STAGENT_PYTHON")}
    draft = STAMP.with_suffix(".new")
    draft.write_text(json.dumps(stamp), encoding="utf-8")
    draft.replace(STAMP)


def bring_up_to_date(steps: Steps, python: str, dev: bool) -> None:
    """Make or update the environment; after a failure or a kill the next call starts from a known state."""
    fresh = not venv_is_usable(steps)
    HALF_MADE.touch()
    if fresh:
        remove_venv()
        say(f"making .venv with {python}")
        make_venv(steps, python)
    STAMP.unlink(missing_ok=True)
    say("installing the project" + (" and its test tools" if dev else ""))
    try:
        install_project(steps, dev)
    except SetUpError:
        # An installer that refuses has changed nothing yet: the older environment stays for the next try.
        if not fresh:
            HALF_MADE.unlink()
        raise
    write_stamp(dev)
    HALF_MADE.unlink()
    say("ready")


def base_interpreter(python: str) -> str:
    """`python`, or the one below it when it lives in the environment that may have to be removed."""
    return str(getattr(sys, "_base_executable", python)) if Path(sys.prefix) == VENV else python


def set_up(python: str, dev: bool) -> None:
    """Bring the machine and the checkout to the point where the project can be used."""
    with locked() as steps:
        if shutil.which("git") is None:
            install_packages(steps, ["git"], "git is missing.")
        # Asked again under the lock: another set-up may have done the work while this one waited.
        flags = ["--check", "--dev"] if dev else ["--check"]
        if PYTHON.exists() and steps.attempt(PYTHON, "-I", "-S", Path(__file__), *flags):
            return
        bring_up_to_date(steps, base_interpreter(python), dev or bool(read_stamp().get("dev")))


def main() -> int:
    """Parse the words of scripts/bootstrap and do it; returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/bootstrap", description="Make the checkout ready for use.")
    parser.add_argument("--dev", action="store_true", help="also install what tests and lint need")
    parser.add_argument("--check", action="store_true", help="only say, by the exit status, whether it is ready")
    parser.add_argument("--python", default=sys.executable, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.check:
        return 0 if is_ready(words.dev) else 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        set_up(words.python, words.dev)
    except SetUpError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("interrupted; the next call repairs what is half-made")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
