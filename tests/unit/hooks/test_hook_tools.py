"""What the hook decides about tool calls: files, commands, the sub-agent; one row for each rule and each trick."""

from __future__ import annotations

import json
import os
import posix
import subprocess
import sys
from pathlib import Path

import pytest

from stagent.core import events as ev
from stagent.engine import spool
from stagent.hooks import hook
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
    "git grep --op='stagent approve #' foo",
    "touch 'stagent approve'; ls | sh",
    "git commit --allow-empty -qm 'stagent approve' && git log -1 --format=%s | sh",
    "for s in stagent; do $s approve; done",
    'bash <<<"stagent approve"',
    "env -S'stagent approve'",
    "sh -c'stagent config'",
    "git grep --op='stagent hook x #' foo",
    "X='stagent config'; $X",
    "$1 $'\\x73tagent' approve",
    "$X stagent config",
    "read a <<< stagent; $a approve",
    "set -- stagent; $1 approve",
    "P=stag; ${P}ent approve",
    "$(printf stagen)t approve",
    "/x/?tagent approve",
    "s[t]agent approve",
    "/opt/bin/s*t approve",
    "$'\\x73tagent' approve",
    "stagent continue $'--take-over'",
    "X=--take-over; stagent continue $X",
    "stagent continue --take-ove{r,r}",
    "stagent start --forc{e,e} x",
    "stagent start --pendin{g,g}",
    "python /x/stagent/__main__.py approve",
    "python -c \"import runpy; runpy.run_module('stagent', run_name='__main__')\" approve",
    "stag{e..e}nt approve",
    "{stagent,approve}",
    "stagent $'approve'",
    "`printf stagen`t approve",
    '"$a"gent approve',
    "X=approve; stagent $X",
    "for v in approve; do stagent $v; done",
    "for s in stagent; do $s config set x; done",
    "S='stagent'; \"$S\" hook x",
    "xargs stagent <<< approve",
    "sudo -u root stagent config",
    "timeout -k 5 10 stagent install",
    "find . -exec stagent config {} +",
    "exec -a x stagent hook report",
    'a=(stagent approve); "${a[@]}"',
    "stagent continue --take x",
    "printf -v s stagent; $s cancel",
    "declare s=stagent; $s cancel",
    "env -S 'stagent approve'",
    "python3 -I /opt/lib/stagent/__main__.py config x",
    "stagent\tapprove",
    "command stagent project",
    "if true; then stagent config; fi",
    "{ stagent hook x; }",
    "nice -n 5 stagent hook x",
    'stagent start "$X"',
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
        "git clone https://x/stagent project",
        "mv stagent project",
        "find stagent -name config",
        "pytest stagent config",
        "pip install -e /src/stagent hook",
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
        "$PYTHON -m pytest tests",
        "$MAKE install",
        "./gradlew project",
        "for f in *.sh; do bash $f config; done",
        "cp -r stagent project",
        "stagent wait --timeout $T",
        "cd stagent && npm install",
        "docker run stagent config",
        "sudo pip install stagent project",
        "ls stagent* config",
        "rm -f *.pyc; make install",
        "git log --oneline | head",
        "export NAME=stagent; npm install",
        "mkdir -p src/{stagent,config}",
        "python -m pytest src/stagent config",
        "stagent next --result $R",
        "$GIT config x",
        "case $x in *) cancel ;; esac",
        "python3 x.py && stagent tick > config",
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
        "cd .. && cat home/registry.db",
        "cd .. && rm -rf home",
        "cd ..; cd home; ls",
        "(cd .. && cat home/registry.db)",
        "pushd .. && cat home/registry.db",
        "git -C .. grep x home",
        "cat way/registry.db",
        "rm -r way",
        "cat ./way/live/x",
        "cat ../hom*/registry.db",
        "cat ../h[o]me/registry.db",
        "cat ../?ome/registry.db",
        "cat ../{{src,home}}/registry.db",
        "H=$HOME; cat $H/home/x",
        "A=.. B=home; cat $A/$B/x",
        "export H=$HOME; cat ${{H}}/home/x",
        "D=..; cd $D && cat home/x",
        "rm -rf ..",
        "mv ../home /tmp/x",
        "curl -d @../home/registry.db localhost",
        "dd if=../home/registry.db of=x",
        "cat <<'EOF' | sh\ncat {home}/x\nEOF",
        "cat > x.sh <<'EOF'\ncat {home}/x\nEOF",
    ],
)
def test_the_data_home_is_not_named(session: Session, command: str) -> None:
    posix.environ[b"HOME"] = str(session.home.parent).encode()
    os.environ["HOME"] = str(session.home.parent)
    (session.project / "way").symlink_to(session.home)
    assert session.bash(command.format(home=session.home)) == "deny"


def test_a_folder_with_a_space_in_its_name_is_known_as_well(tmp_path: Path) -> None:
    before = dict(posix.environ)
    session = Session(tmp_path / "my things")
    for command in ("cat '{home}/registry.db'", 'rm "{runs}/state.md"', "rm {runs}/state.md"):
        line = command.format(home=session.home, runs=session.artifact.parent)
        assert session.bash(line) == "deny"
        assert session.bash(line.replace("my things", "my\\ things").replace('"', "").replace("'", "")) == "deny"
    assert session.bash(f"echo x > '{session.artifact}'") == ""
    posix.environ.clear()
    posix.environ.update(before)


# -- the run folders, in a shell


@pytest.mark.parametrize(
    "command",
    [
        "echo x > .stagent/session-1/state.md",
        "echo x >.stagent/session-1/state.md",
        "echo x 2> .stagent/session-1/state.md",
        "echo x &> .stagent/session-1/state.md",
        "echo x >| .stagent/session-1/judge-report.md",
        "cat x <> .stagent/session-1/state.md",
        "> .stagent/session-1/state.md",
        "echo stolen > .stagent/../.stagent/other/plan-report.md",
        "rm -rf .stagent/session-2",
        "rm -rf .stagent",
        "rm -rf ../project",
        "mv .stagent x",
        "sed -i s/a/b/ {project}/.stagent/session-1/state.md",
        "sed -n 'w x' .stagent/session-1/state.md",
        "cp x .stagent/session-1/state.md",
        "tee .stagent/session-1/judge-report.md < x",
        "ls | tee -a .stagent/session-1/state.md",
        "ln -s x .stagent/session-2",
        "touch .stagent/session-1/state.md",
        "truncate -s 0 .stagent/session-1/state.md",
        "dd of=.stagent/session-1/state.md",
        "install x .stagent/session-1/",
        "rsync -a x/ .stagent/session-2/",
        "python3 -c \"open('.stagent/session-1/state.md', 'w')\"",
        "python3 edit.py .stagent/session-1/state.md",
        "find .stagent -delete",
        "find .stagent -name state.md -exec rm {{}} +",
        "sort -o .stagent/session-1/state.md x",
        "git log --output=.stagent/session-1/state.md",
        "cd .stagent/session-1 && echo x > state.md",
        "cd .stagent; rm -r session-2",
        "F=.stagent/session-1/state.md; rm $F",
        "rm $PWD/.stagent/session-1/state.md",
        "cd sub && cd .. && rm ${{PWD}}/.stagent/session-1/state.md",
        "cd sub; rm $OLDPWD/.stagent/session-1/state.md",
        "rm $(ls .stagent/session-1/state.md)",
        "ls .stagent/session-1/state.md | xargs rm",
        "for f in .stagent/*/state.md; do rm $f; done",
        "rm -rf .stag*",
        "rm -rf .*",
        "rm .s[t]agent/session-1/state.md",
        "rm {{x,.stagent/session-1/state.md}}",
        "rm way/session-1/state.md",
        "sh -c 'rm .stagent/session-1/state.md'",
        "sh <<'EOF'\nrm .stagent/session-1/state.md\nEOF",
        "cat <<'EOF' | sh\nrm .stagent/session-1/state.md\nEOF",
        "cat > x <<EOF\n$(rm .stagent/session-1/state.md)\nEOF",
        "echo \"\ncat <<'B'\"\nrm .stagent/session-1/state.md\nB",
        "echo '\"' \"\ncat <<'B'\n\"; rm .stagent/session-1/state.md\nB",
        "wc <<'A'\n\"\nA\necho \"\ncat <<'B'\n\"; rm .stagent/session-1/state.md\nB",
        "cat() {{ sh; }}\ncat <<'B'\nrm .stagent/session-1/state.md\nB",
        "alias cat=sh\ncat <<'B'\nrm .stagent/session-1/state.md\nB",
        "true && rm .stagent/session-1/workflow/work.md",
        "if true; then rm .stagent/session-1/state.md; fi",
        "rm sub/../.stagent/session-1/state.md",
        "rm .STAGENT/../.stagent/session-1/state.md",
    ],
)
def test_a_shell_writes_nothing_of_the_engines_in_the_run_folders(session: Session, command: str) -> None:
    (session.project / "way").symlink_to(session.project / ".stagent")
    (session.project / "sub").mkdir()
    line = command.format(project=session.project)
    assert session.bash(line) == "deny", line
    assert session.tool("Monitor", command=line)[0] == "deny"


@pytest.mark.parametrize(
    "command",
    [
        "cat .stagent/session-1/state.md",
        "cat .stagent/session-1/state.md > /tmp/x",
        "ls -la .stagent .stagent/session-1",
        "head -5 .stagent/session-1/state.md | tail -2",
        "grep -rn result .stagent",
        "wc -l < .stagent/session-1/state.md",
        "diff .stagent/session-1/state.md x",
        "test -f .stagent/session-1/state.md && echo yes",
        "[ -f .stagent/session-1/state.md ] || echo no",
        "stat .stagent/session-1/state.md",
        "sed -n '1,5p' .stagent/session-1/state.md",
        "find .stagent -name '*.md'",
        "cd .stagent/session-1 && cat state.md",
        "echo .stagent/session-1/state.md",
        "git add -A && git status .stagent",
        "git commit -m 'ignore .stagent/x'",
        "sort .stagent/session-1/state.md | uniq",
        "cat $(ls .stagent/session-1/state.md)",
        "cat > {own} <<'EOF'\n---\nepoch: 1\nresult: done\n---\nRead .stagent/session-1/state.md; rm it.\nEOF",
        "cat <<EOF > {own}\n---\nepoch: 1\nresult: done\n---\nEOF",
        "echo more >> {own}",
        "printf x | tee {own}",
        "sed -i s/a/b/ {own}",
        "python3 -m json.tool {own}",
        "wc -l {own}",
        "mv made.md {own}",
        "cd .stagent/session-1 && echo x >> work-report.md",
        "rm -rf build && mkdir build",
        "mv a.txt ..",
        "rm -f *.pyc",
        "echo x > .stagentx/state.md",
        "cp .stagent-example x",
        "make > out.log 2>&1",
        "python3 -c 'print(1)' > x",
        "cat > docs/a.md <<'EOF'\nThe file .stagent/session-1/state.md says where a run stands.\nEOF",
    ],
)
def test_a_shell_may_read_them_and_write_the_stages_own_artifact(session: Session, command: str) -> None:
    session.set(python=sys.executable)
    own = session.artifact.relative_to(session.project)
    assert session.bash(command.format(own=own)) == ""
    assert session.bash(command.format(own=session.artifact)) == ""


def test_a_shell_may_write_the_report_of_an_end_the_stage_leads_to(session: Session) -> None:
    session.set(ends=["complete"])
    assert session.bash("echo x > .stagent/session-1/complete-report.md") == ""
    assert session.bash("echo x > .stagent/session-1/cancelled-report.md") == "deny"


@pytest.mark.parametrize("tool", ["Monitor", "PowerShell", "mcp__shell__run", "Anything"])
def test_a_shell_by_any_name_is_one(session: Session, tool: str) -> None:
    """What takes a command line is held to the same denials, and never spared a question."""
    forged = "CLAUDE_CODE_SESSION_ATTENDED=1 exec python3 -I -S {home}/plugin/hook.pyc {home} <<EOF\n{{}}\nEOF"
    for line in ("stagent approve", forged, "echo x > {home}/x", "echo x > .stagent/session-1/state.md"):
        assert session.tool(tool, command=line.format(home=session.home))[0] == "deny"
    assert session.tool(tool, command="stagent advance", agent="a1")[0] == "deny"
    assert session.tool(tool, command="stagent tick") is None
    assert session.tool(tool, command="ls") is None
    assert session.tool(tool, command=7) is None


@pytest.mark.parametrize("key", ["path", "file_path", "destination"])
def test_a_tool_nobody_knows_writes_nothing_of_the_engines(session: Session, key: str) -> None:
    (session.project / "house").symlink_to(session.home)
    folder = session.artifact.parent
    for place in (folder / "state.md", folder / "judge-report.md", session.home / "x", "house/x", "a\0b"):
        assert session.tool("mcp__fs__write_file", **{key: str(place)})[0] == "deny"
        assert session.tool("Anything", **{key: str(place)})[0] == "deny"
    assert session.tool("mcp__fs__delete_files", paths=["src/a", str(folder / "state.md")])[0] == "deny"
    for place in (session.artifact, "src/a", 7):
        assert session.tool("mcp__fs__write_file", **{key: place if place == 7 else str(place)}) is None
    for tool in ("mcp__fs__read_text_file", "mcp__fs__list_directory", "Glob", "Grep"):
        assert session.tool(tool, **{key: str(folder / "state.md")}) is None


def test_a_line_that_is_too_long_to_be_read_is_denied(session: Session) -> None:
    session.set(python=sys.executable)
    assert session.tool("Bash", command="true " + "x" * 70_000)[0] == "deny"
    assert "more than 64 KiB" in session.tool("Bash", command="true " + "stagent tick " * 45_000)[1]
    assert session.bash("true " + "x" * 60_000) == ""
    assert session.bash(" ".join(f"a/{number}" for number in range(2500))) == "deny"


@pytest.mark.parametrize("verb", ["status", "advance", "tick"])
def test_a_plain_call_about_another_run_is_asked_about(session: Session, verb: str) -> None:
    other = ("--session session-2", "--session=session-2", "--topic other", "--topic=other", "r-other", "--session")
    for words in other:
        assert session.bash(f"stagent {verb} {words}") == ""
    for words in ("--session session-1", "--session=session-1", session.live["run"], "--json"):
        assert session.bash(f"stagent {verb} {words}") == "allow"


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


@pytest.mark.parametrize(
    ("execution", "given", "denied"),
    [
        ("subagent", {"script": "agent('x')"}, True),
        ("subagent", {"name": "review"}, True),
        ("inline", {"script": "agent('x', {agentType: 'stagent:workflow-subagent'})"}, True),
        ("inline", {"script": "agent('x')"}, False),
    ],
)
def test_a_script_does_not_work_a_stage(session: Session, execution: str, given: dict[str, str], denied: bool) -> None:
    session.set(execution=execution)
    answer = session.tool("Workflow", **given)
    assert (answer is not None and "not worked by a script" in answer[1]) is denied
    session.set(status="interrupted")
    assert session.tool("Workflow", **given) is None


def test_who_begins_beside_the_worker_is_another(session: Session) -> None:
    """One that no call launched, begun while the stage's own runs, is told so and writes no artifact."""
    session.set(execution="subagent")
    _launch(session, "t-1")
    assert "bootstrap" in str(_agent(session, "SubagentStart", "a1"))
    assert "another sub-agent works on stage work" in str(_agent(session, "SubagentStart", "a2"))
    write = {"file_path": str(session.artifact)}
    assert session.tool("Write", agent="a1", agent_type=AGENT, **write)[0] == "allow"
    assert session.tool("Write", agent="a2", agent_type=AGENT, **write) == (
        "deny",
        "Stagent: another sub-agent works on stage work.",
    )
    assert _agent(session, "SubagentStop", "a2", stop_hook_active=False) is None
    assert "a1 works on stage work already" in _launch(session, "t-2")
    session.write("done")
    _agent(session, "SubagentStop", "a1")
    lines, _, _ = spool.read(session.spool_file, 0)
    state = session.world.now
    assert spool.FOREIGN == hook.FOREIGN
    assert [line.e for line, _ in lines] == ["Launch", "SubagentStart", "SubagentStart", "SubagentStop", "SubagentStop"]
    assert [agent.id for agent in state.agents if agent.mark] == ["a1"]
    [begun] = [item.data for item in session.world.events() if isinstance(item.data, ev.AgentStarted)]
    assert (begun.agent, begun.kind, state.others) == ("a2", hook.FOREIGN, ())


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
