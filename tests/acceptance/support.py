"""What the acceptance tests share: a private machine, the real program on it, agents that lie, and a real person.

Everything goes through processes: `python -m stagent ...` with a home of its own, agents as children of the scripted
backend or as calls with a session's variables, a person as a process with a terminal of his own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from stagent.bootstrap import Home
from stagent.config import DataHome
from stagent.core.ports import BlobGone
from stagent.core.state import State

Json = dict[str, Any]
SESSION = "5e55ab1e-0000-4000-8000-000000000001"
OTHER = "5e55ab1e-0000-4000-8000-000000000002"
STAGENT = f"{sys.executable} -m stagent"
"""The program as an agent's shell would call it."""

_PERSON = r"""
import json, os, pty, select, sys, time
order = json.loads(sys.argv[1])
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
# Nobody above this process is an agent now: whoever adopts orphans adopted it.
time.sleep(0.05)
pid, terminal = pty.fork()
if pid == 0:
    os.chdir(order["cwd"])
    os.execve(order["argv"][0], order["argv"], order["env"])
seen, asked, words = b"", 0, list(order["words"])
until = time.monotonic() + order["timeout"]
while time.monotonic() < until:
    ready, _, _ = select.select([terminal], [], [], 0.1)
    if not ready:
        continue
    try:
        part = os.read(terminal, 65536)
    except OSError:
        break
    if not part:
        break
    seen += part
    while words and words[0][0].encode() in seen[asked:]:
        expected, said = words.pop(0)
        asked = seen.index(expected.encode(), asked) + len(expected)
        os.write(terminal, said.encode() + b"\n")
_, status = os.waitpid(pid, os.WNOHANG if time.monotonic() >= until else 0)
with open(order["out"] + ".new", "w", encoding="utf-8") as file:
    json.dump({"status": os.waitstatus_to_exitcode(status), "text": seen.decode("utf-8", "replace")}, file)
os.rename(order["out"] + ".new", order["out"])
"""


class Done(msgspec.Struct, frozen=True):
    """A program that ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Json:
        """Its output as one document."""
        found: Json = json.loads(self.out)
        return found

    @property
    def code(self) -> str:
        """The code of its refusal or error; empty without one."""
        document = self.json
        return str(document.get("error") or (document.get("refusal") or {}).get("code") or "")

    @property
    def fields(self) -> Json:
        """The fields of its refusal."""
        found: Json = (self.json.get("refusal") or self.json)["fields"]
        return found

    @property
    def lines(self) -> list[Json]:
        """Its output as one document a line."""
        return [json.loads(line) for line in self.out.splitlines() if line.strip()]


class Machine:
    """One project on a machine of its own: folders, an environment without anybody's settings, and the program."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.project = root / "project"
        self.home = root / "data"
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(root / "home"),
            "STAGENT_HOME": str(self.home),
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            # A project's pytest would load every plugin of ours, which takes five times as long as its tests.
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            **{f"GIT_{role}_NAME": "Tester" for role in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{role}_EMAIL": "tester@example.org" for role in ("AUTHOR", "COMMITTER")},
        }
        (root / "home").mkdir()
        self.project.mkdir()

    def repository(self, files: Mapping[str, str]) -> None:
        """Make the project a git repository with one commit of these files."""
        for name, text in files.items():
            self.write(name, text)
        for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "--allow-empty", "-m", "begin"]):
            subprocess.run(["git", *arguments], cwd=self.project, env=self.env, check=True)

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project."""
        path = self.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def read(self, name: str) -> str:
        """Read a file of the project."""
        return (self.project / name).read_text()

    def flow(self, stages: Mapping[str, Json], **top: object) -> str:
        """Write a workflow folder; the first stage is the initial one. Returns its reference."""
        folder = self.root / "flow"
        folder.mkdir(exist_ok=True)
        document = {
            "initial_stage": next(iter(stages)),
            "terminal_stages": ["complete", "escalated", "cancelled"],
            **top,
            "stages": stages,
        }
        (folder / "workflow.json").write_text(json.dumps(document))
        (folder / "readme.md").write_text("# A workflow\n")
        for name in stages:
            (folder / f"{name}.md").write_text(f"# {name}\n")
        return f"{folder}/"

    def script(self, stages: Mapping[str, Sequence[Any]]) -> str:
        """Write what the scripted agent does; returns the path."""
        path = self.root / "script.json"
        path.write_text(json.dumps({"stages": stages}))
        return str(path)

    def policy(self, **gates: str | Json) -> str:
        """Write decisions declared beforehand; returns the path."""
        made = {
            stage: {"decision": entry, "reason": "declared"} if isinstance(entry, str) else entry
            for stage, entry in gates.items()
        }
        path = self.root / "policy.json"
        path.write_text(json.dumps({"gates": made}))
        return str(path)

    def cli(self, *arguments: str, env: Mapping[str, str] | None = None, stdin: str = "", timeout: float = 25) -> Done:
        """Run the program in the project and wait for it."""
        process = subprocess.Popen(
            [sys.executable, "-m", "stagent", *arguments],
            cwd=self.project,
            env={**self.env, **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired:
            # Asked to end, a runner ends what it started; killed, it could not.
            process.terminate()
            process.communicate(timeout=20)
            raise
        assert "Traceback" not in err, err
        return Done(process.returncode, out, err)

    def drive(self, flow: str, script: Mapping[str, Sequence[Any]], *more: str, task: str = "a task") -> Headless:
        """Drive a task headless with a scripted agent."""
        arguments = ["run", task, "--flow", flow, "--agent", "scripted", "--script", self.script(script), "--json"]
        return Headless(self, self.cli(*arguments, *more))

    def resume(self, run: str, *more: str) -> Headless:
        """Go on with a run, headless, with the same script."""
        script = str(self.root / "script.json")
        return Headless(
            self, self.cli("run", "--resume", run, "--agent", "scripted", "--script", script, "--json", *more)
        )

    def session(self, flow: str, *, session: str | None = SESSION) -> Session:
        """Start a run in an agent session, as its hook-equipped process would."""
        made = Session(self, session)
        answer = made.cli("start", "a task", "--flow", flow, "--json")
        assert answer.status == 0, answer.err
        made.run = answer.json["run"]
        return made

    def person(
        self, *arguments: str, words: Sequence[tuple[str, str]] = (("[yes/no]", "yes"),), timeout: float = 60
    ) -> Done:
        """Run the program as a person does: at a terminal of his own, below no agent; `words` answers questions."""
        out = self.root / f"person-{time.monotonic_ns()}.json"
        order = {
            "argv": [sys.executable, "-m", "stagent", *arguments],
            "env": self.env,
            "cwd": str(self.project),
            "words": list(words),
            "out": str(out),
            "timeout": timeout,
        }
        command = [sys.executable, "-c", _PERSON, json.dumps(order)]
        subprocess.run(command, env=self.env, cwd=self.project, check=True, start_new_session=True)
        wait_for(out.exists, "the person to be done", timeout + 10)
        answer = json.loads(out.read_text())
        return Done(answer["status"], answer["text"], "")

    # -- what the log says -----------------------------------------------------------------------------------

    def state(self, run: str) -> State:
        """Where a run stands by its log, refolded from the first event."""
        home = Home(DataHome(self.home))
        try:
            return home.of(run).journal.refold(run)
        finally:
            home.close()

    def log(self, run: str) -> list[Json]:
        """The events of a run: their data with `seq` and `actor`."""
        home = Home(DataHome(self.home))
        try:
            bodies = [json.loads(record.body) for record in home.of(run).store.read(run)]
        finally:
            home.close()
        return [{**body["data"], "seq": body["seq"], "actor": body["actor"]} for body in bodies]

    def blob(self, run: str, name: str) -> str:
        """A text the log names by its digest."""
        home = Home(DataHome(self.home))
        try:
            found = home.of(run).store.blob(name)
        finally:
            home.close()
        assert not isinstance(found, BlobGone)
        return found.decode()


class Driven:
    """A run on a machine, with questions the tests ask about it."""

    machine: Machine
    run: str

    @property
    def state(self) -> State:
        """Where it stands."""
        return self.machine.state(self.run)

    @property
    def place(self) -> tuple[str, int]:
        """Its stage and epoch."""
        state = self.state
        return state.stage, state.epoch

    @property
    def folder(self) -> Path:
        """Its run folder."""
        return self.machine.project / ".stagent" / self.state.folder

    def artifact(self, stage: str) -> Path:
        """Where a stage's artifact lies."""
        return self.folder / f"{stage}-report.md"

    def log(self, kind: str = "") -> list[Json]:
        """Its events, of one type or all."""
        return [event for event in self.machine.log(self.run) if not kind or event["type"] == kind]

    def codes(self) -> list[str]:
        """The refusals its log holds, in order."""
        return [event["code"] for event in self.log("attempt.ended") if event["outcome"] == "refused"]

    def text(self, name: str) -> str:
        """A text its log names."""
        return self.machine.blob(self.run, name)

    def refusals(self) -> str:
        """The words of every refusal in its log."""
        return "\n".join(self.text(event["text"]) for event in self.log("attempt.ended") if event.get("text"))


class Headless(Driven):
    """A run that `stagent run` drove, and how that ended."""

    def __init__(self, machine: Machine, done: Done) -> None:
        self.machine = machine
        self.done = done
        self.status = done.status
        lines = done.lines if done.out.startswith("{") else []
        assert lines, f"exit {done.status}: {done.out}{done.err}"
        self.summary: Json = lines[-1]
        self.run = self.summary.get("run", "")

    def said(self, stage: str | None = None) -> str:
        """Everything the scripted agents printed, in order."""
        folder = next((self.machine.home / "projects").glob(f"*/streams/{self.run}"))
        texts = []
        for path in sorted(folder.glob("*[0-9].ndjson")):
            texts += [json.loads(line).get("text", "") for line in path.read_text().splitlines()]
        return "\n".join(texts)


class Session(Driven):
    """A run that an agent session drives; this test's process stands for the session's."""

    def __init__(self, machine: Machine, session: str | None) -> None:
        self.machine = machine
        self.session = session
        self.pid = os.getpid()
        self.run = ""
        self._keys = 0

    @property
    def env(self) -> dict[str, str]:
        """What the session adds to the environment of its commands."""
        if self.session is None:
            return {}
        return {"CLAUDECODE": "1", "CLAUDE_CODE_SESSION_ID": self.session, "CLAUDE_PID": str(self.pid)}

    def cli(self, *arguments: str, env: Mapping[str, str] | None = None, stdin: str = "") -> Done:
        """Call the program from the session's shell."""
        return self.machine.cli(*arguments, env={**self.env, **(env or {})}, stdin=stdin)

    def advance(self, *more: str, env: Mapping[str, str] | None = None) -> Done:
        """Ask for the next stage."""
        return self.cli("advance", *more, "--json", env=env)

    def claim(self, result: str, *, body: str = "\nWork.\n", epoch: int | str | None = None) -> Path:
        """Write the artifact of the current stage."""
        state = self.state
        path = self.artifact(state.stage)
        path.write_text(f"---\nepoch: {state.epoch if epoch is None else epoch}\nresult: {result}\n---\n{body}")
        return path

    def hook(self, event: str, agent: str | None = None, **data: object) -> None:
        """Append what a hook of this session saw to the run's spool."""
        self._keys += 1
        line = {
            "v": 1,
            "k": f"{event}-{self._keys}",
            "t": time.time_ns() // 1_000_000,
            "e": event,
            "s": self.session,
            "p": self.pid,
            "a": agent,
            "d": data,
        }
        path = self.machine.home / "spool" / f"{self.run}.ndjson"
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with open(path, "ab") as file:
            file.write(json.dumps(line).encode() + b"\n")

    def worked_by(self, agent: str, result: str, body: str = "\nWork.\n") -> None:
        """Have a sub-agent start, write the artifact of the current stage, and stop."""
        self.hook("SubagentStart", agent)
        self.claim(result, body=body)
        self.stopped(agent)

    def stopped(self, agent: str) -> None:
        """Have a sub-agent stop, with the artifact as it is now."""
        path = self.artifact(self.state.stage)
        mark: Json | None = None
        if path.exists():
            found = path.stat()
            mark = {"size": found.st_size, "mtime_ns": found.st_mtime_ns, "ino": found.st_ino}
        self.hook("SubagentStop", agent, artifact=mark)


def wait_for(condition: Any, what: str, seconds: float = 60) -> None:
    """Wait until something holds; fail with its name when it does not in time."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(0.02)


def claim(result: str | None, **more: object) -> Json:
    """The scripted agent's step that writes its artifact."""
    return {"artifact": {"result": result, **more}}


def shell(command: str) -> Json:
    """The scripted agent's step that runs a shell command."""
    return {"run": command}


def stage(transitions: Mapping[str, str], **more: object) -> Json:
    """A stage of a workflow."""
    return {"execution": {"type": "inline"}, "transitions": dict(transitions), **more}
