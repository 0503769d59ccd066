"""What the tests start talks to this machine alone: a proxy stands for everything else, and nobody asks for it."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator

import pytest

from acceptance.claude.kit import Desk, Play
from acceptance.support import stage
from stagent.testing.scripted_model import ScriptedModel, text


class Outside(socketserver.ThreadingTCPServer):
    """The way out: who takes it is written down and gets nowhere."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Way)

    @property
    def env(self) -> dict[str, str]:
        """What sends a program this way, unless it speaks to this machine."""
        url = f"http://127.0.0.1:{self.server_address[1]}"
        names = [name for way in ("HTTP", "HTTPS", "ALL") for name in (f"{way}_PROXY", f"{way}_proxy".lower())]
        return {**dict.fromkeys(names, url), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


class _Way(socketserver.StreamRequestHandler):
    server: Outside

    def handle(self) -> None:
        self.server.asked.append(self.rfile.readline(4096).decode("latin-1").strip())
        self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


@pytest.fixture
def outside() -> Iterator[Outside]:
    with Outside() as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        try:
            yield serving
        finally:
            serving.shutdown()
            thread.join()


@pytest.mark.rule("W54")
def test_a_whole_run_asks_for_nothing_beyond_this_machine(desk: Desk, model: ScriptedModel, outside: Outside) -> None:
    desk.env |= outside.env
    play = Play(
        model,
        (desk.call("tick"), '"status": "build"'),
        (desk.artifact("build", "PASS"), "created"),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    flow = desk.flow({"build": stage({"PASS": "complete"}, checks=[{"name": "unit", "run": "true"}])})
    done = desk.headless(f"/stagent:start --flow {flow} a task")
    play.over(quiet=0)
    assert done.result["is_error"] is False
    assert desk.run().state.terminal == "complete"
    assert desk.cli("doctor").out
    assert outside.asked == []

    # The way out is one that the program takes: spoken to beyond this machine, a model is asked for there.
    lost = desk.headless(
        "hello", env={"ANTHROPIC_BASE_URL": "https://model.invalid", "CLAUDE_CODE_MAX_RETRIES": "0"}, plugin=False
    )
    assert lost.result["is_error"] is True
    assert "CONNECT model.invalid:443 HTTP/1.1" in outside.asked
