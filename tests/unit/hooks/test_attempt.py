"""The hook of a headless attempt: its file as it is started, with the live file as the runner leaves it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stagent.agents import claude_plugin
from stagent.config import DataHome
from stagent.core.ports import AttemptSpec
from stagent.engine.projections import attempt as attempts
from stagent.storage.memory import MemoryStore
from unit.engine.service_world import ServiceWorld
from unit.hooks.hook_world import FILES

Json = dict[str, Any]


class Attempted:
    """A headless run whose first attempt is about to begin."""

    def __init__(self, place: Path) -> None:
        self.world = ServiceWorld(place, MemoryStore(), FILES, "runner")
        self.home: DataHome = self.world.service.home
        self.plugin = claude_plugin.ensure(self.home)
        state = self.world.service.state(self.world.run)
        self.id = f"{state.run}.1.1"
        self.artifact = self.world.service.folder(state).artifact(state.stage)
        self.publish()

    def publish(self, tools: list[str] | None = None, deny: tuple[str, ...] = ()) -> Path:
        """Write the live file."""
        service = self.world.service
        state = service.state(self.world.run)
        spec = AttemptSpec(
            id=self.id,
            run=state.run,
            stage=state.stage,
            epoch=1,
            number=1,
            stage_attempt=1,
            workdir=str(self.world.root),
            run_dir=str(self.artifact.parent),
            artifact=str(self.artifact),
            prompt="",
            stream="",
            tools=tools,
            deny_tools=deny,
        )
        flow, folder = service.workflow(state), service.folder(state)
        return attempts.publish(flow, state, folder, service.brief(state), service.home, spec)

    def ask(self, text: str, attempt: str | None = None) -> Json | None:
        """Start the hook as Claude Code does; return its answer."""
        (entry,) = json.loads((self.plugin / "hooks" / "hooks.json").read_text())["hooks"]["PreToolUse"][0]["hooks"]
        arguments = [word.replace("${CLAUDE_PLUGIN_ROOT}", str(self.plugin)) for word in entry["args"]]
        env = {"STAGENT_ATTEMPT": self.id if attempt is None else attempt, "STAGENT_LAUNCH": "once", "HOME": "/nowhere"}
        done = subprocess.run(
            [entry["command"], *arguments], input=text.encode(), env=env, stdout=subprocess.PIPE, check=True
        )
        found: Json | None = json.loads(done.stdout) if done.stdout else None
        return found

    def tool(self, name: str, event: str = "PreToolUse", **given: Any) -> tuple[str, str]:
        """Ask about a tool call; return the decision and its reason."""
        base = {"session_id": "s-1", "cwd": str(self.world.root), "tool_use_id": "t-1"}
        answer = self.ask(json.dumps({**base, "hook_event_name": event, "tool_name": name, "tool_input": given}))
        output: Json = (answer or {}).get("hookSpecificOutput", {})
        if event == "PermissionRequest":
            return str(output.get("decision", {}).get("behavior", "")), ""
        return str(output.get("permissionDecision", "")), str(output.get("permissionDecisionReason", ""))


@pytest.fixture
def attempted(tmp_path: Path) -> Attempted:
    return Attempted(tmp_path)


def test_the_live_file_names_no_process_and_goes_with_the_attempt(attempted: Attempted) -> None:
    path = attempted.publish(["Read"], ("Bash",))
    live = json.loads(path.read_text())
    assert path.name == f"attempt-{attempted.id}.json"
    assert (live["pid"], live["attempt"], live["stage"], live["epoch"]) == (None, attempted.id, "work", 1)
    assert live["tools"] == {"allow": ["Read"], "deny": ["Bash"]}
    other = path.with_name(f"attempt-{attempted.world.run}0.1.1.json")
    other.write_text("{}")
    attempts.forget(attempted.home, attempted.world.run)
    assert [item.name for item in path.parent.glob("attempt-*")] == [other.name]


def test_it_reports_that_it_runs(attempted: Attempted) -> None:
    answer = attempted.ask(json.dumps({"session_id": "s-1", "hook_event_name": "SessionStart", "source": "startup"}))
    assert answer is not None
    assert answer["stagent"] == f"{attempted.id}/once"


def test_the_own_artifact_is_allowed_to_anybody_in_the_attempt(attempted: Attempted) -> None:
    path = str(attempted.artifact)
    assert attempted.tool("Write", file_path=path)[0] == "allow"
    assert attempted.tool("Edit", file_path=path)[0] == "allow"
    assert attempted.tool("Write", "PermissionRequest", file_path=path)[0] == "allow"
    assert attempted.tool("Write", "PermissionRequest", file_path=str(attempted.world.root / "src" / "a"))[0] == ""
    assert attempted.tool("Write", file_path=str(attempted.world.root / "src" / "a"))[0] == ""


@pytest.mark.parametrize("name", ["state.md", "judge-report.md", "../other/work-report.md"])
def test_other_files_of_runs_are_not(attempted: Attempted, name: str) -> None:
    assert attempted.tool("Write", file_path=str(attempted.artifact.parent / name))[0] == "deny"


def test_the_data_home_is_not(attempted: Attempted) -> None:
    home = attempted.home.root
    assert attempted.tool("Write", file_path=str(home / "config.json"))[0] == "deny"
    assert attempted.tool("Bash", command=f"ls {home}")[0] == "deny"


@pytest.mark.parametrize(
    ("command", "decision"),
    [
        ("stagent context", "allow"),
        ("stagent bootstrap", "allow"),
        ("stagent tick", ""),
        ("stagent context && true", ""),
        ("stagent advance", "deny"),
        ("stagent approve r-1", "deny"),
        ("stagent run x", "deny"),
        ("echo $(stagent cancel)", "deny"),
        ("ls -l", ""),
    ],
)
def test_commands(attempted: Attempted, command: str, decision: str) -> None:
    assert attempted.tool("Bash", command=command)[0] == decision


def test_a_line_that_only_names_the_program_is_let_off(attempted: Attempted) -> None:
    """The program is asked, as in a session; it reads the line."""
    assert attempted.tool("Bash", command="grep -rn 'stagent approve' docs")[0] == ""
    assert attempted.tool("Bash", command="git commit -m '-- stagent advance'")[0] == ""
    assert attempted.tool("Bash", command="grep -rn 'stagent approve' docs; stagent approve")[0] == "deny"


def test_a_shell_by_any_name_is_one(attempted: Attempted) -> None:
    for tool in ("Monitor", "PowerShell", "mcp__shell__run"):
        assert attempted.tool(tool, command="stagent approve")[0] == "deny"
        assert attempted.tool(tool, command="stagent context")[0] == ""
        assert attempted.tool(tool, command="rm .stagent/x/state.md")[0] == "deny"
    assert attempted.tool("mcp__fs__write_file", path=str(attempted.artifact.parent / "state.md"))[0] == "deny"
    attempted.publish(None, ("Bash",))
    assert attempted.tool("Monitor", command="ls")[0] == "deny"
    attempted.publish(None, ("Bash(rm:*)",))
    assert attempted.tool("Monitor", command="rm x")[0] == "deny"
    assert attempted.tool("Monitor", command="ls")[0] == ""


@pytest.mark.parametrize(
    ("allow", "deny", "tool", "decision"),
    [
        (None, (), "mcp__x__y", ""),
        (["Read"], (), "mcp__x__y", "deny"),
        (["mcp__x"], (), "mcp__x__y", ""),
        (["mcp__x__*"], (), "mcp__x__y", ""),
        (["mcp__x__z"], (), "mcp__x__y", "deny"),
        (None, ("mcp__x",), "mcp__x__y", "deny"),
        (["Bash(git:*)"], (), "Bash", "deny"),
        (["Bash(ls:*)"], (), "Bash", ""),
        (None, ("Bash(rm:*)",), "Bash", ""),
        (None, ("Bash(ls:*)",), "Bash", "deny"),
        (None, ("Bash",), "Bash", "deny"),
        (["Read"], (), "Bash", "deny"),
        (["Grep(x)"], (), "Grep", "deny"),
        (["Read"], (), "TodoWrite", ""),
    ],
)
def test_tools(attempted: Attempted, allow: list[str] | None, deny: tuple[str, ...], tool: str, decision: str) -> None:
    attempted.publish(allow, deny)
    assert attempted.tool(tool, command="ls")[0] == decision


PATTERNS = (["Bash(git log:*)", "Edit(src/**)", "Read(src/**)", "Agent(Explore)"], ("Edit(src/kept.py)",))
CALLS: list[tuple[str, Json, str]] = [
    ("Bash", {"command": "git log -3"}, ""),
    ("Bash", {"command": "git log && touch x"}, "deny"),
    ("Bash", {"command": "sh -c 'git log'"}, "deny"),
    ("Bash", {"command": "git log $(touch x)"}, "deny"),
    ("Write", {"file_path": "src/a.py"}, ""),
    ("Write", {"file_path": "src/kept.py"}, "deny"),
    ("Edit", {"file_path": "other.py"}, "deny"),
    ("NotebookEdit", {"notebook_path": "other.ipynb"}, "deny"),
    ("Read", {"file_path": "src/a.py"}, ""),
    ("Read", {"file_path": "/etc/hostname"}, "deny"),
    ("Agent", {"subagent_type": "Explore"}, ""),
    ("Task", {"subagent_type": "general-purpose"}, "deny"),
]


@pytest.mark.parametrize(("tool", "given", "decision"), CALLS)
def test_patterns_are_judged_as_in_a_session(attempted: Attempted, tool: str, given: Json, decision: str) -> None:
    attempted.publish(*PATTERNS)
    assert attempted.tool(tool, **given)[0] == decision


@pytest.mark.parametrize(
    "command", ["touch x", "true && touch x", "sh -c 'touch x'", "X=1 touch x", "ls | xargs touch"]
)
def test_a_denied_command_is_found_wherever_it_may_stand(attempted: Attempted, command: str) -> None:
    attempted.publish(None, ("Bash(touch:*)",))
    assert attempted.tool("Bash", command=command)[0] == "deny"


def test_without_the_tool_only_the_artifact_is_written(attempted: Attempted) -> None:
    for tools, deny in ((["Read"], ()), (None, ("Write",))):
        attempted.publish(tools, deny)
        assert attempted.tool("Write", file_path=str(attempted.artifact))[0] == "allow"
        decision, reason = attempted.tool("Write", file_path=str(attempted.world.root / "src" / "a"))
        assert decision == "deny"
        assert "works without this call of Write" in reason


@pytest.mark.parametrize(
    ("given", "decision"),
    [
        ({"result": "done"}, ""),
        ({"result": "FAIL", "more": 1}, ""),
        ({"more": 1}, ""),
        ({"result": "perfect"}, "deny"),
        ({"result": 1}, "deny"),
        ({"result": ["done"]}, "deny"),
    ],
)
def test_a_structured_result_is_one_of_the_stages(attempted: Attempted, given: Json, decision: str) -> None:
    found, reason = attempted.tool("StructuredOutput", **given)
    assert found == decision
    assert not decision or "FAIL, done" in reason


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"hook_event_name": 1}',
        "\x00\udfff".encode("utf-8", "surrogatepass").decode("utf-8", "replace"),
    ],
)
def test_what_cannot_be_read_is_denied(attempted: Attempted, text: str) -> None:
    answer = attempted.ask(text)
    assert answer is not None
    assert answer["hookSpecificOutput"]["permissionDecision"] == "deny"
    assert "the hook failed" in answer["systemMessage"]


@pytest.mark.parametrize("attempt", ["", "r-0.1.1", "../x"])
def test_without_a_live_file_everything_is_denied(attempted: Attempted, attempt: str) -> None:
    event = {"session_id": "s", "hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_input": {"command": "ls"}}
    answer = attempted.ask(json.dumps(event), attempt)
    assert answer is not None
    assert answer["hookSpecificOutput"]["permissionDecision"] == "deny"
    start = attempted.ask(json.dumps({"session_id": "s", "hook_event_name": "SessionStart"}), attempt)
    assert start is not None
    assert "stagent" not in start
    assert "hookSpecificOutput" not in start


def test_it_leaves_no_trace(attempted: Attempted) -> None:
    before = sorted(str(path) for path in attempted.home.root.rglob("*"))
    attempted.tool("Write", file_path=str(attempted.artifact))
    attempted.tool("Bash", command="stagent approve")
    assert sorted(str(path) for path in attempted.home.root.rglob("*")) == before
    assert not attempted.home.spool(attempted.world.run).exists()


def test_the_compiled_files_need_nothing_of_ours(attempted: Attempted) -> None:
    code = (
        "import sys; sys.argv = [sys.argv[1] + '/attempt.pyc', 'x']; sys.path.insert(0, sys.argv[0][:-12]); "
        "import attempt; print(sorted(name for name in sys.modules if name.startswith(('stagent', 'json', 're'))))"
    )
    command = [sys.executable, "-I", "-S", "-c", code, str(attempted.plugin / "hooks")]
    assert subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout == "[]\n"
