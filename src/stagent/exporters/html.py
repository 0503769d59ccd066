"""A run's story as one HTML page: no script, nothing from outside, and nothing an agent wrote can become markup.

Artifacts are Markdown of the agent: rendered without raw HTML, then cleaned to a small set of elements. The page's own
policy forbids scripts, pictures, frames and every style but the one it carries.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from html import escape
from pathlib import Path

from stagent.core.story import DECIDED, Artifact, Attempt, CheckRun, Decision, DiffPart, Story, Visit
from stagent.exporters import parts

_STYLE = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'"


def render(story: Story) -> str:
    """Return the report of a run as one HTML page that loads nothing."""
    title = next((line.strip() for line in story.task.splitlines() if line.strip()), story.run)[:160]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{escape(story.status)}: {escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            "</head>",
            "<body>",
            *_body(story, title),
            "</body>",
            "</html>",
            "",
        ]
    )


def _body(story: Story, title: str) -> Iterator[str]:
    yield f'<header><p class="eyebrow">Run report · <code>{escape(story.run)}</code></p><h1>{escape(title)}</h1>'
    yield f'<div class="outcome">{parts.badge(story.status, success=story.success)}'
    yield f'<span class="quiet">in stage <b>{escape(story.stage)}</b>, epoch {story.epoch}</span></div></header>'
    yield "<main>"
    yield from _bewares(story)
    yield from _facts(story)
    if "\n" in story.task.strip() or len(story.task) > 160:
        yield f'<h2>Task</h2><div class="card"><p class="task">{escape(story.task.strip())}</p></div>'
    yield from _timeline(story)
    yield "<h2>What happened</h2>"
    for visit in story.visits:
        yield from _visit(visit)
    if story.report:
        yield f'<h2>Final report</h2><div class="card prose">{parts.prose(story.report)}</div>'
    if story.diff is not None:
        yield from _diff(story.diff)
    yield from _log(story)
    yield "</main>"
    yield "<footer>Made by stagent from the run's log. What looks like a secret is masked.</footer>"


def _bewares(story: Story) -> Iterator[str]:
    if not story.consistent:
        yield f'<div class="beware broken" role="note"><p><strong>Log:</strong> {escape(story.audit)}</p></div>'
    if story.warnings:
        items = "".join(f"<p>{escape(text)}</p>" for text in story.warnings)
        yield f'<div class="beware" role="note"><strong>⚠ Read with care</strong>{items}</div>'


def _facts(story: Story) -> Iterator[str]:
    title = f"{escape(story.title)} · " if story.title else ""
    rows = [
        ("Workflow", f"{escape(story.flow)}<br><span class='quiet'>{title}</span><code>{story.workflow[:12]}</code>"),
        ("Project", f"<span class='mono'>{escape(story.project)}</span>"),
        ("Driven", escape(story.mode)),
        ("Started", parts.stamp(story.started)),
        ("Last event", f"{parts.stamp(story.updated)}<br>after {parts.span(story.started, story.updated)}"),
    ]
    if story.tokens is not None or story.cost_usd is not None:
        rows.append(("Used", escape(parts.used(story.tokens, story.cost_usd))))
    audit = "consistent" if story.consistent else "NOT consistent"
    rows.append(("Log", f"{story.events} events, <span class='{'good' if story.consistent else 'bad'}'>{audit}</span>"))
    items = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in rows)
    yield f'<div class="card"><dl class="facts">{items}</dl></div>'


def _timeline(story: Story) -> Iterator[str]:
    yield '<h2>Stages</h2><div class="card list"><ol class="timeline">'
    whole = max(story.updated - story.started, 1)
    for visit in story.visits:
        end = visit.left if visit.left is not None else story.updated
        bar = parts.bar((visit.entered - story.started) / whole, (end - visit.entered) / whole)
        yield (
            f'<li><span class="epoch">{visit.epoch}</span><a href="#epoch-{visit.epoch}">{escape(visit.stage)}</a>'
            f'<span class="way quiet">{_way(visit)}</span><span class="place busy">{bar}</span>'
            f'<span class="took">{parts.span(visit.entered, visit.left) or "now"}</span></li>'
        )
    yield "</ol></div>"


def _way(visit: Visit) -> str:
    if not visit.target:
        return "the run stands here"
    cap = " (cap reached)" if visit.cause == "cap" else ""
    result = f"<b>{escape(visit.result)}</b> " if visit.result else ""
    return f"{result}→ {escape(visit.target)}{cap}"


def _visit(visit: Visit) -> Iterator[str]:
    title = f'<span class="quiet">{escape(visit.title)}</span>' if visit.title else ""
    yield f'<section class="card visit" id="epoch-{visit.epoch}"><header>'
    yield f'<span class="quiet">{visit.epoch}</span><h3>{escape(visit.stage)}</h3>{title}'
    yield f'<span class="way quiet">{_way(visit)}</span></header>'
    if visit.attempts:
        yield from _attempts(visit.attempts)
    for check in visit.checks:
        yield from _check(check)
    for decision in visit.decisions:
        yield from _decision(decision)
    if visit.unproven:
        words = "<b class='wait'>unproven approval</b> the workflow asks nobody (<code>explicit: false</code>)"
        yield f'<div class="entry"><div class="line"><span class="kind">gate</span>{words}</div></div>'
    for note in visit.notes:
        yield f'<div class="entry"><div class="line"><span class="kind">event</span>{escape(note.words)}'
        yield f'<span class="quiet">by {escape(note.actor)}, {parts.stamp(note.at)}</span></div>'
        yield f"{_words(note.text)}</div>"
    for artifact in visit.artifacts:
        if artifact.accepted:
            yield from _artifact(artifact)
    yield "</section>"


def _attempts(attempts: list[Attempt]) -> Iterator[str]:
    is_used = any(item.tokens is not None or item.cost_usd is not None for item in attempts)
    head = "<th>Attempt</th><th>By</th><th>Outcome</th><th class='number'>Took</th>"
    head += "<th class='number'>Used</th>" if is_used else ""
    yield f'<div class="scroll"><table class="rows"><thead><tr>{head}</tr></thead><tbody>'
    for item in attempts:
        code = f' <span class="quiet">{escape(item.code)}</span>' if item.code else ""
        took = parts.span(item.started, item.ended) if item.started is not None else ""
        cells = f"<td>{item.number}</td><td>{escape(item.by)}</td><td>{parts.word(item.outcome)}{code}</td>"
        cells += f"<td class='number'>{took or '–'}</td>"
        cells += f"<td class='number'>{escape(parts.used(item.tokens, item.cost_usd)) or '–'}</td>" if is_used else ""
        yield f"<tr>{cells}</tr>"
    yield "</tbody></table></div>"
    for item in attempts:
        if item.text:
            yield parts.folded(f"<b>Attempt {item.number}</b> {escape(item.outcome)}: what it was told", item.text)


def _check(check: CheckRun) -> Iterator[str]:
    code = f", exit code {check.exit}" if check.exit not in (None, 0) else ""
    yield f'<div class="entry"><div class="line"><span class="kind">check</span><b>{escape(check.name)}</b>'
    yield f'{parts.word(check.outcome)}<span class="quiet">{check.millis / 1000:.1f} s{code}</span></div>'
    if check.protected:
        yield parts.paths("Changed although protected", check.protected)
    if check.added:
        yield parts.paths("Added where files are protected", check.added)
    if check.changed:
        yield parts.paths("It changed in the project itself", check.changed)
    if check.text:
        yield parts.folded("Output", check.text)
    yield "</div>"


def _decision(decision: Decision) -> Iterator[str]:
    yield '<div class="entry"><div class="line"><span class="kind">gate</span>'
    if not decision.decision:
        yield "<b class='wait'>waits for a person</b></div></div>"
        return
    done = DECIDED[decision.decision] + (f" {decision.choice}" if decision.decision == "answer" else "")
    colour = "bad" if decision.decision == "reject" else "wait" if decision.by_policy else "good"
    who = "declared policy, no person" if decision.by_policy else f"a person, by {escape(decision.channel)}"
    yield f"<b class='{colour}'>{escape(done)}</b><span>{who}</span>"
    at = parts.stamp(decision.decided) if decision.decided is not None else ""
    yield f'<span class="quiet mono">{escape(decision.actor)}</span><span class="quiet">{at}</span></div>'
    bound = (("body", decision.body), ("tree", decision.tree or ""), ("log head", decision.anchor))
    named = ", ".join(f"{name} <code>{escape(value[:12])}</code>" for name, value in bound if value)
    stale = " An earlier approval was void: what it approved had changed." if decision.stale else ""
    yield f'<p class="bound">Bound to {named or "nothing"}.{stale}</p>{_words(decision.text)}</div>'


def _artifact(artifact: Artifact) -> Iterator[str]:
    about = f"<b>Artifact</b> {escape(artifact.result)} · <code>{artifact.digest[:12]}</code> · {artifact.size:,} bytes"
    by = f" · by {escape(artifact.made_by)}"
    yield f'<details><summary>{about}{by}</summary><div class="prose">{parts.prose(artifact.text)}</div></details>'


def _words(text: str) -> str:
    return f'<blockquote class="words">{escape(text.strip())}</blockquote>' if text.strip() else ""


def _diff(diff: DiffPart) -> Iterator[str]:
    yield '<h2>What changed in the project</h2><div class="card">'
    if diff.problem or not diff.files:
        yield f"<p>{escape(diff.problem) or 'Nothing.'}</p></div>"
        return
    yield '<div class="scroll"><table class="rows"><tbody>'
    for item in diff.files:
        counts = (
            "binary"
            if item.binary
            else f'<span class="plus">+{item.added}</span> <span class="minus">-{item.removed}</span>'
        )
        name = f"{escape(item.status)} {escape(item.path)}"
        yield f"<tr><td class='mono'>{name}</td><td class='number'>{counts}</td></tr>"
    yield "</tbody></table></div>"
    yield f'<details open><summary>Diff</summary><pre class="diff">{parts.diff(diff.text)}</pre></details>'
    if diff.left_out:
        yield f"<p class='beware'><strong>{diff.left_out:,} more lines of the diff are left out here.</strong></p>"
    yield "</div>"


def _log(story: Story) -> Iterator[str]:
    colour = "good" if story.consistent else "bad"
    yield f'<h2>Log</h2><div class="card"><p class="{colour}">{escape(story.audit)}</p>'
    yield f'<p>Head: <span class="head">{escape(story.head)}</span></p>'
    yield "<p class='quiet'>Keep the head where the agent cannot reach it. Verify with:</p>"
    yield f"<pre class='output'>stagent audit verify {escape(story.run)} --head {escape(story.head)}</pre></div>"
