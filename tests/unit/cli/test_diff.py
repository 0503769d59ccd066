from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any


def test_the_bytes_can_be_applied(finished: Any, say: Any, tmp_path: Path) -> None:
    said = say("diff")
    assert said.status == 0
    assert "+++ b/done.txt" in said.out
    subprocess.run(["git", "clone", "-q", str(finished.project), str(tmp_path / "copy")], check=True)
    subprocess.run(["git", "apply"], input=said.out.encode(), cwd=tmp_path / "copy", check=True)
    assert (tmp_path / "copy" / "done.txt").read_text() == "it is done\n"
    assert (tmp_path / "copy" / "kept.txt").read_text() == "first\nthird\n"


def test_stat(finished: Any, say: Any) -> None:
    lines = say("diff", "--stat").out.splitlines()
    assert lines == ["A done.txt  +1 -0", "M kept.txt  +1 -1", "2 files, +2 -1"]


def test_json(finished: Any, say: Any) -> None:
    document = say("diff", "--json").json
    assert [(item["path"], item["status"]) for item in document["files"]] == [("done.txt", "A"), ("kept.txt", "M")]
    assert document["baseline"] != document["tree"]


def test_nothing_changed(waiting: Any, say: Any) -> None:
    said = say("diff")
    assert (said.status, said.out, said.err) == (0, "", "Nothing changed.\n")


def test_from_a_process_of_its_own(finished: Any) -> None:
    command = [sys.executable, "-m", "stagent", "diff", "--stat"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("2 files, +2 -1\n")
