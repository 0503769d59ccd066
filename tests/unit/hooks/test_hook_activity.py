"""What the hook keeps about tool calls: short, bounded, for the owner alone, and nothing secret."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stagent.core.masking import mask
from stagent.engine.activity import Reader, paired
from stagent.hooks import hook, masks
from unit.hooks.hook_world import Session, compiled

TOKENS = [
    "sk-proj-0123456789abcdefghij",
    "pk-0123456789abcdef",
    "ghp_0123456789abcdefghijkl",
    "github_pat_0123456789abcdefghijkl",
    "glpat-0123456789abcdef",
    "xoxb-0123456789",
    "AKIA0123456789ABCDEF",
    "AIza0123456789abcdefghijklmnopqrstu",
    "eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.abcdefghijkl",
    "Authorization: Bearer abcdef",
    "authorization:basic Zm9v",
    "MY_API_KEY=12345678",
    "apikey: '12345678'",
    "DB_PASSWORD = hunter2hunter2",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\nMIIE",
]


def place(session: Session) -> Path:
    return session.home / "activity" / f"{session.live['run']}.ndjson"


def kept(session: Session) -> list[dict[str, Any]]:
    """The lines that were kept."""
    return [json.loads(line) for line in place(session).read_bytes().splitlines()] if place(session).exists() else []


def use(session: Session, tool: str = "Bash", call: str = "toolu_1", /, event: str = "", **given: Any) -> None:
    """One use of a tool, or only one of its events."""
    for name in [event] if event else ["PreToolUse", "PostToolUse"]:
        more = {} if name == "PreToolUse" else {"duration_ms": 12}
        session.ask(name, tool_name=tool, tool_input=given, tool_use_id=call, **more)


@pytest.mark.rule("S4.30", "S4.34", "S4.35", "S4.37", "S4.38", "S4.39", "S4.41")
@pytest.mark.parametrize(
    ("tool", "given", "target"),
    [
        ("Bash", {"command": "pytest -q", "description": "Run"}, "pytest -q"),
        ("Bash", {"command": "x" * 500}, "x" * 120),
        ("Bash", {"command": "a\nb\x1b[31m\x00"}, "a b [31m "),
        ("Read", {"file_path": "/p/" + "d" * 300 + "/end.py"}, "d" * 193 + "/end.py"),
        ("Edit", {"file_path": "/p/a.py", "old_string": "secret words", "new_string": "y"}, "/p/a.py"),
        ("NotebookEdit", {"notebook_path": "/p/a.ipynb", "new_source": "y"}, "/p/a.ipynb"),
        ("Grep", {"pattern": "def x", "path": "/p"}, "def x"),
        ("Glob", {"pattern": "**/*.py"}, "**/*.py"),
        ("WebSearch", {"query": "how"}, "how"),
        ("WebFetch", {"url": "https://example.com/a?key=abc", "prompt": "y"}, "https://example.com/a"),
        ("Agent", {"subagent_type": "Explore", "description": "Look", "prompt": "y"}, "Look"),
        ("Agent", {"subagent_type": "Explore", "prompt": "y"}, ""),
        ("TodoWrite", {"todos": []}, ""),
        ("LS", {"path": "/p"}, "/p"),
        ("mcp__shop__find", {"anything": "y"}, ""),
        ("AskUserQuestion", {"questions": [{"question": "y"}]}, ""),
        ("Bash", {"command": 7}, ""),
    ],
)
def test_what_a_call_is_about(session: Session, tool: str, given: dict[str, Any], target: str) -> None:
    use(session, tool, **given)
    start, end = kept(session)
    assert (start["e"], start["tool"], start["target"]) == ("start", tool, target)
    assert (start["stage"], start["epoch"], start["agent"], start["id"]) == ("work", 1, None, "toolu_1")
    assert (end["e"], end["id"], end["ms"], "target" in end) == ("end", "toolu_1", 12, False)


@pytest.mark.rule("S4.35", "S4.40", "S4.41")
def test_how_it_ended(session: Session) -> None:
    use(session, "Bash", "t-1", command="false", event="PreToolUse")
    use(session, "Bash", "t-1", command="false", event="PostToolUseFailure")
    use(session, "Write", "t-2", file_path=str(session.home / "registry.db"), event="PreToolUse")
    use(session, "Bash", "t-3", command="sleep 9", event="PreToolUse")
    session.ask("PostToolUse", tool_name="Bash", tool_input={}, tool_use_id="t-4", agent_id="a1", agent_type="x")
    with Reader(place(session)) as reader:
        found = {item.id: (item.outcome, item.millis, item.agent) for item in paired(reader.uses())}
    assert found == {
        "t-1": ("failed", 12, None),
        "t-2": ("denied", None, None),
        "t-3": ("open", None, None),
        "t-4": ("ended", None, "a1"),
    }


@pytest.mark.rule("S4.36")
def test_only_the_driver_of_a_running_run_is_kept(session: Session) -> None:
    session.ask("PreToolUse", tool_name="Bash", tool_input={"command": "ls"}, session_id="bystander")
    session.set(status="interrupted")
    use(session, command="ls")
    session.set(status="running")
    session.environment({"CLAUDE_PID": "77"})
    use(session, command="ls")
    assert kept(session) == []


def test_that_it_cannot_be_kept_changes_nothing(session: Session) -> None:
    place(session).mkdir(parents=True)
    assert session.bash("stagent tick") == "allow"
    place(session).rmdir()
    place(session).parent.rmdir()
    assert session.bash("stagent tick") == "allow"
    assert session.bash("stagent approve") == "deny"


@pytest.mark.rule("W48", "S4.42")
def test_the_file_is_private_and_a_line_is_short(session: Session) -> None:
    use(session, "B" * 300, "c" * 300, command="\N{GRINNING FACE}" * 300)
    use(session, "tool with spaces \x00", '"' * 300, command='"\\' * 300)
    session.ask("PreToolUse", tool_name="Bash", tool_input={"command": "\u4e16" * 200}, tool_use_id="ok")
    session.ask("PreToolUse", tool_name="Read", tool_input={"file_path": "\ud800" * 300}, tool_use_id="ok")
    assert place(session).stat().st_mode & 0o777 == 0o600
    lines = place(session).read_bytes().splitlines(keepends=True)
    assert len(lines) == 6
    assert max(map(len, lines)) <= 1024
    assert [json.loads(line).get("cut") for line in lines] == [True, None, None, None, None, None]


@pytest.mark.rule("W46", "S4.42")
def test_two_files_of_a_limited_size_are_all(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hook, "ACTIVITY", 2000)
    for number in range(60):
        use(session, "Bash", f"t-{number}", command="ls", event="PreToolUse")
    files = sorted(path.name for path in place(session).parent.iterdir())
    run = session.live["run"]
    assert files == [f"{run}.1.ndjson", f"{run}.ndjson"]
    assert sum(path.stat().st_size for path in place(session).parent.iterdir()) < 2 * 2000 + 1024
    with Reader(place(session)) as reader:
        found = [item.id for item in reader.uses()]
    assert found == [f"t-{number}" for number in range(60 - len(found), 60)]
    assert 8 <= len(found) < 60
    assert reader.dropped


def test_hooks_at_once_lose_no_line_when_the_file_moves(session: Session) -> None:
    """Sixteen at a time, with the file just below its limit: what was written is in one of the two files."""
    path = place(session)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x" * (hook.ACTIVITY - 300) + b"\n")
    events = [
        json.dumps(session.event("PreToolUse", tool_name="Bash", tool_use_id=f"t-{n}", tool_input={"command": "ls"}))
        for n in range(16)
    ]
    argv = [sys.executable, "-I", "-S", compiled(), str(session.home)]
    running = [subprocess.Popen(argv, stdin=subprocess.PIPE, env=session.env) for _ in events]
    for process, event in zip(running, events, strict=True):
        assert process.stdin is not None
        process.stdin.write(event.encode())
        process.stdin.close()
    assert [process.wait(20) for process in running] == [0] * 16
    with Reader(path) as reader:
        found = {item.id for item in reader.uses()}
    assert found == {f"t-{n}" for n in range(16)}
    assert path.with_name(f"{session.live['run']}.1.ndjson").stat().st_size > hook.ACTIVITY


# -- secrets


@pytest.mark.rule("W23", "S4.42")
@pytest.mark.parametrize("token", TOKENS)
def test_no_secret_reaches_the_disk(session: Session, token: str) -> None:
    for at in (0, 60, 110, 125):
        use(session, command="echo " + "a " * (at // 2) + token + " | cat", event="PreToolUse")
    use(session, "Read", file_path=f"/tmp/{token}/x", event="PreToolUse")
    use(session, "Bash", command=("x " * 2100)[: 4096 - 20] + token, event="PreToolUse")
    text = place(session).read_text()
    secret = (
        token.rpartition(" ")[2] if " " in token[:20] and "PRIVATE" not in token else token.partition("=")[2] or token
    )
    assert secret not in text
    assert secret[: len(secret) * 3 // 4] not in text
    assert all(mask(entry["target"]) == entry["target"] for entry in kept(session))


def test_what_the_program_masks_has_a_word_the_hook_looks_for() -> None:
    for token in TOKENS:
        assert mask(token) != token
        assert hook.masked(token) == mask(token)


SEPARATORS = st.sampled_from(["", " ", "=", ":", "'", '"', "-", "_", "/", "\n", "a", "\u00e9"])


@given(st.lists(st.tuples(SEPARATORS, st.one_of(st.sampled_from(TOKENS), st.text(max_size=8)), SEPARATORS), max_size=4))
@example([("wor", "k-0123456789abcdefgh", "")])
@example([("_", "sk-0123456789abcdefgh", ""), ("é", "sk-0123456789abcdefgh", "")])
@example([("\u0345", "sk-0123456789abcdefgh", "")])
@example([("", "\u017fECRET=12345678", ""), ("", "pa\u017f\u017fword=12345678", "")])
@example([("", "\u0130api_key=12345678", ""), ("", "TO\u212aEN=12345678", "")])
def test_it_masks_what_the_program_masks(parts: list[tuple[str, str, str]]) -> None:
    text = "".join(before + word + after for before, word, after in parts)
    assert hook.masked(text) == mask(text)
    assert masks.mask(text) == mask(text)
