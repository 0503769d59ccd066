"""`stagent logs`: what the agents said, from typed events, from the stream itself, and while it grows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fixtures_runs import SECRET, arguments, project
from stagent.cli.logs import _parser
from stagent.cli.spoken import ending, heading, spoken
from stagent.runner.roster import Attempt
from stagent.runner.typed import Typed, typed_path

Say = Callable[..., Any]


def stream(place: Any, attempt: str) -> Path:
    [folder] = (place.home / "projects").glob(f"*/streams/{place.run}")
    return folder / f"{attempt}.ndjson"


def test_the_last_attempt_is_told_without_asking(finished: Any, say: Say) -> None:
    said = say("logs")
    lines = said.out.splitlines()
    assert said.status == 0
    assert lines[0] == f"== attempt 3.1: ship, scripted, {finished.run}.3.1 =="
    assert lines[1].split()[1:3] == ["tool", "artifact:"]
    assert lines[-1].startswith("== ok, ")
    assert say("logs", finished.run).out == say("logs", "3.1").out == said.out


def test_any_attempts_can_be_named_in_any_order(finished: Any, say: Say) -> None:
    heads = [line.split(":")[0] for line in say("logs", "2.2", "1.1").out.splitlines() if line.startswith("== attempt")]
    assert heads == ["== attempt 2.2", "== attempt 1.1"]
    everything = say("logs", finished.run, "--all").out
    assert [line.split(":")[0][-3:] for line in everything.splitlines() if line.startswith("== attempt")] == [
        *("1.1", "2.1", "2.2", "3.1")
    ]
    assert say("logs", f"{finished.run}.2.2").out == say("logs", finished.run, "2.2").out
    assert "(1,200 tokens, $0.25)" in say("logs", "2.2").out
    assert "== refused (check.failed), " in say("logs", "2.1").out


def test_json_has_every_field_and_the_attempt(finished: Any, say: Say) -> None:
    rows = [json.loads(line) for line in say("logs", "2.2", "--json").out.splitlines()]
    raw = stream(finished, "2.2").read_bytes()
    assert [row["line"] for row in rows] == list(range(1, len(raw.splitlines()) + 1))
    assert {row["attempt"] for row in rows} == {f"{finished.run}.2.2"}
    assert [row["kind"] for row in rows] == ["tool", "tool", "usage", "tool", "result"]
    assert (rows[2]["tokens"], rows[2]["cost_usd"]) == (1200, 0.25)
    for row in rows:
        assert raw[row["offset"] :].partition(b"\n")[0] == raw.splitlines()[row["line"] - 1]


def test_raw_is_byte_for_byte(finished: Any, say: Say) -> None:
    raw = stream(finished, "2.2").read_bytes()
    assert say("logs", "2.2", "--raw").out.encode() == raw
    assert say("logs", "2.2", "--raw", "--tail", "2").out.encode() == b"".join(raw.splitlines(keepends=True)[-2:])
    assert say("logs", "2.2", "--stderr").out == ""


@pytest.mark.parametrize("count", [0, 1, 3, 99])
def test_the_tail_is_the_end(finished: Any, say: Say, count: int) -> None:
    whole = say("logs", "2.2", "--json").out.splitlines()
    assert say("logs", "2.2", "--json", "--tail", str(count)).out.splitlines() == whole[len(whole) - min(count, 5) :]


def test_what_is_behind_is_made_again_masked_and_harmless(own: Any, say: Say) -> None:
    before = say("logs", "2.2", "--json").out
    path = stream(own, "2.2")
    with open(path, "ab") as file:
        file.write(b'{"type": "text", "text": "\\u001b[2J token=%s\\nsecond"}\n\x1b]0;x\x07\xff torn' % SECRET.encode())
    typed = Path(typed_path(str(path)))
    typed.write_bytes(typed.read_bytes()[:-30])
    words = say("logs", "2.2").out
    assert SECRET not in words and "\x1b" not in words and "\x07" not in words
    assert "[masked]" in words
    assert words.splitlines()[-3].endswith(" second")
    rows = say("logs", "2.2", "--json").out
    assert rows.startswith(before)
    assert SECRET not in rows and SECRET not in typed.read_text()
    typed.unlink()
    again = [json.loads(line) for line in say("logs", "2.2", "--json").out.splitlines()]
    first = [json.loads(line) for line in rows.splitlines()]
    assert [row["text"] for row in again[-2:]] == [row["text"] for row in first[-2:]]
    assert all("at" not in row for row in again)
    assert "--:--:-- tool" in say("logs", "2.2").out
    Path(f"{path}.stderr").write_text(f"token={SECRET}\n")
    assert say("logs", "2.2", "--stderr").out == "token=[masked]\n"


def test_a_folder_that_cannot_be_written_is_read_all_the_same(own: Any, say: Say) -> None:
    path = stream(own, "2.2")
    expected = say("logs", "2.2", "--json").out
    typed = Path(typed_path(str(path)))
    kept = typed.read_bytes()
    typed.write_bytes(kept[: kept.index(b"\n") + 5])
    Path(f"{typed}.{os.getpid()}.new").mkdir()
    rows = [json.loads(line) for line in say("logs", "2.2", "--json").out.splitlines()]
    assert [row["line"] for row in rows] == [json.loads(line)["line"] for line in expected.splitlines()]


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (["9.9"], 1, "logs.attempt"),
        (["1.1", "nonsense"], 64, "logs.attempt"),
        (["--raw", "--json"], 64, "logs.one"),
        (["1.1", "--all"], 64, "logs.one"),
        (["r-" + "0" * 26 + ".1.1", "r-" + "1" * 26 + ".1.1"], 64, "logs.one"),
        (["nonsense"], 64, "run.id"),
        (["r-" + "0" * 26], 1, "run.unknown"),
    ],
)
def test_what_is_wrong_is_named(finished: Any, say: Say, words: list[str], status: int, code: str) -> None:
    said = say("logs", *words, "--json")
    assert (said.status, json.loads(said.out)["error"]) == (status, code)


def test_following_ends_where_the_run_ended_or_waits(finished: Any, waiting: Any, say: Say) -> None:
    said = say("logs", finished.run, "-f", "--all")
    assert said.out == say("logs", finished.run, "--all").out
    assert say("logs", waiting.run, "-f").out.startswith("== attempt 1.1: plan, scripted")


def test_a_gate_that_is_open_for_a_moment_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, say: Say
) -> None:
    """Between two looks at an open gate the run goes on, as where a policy decides it."""
    root, env = project(tmp_path), {**os.environ, "STAGENT_HOME": str(tmp_path / "home")}
    words = arguments(tmp_path)
    command = [sys.executable, "-m", "stagent"]
    subprocess.run([*command, *words[: words.index("--unattended")]], cwd=root, env=env, stdout=subprocess.DEVNULL)
    [place] = (tmp_path / "home").glob("projects/*/streams/*")
    goes_on = [*command, "run", "--resume", place.name, *words[words.index("--agent") :]]
    looked = []

    def sleep(seconds: float) -> None:
        if not looked:
            subprocess.run(goes_on, cwd=root, env=env, stdout=subprocess.DEVNULL, check=True)
        looked.append(seconds)

    monkeypatch.setattr("stagent.cli.logs.time", SimpleNamespace(sleep=sleep))
    monkeypatch.setenv("STAGENT_HOME", env["STAGENT_HOME"])
    monkeypatch.chdir(root)
    followed = say("logs", place.name, "-f", "--all").out
    assert followed == say("logs", place.name, "--all").out
    assert "== attempt 3.1" in followed


def test_following_goes_on_over_attempts(tmp_path: Path) -> None:
    root = project(tmp_path)
    script = json.loads((tmp_path / "script.json").read_bytes())
    words = [{"say": f"word {number}"} for number in range(40)]
    script["stages"]["plan"] = [*words, {"sleep": 0.4}, *words, *script["stages"]["plan"]]
    script["stages"]["ship"] = [*words, {"sleep": 0.4}, *words, *script["stages"]["ship"]]
    (tmp_path / "script.json").write_text(json.dumps(script))
    env = {**os.environ, "STAGENT_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "stagent"]
    driver = subprocess.Popen([*command, *arguments(tmp_path)], cwd=root, env=env, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not list((tmp_path / "home").glob("projects/*/streams/*/1.1.ndjson")):
        assert time.monotonic() < until
        time.sleep(0.02)
    followed = subprocess.run(
        [*command, "logs", "-f", "--all", "--json"], cwd=root, env=env, capture_output=True, text=True, timeout=60
    )
    assert driver.wait(60) == 0
    assert (followed.returncode, followed.stderr) == (0, "")
    whole = subprocess.run([*command, "logs", "--all", "--json"], cwd=root, env=env, capture_output=True, text=True)
    assert followed.stdout == whole.stdout
    assert len(whole.stdout.splitlines()) > 160


def test_a_backend_that_is_gone_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    [event] = _parser("nowhere")(b"words")
    assert event.text == "words"
    assert "nowhere is not installed any more" in capsys.readouterr().err


def test_colours_are_ours_alone() -> None:
    record = Typed(
        line=1, offset=0, kind="tool", at=1, tool="Ba\x1bsh", text="a\x1b[31mb\nc", error=True, code="denied"
    )
    first, second = spoken(record, colour=True)
    for line in (first, second):
        assert line.startswith("\x1b[31m") and line.endswith("\x1b[0m")
        assert line.count("\x1b") == 2
    assert list(spoken(record, colour=False))[1].endswith(" c (failed) [denied]")
    cut = Typed(line=1, offset=0, kind="text", text="long", cut=True)
    assert next(spoken(cut, colour=False)) == "--:--:-- text     long …"


def test_an_attempt_that_was_left_says_so() -> None:
    item = Attempt(
        id="r.1.1",
        run="r",
        stage="plan",
        epoch=1,
        number=1,
        backend="x\x1b",
        pid=None,
        started=None,
        began_at=0,
    )
    assert "\x1b" not in heading(item, colour=False)
    assert ending(item, colour=False) == "== its runner is gone before the attempt ended =="


def test_show_says_how_much_was_said_and_used(finished: Any, say: Say) -> None:
    out = say("show").out
    sizes = [path.stat().st_size for path in stream(finished, "1.1").parent.glob("*[0-9].ndjson")]
    assert f"Streams:  {sum(sizes) / 1024:.1f} KiB of 4 attempts; stagent logs {finished.run}" in out
    assert "1,200 tokens, $0.25" in out and f"stream {stream(finished, '3.1').stat().st_size} bytes" in out
    [attempt] = say("show", "--json").json["visits"][-1]["attempts"]
    assert attempt["stream_bytes"] == stream(finished, "3.1").stat().st_size
