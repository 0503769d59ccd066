"""`stagent check`: run by hand, or from a workflow's check, what the engine's own checks run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO

import click

from stagent.checks import appstart, benchmark, findings, release, scope, suites, testcommand
from stagent.checks.declared import Unmet
from stagent.checks.release import NothingDeclared
from stagent.checks.ruleset import COMPLIANCE, INVARIANTS, Ruleset
from stagent.cli import output

SKIPPED = 3
"""The exit status of a check that found nothing declared and did nothing."""

_COMPILED = frozenset({"go", "cargo"})
Look = Callable[[Path, BinaryIO], str]
_project = click.option(
    "--project", type=click.Path(path_type=Path, exists=True, file_okay=False), help="The project folder."
)


@click.group(name="check", invoke_without_command=True)
@click.pass_context
def check_command(context: click.Context) -> int:
    """Run what the engine's own checks run, by hand."""
    if context.invoked_subcommand is None:
        output.line(context.get_help())
    return output.OK


@check_command.command(name="tests")
@click.option("--if-any", is_flag=True, help="A project without tests is well too.")
@click.option("--expect-fail", is_flag=True, help="Pass when a test fails, as one for missing behaviour must.")
@_project
def tests_command(if_any: bool, expect_fail: bool, project: Path | None) -> int:
    """Run the project's own tests and judge what they report.

    Exit status: 0 when at least one test ran and none failed, else 1; an exit code of 0 alone proves nothing. With
    --expect-fail: 0 when the test program itself reports a failed test, or, for Go and Cargo, the build fails.
    """
    sys.stdout.flush()
    report = testcommand.run(project or Path.cwd(), sys.stdout.buffer)
    if expect_fail:
        return _must_fail(report)
    passed = report.ok or (if_any and report.empty)
    verdict = "passed" if report.ok else "passed, there is none" if passed else "failed"
    output.line(f"tests: {verdict}. {report.reason}")
    return output.OK if passed else output.ERROR


def _must_fail(report: testcommand.TestReport) -> int:
    if report.failed and report.exit_code not in (None, 0):
        output.line(f"tests: passed, they fail as they must. {report.reason}")
        return output.OK
    # Where tests are compiled, one for something that is not there yet breaks the build before any test is counted.
    if report.kind in _COMPILED and (report.exit_code or 0) > 0:
        output.line(f"tests: passed, the build fails as it must. `{report.command}` ended with {report.exit_code}.")
        return output.OK
    output.line(f"tests: failed, no test fails. {report.reason}")
    return output.ERROR


def _judge(name: str, look: Look, project: Path | None) -> int:
    """Carry out a look at the project and print the verdict; the exit status says the same."""
    sys.stdout.flush()
    try:
        verdict, reason, status = "passed", look((project or Path.cwd()).absolute(), sys.stdout.buffer), output.OK
    except Unmet as unmet:
        verdict, reason, status = "failed", str(unmet), output.ERROR
    except NothingDeclared as nothing:
        verdict, reason, status = "skipped", str(nothing), SKIPPED
    output.line(f"{name}: {verdict}. {reason}")
    return status


def _modes(**modes: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Give a command one flag for each mode, of which at most one counts, and the project's option."""

    def decorate(function: Callable[..., int]) -> Callable[..., int]:
        for mode, words in reversed(modes.items()):
            function = click.option(f"--{mode}", "mode", flag_value=mode, default=None, help=words)(function)
        return _project(function)

    return decorate


def _chosen(name: str, looks: dict[str | None, Look], mode: str | None, project: Path | None) -> int:
    return _judge(name if mode is None else f"{name} --{mode}", looks[mode], project)


@check_command.command(name="scope")
@_modes(
    declared="Judge the declaration only.",
    lock="Record every file outside the scope as it is now.",
)
def scope_command(mode: str | None, project: Path | None) -> int:
    """Judge whether only files inside the scope of `.agents/scope.json` changed since it was locked."""
    looks: dict[str | None, Look] = {None: scope.kept, "declared": scope.declaration, "lock": scope.lock}
    return _chosen("scope", looks, mode, project)


@check_command.command(name="invariants")
@_modes(
    declared="Judge the declaration only; every invariant must hold already.",
    seal="Judge the declaration and record what the commands rest on.",
)
def invariants_command(mode: str | None, project: Path | None) -> int:
    """Judge whether every invariant of `.agents/invariants.json` holds, by its own command."""
    return _chosen("invariants", _of_rules(INVARIANTS), mode, project)


@check_command.command(name="compliance")
@_modes(
    declared="Judge the declaration only.",
    seal="Judge the declaration and record what the commands rest on.",
)
def compliance_command(mode: str | None, project: Path | None) -> int:
    """Judge whether every rule of `.agents/compliance.json` that has a command is met."""
    return _chosen("compliance", _of_rules(COMPLIANCE), mode, project)


def _of_rules(rules: Ruleset) -> dict[str | None, Look]:
    return {None: rules.hold, "declared": rules.declaration, "seal": rules.seal}


@check_command.command(name="benchmark")
@_modes(
    declared="Judge the declaration only, by one run.",
    record="Measure the baseline and record what it is measured with.",
)
def benchmark_command(mode: str | None, project: Path | None) -> int:
    """Measure the benchmark of `.agents/benchmark.json` and judge its ratio to the recorded baseline."""
    looks: dict[str | None, Look] = {
        None: benchmark.compare,
        "declared": benchmark.declaration,
        "record": benchmark.record,
    }
    return _chosen("benchmark", looks, mode, project)


@check_command.command(name="findings")
@_modes(fixed="Judge whether every finding is gone.")
def findings_command(mode: str | None, project: Path | None) -> int:
    """Judge whether every finding of `.agents/findings.json` shows itself, by its own command."""
    return _chosen("findings", {None: findings.reproduced, "fixed": findings.gone}, mode, project)


@check_command.command(name="journeys")
@_modes(
    declared="Judge the declaration only.",
    none="Judge whether the project really has no journeys to run.",
    walked="Without a declaration, run the project's own script for them instead.",
)
def journeys_command(mode: str | None, project: Path | None) -> int:
    """Judge whether each journey of `.agents/journeys.json` has a test and all of them pass."""
    looks: dict[str | None, Look] = {
        None: suites.journeys_pass,
        "declared": suites.journeys_declared,
        "none": partial(suites.none, kind=suites.JOURNEYS),
        "walked": suites.journeys_walked,
    }
    return _chosen("journeys", looks, mode, project)


@check_command.command(name="visual")
@_modes(
    declared="Judge the declaration only.",
    none="Judge whether the project really has nothing to compare.",
    seal="Record the reference pictures as they are now.",
)
def visual_command(mode: str | None, project: Path | None) -> int:
    """Judge whether the comparison of `.agents/visual.json` passes with the recorded reference pictures."""
    looks: dict[str | None, Look] = {
        None: suites.visual_same,
        "declared": suites.visual_declared,
        "none": partial(suites.none, kind=suites.VISUAL),
        "seal": suites.visual_seal,
    }
    return _chosen("visual", looks, mode, project)


@check_command.command(name="release")
@_modes(
    declared="Judge the declaration only.",
    none="Judge whether no release is declared.",
    staging="Deploy to the declared staging and watch it; exit status 3 when none is declared.",
    production="Deploy to the declared production and watch it; exit status 3 when none is declared.",
    served="Watch the declared production, else staging, without deploying anything.",
    nowhere="Judge whether no target is declared.",
    unchanged="Judge whether nothing changed since the last tag.",
)
def release_command(mode: str | None, project: Path | None) -> int:
    """Judge whether `.agents/release.json` describes a version that is properly cut: number, tags, changelog."""
    looks: dict[str | None, Look] = {
        None: release.cut,
        "declared": release.declaration,
        "none": release.none,
        "staging": partial(release.ship, name="staging"),
        "production": partial(release.ship, name="production"),
        "served": release.served,
        "nowhere": release.nowhere,
        "unchanged": release.unchanged,
    }
    return _chosen("release", looks, mode, project)


@check_command.command(name="app")
@_modes(declared="Judge the declaration only.")
def app_command(mode: str | None, project: Path | None) -> int:
    """Start the application of `.agents/app.json`, judge whether it answers, and end it."""
    return _chosen("app", {None: appstart.works, "declared": appstart.declaration}, mode, project)
