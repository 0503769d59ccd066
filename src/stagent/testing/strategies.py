"""Hypothesis strategies for whoever tests against the engine: valid workflows, artifacts, callers and commands.

`documents()` gives decoded workflow documents that validate without an error, `folders()` the same with their
instruction files, `artifacts()` the bytes of an artifact for a stage, `commands()` anything `decide` may be asked,
and `json_values()` any decoded JSON. Nothing here is used outside tests.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from hypothesis import strategies as st

from stagent.core import commands as cmd
from stagent.core import events as ev
from stagent.core.model import Stage, Workflow

RESULTS = ("done", "PASS", "FAIL", "again")
GLOBS = ("src/**", "tests/**")
LIMITS = ("warn", "pause", "halt")
DIGESTS = st.integers(min_value=0, max_value=3).map(lambda number: f"{number:064x}")

Document = dict[str, Any]


def json_values() -> st.SearchStrategy[Any]:
    """Any decoded JSON value, small enough to read."""
    scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
    return st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)


@st.composite
def documents(draw: st.DrawFn, max_stages: int = 4, original: bool | None = None) -> Document:
    """A valid workflow document: a spine of stages with loops back, and any field this version carries out.

    Every stage leads on to the next one, so what an earlier stage made is there on every path. `original` true draws
    fields of the original format only, false always some beyond it.
    """
    plain = draw(st.booleans()) if original is None else original
    names = [f"s{index}" for index in range(draw(st.integers(min_value=1, max_value=max_stages)))]
    terminals = ["complete", *draw(st.lists(st.sampled_from(["escalated", "cancelled", "failed"]), unique=True))]
    document: Document = {
        "initial_stage": names[0],
        "terminal_stages": terminals,
        "max_epoch": draw(st.integers(min_value=3, max_value=6)),
        "run_files": {"baseline": {"init": "git rev-parse HEAD"}} if draw(st.booleans()) else {},
        "stages": {},
    }
    for index, name in enumerate(names):
        stage = draw(_stages(names, index, terminals, bool(document["run_files"]), plain))
        document["stages"][name] = stage
    if not plain:
        document["title"] = draw(st.text(max_size=20))
        if draw(st.booleans()):
            document["budget"] = draw(_budgets())
    return document


@st.composite
def _stages(
    draw: st.DrawFn, names: list[str], index: int, terminals: list[str], run_files: bool, plain: bool
) -> Document:
    onward = names[index + 1] if index + 1 < len(names) else "complete"
    back = [*names[: index + 1], *(name for name in terminals if name != "cancelled")]
    transitions: Document = {"done": onward}
    for result in draw(st.lists(st.sampled_from(RESULTS[1:]), unique=True, max_size=3)):
        transitions[result] = draw(st.sampled_from(back))
    stage: Document = {"transitions": transitions, "inputs": draw(_inputs(names, index, run_files))}
    kinds = ["agent"] if plain else ["agent", "command", "human", *(["review"] * 2 if index else [])]
    kind = draw(st.sampled_from(kinds))
    if kind in ("agent", "review"):
        worker = draw(st.sampled_from(["inline", "subagent"]))
        stage["execution"] = {"type": worker}
        if worker == "inline":
            stage["interruptible"] = draw(st.booleans())
        if not plain:
            stage.update(draw(_agents(names[index])))
    if not plain:
        stage.update(draw(_rules(kind, transitions)))
    if kind == "review":
        stage["inputs"]["required"] = [{"from_stage": names[index - 1], "description": "what is judged"}]
    return stage


@st.composite
def _inputs(draw: st.DrawFn, names: list[str], index: int, run_files: bool) -> Document:
    found: Document = {}
    if index and draw(st.booleans()):
        earlier = draw(st.lists(st.sampled_from(names[:index]), unique=True, max_size=2))
        found["required"] = [{"from_stage": name} for name in earlier]
    if run_files and draw(st.booleans()):
        found.setdefault("required", []).append({"from_run_file": "baseline"})
    if draw(st.booleans()):
        found["optional"] = [{"from_stage": draw(st.sampled_from(names)), "description": "what came of it"}]
    return found


@st.composite
def _rules(draw: st.DrawFn, kind: str, transitions: Document) -> Document:
    rules: Document = {"kind": kind}
    results = sorted(transitions)
    if kind == "command":
        rules["run"] = "make test"
        rules["results"] = {"0": "done", "*": draw(st.sampled_from(results))}
    if kind != "human" and draw(st.sampled_from([True, True, False])):
        rules["gate"] = {"type": "require_approval", "unattended": draw(st.booleans())}
    if draw(st.booleans()):
        names = draw(st.lists(st.sampled_from(["tests", "lint"]), unique=True, min_size=1))
        rules["checks"] = [{"name": name, "run": f"make {name}"} for name in names]
        if draw(st.booleans()):
            rules["checks"][-1]["for"] = [draw(st.sampled_from(results))]
        if draw(st.booleans()):
            rules["checks"][0]["protect"] = [GLOBS[1]]
    if draw(st.booleans()):
        rules["writes"] = draw(st.sampled_from(["project", "artifact", [GLOBS[0]]]))
    if draw(st.booleans()):
        rules["protects"] = [GLOBS[1]]
    if draw(st.booleans()):
        rules["retry"] = {"attempts": draw(st.integers(min_value=1, max_value=5)), "backoff": 0}
    return rules


@st.composite
def _agents(draw: st.DrawFn, name: str) -> Document:
    """What a stage says about its agent."""
    rules: Document = {}
    if draw(st.booleans()):
        rules["tools"] = {"allow": ["Read", "Write"], "deny": draw(st.sampled_from([[], ["WebFetch"]]))}
    if draw(st.booleans()):
        rules["prompt"] = draw(st.sampled_from([f"{name}.md", "prompt.md"]))
    if draw(st.booleans()):
        rules["persona"] = {"name": "Somebody", "system_prompt": "You work.", "model": "large"}
    if draw(st.sampled_from([True, False, False])):
        rules["output"] = {"schema": {"type": "object"}}
    return rules


@st.composite
def _budgets(draw: st.DrawFn) -> Document:
    found: Document = {}
    for name in draw(st.lists(st.sampled_from(["cost_usd", "tokens", "minutes"]), unique=True, min_size=1)):
        amounts = sorted(draw(st.lists(st.integers(min_value=1, max_value=4), min_size=3, max_size=3)))
        chosen = draw(st.lists(st.sampled_from(LIMITS), unique=True, min_size=1))
        found[name] = {key: amount for key, amount in zip(LIMITS, amounts, strict=True) if key in chosen}
    return found


@st.composite
def folders(draw: st.DrawFn, max_stages: int = 4, original: bool | None = None) -> dict[str, bytes]:
    """A valid workflow folder: file names mapped to their bytes."""
    document = draw(documents(max_stages, original))
    files = {"workflow.json": msgspec.json.encode(document)}
    for name, stage in document["stages"].items():
        if stage.get("kind", "agent") in ("agent", "review"):
            files[f"{name}.md"] = b"Do the work and write the artifact.\n"
            if stage.get("prompt") == "prompt.md":
                files["prompt.md"] = b"{{task}} {{#if feedback}}Mind: {{feedback}}{{/if}}\n"
    return files


@st.composite
def artifacts(draw: st.DrawFn, stage: Stage, epoch: int) -> bytes:
    """The bytes of an artifact of a stage: mostly acceptable, sometimes late, unfinished, unknown or unreadable."""
    result = draw(st.sampled_from([*sorted(stage.transitions) * 3, "pending", "nonsense"]))
    stated = draw(st.sampled_from([str(epoch)] * 5 + [str(epoch - 1), str(epoch + 1), "soon"]))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    lines = ["---", f"epoch: {stated}", f"result: {result}", "---", draw(st.text(max_size=20))]
    broken = draw(st.integers(min_value=0, max_value=9)) == 0
    return end.join(lines[1:] if broken else lines).encode("utf-8")


@cache
def callers() -> st.SearchStrategy[cmd.Caller]:
    """Anyone who may ask: the right and the wrong sessions, runners, processes, sub-agents and people."""
    return st.builds(
        cmd.Caller,
        actor=st.sampled_from(["agent", "person", "engine"]),
        kind=st.sampled_from(["session", "runner", "caller", "person", "engine"]),
        session=st.sampled_from([None, "session-1", "session-2"]),
        pid=st.sampled_from([None, 100, 200]),
        fence=st.sampled_from([None, 1, 2, 3]),
        agent=st.sampled_from([None, None, None, "agent-1"]),
    )


@cache
def holders() -> st.SearchStrategy[ev.Holder]:
    """Anyone who may drive a run."""
    return st.builds(
        ev.Holder,
        kind=st.sampled_from(["session", "runner", "caller"]),
        session=st.sampled_from([None, "session-1", "session-2"]),
        pid=st.sampled_from([None, 100, 200]),
        started=st.none(),
        host=st.just("host"),
    )


def commands(workflow: Workflow) -> st.SearchStrategy[cmd.Command]:
    """Anything `decide` may be asked about a run of this workflow, sensible or not."""
    choices = sorted({result for stage in workflow.stages.values() for result in stage.transitions})
    return _commands(tuple(sorted(workflow.stages)), tuple(choices), workflow.max_epoch)


@cache
def _commands(names: tuple[str, ...], choices: tuple[str, ...], max_epoch: int) -> st.SearchStrategy[cmd.Command]:
    # Kept, since making one looks at the types of every command: that takes longer than drawing from it.
    text = st.none() | DIGESTS
    stages = st.sampled_from(names)
    begun, ended, checked = _reports(stages, max_epoch)
    return st.one_of(
        st.builds(cmd.Advance, to=st.none() | stages, producer=st.sampled_from([None, "somebody"])),
        st.builds(
            cmd.DecideGate,
            decision=st.sampled_from(["approve", "reject", "redo", "answer"]),
            channel=st.sampled_from(["terminal", "hook", "app", "policy"]),
            choice=st.sampled_from(["", *choices]),
            text=text,
            body=st.none() | DIGESTS,
            tree=st.none() | DIGESTS,
        ),
        st.builds(cmd.Refuse, code=st.just("artifact.missing"), text=text),
        st.builds(cmd.BeginAttempt, event=begun),
        st.builds(cmd.EndAttempt, event=ended),
        st.builds(cmd.EndCheck, event=checked),
        st.builds(cmd.Interrupt, reason=text),
        st.builds(cmd.Resume, holder=holders(), take_over=st.booleans()),
        st.builds(cmd.Rebind, session=st.sampled_from(["session-1", "session-2"])),
        st.builds(cmd.Stall, blocks=st.integers(min_value=0, max_value=9), text=text),
        st.builds(cmd.GiveUp, by=st.sampled_from(["agent", "engine"]), text=text),
        st.builds(
            cmd.ReachBudget,
            budget=st.sampled_from(["cost_usd", "tokens", "minutes"]),
            limit=st.integers(min_value=1, max_value=4),
            action=st.sampled_from(LIMITS),
            text=text,
        ),
        st.builds(cmd.Cancel, text=text),
    )


def _reports(
    stages: st.SearchStrategy[str], max_epoch: int
) -> tuple[st.SearchStrategy[ev.AttemptStarted], st.SearchStrategy[ev.AttemptEnded], st.SearchStrategy[ev.CheckEnded]]:
    """What a driver may report: an attempt that begins or ends, a check that ended."""
    epochs = st.integers(min_value=1, max_value=max_epoch + 1)
    numbers = st.integers(min_value=1, max_value=4)
    agents = st.sampled_from([None, "agent-1", "agent-2"])
    begun = st.builds(
        ev.AttemptStarted, stage=stages, epoch=epochs, number=numbers, backend=st.just("scripted"), agent=agents
    )
    ended = st.builds(
        ev.AttemptEnded,
        stage=stages,
        epoch=epochs,
        number=numbers,
        outcome=st.sampled_from(["ok", "failed", "timeout", "stopped", "unstartable", "orphaned"]),
        agent=agents,
        tokens=st.none() | st.integers(min_value=0, max_value=3),
        cost_usd=st.none() | st.floats(min_value=0, max_value=3),
        millis=st.integers(min_value=0, max_value=200_000),
    )
    checked = st.builds(
        ev.CheckEnded,
        name=st.sampled_from(["tests", "lint"]),
        epoch=epochs,
        artifact=DIGESTS,
        tree=DIGESTS,
        tree_after=DIGESTS,
        outcome=st.sampled_from(["pass", "fail", "timeout", "error", "protected", "abandoned"]),
    )
    return begun, ended, checked


@st.composite
def command_sequences(draw: st.DrawFn, workflow: Workflow, max_size: int = 12) -> list[tuple[cmd.Caller, cmd.Command]]:
    """Who asks what, one after another."""
    return draw(st.lists(st.tuples(callers(), commands(workflow)), max_size=max_size))
