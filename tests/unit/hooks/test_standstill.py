"""A session that gets nowhere: how often it is held, and that nothing makes it wait for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from acceptance.support import wait_for
from stagent.agents import claude_plugin
from stagent.core import claudecode
from stagent.engine import install
from stagent.hooks import hook, standstill
from unit.hooks.hook_world import Session


def test_a_program_that_takes_too_long_is_ended_with_what_it_started(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Begun(dict[str, float]):
        """A patience that is over once the program has begun."""

        def get(self, key: str, default: float | None = None) -> float:  # type: ignore[override]
            wait_for(lambda: (tmp_path / "pids").exists(), "the program to begin", 30)
            return 0.0

    session.begun()
    program = tmp_path / "python"
    began = f"sleep 600 &\necho $$ $! >{tmp_path}/made\nmv {tmp_path}/made {tmp_path}/pids\nwait\n"
    program.write_text(f'#!/bin/sh\n[ "$5" = unchanged ] || exit 0\n{began}')
    program.chmod(0o755)
    session.set(python=str(program), stop={"blocks": 2, "message": ""})
    assert session.stop()[0] == "block"
    monkeypatch.setattr(hook, "PATIENCE", Begun())
    verdict, said = session.stop()
    assert verdict == "allow"
    assert said.endswith("The project could not be compared in time.")
    [line] = session.lines()
    assert (line["e"], line["d"]["blocks"]) == ("Stalled", 2)
    assert "in time" in line["d"]["why"]
    shell, child = map(int, (tmp_path / "pids").read_text().split())
    assert not hook.alive(shell)
    # Whoever adopted it may take a moment to notice that it is over.
    wait_for(lambda: not hook.alive(child) or _over(child), "what the program started to end")


def _over(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_the_program_is_waited_for_less_long_than_the_platform_waits_for_the_hook() -> None:
    for event, (_, seconds) in install.HOOKS.items():
        if event in ("PreToolUse", "Stop"):
            assert hook.PATIENCE.get(event, 7.0) + 2 < seconds
    assert claude_plugin._SECONDS > 7.0 + 2


@pytest.mark.rule("W7")
@pytest.mark.parametrize(
    ("cap", "stops"), [(None, 7), ("", 7), ("x", 7), ("8", 7), ("4", 3), ("1", 1), ("20", 19), ("0", 40), ("-1", 40)]
)
@pytest.mark.parametrize("answer", [None, standstill.CHANGED])
def test_a_turn_is_let_go_before_the_platform_ends_it(
    session: Session, tmp_path: Path, cap: str | None, stops: int, answer: int | None
) -> None:
    """Also where the stage allows more blocks than the platform, and where the project changes all the time."""
    session.begun()
    session.set(stop={"blocks": 60 if answer is None else 5, "message": ""}, python=_program(tmp_path, answer))
    if cap is not None:
        session.environment({**session.env, standstill.CAP_VARIABLE.decode(): cap})
    said = [session.stop(stop_hook_active=number > 0) for number in range(40)]
    verdicts = [verdict for verdict, _ in said]
    assert verdicts == ["block"] * (stops - 1) + ["allow"] * (40 - stops + 1) if stops < 40 else ["block"] * 40
    if stops < 40:
        [line] = session.lines()
        assert (line["e"], line["d"]["blocks"]) == ("Stalled", stops)
        assert f"held no more than {cap if cap and cap.isdigit() else 8} times in a row" in line["d"]["why"]
        assert f"no progress in {stops} tries" in said[stops - 1][1]
        assert line["d"]["why"] in said[stops - 1][1]


def _program(folder: Path, answer: int | None) -> str:
    """A program that answers so about the project."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\nexit {answer or 0}\n")
    path.chmod(0o755)
    return str(path)


def test_a_new_turn_and_a_call_of_a_tool_begin_a_new_row(session: Session) -> None:
    session.begun()
    session.set(stop={"blocks": 60, "message": ""})
    for _ in range(5):
        assert [session.stop(stop_hook_active=number > 0)[0] for number in range(6)] == ["block"] * 6
    for _ in range(3):
        session.bash("ls")
        assert [session.stop(stop_hook_active=True)[0] for _ in range(6)] == ["block"] * 6
    session.bash("ls", agent="a1", agent_type="Explore")
    assert session.stop(stop_hook_active=True)[0] == "allow"


def test_the_most_blocks_an_author_may_declare_in_earnest_are_those_the_platform_allows() -> None:
    assert claudecode.MOST_BLOCKS == standstill.CAP - 1
