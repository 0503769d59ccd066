"""Which command lines only name the program: tables for both directions, and a real shell as the judge of any line."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stagent.cli.shellwords import only_named
from stagent.hooks.shellguard import PERSONS
from unit.hooks.test_hook_tools import CALLS

LAUNCHER = "/opt/bin/stagent-cc"
SEEN: Counter[str] = Counter()


@pytest.mark.parametrize(
    "line",
    [
        'grep -rn "stagent approve" docs',
        "grep -rn 'stagent approve' docs 2>/dev/null | head -5",
        "rg 'stagent (approve|reject)' src tests",
        'git commit -m "document stagent approve"',
        "git commit -qm 'stagent approve: say what it binds'",
        'git commit -m "$(cat <<\'EOF\'\nDocument `stagent approve`\n\nIt\'s "new"; stagent reject too.\nEOF\n)"',
        "git add docs && git commit -m 'document `stagent approve`' && git status",
        "pytest -q tests && git commit -m 'stagent approve'",
        "git log --grep 'stagent approve' --oneline",
        "gh pr create --title 'stagent approve' --body 'how stagent approve works'",
        "echo stagent approve",
        'echo "run stagent approve $USER"',
        "printf 'stagent approve\n'",
        "cat > docs/howto.md <<'EOF'\nstagent approve RUN\nEOF",
        "cat >> notes <<-EOF\n\tstagent approve\n\tEOF\n",
        "if grep -q 'stagent approve' README.md; then echo yes; else echo no; fi",
        "for f in *.md; do grep -H 'stagent approve' $f; done",
        "ls # stagent approve",
        "cd docs; grep 'stagent approve' a.md",
        "(cd docs && grep 'stagent approve' a.md)",
        "! /usr/bin/grep -q 'stagent approve' a.md",
        "echo \"$(grep -c 'stagent approve' a.md)\"",
        "echo 'stagent approve' | tee docs/a.md",
        "test \"$x\" = 'stagent approve' || echo differs",
        "echo stagent \\\n approve",
    ],
)
def test_these_only_name_it(line: str) -> None:
    assert only_named(line, LAUNCHER, PERSONS)


WRAPPERS = [
    "env X=1 {}",
    "sudo {}",
    "timeout 5 {}",
    "nohup {} &",
    "command {}",
    "exec {}",
    "nice {}",
    "sh -c '{}'",
    'bash -lc "{}"',
    "eval {}",
    "eval '{}'",
    "echo x; {}",
    "echo x && {}",
    "echo x | {}",
    "echo x & {}",
    "echo x\n{}",
    'echo "$({})"',
    'echo "`{}`"',
    "echo `{}`",
    "echo $({})",
    "echo $(echo $({}))",
    "echo '{}' | sh",
    "echo '{}' | tee x | bash",
    "sh <<< '{}'",
    "sh <<EOF\n{}\nEOF",
    "cat <<'EOF' | sh\n{}\nEOF",
    "cat <<EOF\n$({})\nEOF",
    "cat <(echo x) <({})",
    "echo '{}' > >(sh)",
    "echo '{}' > x; sh x",
    "echo '{}' | tee x; sh x",
    "cat > x <<'EOF'\n{}\nEOF\nsh x",
    "echo '{}'; $_",
    "echo '{}'; sh -c \"$_\"",
    'echo "${{x:={}}}"; $x',
    "printf -v x '{}'; $x",
    "read x <<< '{}'; $x",
    "x='{}'; $x",
    'grep() {{ "$@"; }}; grep {}',
    'function echo {{ "$@"; }}; echo {}',
    "alias echo=''; echo {}",
    "{{ echo '{}'; }} | sh",
    "{{ echo '{}'\n}} | sh",
    "(echo '{}') | sh",
    "if true; then echo '{}'; fi | sh",
    "while true; do echo '{}'; break; done | sh",
    "rg --pre '{}' x",
    "git -c alias.x='!{}' x",
    "git grep --open-files-in-pager='{}' x",
    "git rebase --exec '{}'",
    "git bisect run {}",
    "GIT_PAGER='{}' git log",
    "gh alias set x '!{}'",
    "find . -exec {} ;",
    "echo x | xargs {}",
    "trap '{}' EXIT",
    "sed '1e {}' x",
    "awk 'BEGIN {{ system(\"{}\") }}'",
    "ssh localhost '{}'",
    "script -qc '{}' /dev/null",
    "echo '{}",
    'echo "{}',
    "echo {})",
    "echo 'it''s' \"{}\" '",
    "cat <<EOF\n{}",
    "$'echo' {}",
    "[ -n x ] && {}",
    "case x in x) {};; esac",
    "coproc {}",
    '"echo"x {}',
    "sh -c 'shift; \"$@\"' x ';' echo; sh -c '{}'",
]


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize(
    "call", ["stagent approve", "/opt/bin/stagent-cc reject --feedback x", "python -m stagent cancel"]
)
def test_these_may_call_it(wrapper: str, call: str) -> None:
    assert not only_named(wrapper.format(call), LAUNCHER, PERSONS)


@pytest.mark.parametrize("line", CALLS)
def test_what_the_hook_knows_as_a_call_is_one(line: str) -> None:
    assert not only_named(line, LAUNCHER, PERSONS)


PIECES = [
    *("echo", "cat", "grep -s", "git commit -m", "printf", "true", "sh", "sh -c", "eval", "env", "command", "exec"),
    *("stagent", "approve", "'stagent approve'", '"stagent approve"', "x", "X=1", "f", "> f", ">> f", "< f", "2>&1"),
    *(";", "&&", "||", "|", "&", "\n", "(", ")", "{", "}", "!", "if", "then", "fi", "else"),
    *("$(", "`", '"$(', ')"', "'", '"', "\\", "$_", "$X", "${X:=stagent}", "#", "<<E\n", "<<'E'\n", "\nE\n", "<<<"),
    *("tee f", "read X", "$X", ";;", "alias echo=", "function", "echo()", ">(sh)", "<(", "*", "stag*"),
]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.sampled_from(PIECES), min_size=2, max_size=12), tight=st.booleans())
def _judged(shell: tuple[Path, dict[str, str]], pieces: list[str], tight: bool) -> None:
    place, env = shell
    line = ("" if tight else " ").join(pieces)
    named = only_named(line, LAUNCHER, PERSONS)
    SEEN["named" if named and "stagent" in line and "approve" in line else "other"] += 1
    if named:
        for path in place.iterdir():
            path.unlink()
        subprocess.run(
            ["bash", "-c", line],
            cwd=place,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=20,
            check=False,
        )
        log = Path(env["LOG"])
        assert "approve" not in (log.read_text() if log.exists() else ""), line


def test_a_real_shell_calls_nothing_that_was_let_off(tmp_path: Path) -> None:
    """Any line that is let off is run, with a program of that name that writes down how it is called."""
    tools, place = tmp_path / "tools", tmp_path / "place"
    tools.mkdir()
    place.mkdir()
    env = {
        "PATH": f"{tools}:/usr/bin:/bin",
        "LOG": str(tmp_path / "log"),
        "HOME": str(place),
        "GIT_DIR": "/nonexistent",
    }
    (tools / "stagent").write_text('#!/bin/sh\necho "$@" >> "$LOG"\n')
    (tools / "stagent").chmod(0o755)
    subprocess.run(["bash", "-c", "stagent approve"], env=env, check=True)
    assert (tmp_path / "log").read_text() == "approve\n"
    (tmp_path / "log").unlink()
    _judged((place, env))
    assert SEEN["named"] > 5
    assert SEEN["other"] > 5
