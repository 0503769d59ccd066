"""The tool rules of a stage in a session: which calls they let through, one row for each rule and each trick."""

from __future__ import annotations

import shlex
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagent.hooks import toolrules
from unit.hooks.hook_world import Session

AGENT = "stagent:workflow-subagent"


def rules(session: Session, allow: list[str] | None = None, deny: tuple[str, ...] = (), **more: Any) -> None:
    session.set(tools={"allow": allow, "deny": list(deny)}, **more)


def denied(session: Session, tool: str, **given: Any) -> bool:
    answer = session.tool(tool, **given)
    return bool(answer) and answer[0] == "deny" and "works without this call" in answer[1]


# -- what the run needs is always possible


@pytest.mark.parametrize(("allow", "deny"), [([], ()), (None, ("Bash", "Write", "Read", "Skill", "Agent"))])
def test_the_run_can_go_on_under_any_rules(session: Session, allow: Any, deny: Any) -> None:
    rules(session, allow, deny)
    for verb in ("tick", "context", "advance", "wait", "next --result done"):
        assert session.bash(f"{session.live['launcher']} {verb}") == "allow"
    assert session.tool("Write", file_path=str(session.artifact))[0] == "allow"
    assert session.tool("Edit", file_path=str(session.artifact))[0] == "allow"
    assert session.tool("Read", file_path=f"{session.live['run_dir']}/workflow/work.md") is None
    assert session.tool("Skill", skill="stagent:stagent") is None
    for verdict, text in (("", "'EOF'\nbecause; rm -rf x\nEOF"), ("deny", "EOF\n$(rm x)\nEOF")):
        assert session.bash(f"{session.live['launcher']} advance --escalate - <<{text}") == verdict
    assert session.bash(f"{session.live['launcher']} advance --escalate - <<'EOF'\nx\nEOF\nrm x") == "deny"
    assert session.bash(f"{session.live['launcher']} advance; rm x <<'EOF'\nx\nEOF") == "deny"
    for tool, fields in (
        ("Bash", {"command": "ls"}),
        ("Write", {"file_path": f"{session.project}/a"}),
        ("Read", {"file_path": f"{session.live['run_dir']}/../../a"}),
        ("Read", {"file_path": f"{session.project}/a"}),
        ("Skill", {"skill": "deploy"}),
        ("Agent", {"subagent_type": "Explore"}),
    ):
        assert denied(session, tool, **fields), tool


def test_the_picker_and_the_worker_are_possible_too(session: Session) -> None:
    session.gate()
    rules(session, [], ("AskUserQuestion", "Agent"), execution="subagent")
    options = [{key: item[key] for key in ("label", "description")} for item in session.live["gate"]["options"]]
    assert not denied(
        session, "AskUserQuestion", questions=[{"question": "Good?", "header": "Stagent", "options": options}]
    )
    assert denied(session, "AskUserQuestion", questions=[{"question": "Other?"}])
    assert session.tool("Agent", subagent_type=AGENT)[0] is None
    assert denied(session, "Agent", subagent_type="Explore")


def test_what_touches_nothing_needs_no_rule_and_can_be_denied(session: Session) -> None:
    rules(session, [])
    for tool in ("ToolSearch", "TodoWrite", "AskUserQuestion", "TaskStop"):
        assert session.tool(tool) is None
    rules(session, None, ("TodoWrite",))
    assert denied(session, "TodoWrite")


def test_rules_hold_for_every_agent_of_the_session_and_nobody_else(session: Session) -> None:
    rules(session, ["Read"], execution="subagent")
    for who in ({}, {"agent": "a1", "agent_type": AGENT}, {"agent": "a2", "agent_type": "Explore"}):
        assert session.tool("Bash", command="ls", **who)[0] == "deny"
    event = session.event("PreToolUse", tool_name="Bash", tool_input={"command": "ls"})
    assert session.process({**event, "session_id": "bystander"}).out == ""
    session.set(status="interrupted")
    assert session.tool("Bash", command="ls") is None


def test_a_denied_launch_is_not_waited_for(session: Session) -> None:
    session.begun()
    rules(session, ["Read"])
    assert denied(session, "Agent", subagent_type="Explore")
    assert session.lines() == []


def test_a_refusal_names_what_may_be_used(session: Session) -> None:
    rules(session, ["Read", "Bash(git log:*)"])
    assert "It may use: Read, Bash(git log:*)." in session.tool("Bash", command="ls")[1]
    rules(session, [])
    assert "It may use: no tool." in session.tool("Bash", command="ls")[1]


# -- names


@pytest.mark.parametrize(
    ("rule", "tool", "named"),
    [
        ("Read", "Read", True),
        ("Read", "ReadMore", False),
        ("mcp__x", "mcp__x__y", True),
        ("mcp__x__*", "mcp__x__y", True),
        ("mcp__x__f*", "mcp__x__find", True),
        ("mcp__x__f*", "mcp__x__get", False),
        ("mcp__x", "mcp__xy__z", False),
        ("mcp__x__y", "mcp__x__yz", False),
        ("Task", "Agent", True),
        ("Agent", "Task", True),
        ("Edit(src/**)", "Write", True),
        ("Edit", "Write", False),
    ],
)
def test_names(session: Session, rule: str, tool: str, named: bool) -> None:
    assert bool(toolrules.patterns(tool, [rule])) is named
    if "(" not in rule:
        rules(session, None, (rule,))
        assert denied(session, tool) is named
        rules(session, [rule])
        assert denied(session, tool) is not named


# -- commands


@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        ("git log", True),
        ("git log --oneline -5", True),
        ("git   log", True),
        ("git logs", False),
        ("git push", False),
        ("git log | head -5", True),
        ("git log && git log", True),
        ("git log; head x", True),
        ("git log 2>&1 | head", True),
        ("git log 2>/dev/null", True),
        ("git log 'a; b' \"c | d\"", True),
        ("git log && rm x", False),
        ("git log; rm x", False),
        ("git log | rm x", False),
        ("git log & rm x", False),
        ("git log\nrm x", False),
        ("git log $(rm x)", False),
        ('git log "$(rm x)"', False),
        ("git log `rm x`", False),
        ("git log <(rm x)", False),
        ("git log > x", False),
        ("git log 2>&1x; rm x", False),
        ("(git log; rm x)", False),
        ("git log 'unbalanced", False),
        ("git log '$(not run)'", True),
        ("git log a\\;b", True),
        ("git log \\", True),
        ("PAGER=rm git log", False),
        ("", False),
        (";", False),
        ("make test", True),
        ("make test all", False),
        ("npm run a:b:c", True),
    ],
)
def test_allowed_commands(session: Session, command: str, allowed: bool) -> None:
    rules(session, ["Bash(git log:*)", "Bash(head *)", "Bash(make test)", "Bash(npm run a:*:c)"])
    assert denied(session, "Bash", command=command) is not allowed


@pytest.mark.parametrize(
    ("command", "forbidden"),
    [
        ("rm x", True),
        ("rm", True),
        ("rmdir x", False),
        ("ls; rm x", True),
        ("ls && rm x", True),
        ("ls | xargs rm", True),
        ("echo $(rm x)", True),
        ("echo `rm x`", True),
        ("(rm x)", True),
        ("sudo rm x", True),
        ("env A=1 rm x", True),
        ("A=1 rm x", True),
        ("/bin/rm x", True),
        ("\\rm x", True),
        ("'rm' x", True),
        ("sh -c 'rm x'", True),
        ("timeout -k 5 rm x", True),
        ("find . -exec rm {} +", True),
        ("if true; then rm x; fi", True),
        ("git \\\n push", True),
        ("git push", True),
        ("git  push  origin", True),
        ("git pull", False),
        ("git rm x", False),
        ("echo rm", False),
        ("ls x/rm y", False),
        ("true", True),
        ("true x", False),
    ],
)
def test_denied_commands(session: Session, command: str, forbidden: bool) -> None:
    rules(session, None, ("Bash(rm:*)", "Bash(git push *)", "Bash(true)"))
    assert denied(session, "Bash", command=command) is forbidden


@pytest.mark.parametrize("tool", ["Monitor", "PowerShell", "mcp__shell__run"])
def test_what_is_denied_of_bash_is_denied_of_every_shell(session: Session, tool: str) -> None:
    rules(session, None, ("Bash",))
    assert denied(session, tool, command="ls")
    rules(session, None, ("Bash(rm:*)",))
    assert denied(session, tool, command="ls; rm x")
    assert not denied(session, tool, command="ls")
    rules(session, ["Bash", "Read"])
    assert denied(session, tool, command="ls")
    rules(session, [tool])
    assert not denied(session, tool, command="ls")
    assert denied(session, "Bash", command="ls")


def test_a_denial_beats_a_permission(session: Session) -> None:
    rules(session, ["Bash(git:*)"], ("Bash(git push:*)",))
    assert not denied(session, "Bash", command="git log")
    assert denied(session, "Bash", command="git push")


@given(st.text(alphabet="gitlog rm;&|'\"\\$(){}`<>\n#=", max_size=24))
def test_an_allowed_line_holds_only_allowed_commands(text: str) -> None:
    """Whatever is told apart as commands begins each with what is allowed; a shell's own reading agrees."""
    found = toolrules.commands(text)
    if not found or not all(toolrules.is_command("git log:*", line) for line in found):
        return
    words = list(shlex.shlex(text, posix=True, punctuation_chars=";&|\n"))
    assert words[:2] == ["git", "log"]
    assert not set("`<>(){}") & set(text) or "'" in text or '"' in text or "\\" in text


# -- paths, addresses, names of agents


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("src/**", "{p}/src/a/b.py", True),
        ("src/**", "src/a.py", True),
        ("./src/**", "{p}/src/a.py", True),
        ("/src/**", "{p}/src/a.py", True),
        ("src/**", "{p}/other/src/a.py", False),
        ("src/**", "{p}/src/../other.py", False),
        ("src/*.py", "{p}/src/a.py", True),
        ("src/*.py", "{p}/src/a/b.py", False),
        ("src/**/*.py", "{p}/src/a/b/c.py", True),
        ("src/**/*.py", "{p}/src/c.py", True),
        ("src", "{p}/src/a/b", True),
        ("*.env", "{p}/deep/down/.env", True),
        (".env", "{p}/deep/.env", True),
        ("docs/", "{p}/docs/a", True),
        ("//etc/**", "/etc/hosts", True),
        ("//etc/**", "{p}/etc/hosts", False),
        ("src/**", "/elsewhere/src/a", False),
        ("**", "{p}/a", True),
    ],
)
def test_paths(session: Session, pattern: str, path: str, matches: bool) -> None:
    place = path.format(p=session.project)
    for tool in ("Read", "Edit"):
        rules(session, [f"{tool}({pattern})"])
        assert denied(session, tool, file_path=place) is not matches
        rules(session, None, (f"{tool}({pattern})",))
        assert denied(session, tool, file_path=place) is matches


def test_a_link_is_followed_both_ways(session: Session) -> None:
    (session.project / "src").mkdir(exist_ok=True)
    (session.project / "secret").mkdir()
    (session.project / "src" / "way").symlink_to(session.project / "secret")
    path = f"{session.project}/src/way/key"
    rules(session, ["Read(src/**)"])
    assert denied(session, "Read", file_path=path)
    rules(session, None, ("Read(secret/**)",))
    assert denied(session, "Read", file_path=path)


@pytest.mark.parametrize(
    ("url", "allowed", "forbidden"),
    [
        ("https://example.com/x", True, True),
        ("http://EXAMPLE.com:8080/x", True, True),
        ("https://docs.example.com/", False, True),
        ("https://example.com.evil.net/", False, False),
        ("https://evil.net/example.com", False, False),
        ("https://example.com@evil.net/", False, False),
        ("https://evil.net\\@example.com", False, False),
        ("nonsense", False, True),
    ],
)
def test_addresses(session: Session, url: str, allowed: bool, forbidden: bool) -> None:
    rules(session, ["WebFetch(domain:example.com)"])
    assert denied(session, "WebFetch", url=url) is not allowed
    rules(session, None, ("WebFetch(domain:example.com)",))
    assert denied(session, "WebFetch", url=url) is forbidden


def test_agents_and_skills_by_name(session: Session) -> None:
    rules(session, ["Agent(Explore)", "Skill(review)"])
    assert not denied(session, "Agent", subagent_type="Explore")
    assert denied(session, "Agent", subagent_type="general-purpose")
    assert not denied(session, "Skill", skill="review")
    assert denied(session, "Skill", skill="deploy")


def test_a_pattern_nobody_can_judge_allows_nothing_and_denies_all(session: Session) -> None:
    rules(session, ["Grep(x)"])
    assert denied(session, "Grep", pattern="x")
    rules(session, None, ("Grep(x)",))
    assert denied(session, "Grep", pattern="y")


def test_no_pattern_takes_long(session: Session) -> None:
    """A hook that is too slow is passed over, and then its rule does not hold."""
    began = time.monotonic()
    rules(session, None, ("Read(" + "**/a*/" * 60 + "x)", "Bash(" + "*a" * 200 + ")"))
    session.tool("Read", file_path="/".join([str(session.project), *["a" * 20] * 150]))
    session.bash("a" * 20_000)
    assert time.monotonic() - began < 5
