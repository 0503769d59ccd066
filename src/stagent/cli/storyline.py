"""A run's story as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

import click

from stagent.cli.words import amount, duration, moment, plain, wrapped
from stagent.core.story import DECIDED, Attempt, CheckRun, Decision, Story, Visit
from stagent.engine.describe import left

_TEXT_LINES = 8
_GOOD = frozenset({"ok", "pass", "approved"})
_BAD = frozenset({"failed", "fail", "timeout", "error", "protected", "refused", "rejected", "unstartable", "orphaned"})


def lines(story: Story, *, colour: bool) -> Iterator[str]:
    """Yield the lines of a story; `colour` marks what went well and what did not."""
    yield from _Writer(colour=colour).story(story)


class _Writer:
    def __init__(self, *, colour: bool) -> None:
        self._colour = colour

    def story(self, story: Story) -> Iterator[str]:
        yield f"Run:      {self._bold(story.run)}"
        yield f"State:    {self._state(story)}, stage {story.stage}, epoch {story.epoch}"
        yield from _labelled("Task:     ", story.task)
        yield f"Workflow: {story.flow} ({story.workflow[:12]}), {story.mode}"
        yield f"Project:  {plain(story.project)}"
        yield f"Time:     {moment(story.started)}, {duration(story.updated - story.started)} until the last event"
        if story.tokens is not None or story.cost_usd is not None:
            yield f"Used:     {used(story.tokens, story.cost_usd)}"
        streams = [attempt.stream_bytes for visit in story.visits for attempt in visit.attempts if attempt.stream_bytes]
        if streams:
            what = "attempt" if len(streams) == 1 else "attempts"
            yield f"Streams:  {amount(sum(streams))} of {len(streams)} {what}; stagent logs {story.run}"
        yield from _labelled("Log:      ", story.audit)
        for warning in story.warnings:
            yield from (self._paint(line, "yellow") for line in _labelled("Beware:   ", warning))
        for visit in story.visits:
            yield ""
            yield from self._visit(visit)
        yield ""
        yield f"Read on:  stagent show {story.run} --artifact STAGE | --check NAME | --event SEQ"

    def _visit(self, visit: Visit) -> Iterator[str]:
        title = f" ({visit.title})" if visit.title else ""
        way = f"  {visit.result} -> {visit.target}" if visit.result else f"  -> {visit.target}" if visit.target else ""
        spent = f"  {duration(visit.left - visit.entered)}" if visit.left is not None else "  (the run stands here)"
        cap = "  (cap reached)" if visit.cause == "cap" else ""
        yield f"{visit.epoch:>3}  {self._bold(visit.stage)}{title}{way}{cap}{spent}"
        for attempt in visit.attempts:
            yield from self._attempt(attempt)
        for item in visit.artifacts:
            accepted = "accepted" if item.accepted else "not accepted"
            yield f"     artifact   {item.result or '(no result)'}, {accepted}, {item.digest[:12]}, by {item.made_by}"
        for check in visit.checks:
            yield from self._check(check)
        for decision in visit.decisions:
            yield from self._decision(decision)
        if visit.unproven:
            yield self._paint("     gate       unproven approval: the workflow asks nobody (explicit: false)", "yellow")
        for note in visit.notes:
            yield f"     {note.words} (by {plain(note.actor)})"
            yield from _quoted(note.text)

    def _attempt(self, attempt: Attempt) -> Iterator[str]:
        parts = [attempt.by, self._word(attempt.outcome)]
        if attempt.started is not None and attempt.ended is not None:
            parts.append(duration(attempt.ended - attempt.started))
        if attempt.tokens is not None or attempt.cost_usd is not None:
            parts.append(used(attempt.tokens, attempt.cost_usd))
        if attempt.stream_bytes:
            parts.append(f"stream {amount(attempt.stream_bytes)}")
        if attempt.exit:
            parts.append(left(attempt.exit))
        if attempt.retry_at is not None:
            parts.append(f"the provider is waited for until {moment(attempt.retry_at)}")
        why = f" ({attempt.code})" if attempt.code and attempt.code != f"attempt.{attempt.outcome}" else ""
        yield f"     attempt {attempt.number:<2} {', '.join(parts)}{why}"
        yield from _quoted(attempt.text)

    def _check(self, check: CheckRun) -> Iterator[str]:
        code = f", {left(check.exit)}" if check.exit else ""
        spent = f", {duration(check.millis)}" if check.ended is not None else ""
        yield f"     check      {check.name}: {self._word(check.outcome)}{code}{spent}"
        if check.protected:
            yield "       changed or removed although protected:"
            yield from _quoted(check.protected)
        if check.added:
            yield "       added where files are protected:"
            yield from _quoted(check.added)
        if check.changed:
            yield "       it changed in the project itself:"
            yield from _quoted(check.changed)

    def _decision(self, decision: Decision) -> Iterator[str]:
        stale = ", an earlier approval was stale" if decision.stale else ""
        if not decision.decision:
            yield self._paint(f"     gate       waits for a person{stale}", "magenta")
            return
        done = DECIDED[decision.decision] + (f" {decision.choice}" if decision.decision == "answer" else "")
        policy = ", a declared policy and no person" if decision.by_policy else f", {decision.channel}"
        tree = f", tree {decision.tree[:12]}" if decision.tree else ""
        bound = f", body {decision.body[:12]}" if decision.body else ""
        words = f"{self._word(done)} by {plain(decision.actor)}{policy}{bound}{tree}{stale}"
        yield f"     gate       {words}"
        yield from _quoted(decision.text)

    def _state(self, story: Story) -> str:
        colour = "green" if story.success else "red" if story.ended else "yellow"
        return self._paint(story.status, colour)

    def _word(self, word: str) -> str:
        return self._paint(word, "green" if word in _GOOD else "red" if word in _BAD else "yellow")

    def _paint(self, text: str, colour: str) -> str:
        return click.style(text, fg=colour) if self._colour else text

    def _bold(self, text: str) -> str:
        return click.style(text, bold=True) if self._colour else text


def _labelled(label: str, text: str) -> list[str]:
    found = wrapped(text.strip(), " " * len(label), limit=_TEXT_LINES)
    return [label + found[0][len(label) :], *found[1:]]


def _quoted(text: str) -> list[str]:
    return wrapped(text.strip("\n"), "       | ", limit=_TEXT_LINES) if text.strip() else []


def used(tokens: int | None, cost: float | None) -> str:
    """Return what was used, in words; unknown amounts are left out."""
    parts = [f"{tokens:,} tokens"] if tokens is not None else []
    if cost is not None:
        parts.append(f"${cost:.2f}")
    return ", ".join(parts)
