"""What every test shares: the counts, and an environment that is the same on every machine."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Generator, Iterator
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


RULES_TO = "STAGENT_TEST_RULES"
"""The variable that names the file a collection writes to: the collected tests that name rules, with what may skip."""


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known by which a test names the rules it proves: tests/conformance/rules.toml."""
    config.addinivalue_line("markers", "rule(*ids): the rules of tests/conformance/rules.toml this test proves")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Write what was collected, where somebody asked for it."""
    place = os.environ.get(RULES_TO)
    if place is None:
        return
    found = {}
    for item in session.items:
        named = [name for mark in item.iter_markers("rule") for name in mark.args]
        may_skip = any(item.get_closest_marker(name) for name in ("skip", "skipif", "xfail"))
        if named:
            found[item.nodeid] = {"rules": named, "may_skip": may_skip}
    Path(place).write_text(json.dumps(found))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that proves a rule and was skipped: what did not run proves nothing."""
    report = yield
    if report.skipped and item.get_closest_marker("rule"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} proves a rule and was skipped"
    return report


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
        # Another installation on the person's PATH would be found, and rightly named, by `doctor`.
        # And the interpreter itself stands before a shim for it, which takes ten times as long to start.
        own, base = Path(sys.executable).parent, str(Path(sys.base_prefix, "bin"))
        paths = [base, *os.environ.get("PATH", "").split(os.pathsep)]
        patch.setenv("PATH", os.pathsep.join(at for at in paths if Path(at) == own or not Path(at, "stagent").exists()))
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
