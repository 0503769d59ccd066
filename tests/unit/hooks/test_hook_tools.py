"""What the hook decides about tool calls: files, commands, the sub-agent; one row for each rule and each trick."""

from __future__ import annotations

import json
import os
import posix
import subprocess
import sys
from pathlib import Path

import pytest

from stagent.engine import spool
from unit.hooks.hook_world import PID, Session

AGENT = "stagent:workflow-subagent"


# -- files


def test_the_stages_artifact_needs_no_asking(session: Session) -> None:
    answer = session.tool("Write", file_path=str(session.artifact), content="x")
    assert answer == ("allow", "Stagent: the artifact of stage work")
    assert session.tool("Edit", file_path=str(session.artifact))[0] == "allow"
    assert session.tool("MultiEdit", file_path=f"{session.artifact.parent}/../session-1/{session.artifact.name}")[
        0
    ] == ("allow")


@pytest.mark.rule("S4.27")
def test_an_ordinary_file_is_nobodys_business(session: Session) -> None:
    for path in (f"{session.project}/src/a", "src/a", "/etc/hosts", "", "~/notes.md", ".stagentx/a"):
        assert session.tool("Write", file_path=path) is None
    assert session.tool("Write", file_path=7) is None
    assert session.tool("Write") is None
    assert session.tool("Read", file_path=str(session.home / "registry.db")) is None
    assert session.lines() == []


@pytest.mark.rule("W35")
@pytest.mark.parametrize(
    "path",
    [
        "{home}/live/session-1.json",
        "{home}/new/deep/file",
        "{home}/../home/registry.db",
        "{home}",
        "{project}/.stagent/session-1/state.md",
        "{project}/.stagent/session-1/judge-report.md",
        "{project}/.stagent/session-1/workflow/work.md",
        "{project}/.stagent/session-2/work-report.md",
        "{project}/src/../.stagent/session-1/state.md",
        ".stagent/session-1/state.md",
        "./src/../.stagent//session-1/state.md",
        "{project}/way/session-1/state.md",
        "{project}/house/registry.db",
        "{project}/a\0b",
        "{project}/\ud800",
    ],
)
def test_what_only_the_engine_writes_is_denied(session: Session, path: str) -> None:
    (session.project / "way").symlink_to(session.project / ".stagent")
    (session.project / "house").symlink_to(session.home)
    place = path.format(home=session.home, project=session.project)
    for tool, key in (("Write", "file_path"), ("Edit", "file_path"), ("NotebookEdit", "notebook_path")):
        decision, reason = session.tool(tool, **{key: place})
        assert decision == "deny", place
        assert reason.startswith("Stagent: ")


def test_the_tilde_is_read_both_ways(session: Session) -> None:
    posix.environ[b"HOME"] = str(session.home.parent).encode()
    os.environ["HOME"] = str(session.home.parent)
    assert session.tool("Write", file_path="~/home/registry.db")[0] == "deny"
    assert session.tool("Write", file_path="~/other") is None
    (session.project / "~").symlink_to(session.home)
    os.environ["HOME"] = "/nonexistent"
    assert session.tool("Write", file_path="~/registry.db")[0] == "deny"


def test_a_folder_is_known_under_any_name(session: Session) -> None:
    """A file system that ignores case, or a mount, gives a folder a second name; a renamed path shows the same."""
    other = session.home.with_name("HOME")
    session.home.rename(other)
    session.home.symlink_to(other)
    assert session.tool("Write", file_path=str(other / "registry.db"))[0] == "deny"


def test_links_in_the_artifacts_place(session: Session) -> None:
    victim = session.project.parent / "victim"
    victim.write_text("precious")
    session.artifact.symlink_to(victim)
    assert session.tool("Write", file_path=str(session.artifact)) == (
        "deny",
        "Stagent: the artifact's place is taken by a link; remove it.",
    )
    session.artifact.unlink()
    os.link(victim, session.artifact)
    assert session.tool("Write", file_path=str(session.artifact)) is None
    session.artifact.unlink()
    folder = session.artifact.parent
    folder.rename(session.project.parent / "moved")
    folder.symlink_to(session.project.parent / "moved")
    assert session.tool("Write", file_path=str(session.artifact)) is None


def test_an_artifact_named_in_a_roundabout_way_is_asked_about(session: Session) -> None:
    assert session.tool("Write", file_path=str(session.artifact.relative_to(session.project))) is None


@pytest.mark.parametrize(
    ("changes", "who", "decision", "words"),
    [
        ({"execution": "subagent"}, {}, "deny", "written by its sub-agent"),
        ({"execution": "subagent"}, {"agent": "a1", "agent_type": AGENT}, "allow", "artifact of stage"),
        ({"execution": "subagent"}, {"agent": "a1", "agent_type": "Explore"}, "deny", "written by its sub-agent"),
        ({}, {"agent": "a1", "agent_type": AGENT}, "deny", "of an inline stage"),
        ({"kind": "command"}, {}, "deny", "engine writes"),
        ({"kind": "human"}, {}, "deny", "engine writes"),
        ({"status": "interrupted", "pid": None}, {}, "deny", "interrupted"),
    ],
)
def test_who_writes_an_artifact(session: Session, changes: dict, who: dict, decision: str, words: str) -> None:
    session.set(**changes)
    answer = session.tool("Write", file_path=str(session.artifact), **who)
    assert answer[0] == decision
    assert words in answer[1]


def test_a_stage_that_writes_only_its_artifact(session: Session) -> None:
    session.set(writes="artifact")
    assert session.tool("Write", file_path="src/a")[0] == "deny"
    assert session.tool("Write", file_path=str(session.project / "new"), agent="a1")[0] == "deny"
    assert session.tool("Write", file_path="/tmp/elsewhere") is None
    assert session.tool("Write", file_path=str(session.artifact))[0] == "allow"
    session.set(status="interrupted")
    assert session.tool("Write", file_path="src/a") is None


def test_the_report_of_a_terminal_the_stage_leads_to_may_be_written(session: Session) -> None:
    session.set(ends=["complete"])
    folder = session.artifact.parent
    assert session.tool("Write", file_path=str(folder / "complete-report.md")) is None
    assert session.tool("Write", file_path=str(folder / "cancelled-report.md"))[0] == "deny"
    assert session.tool("Write", file_path=str(folder / "complete-report.md"), agent="a1")[0] == "deny"


def test_another_process_of_the_session_is_allowed_nothing_and_denied_the_same(session: Session) -> None:
    session.environment({"CLAUDE_PID": "77"})
    assert session.tool("Write", file_path=str(session.artifact)) is None
    assert session.bash("stagent tick") == ""
    assert session.bash("stagent approve") == "deny"
    assert session.tool("Write", file_path=str(session.home / "x"))[0] == "deny"


def test_a_sub_agents_write_of_an_inline_artifact_is_noted(session: Session) -> None:
    session.write("done")
    session.tool("Write", "PostToolUse", agent="a1", file_path=str(session.artifact))
    [line] = session.lines()
    assert (line["e"], line["a"], line["d"]["artifact"]["size"]) == (
        "ArtifactWrite",
        "a1",
        session.live["artifact"]["size"],
    )
    session.tool("Write", "PostToolUse", file_path=str(session.artifact))
    session.tool("Write", "PostToolUse", agent="a1", file_path="src/a")
    session.tool("Write", "PostToolUseFailure", agent="a1", file_path=str(session.artifact))
    assert len(session.lines()) == 1


# -- commands


@pytest.mark.parametrize("verb", ["tick", "next --result done", "context", "advance", "wait --timeout 5", "status"])
def test_one_plain_call_needs_no_asking(session: Session, verb: str) -> None:
    assert session.bash(f"stagent {verb}") == "allow"
    assert session.bash(f"{session.live['launcher']} {verb}\n") == "allow"


@pytest.mark.parametrize(
    "command",
    [
        "stagent tick && ls",
        "stagent tick; ls",
        "stagent tick | head",
        "stagent tick > out",
        "stagent tick &",
        "stagent tick\nls",
        "stagent tick `ls`",
        "stagent tick 'x'",
        "X=1 stagent tick",
        "env stagent tick",
        "./stagent tick",
        "/tmp/stagent tick",
        "stagent  tick",
        "stagent\ttick",
        "\x1cstagent tick",
        "stagent tick é",
        "stagent",
        "stagent runs",
        "stagent start x",
        "stagent continue",
        "Stagent tick",
        "tick stagent",
        "",
        "ls",
    ],
)
def test_anything_else_is_asked_about(session: Session, command: str) -> None:
    assert session.bash(command) == ""


def test_a_plain_call_outside_of_the_sandbox_is_asked_about(session: Session) -> None:
    assert session.bash("stagent tick", run_in_background=True, timeout=5, description="x") == "allow"
    assert session.bash("stagent tick", dangerouslyDisableSandbox=True) == ""


CALLS = [
    "stagent approve",
    "stagent reject --feedback x",
    "stagent redo",
    "stagent answer --choice a",
    "stagent cancel",
    "stagent interrupt",
    "stagent hook report",
    "stagent install claude-code",
    "stagent config mode cloud",
    "stagent project list",
    "stagent continue --take-over",
    "stagent continue R --take-over",
    "stagent continue --pending",
    "stagent start --force x",
    "stagent app --token",
    "/usr/local/bin/stagent approve",
    "~/.local/bin/stagent-cc approve",
    "python -m stagent approve",
    "python3 -I -mstagent approve",
    "python -m stagent.cli.main approve",
    "env X=1 stagent approve",
    "X=1 stagent approve",
    "nohup stagent approve &",
    "sta''gent approve",
    'sta""gent app""rove',
    "sta\\gent ap\\prove",
    "'stagent' 'approve'",
    "stagent \\\n approve",
    "ls\nstagent approve",
    "ls; stagent approve",
    "ls && stagent approve",
    "true|stagent approve",
    "(stagent approve)",
    "{ stagent approve; }",
    "sh -c 'stagent approve'",
    'bash -c "cd / && stagent approve"',
    "script -qec 'stagent approve' /dev/null",
    "bash <<EOF\nstagent approve\nEOF",
    "cat <<'EOF' | sh\nstagent approve\nEOF",
    "echo $(stagent approve)",
    "echo `stagent approve`",
    "$(which stagent) approve",
    "`which stagent` approve",
    "S=stagent; $S approve",
    "S=/opt/bin/stagent\n$S approve",
    "a=approve; stagent $a",
    "stagent ${X}",
    "stagent $(ls) tick",
    "stagent $VERB now",
    "sta${x}gent approve",
    "sta$@gent approve",
    "stagent ap${x}prove",
    "stagent {approve,}",
    "stagent appro*",
    "/opt/bin/stag* approve",
    "/opt/bin/stagen? approve",
    "stagent 2>/dev/null approve",
    "stagent > /dev/null approve",
    "stagent >&2 approve",
    "stagent -- approve",
    "STAGENT approve",
    "echo approve | xargs stagent",
    "alias s=stagent; s approve",
    'eval stag"ent approve"',
    "python -c \"import os; os.execvp('stagent', ['stagent', 'approve'])\"",
    "python -c \"from stagent.cli.main import main; main(['approve'])\"",
    "python -m stagent.hooks.hook /x",
    "python /lib/stagent/hooks/hook.py /x",
]


@pytest.mark.parametrize("command", CALLS)
def test_a_persons_call_is_denied_however_it_is_spelt(session: Session, command: str) -> None:
    assert session.bash(command) == "deny", command
    assert session.bash(command, agent="a1") == "deny", command


@pytest.mark.parametrize(
    ("command", "decision"),
    [
        ('git commit -m "document stagent approve"', ""),
        ('grep -rn "stagent approve" docs | head -5', ""),
        ('echo "stagent approve" >> {home}/x', "deny"),
        ('git log --grep "stagent approve" | sh', "deny"),
        ('git commit -m "document stagent approve" && stagent approve', "deny"),
        ("- stagent approve", "deny"),
        ("echo 'stagent approve", "deny"),
        ("echo stagent approve " + "x" * 70_000, "deny"),
        ("echo stagent approve \0", "deny"),
    ],
)
def test_the_program_is_asked_whether_a_line_only_names_it(session: Session, command: str, decision: str) -> None:
    assert session.bash(command.format(home=session.home)) == "deny"
    session.set(python=sys.executable)
    assert session.bash(command.format(home=session.home)) == decision


def test_what_a_sub_agent_may_not_call_it_may_name(session: Session) -> None:
    session.set(python=sys.executable)
    assert session.bash("echo stagent advance", agent="a1") == ""
    assert session.bash("echo stagent advance; stagent advance", agent="a1") == "deny"
    assert session.bash("echo stagent approve; stagent advance") == ""


@pytest.mark.parametrize(
    "command",
    [
        "git config --list",
        "npm install",
        "make install && stagent tick",
        "grep -r approve src",
        "cat docs/stagent.md config.toml",
        "git add stagent.json config",
        "echo 'please approve'",
        "stagent advance --escalate - <<'EOF'\nnobody can approve this\nEOF",
        "which stagent; git config --list",
        "pytest tests/test_hook.py hook",
        "python src/hook.py",
        "ls $HOME/project",
        "cancel() { :; }; cancel",
        "for f in $FILES; do cat $f; done",
    ],
)
def test_other_commands_are_nobodys_business(session: Session, command: str) -> None:
    assert session.bash(command) == ""
    assert session.lines() == []


@pytest.mark.parametrize(
    "command",
    [
        "cat {home}/live/session-1.json",
        "ls {home}",
        "rm -rf '{home}'",
        "echo x >{home}/spool/a",
        "cat {home}/../home/registry.db",
        "cat ../home/registry.db",
        "cd .. && cat ../project/../home/x",
        "X={home} ls",
        "cat ~/home/x",
        "cat $HOME/home/x",
        'cat "${{HOME}}/home/x"',
        "cat $STAGENT_HOME/x",
        "cat ${{STAGENT_HOME}}/x",
        "cat {home}/li''ve/x",
        "python -c \"open('{home}/x')\"",
    ],
)
def test_the_data_home_is_not_named(session: Session, command: str) -> None:
    posix.environ[b"HOME"] = str(session.home.parent).encode()
    assert session.bash(command.format(home=session.home)) == "deny"


def test_a_folder_beside_the_data_home_may_be_named(session: Session) -> None:
    assert session.bash(f"ls {session.home}-of-others/x") == ""


def test_a_sub_agent_moves_nothing(session: Session) -> None:
    for command in (
        "stagent advance",
        "cd x && stagent advance",
        "stagent continue",
        "stagent start x",
        "stagent run x",
    ):
        assert session.bash(command, agent="a1") == "deny"
    for command in ("stagent context", "stagent bootstrap", "stagent tick", "stagent status"):
        assert session.bash(command, agent="a1") == "allow"


# -- the sub-agent


def _launch(session: Session, call: str = "t-1", kind: str = AGENT, tool: str = "Agent", **who: str) -> str:
    answer = session.ask("PreToolUse", tool_name=tool, tool_use_id=call, tool_input={"subagent_type": kind}, **who)
    said = (answer or {}).get("hookSpecificOutput", {})
    return said.get("permissionDecisionReason") or said.get("additionalContext") or ""


def _agent(session: Session, event: str, agent: str = "a1", kind: str = AGENT, **more: object) -> object:
    return session.ask(event, agent_id=agent, agent_type=kind, **more)


@pytest.mark.rule("S4.23", "W50")
def test_an_inline_stage_launches_no_worker_but_anything_else(session: Session) -> None:
    assert "worked in the main conversation" in _launch(session)
    assert _launch(session, "t-7", kind="Explore") == ""
    [line] = session.lines()
    assert (line["e"], line["d"]["type"], line["d"]["call"]) == ("Launch", "Explore", "t-7")


@pytest.mark.rule("S4.33")
@pytest.mark.parametrize("status", ["ended", "interrupted", "stalled", "blocked", "escalated"])
@pytest.mark.parametrize("execution", ["inline", "subagent"])
def test_where_a_run_does_not_go_on_a_launch_is_nobodys_business(session: Session, status: str, execution: str) -> None:
    session.set(status=status, execution=execution, pid=None)
    assert _launch(session) == ""
    assert session.lines() == []


@pytest.mark.rule("S4.22", "S4.24")
def test_one_worker_at_a_time(session: Session) -> None:
    session.set(execution="subagent")
    assert "Launch it as type" in _launch(session, "t-1")
    assert "being launched already" in _launch(session, "t-2", tool="Task")
    assert "Launch it as type" in _launch(session, "t-1")  # the same call, seen by a hook that is installed twice
    assert _agent(session, "SubagentStart") is not None
    assert "a1 works on stage work already" in _launch(session, "t-3")
    session.write("done")
    assert _agent(session, "SubagentStop") is None
    assert "Launch it as type" in _launch(session, "t-4")
    kinds = [line["e"] for line in session.lines()]
    assert kinds == ["Launch", "SubagentStart", "SubagentStop", "Launch"]


def test_of_two_launches_in_one_message_one_wins(session: Session) -> None:
    session.set(execution="subagent")
    events = [
        session.event("PreToolUse", tool_name="Agent", tool_use_id=f"t-{n}", tool_input={"subagent_type": AGENT})
        for n in range(8)
    ]
    program = (
        "import sys, subprocess as s; p = [s.Popen(sys.argv[2:], stdin=s.PIPE, stdout=s.PIPE) for _ in range(8)]\n"
    )
    program += "import json; e = json.loads(sys.argv[1])\n"
    program += "[(q.stdin.write(json.dumps(d).encode()), q.stdin.close()) for q, d in zip(p, e)]\n"
    program += "print(json.dumps([q.stdout.read().decode() for q in p])); [q.wait() for q in p]"
    from unit.hooks.hook_world import compiled

    hook = [sys.executable, "-I", "-S", compiled(), str(session.home)]
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(events), *hook], capture_output=True, env=session.env
    )
    answers = json.loads(done.stdout)
    assert sum("additionalContext" in answer for answer in answers) == 1
    assert sum('"deny"' in answer for answer in answers) == 7


def test_a_launch_that_failed_or_never_began_makes_room(session: Session) -> None:
    session.set(execution="subagent")
    _launch(session, "t-1")
    session.ask("PostToolUseFailure", tool_name="Agent", tool_use_id="t-1", tool_input={"subagent_type": AGENT})
    assert "Launch it as type" in _launch(session, "t-2")
    old = session.spool_file.read_text().replace('"t":1', '"t":0')
    session.spool_file.write_text(old)
    assert "Launch it as type" in _launch(session, "t-3")


@pytest.mark.rule("S4.29", "W18", "S2.33")
def test_lines_of_another_epoch_lease_or_process_do_not_count(session: Session) -> None:
    session.set(execution="subagent")
    _agent(session, "SubagentStart")
    session.set(epoch=2)
    assert "Launch it as type" in _launch(session, "t-2")
    session.set(epoch=1, lease=7)
    assert "Launch it as type" in _launch(session, "t-3")
    session.environment({"CLAUDE_PID": "77"})
    _agent(session, "SubagentStart", "a2")
    session.environment({"CLAUDE_PID": str(PID)})
    assert "being launched" in _launch(session, "t-4")


def test_the_engines_ledger_counts(session: Session) -> None:
    session.set(execution="subagent", ledger=[{"agent": "a1", "ended": False, "started": 1}])
    assert "a1 works" in _launch(session)
    session.set(ledger=[{"agent": "a1", "ended": True, "started": 1}])
    assert "Launch it as type" in _launch(session)


def test_a_sub_agent_launches_no_worker(session: Session) -> None:
    session.set(execution="subagent")
    assert "launches no sub-agent" in _launch(session, agent_id="a1")


@pytest.mark.rule("S4.7", "S2.32")
def test_only_our_worker_enters_the_ledger(session: Session) -> None:
    session.set(execution="subagent")
    for kind in ("general-purpose", "workflow-subagent"):
        assert _agent(session, "SubagentStart", kind=kind) is None
        assert _agent(session, "SubagentStop", kind=kind) is None
    assert [line["e"] for line in session.lines()] == ["HelperStart", "HelperStop"] * 2
    assert [line["d"]["type"] for line in session.lines()][::2] == ["general-purpose", "workflow-subagent"]
    session.spool_file.unlink()
    assert _agent(session, "SubagentStart", kind="") is None
    assert _agent(session, "SubagentStop", kind="") is None
    assert session.ask("SubagentStop", agent_type=AGENT) is None
    session.set(execution="inline")
    assert _agent(session, "SubagentStart") is None
    assert session.lines() == []


def test_a_worker_that_left_nothing_is_asked_once(session: Session) -> None:
    session.set(execution="subagent")
    _agent(session, "SubagentStart")
    said = _agent(session, "SubagentStop", stop_hook_active=False)
    assert isinstance(said, dict)
    assert said["decision"] == "block"
    assert "there is no artifact" in said["reason"]
    assert _agent(session, "SubagentStop", stop_hook_active=True) is None
    lines = session.lines()
    assert [line["e"] for line in lines] == ["SubagentStart", "SubagentStop"]
    assert lines[1]["d"]["artifact"] is None


@pytest.mark.rule("S4.29", "W18")
def test_the_end_of_an_agent_nobody_saw_begin_is_noted_and_not_held_up(session: Session) -> None:
    session.set(execution="subagent")
    assert _agent(session, "SubagentStop", stop_hook_active=False) is None
    decoded, _, torn = spool.read(Path(session.spool_file), 0)
    assert [line.e for line, _ in decoded] == ["SubagentStop"]
    assert torn == []
    assert session.world.now.agents == ()
