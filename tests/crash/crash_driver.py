"""A process that drives a run and says on standard output what is committed. Started, and killed, by the tests.

`crash_driver.py drive SCENE` starts the run of a scene (a folder made by `crash_scene`), or goes on with it, to its
end. It prints `ready` before it touches anything, `ack SEQ HASH` for each committed event, and `over ENDING` at last.
With CRASH_TRACE=FILE it counts how often each fail point is passed and writes the counts there when it ends; with
CRASH_STOP=NAME:PASS it stops (SIGSTOP) there.

`crash_driver.py take-over SCENE` takes the run from whoever drives it, by a person's order, and goes on to its end.
`crash_driver.py race SCENE` advances the run once for every line on standard input: `won`, `saw` or `refused`.
`crash_driver.py notes SCENE` appends to the run's log again and again, as the session that drives it.
`crash_driver.py rest SCENE` writes all that driving a run headless does not write.
`crash_driver.py begin SCENE` begins a session's run; `config`, `template`, `export`, `install`, `uninstall`, `cancel`
and `cancel-hard` do what the commands of these names do; cancelling twice finishes it.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from stagent import failpoints

PASSED: Counter[str] = Counter()


def _count(name: str) -> None:
    PASSED[name] += 1


def _stop(name: str) -> None:
    PASSED[name] += 1
    if f"{name}:{PASSED[name]}" == os.environ["CRASH_STOP"]:
        os.kill(os.getpid(), signal.SIGSTOP)


# Before any other module of the package binds the name.
if os.environ.get("CRASH_STOP"):
    failpoints.hit = _stop
if os.environ.get("CRASH_TRACE"):
    failpoints.hit = _count
    atexit.register(lambda: Path(os.environ["CRASH_TRACE"]).write_text(json.dumps(PASSED)))

from stagent.agents.scripted import ScriptedBackend  # noqa: E402
from stagent.bootstrap import Home  # noqa: E402
from stagent.cli import lease  # noqa: E402
from stagent.cli.main import main as cli  # noqa: E402
from stagent.config import DataHome, change, stored  # noqa: E402
from stagent.core.canonical import digest  # noqa: E402
from stagent.core.commands import Caller, Refuse, Resume  # noqa: E402
from stagent.core.events import Holder  # noqa: E402
from stagent.core.ports import Checkpoint, Record, Store  # noqa: E402
from stagent.core.refusals import Refusal  # noqa: E402
from stagent.core.state import State  # noqa: E402
from stagent.engine import flows, install, setup, templates  # noqa: E402
from stagent.engine.service import RunService  # noqa: E402
from stagent.errors import RefusedError  # noqa: E402
from stagent.runner.loop import Runner, holder  # noqa: E402
from stagent.runner.policy import Policy  # noqa: E402


def say(*words: object) -> None:
    print(*words, flush=True)


class Acknowledging:
    """A store that says what it stored as soon as it was told that it is stored."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def create(self, run: str, records: Sequence[Record], checkpoint: Checkpoint, blobs: Mapping[str, bytes]) -> None:
        self.store.create(run, records, checkpoint, blobs)
        acknowledge(records)

    def append(
        self, run: str, expected: int, records: Sequence[Record], checkpoint: Checkpoint, blobs: Mapping[str, bytes]
    ) -> None:
        self.store.append(run, expected, records, checkpoint, blobs)
        acknowledge(records)


def acknowledge(records: Sequence[Record]) -> None:
    say(*(f"ack {record.seq} {record.hash}" for record in records))


def resume(service: RunService, run: str, take_over: bool) -> State:
    state = service.state(run)
    caller = Caller(actor=f"runner:{os.getpid()}", kind="runner", fence=state.fence)
    if take_over:
        caller = Caller(actor="person:somebody", kind="person")
    command = Resume(holder=holder(), take_over=take_over)
    answer = service.submit(run, caller, command)
    if isinstance(answer, Refusal):
        raise RefusedError(answer.code, answer.what, where=answer.where, remedy=answer.remedy)
    return answer


def begin(home: Home, service: RunService, scene: Path) -> State:
    request = setup.Request(
        task="Make it so.\n" + "Every word counts. " * 8000,
        flow=flows.usable(str(scene / "flow"), scene),
        mode="headless",
        holder=holder(),
        actor=f"runner:{os.getpid()}",
    )
    state = setup.start(service, request)
    home.note(service, state, None, "the task")
    return state


def drive(scene: Path, *, take_over: bool = False) -> None:
    home = Home(DataHome(scene / "home"))
    service = home.at(scene / "project", register=True)
    service.journal.store = Acknowledging(service.store)
    known = service.store.runs()
    if known and service.state(known[0].run).ended:
        say("over", "before")
        return
    state = resume(service, known[0].run, take_over) if known else begin(home, service, scene)
    runner = Runner(
        service,
        ScriptedBackend(),
        state.run,
        policy=Policy.load(scene / "policy.json"),
        options={"script": str(scene / "script.json")},
    )
    say("over", runner.drive(state))
    home.close()


def race(scene: Path) -> None:
    home = Home(DataHome(scene / "home"))
    service = home.at(scene / "project")
    [row] = service.store.runs()
    caller = Caller(actor="caller:racer", kind="caller", session=service.state(row.run).folder)
    say("at the start")
    for _ in sys.stdin:
        done = service.advance(row.run, caller, producer="racer")
        refusal = done.refusal
        word = "won" if done.moved else "saw" if refusal is None else "refused"
        say(word, done.state.epoch, *((refusal.code, refusal.remedy) if refusal else ()))
    home.close()


def notes(scene: Path) -> None:
    home = Home(DataHome(scene / "home"))
    service = home.at(scene / "project")
    [row] = service.store.runs()
    caller = Caller(actor="session:the-race", kind="session", session="the-race")
    say("at the start")
    sys.stdin.readline()
    for number in range(30):
        service.submit(row.run, caller, Refuse(code=f"note.{number}"))
        say("noted", number)
    home.close()


def session_request(scene: Path) -> setup.Request:
    return setup.Request(
        task="Write the rest.",
        flow=flows.usable(str(scene / "flow"), scene),
        mode="session",
        holder=Holder(kind="session", session="the-race"),
        actor="session:the-race",
        session="the-race",
    )


def rest(scene: Path) -> None:
    home = Home(DataHome(scene / "home"))
    change(home.data, "flow", "goal-pursuit" if stored(home.data).get("flow") == "default" else "default")
    home.at(scene / "project", register=True)
    # What git makes of line endings changed: what was recorded under other settings is looked at again.
    subprocess.run(["git", "config", "core.autocrlf", "input"], cwd=scene / "project", check=True)
    service = home.at(scene / "project", register=True)
    if not service.store.runs():
        setup.start(service, session_request(scene))
    [row] = service.store.runs()
    spool = home.data.spool(row.run)
    if not spool.exists():
        spool.parent.mkdir(exist_ok=True)
        spare = spool.with_suffix(".spare")
        spare.write_bytes(SPOOL)
        spare.rename(spool)
    service.state(row.run)
    service.store.put_blobs({digest(SECRET): SECRET})
    service.store.bury_blob(digest(SECRET), "masked", 1)
    command = [sys.executable, "-m", "stagent", "export", row.run, "--format", "html"]
    done = subprocess.run([*command, "--output", str(scene / "report.html")], capture_output=True)
    if done.returncode == -signal.SIGKILL:
        os.kill(os.getpid(), signal.SIGKILL)
    assert done.returncode == 0, done.stderr
    say("over", "ended")
    home.close()


SECRET = b"a secret " * 9000
SPOOL = (
    b'{"v":1,"k":"the-race:1:SubagentStart","t":1,"e":"SubagentStart","s":"the-race","a":"agent-1","d":{}}\n'
    b'{"v":1,"k":"the-ra\n'
    b'{"v":1,"k":"the-race:2:Stalled","t":2,"e":"Stalled","s":"the-race","d":{"blocks":7}}\n'
)


def begin_session(scene: Path) -> None:
    home = Home(DataHome(scene / "home"))
    service = home.at(scene / "project", register=True)
    home.note(service, setup.start(service, session_request(scene)), "the-race", "the task")
    home.close()


def cancel(scene: Path, *, hard: bool = False) -> None:
    home = Home(DataHome(scene / "home"))
    service = home.at(scene / "project")
    [row] = service.store.runs()
    state = service.state(row.run)
    if not state.ended or lease.is_left(service, state):
        lease.end(home, service, state, Caller(actor="person:somebody", kind="person"), hard=hard)
    home.close()


def export(scene: Path) -> None:
    home = Home(DataHome(scene / "home"))
    [row] = home.at(scene / "project").store.runs()
    home.close()
    assert cli(["export", row.run, "--format", "html", "--output", str(scene / "report.html")]) == 0


def template(scene: Path) -> None:
    place = DataHome(scene / "home").templates / "mine"
    templates.put(place, templates.scaffold("mine"))


def install_plugin(scene: Path) -> None:
    home = DataHome(scene / "home")
    home.ensure()
    install.generate(install.plan(home))


COMMANDS: dict[str, Callable[[Path], object]] = {
    "begin": begin_session,
    "config": lambda scene: change(DataHome(scene / "home"), "flow", "default"),
    "template": template,
    "install": install_plugin,
    "uninstall": lambda scene: install.remove(DataHome(scene / "home")),
    "export": export,
    "cancel": cancel,
    "cancel-hard": partial(cancel, hard=True),
}
MODES = {
    **COMMANDS,
    "race": race,
    "notes": notes,
    "rest": rest,
    "drive": drive,
    "take-over": partial(drive, take_over=True),
}


def main(mode: str, scene: Path) -> None:
    say("ready")
    try:
        MODES[mode](scene)
    except RefusedError as error:
        say("refused", error.code, error.remedy)
        sys.exit(2)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
