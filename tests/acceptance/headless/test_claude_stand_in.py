"""What the real program does not do on request, done by a small one that is called like it."""

from __future__ import annotations

from pathlib import Path

import pytest

from acceptance.headless.kit import Office, stand_in
from stagent.errors import StagentError


@pytest.mark.parametrize(
    ("body", "status", "code", "reason"),
    [
        ("init(); result()", "ok", "", ""),
        ("init()", "failed", "no_result", "without a result"),
        ("", "failed", "no_result", "without a result"),
        ("sys.stderr.write('Out of memory\\n'); sys.exit(7)", "failed", "no_result", "it said: Out of memory"),
        ("init(); result(); sys.exit(1)", "failed", "exit", "exit code 1 after a result"),
        ("init(); result(is_error=True)", "failed", "error", "Done."),
        ("init(); result(terminal_reason='hook_stopped')", "failed", "hook_stopped", "ended the turn"),
        ("init(); result(terminal_reason='tool_deferred')", "failed", "tool_deferred", "put a tool call off"),
        ("init(); result(terminal_reason='aborted_streaming')", "failed", "aborted_streaming", "aborted_streaming"),
        ("init(); result(terminal_reason=None)", "ok", "", ""),
        ("init(); os.kill(os.getpid(), signal.SIGSEGV)", "failed", "signal", "SIGSEGV"),
        ("init(); result(is_error=True, result_index=0); result(result_index=1)", "ok", "", ""),
        ("init(); print('{not json', flush=True); result()", "ok", "", ""),
        ("init(); sys.stdout.buffer.write(b'\\xff\\xfe\\n'); sys.stdout.flush(); result()", "ok", "", ""),
        ("init(); result(result='\\ud800')", "ok", "", ""),
    ],
)
def test_ends(office: Office, tmp_path: Path, body: str, status: str, code: str, reason: str) -> None:
    office.program = stand_in(tmp_path, body)
    outcome = office.attempt().outcome
    assert (outcome.status, outcome.code) == (status, code)
    assert reason in outcome.reason


def test_a_rejected_limit_says_when_to_come_back(office: Office, tmp_path: Path) -> None:
    limit = "dict(status='rejected', resetsAt=1800000000, rateLimitType='five_hour', utilization=1.0)"
    body = f"init(); say(type='rate_limit_event', rate_limit_info={limit})\n"
    office.program = stand_in(
        tmp_path, body + "result(is_error=True, terminal_reason='api_error', api_error_status=429)"
    )
    ended = office.attempt()
    assert (ended.outcome.status, ended.outcome.code) == ("failed", "rate_limited")
    assert ended.outcome.retry_at == 1_800_000_000_000
    assert [(event.code, event.retry_at) for event in ended.of("limit")] == [("rejected", 1_800_000_000_000)]


def test_a_warning_about_a_limit_fails_nothing(office: Office, tmp_path: Path) -> None:
    body = (
        "init(); say(type='rate_limit_event', rate_limit_info=dict(status='allowed_warning', resetsAt=None)); result()"
    )
    office.program = stand_in(tmp_path, body)
    ended = office.attempt()
    assert (ended.outcome.status, ended.outcome.retry_at) == ("ok", None)
    assert [event.code for event in ended.of("limit")] == ["allowed_warning"]


def test_a_resumed_session_in_use_is_unresumable(office: Office, tmp_path: Path) -> None:
    office.program = stand_in(tmp_path, "sys.stderr.write('Error: Session ID x is already in use.\\n'); sys.exit(1)")
    outcome = office.attempt(resume="x").outcome
    assert (outcome.status, outcome.code) == ("failed", "unresumable")
    assert "already in use" in outcome.reason


def test_a_hook_that_never_reported_is_missing(office: Office, tmp_path: Path) -> None:
    office.program = stand_in(tmp_path, "init(); result()", hooked=False)
    assert office.attempt().outcome.code == "hook_missing"


@pytest.mark.parametrize(
    ("version", "status", "code"),
    [
        ("2.1.328 (Claude Code)", 0, "agent.program_old"),
        ("1.0.0", 0, "agent.program_old"),
        ("hello", 0, "agent.program_unusable"),
        ("", 0, "agent.program_unusable"),
        ("2.1.329 (Claude Code)", 3, "agent.program_unusable"),
    ],
)
def test_programs_we_cannot_drive_are_refused(
    office: Office, tmp_path: Path, version: str, status: int, code: str
) -> None:
    office.program = stand_in(tmp_path, "init(); result()", version=version, status=status)
    with pytest.raises(StagentError) as caught:
        office.attempt()
    assert caught.value.code == code
    assert caught.value.remedy


def test_a_newer_program_is_driven_with_a_warning(office: Office, tmp_path: Path) -> None:
    body = "say(type='system', subtype='init', session_id='s', claude_code_version='9.0.0')\nresult()"
    office.program = stand_in(tmp_path, body, version="9.0.0 (Claude Code)")
    ended = office.attempt()
    assert "version" in [event.code for event in ended.of("other")]


def test_a_huge_line_survives(office: Office, tmp_path: Path) -> None:
    body = (
        "init(); say(type='user', message=dict(content=[dict(type='tool_result', content='x' * (8 << 20))])); result()"
    )
    office.program = stand_in(tmp_path, body)
    ended = office.attempt()
    assert (ended.outcome.status, ended.outcome.result) == ("ok", "Done.")
    assert ended.outcome.stream_bytes > 8 << 20
