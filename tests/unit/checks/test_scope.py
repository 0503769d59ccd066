from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stagent.checks import scope
from stagent.checks.declared import Unmet

OUT = io.BytesIO()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("src/a.py", "src/b.py", "docs/c.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    declare(tmp_path, may_change=["src/a.py", "tests/**"])
    return tmp_path


def declare(root: Path, **fields: Any) -> None:
    (root / ".agents").mkdir(exist_ok=True)
    (root / ".agents" / "scope.json").write_text(json.dumps(fields))


def test_work_inside_is_well(root: Path) -> None:
    assert "it holds 1 of the 4 files" in scope.declaration(root, OUT)
    assert scope.lock(root, OUT).endswith("is recorded (3 files).")
    (root / "src" / "a.py").write_text("y")
    (root / "tests").mkdir()
    (root / "tests" / "t.py").write_text("y")
    assert scope.kept(root, OUT) == "everything outside the scope is as it was (3 files)."


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("echo y > src/b.py", "M src/b.py"),
        ("rm docs/c.md", "D docs/c.md"),
        ("echo y > new.py", "A new.py"),
        ("chmod +x src/b.py", "M src/b.py"),
        ("rm src/b.py; ln -s a.py src/b.py", "M src/b.py"),
        ("echo hidden.py >> .git/info/exclude; echo y > hidden.py", "A hidden.py"),
        ("printf 'hidden.py\\n' > .gitignore; echo y > hidden.py", "A .gitignore"),
        ("git -C docs init -q; echo y > docs/d.md", "A docs/d.md"),
        ("git add -A; git -c user.name=x -c user.email=x@y commit -qm x; echo y > src/b.py; "
         "git update-index --assume-unchanged src/b.py", "M src/b.py"),
        ('echo \'{"may_change": ["src/a.py"]}\' > .agents/scope.json', "M .agents/scope.json"),
    ],
)  # fmt: skip
def test_anything_outside_is_found(root: Path, command: str, says: str) -> None:
    scope.lock(root, OUT)
    subprocess.run(command, shell=True, cwd=root, check=True)
    with pytest.raises(Unmet, match=says):
        scope.kept(root, OUT)


@pytest.mark.parametrize(
    ("globs", "says"),
    [([], "is empty"), (["**"], "holds every file"), (["../x"], "leaves the project"), (["/x"], "leaves")],
)
def test_what_is_no_scope_is_refused(root: Path, globs: list[str], says: str) -> None:
    declare(root, may_change=globs)
    with pytest.raises(Unmet, match=says):
        scope.declaration(root, OUT)


def test_without_a_lock_nothing_is_proved(root: Path) -> None:
    with pytest.raises(Unmet, match=r"scope\.lock\.json"):
        scope.kept(root, OUT)
