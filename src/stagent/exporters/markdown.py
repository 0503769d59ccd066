"""A run's story as one Markdown document. Whatever an agent wrote stands in fences, so that it stays inert."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

from stagent.core.story import DECIDED, Attempt, CheckRun, Decision, DiffPart, Story, Visit

_TICKS = re.compile(r"`+")
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&])")


def render(story: Story) -> str:
    """Return the report of a run as Markdown that names nothing outside itself."""
    return "\n".join(_lines(story)) + "\n"


def _lines(story: Story) -> Iterator[str]:
    title = next((line.strip() for line in story.task.splitlines() if line.strip()), story.run)
    yield f"# {_plain(title[:120])}"
    yield ""
    yield f"**{story.status}** in stage {story.stage}, epoch {story.epoch}"
    yield ""
    yield from _facts(story)
    for warning in story.warnings:
        yield from ("", f"> **Beware:** {_plain(warning)}")
    yield from ("", "## Task", "", *_fence(story.task))
    yield from ("", "## Stages", "", "| epoch | stage | result | entered | took |", "|---|---|---|---|---|")
    for visit in story.visits:
        way = f"{visit.result} → {visit.target}" if visit.result else visit.target or "the run stands here"
        times = f"{_stamp(visit.entered)} | {_span(visit.entered, visit.left)}"
        yield f"| {visit.epoch} | {visit.stage} | {way} | {times} |"
    for visit in story.visits:
        yield from _visit(visit)
    if story.report:
        yield from ("", "## Final report", "", *_fence(story.report))
    if story.diff is not None:
        yield from _diff(story.diff)
    yield from ("", "## Log", "", f"- head: `{story.head}`", f"- events: {story.events}", f"- audit: {story.audit}")
    yield f"- verify: `stagent audit verify {story.run} --head {story.head}`"


def _facts(story: Story) -> Iterator[str]:
    title = f" ({_plain(story.title)})" if story.title else ""
    yield "| | |"
    yield "|---|---|"
    yield f"| run | `{story.run}` |"
    yield f"| workflow | {story.flow}{title}, `{story.workflow[:12]}` |"
    yield f"| project | {_plain(story.project)} |"
    yield f"| driven | {story.mode} |"
    yield f"| started | {_stamp(story.started)} |"
    yield f"| last event | {_stamp(story.updated)}, after {_span(story.started, story.updated)} |"
    if story.tokens is not None:
        yield f"| tokens | {story.tokens:,} |"
    if story.cost_usd is not None:
        yield f"| cost | ${story.cost_usd:.2f} |"


def _visit(visit: Visit) -> Iterator[str]:
    title = f" ({_plain(visit.title)})" if visit.title else ""
    yield from ("", f"## {visit.epoch}. {visit.stage}{title}")
    yield from _attempts(visit.attempts)
    for check in visit.checks:
        yield from _check(check)
    for decision in visit.decisions:
        yield from ("", _decision(decision))
        yield from _words(decision.text)
    if visit.unproven:
        yield from ("", "- gate: **unproven approval**, the workflow asks nobody (`explicit: false`)")
    for note in visit.notes:
        yield from ("", f"- {_stamp(note.at)}: {_plain(note.words)} (by {_plain(note.actor)})")
        yield from _words(note.text)
    for artifact in visit.artifacts:
        if artifact.accepted:
            about = f"result {artifact.result}, `{artifact.digest[:12]}`, by {_plain(artifact.producer)}"
            yield from ("", f"### Artifact of {artifact.stage}, epoch {artifact.epoch}", "", about)
            yield from _words(artifact.text)


def _attempts(attempts: list[Attempt]) -> Iterator[str]:
    if attempts:
        yield from ("", "| attempt | by | outcome | took | tokens | cost |", "|---|---|---|---|---|---|")
    for item in attempts:
        code = f" ({item.code})" if item.code else ""
        took = _span(item.started, item.ended) if item.started is not None else ""
        cost = f"${item.cost_usd:.2f}" if item.cost_usd is not None else ""
        yield f"| {item.number} | {_plain(item.by)} | {item.outcome}{code} | {took} | {_count(item.tokens)} | {cost} |"
    for item in attempts:
        if item.text:
            yield from ("", f"Attempt {item.number} was {item.outcome}:")
            yield from _words(item.text)


def _words(text: str) -> list[str]:
    return ["", *_fence(text)] if text.strip() else []


def _check(check: CheckRun) -> Iterator[str]:
    code = f", exit code {check.exit}" if check.exit is not None else ""
    yield from ("", f"- check **{check.name}**: {check.outcome}{code}, {check.millis / 1000:.1f} s")
    lists = (
        ("changed or removed although protected", check.protected),
        ("added where files are protected", check.added),
        ("it changed in the project itself", check.changed),
    )
    for words, text in lists:
        if text:
            yield from ("", f"{words}:", "", *_fence(text))
    if check.text:
        yield from ("", *_fence(check.text))


def _decision(decision: Decision) -> str:
    if not decision.decision:
        return "- gate: **waits for a person**"
    done = DECIDED[decision.decision] + (f" {decision.choice}" if decision.decision == "answer" else "")
    how = "**a declared policy, no person**" if decision.by_policy else f"channel {decision.channel}"
    at = _stamp(decision.decided) if decision.decided is not None else ""
    bound = [f"body `{decision.body[:12]}`"] if decision.body else []
    bound += [f"tree `{decision.tree[:12]}`"] if decision.tree else []
    bound += [f"log head `{decision.anchor[:12]}`"] if decision.anchor else []
    stale = "; an earlier approval was stale" if decision.stale else ""
    return f"- gate: **{done}** by {_plain(decision.actor)}, {how}, {at}; bound to {', '.join(bound)}{stale}"


def _diff(diff: DiffPart) -> Iterator[str]:
    yield from ("", "## What changed in the project", "")
    if diff.problem or not diff.files:
        yield _plain(diff.problem) or "Nothing."
        return
    yield from ("| file | | lines |", "|---|---|---|")
    for item in diff.files:
        counts = "binary" if item.binary else f"+{item.added} -{item.removed}"
        yield f"| {_plain(item.path)} | {item.status} | {counts} |"
    yield from ("", *_fence(diff.text, "diff"))
    if diff.left_out:
        yield from ("", f"**{diff.left_out:,} more lines of the diff are left out here.**")


def _fence(text: str, kind: str = "text") -> list[str]:
    """Return a fence longer than any run of backticks in the text: nothing in it can end it."""
    ticks = "`" * max(3, *(len(run) + 1 for run in _TICKS.findall(text)), 3)
    return [ticks + kind, text.strip("\n"), ticks]


def _plain(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _stamp(millis: int) -> str:
    return datetime.fromtimestamp(millis / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _span(start: int, end: int | None) -> str:
    if end is None:
        return ""
    seconds = max(end - start, 0) / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    return f"{minutes} min {int(seconds % 60)} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
