"""What every test shares: the counts, and an environment that is the same on every machine."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from counts import count, describe, is_full

# An ordinary run tries the same examples every time; a full run looks for new ones and prints how to repeat them.
settings.register_profile(
    "stagent",
    max_examples=count("hypothesis_examples"),
    deadline=None,
    derandomize=not is_full(),
    database=None,
    print_blob=True,
    # A slow example says that the machine is busy, not that the code is wrong.
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("stagent")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background job ignores Ctrl-C and so would every program a test starts, those it interrupts included.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    """Show the counts of this run."""
    return describe()


@pytest.fixture(scope="session", autouse=True)
def plain_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the person's own settings out of the tests, and the tests out of the person's data."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith(("STAGENT_", "CLAUDE", "GIT_")) and name != "STAGENT_TEST_FULL":
                patch.delenv(name)
        patch.setenv("STAGENT_HOME", str(home / "stagent"))
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        for role in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{role}_NAME", "Tester")
            patch.setenv(f"GIT_{role}_EMAIL", "tester@example.org")
        yield


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The folder that holds pyproject.toml."""
    return Path(__file__).resolve().parent.parent
