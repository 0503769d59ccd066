"""What `stagent doctor` asks of the hook that is run: byte code of this version, silent here, answering there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec

from stagent.cli.patient import Finding, Findings, Patient
from stagent.config import DataHome
from stagent.core.document import parse
from stagent.core.state import State
from stagent.core.verify.problem import Findings as Problems
from stagent.engine import install
from stagent.engine.brief import Brief
from stagent.engine.folder import RunFolder
from stagent.engine.projections import live

_AGAIN = "stagent install claude-code"
_SECONDS = 20.0
# Run by the hook's own interpreter, which alone reads its byte code. Marshalled bytes are not always the same.
_COMPARE = """
import importlib.util, marshal, sys
for path in sys.argv[1:]:
    with open(path + ".py", "rb") as source, open(path + ".pyc", "rb") as made:
        wanted, found = compile(source.read(), path, "exec", dont_inherit=True, optimize=2), made.read()
    if found[:4] != importlib.util.MAGIC_NUMBER or marshal.loads(found[16:]) != wanted:
        print(path.rpartition("/")[2] + ".pyc")
"""
_WORKFLOW = {
    "initial_stage": "work",
    "terminal_stages": ["complete", "escalated", "cancelled"],
    "max_epoch": 1,
    "stages": {"work": {"execution": {"type": "inline"}, "transitions": {"done": "complete"}}},
}


def hook(patient: Patient) -> Findings:
    """The interpreter is there; the hook is of this version, silent without a run and answers where there is one."""
    layout = install.Layout(patient.data)
    if not layout.root.exists():
        return
    python = read_text(layout.python)
    if not python or not os.access(python, os.X_OK):
        yield Finding(
            code="plugin.python",
            where=python or str(layout.python),
            what="the interpreter of the hooks is gone or cannot be run",
            remedy=f"Generate the plugin for the interpreter there is: {_AGAIN}.",
        )
        return
    if not layout.hook.is_file():
        yield Finding(
            code="plugin.hook_missing",
            where=str(layout.hook),
            what="the hook file is gone",
            remedy=f"Generate it anew: {_AGAIN}.",
        )
        return
    said = _fire(python, layout.hook, patient.data.root, f"doctor-{os.getpid()}")
    if said.status != 0 or said.text:
        why = said.text.splitlines()[-1] if said.text else f"exit status {said.status}"
        yield _broken(layout.hook, f"the hook does not leave a session without a run alone: {why}")
        return
    if not _answers(python, layout.hook):
        yield _broken(layout.hook, "the hook does not answer for a session that has a run")
        return
    names = [str(layout.hooks / name) for name in install.HOOK_FILES]
    said = install.ask(python, "-I", "-S", "-c", _COMPARE, *names, seconds=_SECONDS)
    if said.status != 0 or said.text:
        yield _broken(layout.hook, f"not what its source says is run: {', '.join(said.text.splitlines()[-3:])}")


def _broken(place: Path, what: str) -> Finding:
    remedy = f"Generate it anew for its interpreter: {_AGAIN}."
    return Finding(code="plugin.hook_broken", where=str(place), what=what, remedy=remedy)


def _fire(python: str, hook_file: Path, home: Path, session: str) -> install.Answer:
    event = {"session_id": session, "hook_event_name": "SessionStart", "source": "startup"}
    # In a headless attempt the hook of sessions is silent by design.
    env = {name: value for name, value in os.environ.items() if name != "STAGENT_ATTEMPT"}
    words = (python, "-I", "-S", str(hook_file), str(home))
    return install.ask(*words, given=msgspec.json.encode(event), seconds=_SECONDS, env=env)


def _answers(python: str, hook_file: Path) -> bool:
    """Say whether the hook tells a session of its run, in a data home of its own that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="stagent-") as folder:
        home = DataHome(Path(folder).resolve())
        state = _state(home.root)
        document = parse(_WORKFLOW, Problems())
        assert document is not None
        run_folder = RunFolder.of(home.root, state)
        brief = Brief(document, state, run_folder, project=state.project)
        place = home.live(state.session)
        for parent in (place.parent, home.spool(state.run).parent):
            parent.mkdir()
        place.write_bytes(live.render(document, state, run_folder, brief, home, 0))
        said = _fire(python, hook_file, home.root, state.session)
    return said.status == 0 and state.run in said.text and "additionalContext" in said.text


def _state(project: Path) -> State:
    """Return a run that just began, which no log knows."""
    return State(
        run="r-doctor",
        seq=1,
        head="",
        status="running",
        mode="session",
        workflow="",
        model="",
        flow="doctor",
        project=str(project),
        folder="doctor",
        task="",
        stage="work",
        epoch=1,
        lease=None,
        started_at=0,
        updated_at=0,
        session="doctor",
    )


def read_text(path: Path) -> str:
    """Return a small file's text without the white space around it; empty when it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8", "replace").strip()
    except OSError:
        return ""
