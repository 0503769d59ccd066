"""Many runs at once on one machine: each ends, no line is lost, no process is left, and no more run than may."""

from __future__ import annotations

from pathlib import Path

from acceptance.torture.hostile_child import RESULT, expected
from acceptance.torture.scene import Ended, Scene
from counts import count
from stagent.core.ids import attempt_id

LINES, MOST, STAGES = 500, 3, 1


def at_once(notes: Path) -> int:
    """The most attempts that ran at the same time, as they noted it themselves."""
    running = most = 0
    for word in notes.read_text().split():
        running += 1 if word == "+" else -1
        most = max(most, running)
    return most


def test_runs_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    home, together = tmp_path / "data", tmp_path / "together"
    together.mkdir()
    variables = {"HOSTILE": "counted", "HOSTILE_LINES": str(LINES), "STAGENT_MAX_ATTEMPTS": str(MOST)}
    scenes = [Scene(tmp_path / str(number), home, **variables) for number in range(count("runs_at_once"))]
    for scene in scenes:
        # One file for all: who runs beside whom is seen in the order of its lines.
        (scene.notes / "running").symlink_to(together / "running")
    flows = [scene.flow(STAGES) for scene in scenes]
    words = [("run", "a task", "--flow", flow, "--agent", "hostile", "--json") for flow in flows]
    started = [scene.start(*line) for scene, line in zip(scenes, words, strict=True)]
    # The others' output is small and waits in their pipes meanwhile.
    ended = [Ended(scene, process) for scene, process in zip(scenes, started, strict=True)]
    for scene, done in zip(scenes, ended, strict=True):
        waited = [line for line in done.errors.splitlines() if not line.startswith("Waiting for a place among")]
        assert (done.status, waited) == (0, [])
        assert done.outcomes() == ["ok"] * STAGES
        scene.check_end(done.run)
        assert not (scene.notes / "beside").exists()
        for epoch in range(1, STAGES + 1):
            name = attempt_id(done.run, epoch, 1)
            assert scene.stream(done.run, f"{epoch}.1").read_bytes() == expected(name, LINES) + RESULT + b"\n"
    assert 1 < at_once(together / "running") <= MOST
    assert scenes[0].cli("ps", "--json") == []
    assert len(scenes[0].cli("ps", "--all", "--json")) == STAGES * len(scenes)
