"""The environment of the commands the engine runs.

What a command means depends on some variables: where programs are found, what is loaded into them, which options they
get without being told. A driver could bend a check with them, so these are taken as they were when the run began.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

_EXACT = frozenset(
    {
        "PATH", "HOME", "SHELL", "ENV", "BASH_ENV", "SHELLOPTS", "BASHOPTS", "CDPATH", "IFS", "TMPDIR",
        "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONOPTIMIZE", "PYTHONBREAKPOINT", "VIRTUAL_ENV",
        "PYTEST_ADDOPTS", "PYTEST_PLUGINS", "TOX_ENV_DIR", "TOXENV", "NODE_OPTIONS", "NODE_PATH", "GOFLAGS", "GOPATH",
        "GOROOT", "GOENV", "RUSTFLAGS", "RUSTC", "RUSTC_WRAPPER", "RUSTUP_TOOLCHAIN", "MAKEFLAGS", "MAKEFILES",
        "GNUMAKEFLAGS", "RUBYOPT", "RUBYLIB", "PERL5OPT", "PERL5LIB", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS",
        "JDK_JAVA_OPTIONS", "CLASSPATH", "GRADLE_OPTS", "MAVEN_OPTS", "STAGENT_TEST_COMMAND",
    }
)  # fmt: skip
_PREFIXES = ("LD_", "DYLD_", "BASH_FUNC_", "CARGO_", "NPM_CONFIG_", "npm_config_", "GIT_", "PYTEST_")
_NAMES = "="
_OURS = frozenset({"STAGENT_ATTEMPT", "STAGENT_HOME"})


def _decisive(name: str) -> bool:
    return name in _EXACT or name.startswith(_PREFIXES)


def pinned_environment() -> dict[str, str]:
    """Return what is kept with a run: the decisive variables as they are now, and the names of all others.

    The names stand, joined by line ends, under `=`, which no variable can be called. Values of others are not kept:
    some are secrets.
    """
    values = {name: value for name, value in os.environ.items() if _decisive(name)}
    return {**values, _NAMES: "\n".join(sorted(name for name in os.environ if name not in values))}


def environment(pinned: Mapping[str, str], stage: str, extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a command: the caller's, the decisive variables as pinned, ours, and `extra`.

    Of the caller's, those that did not exist when the run began are left out: what a Makefile reads from one of them
    is not foreseeable. STAGENT_PYTHON is the interpreter this program runs with, STAGENT_STAGE the stage the command
    belongs to.
    """
    known = pinned[_NAMES].split("\n") if _NAMES in pinned else list(os.environ)
    values = {name: value for name, value in pinned.items() if name != _NAMES}
    env = {name: os.environ[name] for name in known if name in os.environ and name not in _OURS and not _decisive(name)}
    return {**env, **values, "STAGENT_PYTHON": sys.executable, "STAGENT_STAGE": stage, **extra}
