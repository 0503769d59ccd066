from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fixtures_runs import SECRET

FACTS = ("complete", "plan", "build", "ship", "check.failed", "policy:", "nproven approval", "it is done", "Shipped.")


@pytest.mark.parametrize("form", ["md", "html"])
def test_everything_is_in_it_but_secrets(finished: Any, say: Any, form: str) -> None:
    said = say("export", finished.run, "--format", form)
    assert said.status == 0
    for words in (*FACTS, finished.run, "declared policy", "Declared beforehand.", "third", "audit verify"):
        assert words in said.out, words
    assert SECRET not in said.out
    assert "[masked]" in said.out


def test_the_page_is_inert(finished: Any, say: Any) -> None:
    page = say("export", "--format", "html").out
    for words in ("<script", "<img", "javascript:alert", "src=", "@import", "url(", " style="):
        assert words not in page.replace("in](javascript:alert(1)", ""), words
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "[picture: pixel]" in page
    assert "default-src 'none'" in page.replace("&#x27;", "'")


def test_the_files_suffix_chooses_the_form(finished: Any, say: Any, tmp_path: Path) -> None:
    for name, start in (("report.html", "<!doctype html>"), ("report.md", "# Build the"), ("report", "# Build the")):
        said = say("export", "-o", str(tmp_path / name))
        assert (said.status, said.out) == (0, "")
        assert (tmp_path / name).read_text().startswith(start)
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert len(list(tmp_path.iterdir())) == 3


def test_a_link_is_followed(finished: Any, say: Any, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link, target = tmp_path / "report.md", tmp_path / "there" / "real.md"
    link.symlink_to(target)
    for before in (None, "old"):
        if before is not None:
            target.write_text(before)
        assert say("export", "-o", str(link)).status == 0
        assert link.is_symlink() and target.read_text().startswith("# Build the")
    assert [path.name for path in target.parent.iterdir()] == ["real.md"]


def test_a_pipe_is_written_to_and_stays_a_pipe(finished: Any, say: Any, tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for place in (pipe, link):
        # A reader that is there before the writer, so that neither waits for the other; enough room for all of it.
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        try:
            assert say("export", "-o", str(place), "--format", "md").status == 0
            assert os.read(reader, 1 << 20).startswith(b"# Build the")
        finally:
            os.close(reader)
        assert pipe.is_fifo() and link.is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == {"pipe", "link"}


def test_a_folder_is_no_place(finished: Any, say: Any, tmp_path: Path) -> None:
    said = say("export", "-o", str(tmp_path), "--format", "md")
    assert (said.status, list(tmp_path.iterdir())) == (64, [])
    assert "cannot be written" in said.err


def test_an_unknown_form_names_the_known(finished: Any, say: Any) -> None:
    said = say("export", "--format", "pdf")
    assert said.status == 64
    assert "Known: html, md." in said.err


def test_a_place_that_cannot_be_written(finished: Any, say: Any, tmp_path: Path) -> None:
    said = say("export", "-o", str(tmp_path / "no" / "report.md"))
    assert said.status == 64
    assert "cannot be written" in said.err


def test_a_waiting_run_can_be_exported(waiting: Any, say: Any) -> None:
    assert "waits for a person" in say("export", "--format", "html").out


def test_from_a_process_of_its_own(finished: Any, tmp_path: Path) -> None:
    file = tmp_path / "r.html"
    command = [sys.executable, "-m", "stagent", "export", "-o", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert file.read_text().endswith("</html>\n")


def test_what_a_killed_export_left_beside_the_file_goes(finished: Any, say: Any, tmp_path: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    (tmp_path / f".report.md.{gone.stdout.strip()}.new").write_text("half")
    assert say("export", "-o", str(tmp_path / "report.md")).status == 0
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]
