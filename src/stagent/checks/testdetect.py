"""Finds a project's own test command from the files in its folder; reads only, runs nothing of the project.

Where several are present the first of this list wins, what a person wrote down before what is merely likely:
the environment's STAGENT_TEST_COMMAND; `scripts.test` of package.json (not npm's placeholder); pytest configuration;
go.mod; Cargo.toml; a `test` or `check` target of the Makefile; Python test files without any configuration.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import msgspec

DECLARED = "STAGENT_TEST_COMMAND"
LOOKED_FOR = (
    f"the environment variable {DECLARED}",
    "a test script in package.json",
    "pytest configuration (pytest.ini, pyproject.toml, tox.ini, setup.cfg, conftest.py)",
    "go.mod",
    "Cargo.toml",
    "a test or check target in a Makefile",
    "Python test files (test_*.py, *_test.py)",
)

_PLACEHOLDER = "no test specified"
_LOCKS = (
    ("pnpm-lock.yaml", "pnpm", ("pnpm", "test")),
    ("yarn.lock", "yarn", ("yarn", "test")),
    # `bun test` is bun's own runner; the script needs `run`.
    ("bun.lock", "bun", ("bun", "run", "test")),
    ("bun.lockb", "bun", ("bun", "run", "test")),
)
_RUNNER_FILES = (
    "jest.config.*", "vitest.config.*", ".mocharc*", "ava.config.*", ".taprc", "karma.conf.*", "playwright.config.*",
)  # fmt: skip
_MAKEFILES = ("GNUmakefile", "makefile", "Makefile")
_PYTEST_FILES = ("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml")
_PROGRAM_FILES = {
    **dict.fromkeys(("npm", "npx", "pnpm", "yarn", "bun"), ("package.json",)),
    "make": _MAKEFILES,
    "cargo": ("Cargo.toml",),
    "go": ("go.mod",),
    **dict.fromkeys(("pytest", "tox"), (*_PYTEST_FILES, "pyproject.toml", "tox.ini", "setup.cfg", "conftest.py")),
}
_SKIPPED_FOLDERS = frozenset({"node_modules", "venv", "env", "build", "dist", "target", "vendor", "site-packages"})
# A search for stray test files stops here; a project of this size has a configuration.
_WALK_LIMIT = 20_000


class TestCommand(msgspec.Struct, frozen=True):
    """A project's test command.

    `kind`: `declared`, `npm`, `pytest`, `go`, `cargo`, `make`. `argv` runs in the project folder. `why` says what
    the choice rests on. `files` are the project's files that define the command, relative, with `/`.
    """

    # Keeps pytest from taking the class for a test.
    __test__: ClassVar[bool] = False

    kind: str
    argv: tuple[str, ...]
    why: str
    files: tuple[str, ...] = ()


def find(root: Path, env: Mapping[str, str] | None = None) -> TestCommand | None:
    """Return the test command of the project in `root`, or None when it has none; `env` defaults to ours.

    For a pytest project it may start Python once to learn which interpreter has pytest. Unreadable files count as
    absent, except a damaged package.json, which is npm's to complain about.
    """
    values = os.environ if env is None else env
    # An interpreter inside the project must be found whatever folder the command is started in.
    root = root.absolute()
    for finder in _FINDERS:
        command = finder(root, values)
        if command is not None:
            return command
    return None


def has_pytest(python: str, root: Path, env: Mapping[str, str]) -> bool:
    """Say whether an interpreter can import pytest when started in `root`."""
    probe = "import importlib.util, sys; sys.exit(importlib.util.find_spec('pytest') is None)"
    try:
        done = subprocess.run(
            [python, "-c", probe], cwd=root, env=dict(env), stdin=subprocess.DEVNULL, capture_output=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _declared(root: Path, env: Mapping[str, str]) -> TestCommand | None:
    text = env.get(DECLARED, "").strip()
    if not text:
        return None
    files = list(_named_files(root, text))
    for word in re.findall(r"[\w.-]+", text):
        files += [name for name in _PROGRAM_FILES.get(word, ()) if (root / name).is_file()]
    return TestCommand("declared", ("/bin/sh", "-c", text), f"{DECLARED} is set", _unique(files))


def _npm(root: Path, env: Mapping[str, str]) -> TestCommand | None:
    data = _read(root / "package.json")
    if data is None:
        return None
    argv, chosen = _package_manager(root, env)
    try:
        manifest = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return TestCommand("npm", argv, "package.json is there but is not valid JSON", ("package.json",))
    scripts = manifest.get("scripts") if isinstance(manifest, dict) else None
    if not isinstance(scripts, dict) or not _is_script(scripts.get("test")):
        return None
    around = " ".join(str(scripts.get(name, "")) for name in ("pretest", "test", "posttest"))
    patterns: tuple[str, ...] = _RUNNER_FILES
    if "vitest" in around and not any(root.glob("vitest.config.*")):
        patterns += ("vite.config.*",)
    configs = [path.name for pattern in patterns for path in sorted(root.glob(pattern)) if path.is_file()]
    files = _unique(["package.json", *configs, *_named_files(root, around)])
    return TestCommand("npm", argv, f"package.json has a test script ({chosen})", files)


def _is_script(text: object) -> bool:
    return isinstance(text, str) and bool(text.strip()) and _PLACEHOLDER not in text


def _package_manager(root: Path, env: Mapping[str, str]) -> tuple[tuple[str, ...], str]:
    for lock, program, argv in _LOCKS:
        if (root / lock).is_file() and shutil.which(program, path=env.get("PATH")):
            return argv, f"{program} because of {lock}"
    return ("npm", "test"), "npm"


def _pytest_configured(root: Path, env: Mapping[str, str]) -> TestCommand | None:
    files = [name for name in _PYTEST_FILES if (root / name).is_file()]
    if _configures_pytest(root / "pyproject.toml"):
        files.append("pyproject.toml")
    for name, section in (("tox.ini", "pytest"), ("setup.cfg", "tool:pytest")):
        if _has_section(root / name, section):
            files.append(name)
    files += [name for name in ("conftest.py", "tests/conftest.py", "test/conftest.py") if (root / name).is_file()]
    if not files:
        return None
    return TestCommand("pytest", _pytest_argv(root, env), f"{files[0]} configures pytest", tuple(files))


def _pytest_files(root: Path, env: Mapping[str, str]) -> TestCommand | None:
    name = _first_test_file(root)
    if name is None:
        return None
    return TestCommand("pytest", _pytest_argv(root, env), f"{name} is a Python test file")


def _pytest_argv(root: Path, env: Mapping[str, str]) -> tuple[str, ...]:
    for folder in (".venv", "venv"):
        python = root / folder / "bin" / "python"
        if python.exists():
            return (str(python), "-m", "pytest")
    found = shutil.which("python3", path=env.get("PATH"))
    if (found is None or not has_pytest(found, root, env)) and has_pytest(sys.executable, root, env):
        return (sys.executable, "-m", "pytest")
    return ("python3", "-m", "pytest")


def _go(root: Path, env: Mapping[str, str]) -> TestCommand | None:
    if not (root / "go.mod").is_file():
        return None
    return TestCommand("go", ("go", "test", "-json", "./..."), "go.mod is there", ("go.mod",))


def _cargo(root: Path, env: Mapping[str, str]) -> TestCommand | None:
    data = _read(root / "Cargo.toml")
    if data is None:
        return None
    workspace = _toml(data).get("workspace")
    # A workspace that names its default members has said what plain commands are about.
    whole = ("--workspace",) if isinstance(workspace, dict) and "default-members" not in workspace else ()
    argv = ("cargo", "test", "--no-fail-fast", *whole)
    return TestCommand("cargo", argv, "Cargo.toml is there", ("Cargo.toml",))


def _make(root: Path, env: Mapping[str, str]) -> TestCommand | None:
    for name in _MAKEFILES:
        data = _read(root / name)
        if data is None:
            continue
        rules = _targets(data.decode("utf-8", "replace"))
        for target in ("test", "check"):
            if target in rules:
                files = _unique([name, *_named_files(root, rules[target])])
                return TestCommand("make", ("make", target), f"{name} has a {target} target", files)
        return None
    return None


def _targets(text: str) -> dict[str, str]:
    """Map each target written out in a Makefile to the text of its rules; included files are not followed."""
    rules: dict[str, str] = {}
    current: list[str] = []
    for line in text.replace("\\\n", " ").splitlines():
        match = re.match(r"([^\s#:=][^:=#]*?)\s*::?(?!:?=)(.*)$", line)
        if line.startswith("\t"):
            for name in current:
                rules[name] += f"\n{line}"
        elif match:
            current = match[1].split()
            for name in current:
                rules[name] = f"{rules.get(name, '')}\n{match[2]}"
    return rules


def _named_files(root: Path, text: str) -> tuple[str, ...]:
    """Return the project's files a command line names as words of their own."""
    names: list[str] = []
    for word in re.split(r"[\s;&|()'\"=<>`]+", text):
        name = word.removeprefix("./")
        parts = Path(name).parts
        outside = not parts or name.startswith("/") or ".." in parts or "node_modules" in parts
        if not outside and (root / name).is_file():
            names.append(Path(name).as_posix())
    return _unique(names)


def _first_test_file(root: Path) -> str | None:
    seen = 0
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED_FOLDERS and not name.startswith("."))
        seen += len(files) + len(folders)
        if "pyvenv.cfg" in files:
            folders.clear()
            continue
        for name in sorted(files):
            if re.fullmatch(r"test_.*\.py|.*_test\.py", name):
                return (Path(folder) / name).relative_to(root).as_posix()
        if seen > _WALK_LIMIT:
            return None
    return None


def _configures_pytest(path: Path) -> bool:
    data = _read(path)
    tool = _toml(data).get("tool") if data is not None else None
    return isinstance(tool, dict) and "pytest" in tool


def _has_section(path: Path, section: str) -> bool:
    data = _read(path)
    if data is None:
        return False
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(data.decode("utf-8", "replace"))
    except configparser.Error:
        return False
    return parser.has_section(section)


def _toml(data: bytes) -> dict[str, object]:
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return {}


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _unique(names: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


_Finder = Callable[[Path, Mapping[str, str]], TestCommand | None]
_FINDERS: tuple[_Finder, ...] = (_declared, _npm, _pytest_configured, _go, _cargo, _make, _pytest_files)
