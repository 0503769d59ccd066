"""A command's arguments as a hook kept them: `pending/<session>.json`, taken once by the command's own line.

A `!` line of a command file cannot carry a person's words: a quote in them breaks it, a `;` injects another command.
So the hook keeps the words, and `stagent start --pending` and `continue --pending` fetch them here.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from stagent import disk, processes
from stagent.cli import output, select
from stagent.cli.people import AGENT_NAMES
from stagent.config import DataHome
from stagent.core.commands import Caller
from stagent.core.ids import is_session
from stagent.core.masking import mask
from stagent.engine import persons
from stagent.errors import NotFoundError, RefusedError, StagentError, UsageError

FRESH = 60_000
"""How long what a hook kept may wait to be taken (milliseconds)."""
_OPTION = re.compile(r"--([a-z][a-z-]*)(=|\s+|\Z)")
_VALUE = re.compile(r"\"([^\"]*)\"|'([^']*)'|(\S+)")
_LAST = re.compile(r"\s--(flow|mode|edit)(?:=|\s+)(?:\"([^\"]*)\"|'([^']*)'|(\S+))\s*\Z")
_SWITCHES = ("take-over", "force-project-mismatch")
_SELECTED = re.compile(r"(?<!\S)--(session|topic)(?:=|\s+)(?:\"([^\"]*)\"|'([^']*)'|(?!--)(\S+))")


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What the hook saw of a command: `t` in unix milliseconds, `pid` and `attended` from the hook's environment."""

    v: int
    command: str
    args: str
    prompt: str = ""
    pid: str = ""
    attended: str = ""
    source: str = ""
    client: str = ""
    t: int


class StartWords(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of `/stagent:start`."""

    task: str
    flow: str | None = None
    mode: str | None = None
    force: bool = False


class ContinueWords(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of `/stagent:continue`."""

    run: str | None = None
    session: str | None = None
    take_over: bool = False
    force: bool = False


class EndWords(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of `/stagent:cancel` and `/stagent:interrupt`; `text` is why."""

    text: str = ""
    hard: bool = False
    session: str | None = None
    topic: str | None = None

    @property
    def selects(self) -> bool:
        """Whether they name a run; else the session's own is meant."""
        return self.session is not None or self.topic is not None


def answered(action: Callable[[], int]) -> int:
    """Call what a `!` line asks for and say every problem on standard output with status 0: failing ends the turn."""
    try:
        action()
    except StagentError as error:
        output.line(f"stagent: {mask(str(error))}")
    return 0


def session_of_environment() -> str:
    """Return the session this process was called from. Raises UsageError outside of one."""
    session = os.environ.get(select.SESSION, "")
    if not is_session(session):
        raise UsageError(
            "pending.session",
            "this is no agent session",
            where=f"${select.SESSION}",
            remedy="Only a command of the plugin calls this; by hand, give the arguments themselves.",
        )
    return session


def place(home: DataHome, session: str) -> Path:
    """Return where a hook keeps the arguments of a session's command."""
    return home.pending / f"{session}.json"


def take(home: DataHome, session: str, *commands: str) -> Kept:
    """Return what was kept for a session and delete it, so that it counts once.

    Raises NotFoundError when nothing was, RefusedError when it is too old or of another command than `commands`.
    """
    path = place(home, session)
    mine = path.with_name(f".{path.name}.{os.getpid()}.taken")
    try:
        disk.move(path, mine)
        data = mine.read_bytes()
        disk.remove(mine)
    except FileNotFoundError:
        raise NotFoundError(
            "pending.none",
            "no hook kept the arguments of this command",
            where=str(path),
            remedy="The command must be typed by a person, with the plugin's hooks on; see: stagent doctor.",
        ) from None
    try:
        kept = msgspec.json.decode(data, type=Kept)
    except msgspec.MsgspecError as error:
        raise RefusedError(
            "pending.damaged", f"what the hook kept cannot be read: {error}", where=str(path), remedy="Type it again."
        ) from error
    if kept.command not in commands:
        raise RefusedError(
            "pending.command",
            f"the hook kept the arguments of {kept.command}, not of this command",
            where=str(path),
            known=commands,
            remedy="Type the command again.",
        )
    age = time.time_ns() // 1_000_000 - kept.t
    if not -FRESH <= age <= FRESH:
        raise RefusedError(
            "pending.old",
            f"what the hook kept is {abs(age) // 1000} s old, more than {FRESH // 1000} s",
            where=str(path),
            remedy="Type the command again.",
        )
    return kept


def start_words(text: str) -> StartWords:
    """Read `[--flow V] [--mode V] [--force] TASK`; what has a value stands before or after the task, `--force` before.

    The task is kept word for word. Raises UsageError for an option that is not known or has no value.
    """
    task, found = _options(text, ("flow", "mode"), "start")
    flow = _expanded(found.get("flow"))
    return StartWords(task=task, flow=flow, mode=found.get("mode"), force="force" in found)


def create_words(text: str) -> StartWords:
    """Read `[--edit TEMPLATE] [--mode V] [--force] WORDS`: a run of the workflow that writes workflows.

    Raises UsageError for an option that is not known or has no value.
    """
    task, found = _options(text, ("edit", "mode"), "create")
    edited = _expanded(found.get("edit"))
    if edited:
        task = f"Change the existing workflow {edited}.\n\n{task}".strip()
    return StartWords(task=task, flow="create-workflow", mode=found.get("mode"), force="force" in found)


def _options(text: str, names: tuple[str, ...], command: str) -> tuple[str, dict[str, str]]:
    found: dict[str, str] = {}
    rest = text.strip()
    while match := _OPTION.match(rest):
        name = match[1]
        if name == "force" and match[2] != "=":
            found[name], rest = "", rest[match.end() :].lstrip()
            continue
        if name not in names:
            raise _unknown(f"--{name}", tuple(f"--{known}" for known in (*names, "force")), command)
        value = _VALUE.match(rest, match.end())
        if value is None or (match[2].isspace() and value[0].startswith("--")):
            raise UsageError("usage", f"--{name} has no value", where=f"/stagent:{command}", remedy="Give one.")
        found[name] = _plain(value)
        rest = rest[value.end() :].lstrip()
    while (match := _LAST.search(rest)) and match[1] in names:
        found.setdefault(match[1], next(part for part in match.groups()[1:] if part is not None))
        rest = rest[: match.start()]
    return rest.strip(), found


def _expanded(reference: str | None) -> str | None:
    """Return a reference with `~`, `$HOME` or `${HOME}` at its beginning replaced, as a shell would have done."""
    for spelt in ("$HOME/", "${HOME}/"):
        if reference and reference.startswith(spelt):
            reference = "~/" + reference.removeprefix(spelt)
    return os.path.expanduser(reference) if reference else reference  # noqa: PTH111 - a path's own method fails for strangers


def continue_words(text: str) -> ContinueWords:
    """Read `[RUN | --session ID] [--take-over] [--force-project-mismatch]`. Raises UsageError for anything else."""
    found, rest = _selected(text)
    words = rest.split()
    switches = {word[2:] for word in words if word.startswith("--")}
    runs = [word for word in words if not word.startswith("--")] + ([found["session"]] if "session" in found else [])
    if wrong := sorted(switches.difference(_SWITCHES)) or [name for name in found if name == "topic"]:
        raise _unknown(f"--{wrong[0]}", tuple(f"--{name}" for name in ("session", *_SWITCHES)), "continue")
    if len(runs) > 1:
        raise UsageError("usage", f"more than one run: {runs[-1]}", where="/stagent:continue", remedy="Name one run.")
    return ContinueWords(
        run=None if "session" in found or not runs else runs[0],
        session=found.get("session"),
        take_over="take-over" in switches,
        force="force-project-mismatch" in switches,
    )


def end_words(text: str, command: str) -> EndWords:
    """Read `[--hard] [--session ID] [--topic TOPIC] [WHY]` of `cancel`, the same without `--hard` of `interrupt`.

    Options may stand anywhere. Raises UsageError for any other word that begins like one.
    """
    switches = {"--hard"} if command == "cancel" else set()
    found, rest = _selected(text)
    words = rest.split()
    wrong = next((word for word in words if word.startswith("--") and word not in switches), None)
    if wrong is not None:
        raise _unknown(wrong, (*switches, "--session ID", "--topic TOPIC"), command)
    why = " ".join(word for word in words if word not in switches)
    return EndWords(text=why, hard="--hard" in words, session=found.get("session"), topic=found.get("topic"))


def _selected(text: str) -> tuple[dict[str, str], str]:
    """Return the options that name a run with their values, and the text without them."""
    found = {match[1]: match[2] or match[3] or match[4] or "" for match in _SELECTED.finditer(text)}
    return found, _SELECTED.sub("", text)


def person(kept: Kept, what: str, remedy: str) -> Caller:
    """Return the person who typed a command a hook kept. Raises RefusedError when it does not count as a person's."""
    why = doubt(kept)
    if why:
        raise RefusedError("person.doubt", f"this does not count as a person's order: {why}", where=what, remedy=remedy)
    return Caller(actor=f"person:command:{session_of_environment()}", kind="person")


def doubt(kept: Kept) -> str:
    """Return why a command that was kept does not count as a person's own order, or an empty text when it does.

    It counts when the session is attended and the process whose hook kept it is the one this call comes from, with no
    agent above that process: a session an agent started inside its own has one there.
    """
    if kept.attended != "1":
        return "the session is not attended by a person"
    if old := persons.unproven(kept.client):
        return old
    if not kept.pid or kept.pid != os.environ.get(select.PID):
        return "it came from another process than the session's own"
    chain = processes.ancestors(os.getpid())
    below = next((index for index, info in enumerate(chain) if str(info.pid) == kept.pid), None)
    if below is None:
        return "the session's process does not stand above this call"
    own, *above = chain[below:]
    for info in (own, *above):
        marked = any((info.markers or {}).get(name) for name in processes.AGENT_MARKS)
        if marked or (info is not own and info.name in AGENT_NAMES):
            return f"an agent stands above the session (process {info.pid}, {info.name})"
    return ""


def _plain(match: re.Match[str]) -> str:
    return next(part for part in match.groups() if part is not None)


def _unknown(word: str, known: tuple[str, ...], command: str) -> UsageError:
    return UsageError(
        "usage",
        f"no option {word}",
        where=f"/stagent:{command}",
        known=known,
        remedy=f"Use a known one, or call stagent {command} in a terminal.",
    )
