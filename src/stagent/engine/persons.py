"""Whether a decision that a hook saw was a person's.

A hook event counts as a person's only when it is attended, comes from no sub-agent, and the process that fired it is
the one that holds the lease and the hook's own parent; when the prompt it came with has not decided before (a
model can schedule prompts and start nested sessions); and when the program is of a version in which all of this was
seen to hold. A picker answers for nobody once a skill was loaded that may have brought a hook which answers it.
"""

from __future__ import annotations

import msgspec

from stagent.core import claudecode
from stagent.core import commands as cmd
from stagent.core.canonical import digest
from stagent.core.evidence import Evidence
from stagent.core.state import State

CLIENT = "claude-code_"
"""How what a session's program tells its hooks about itself begins (AI_AGENT); the version follows: 2-1-329."""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What the hook wrote down about a decision."""

    decision: str
    via: str
    text: str = ""
    reference: str = ""
    source: str = ""
    prompt: str = ""
    attended: str = ""
    parent: int = 0
    epoch: int = 0
    body: str = ""
    tree: str = ""
    choice: str = ""
    anchor: str = ""
    client: str = ""
    skill: str = ""


def unproven(client: str) -> str:
    """Return why the program that fired a hook is not known to tell a person's act from its model's, else nothing."""
    oldest = claudecode.dotted(claudecode.OLDEST)
    found = claudecode.version(client.removeprefix(CLIENT).replace("-", ".")) if client.startswith(CLIENT) else None
    if found is None:
        return f"the session does not say which version of Claude Code it is; decisions count from {oldest} on"
    if found < claudecode.OLDEST:
        return f"Claude Code {claudecode.dotted(found)} is too old; decisions count from {oldest} on"
    return ""


def doubt(claim: Claim, state: State, pid: int | None, agent: str | None) -> str:
    """Return why a claim does not count as a person's decision, or an empty text when it does.

    `pid` and `agent` are those of the spool line that carries the claim.
    """
    holder = state.lease.holder if state.lease else None
    if holder is None or holder.pid is None:
        return "no session process holds the run"
    if claim.attended != "1":
        return "the session is not attended by a person"
    if agent:
        return "it came from a sub-agent"
    if old := unproven(claim.client):
        return old
    if pid != holder.pid:
        return "it came from another process than the one that holds the run"
    if claim.parent != holder.pid:
        return "the hook was not called by the session's own process"
    return _decided_otherwise(claim, state)


def _decided_otherwise(claim: Claim, state: State) -> str:
    if claim.epoch != state.epoch and claim.decision not in ("interrupt", "cancel"):
        return "it was about another epoch than the one the run stands in"
    if claim.via == "command" and claim.source != "plugin":
        return "the command is not the plugin's"
    if claim.via == "command" and (not claim.prompt or claim.prompt in state.prompts):
        return "its prompt has decided before"
    if claim.via == "picker" and claim.skill:
        return f"the skill {claim.skill} may have brought a hook that answers questions; type the command instead"
    return ""


def command(claim: Claim, state: State, evidence: Evidence, words: str) -> tuple[cmd.Command, dict[str, bytes]]:
    """Return what a proven decision asks of the run, and the blob of its words.

    What the hook's live file showed is what the decision is bound to: when the artifact or the tree is another by
    now, `decide` refuses.
    """
    text = words.strip().encode("utf-8", "replace")
    name = digest(text) if text else None
    blobs = {name: text} if name else {}
    if claim.decision == "interrupt":
        return cmd.Interrupt(reason=name), blobs
    if claim.decision == "cancel":
        return cmd.Cancel(text=name), blobs
    human = claim.decision == "answer"
    decision = {"approve": "approve", "answer": "answer"}.get(claim.decision, "redo" if text else "reject")
    shown = claim.body or (evidence.artifact.body if evidence.artifact and human else "")
    gate = cmd.DecideGate(
        decision=decision,  # type: ignore[arg-type]  # one of the four by the line above
        channel="hook",
        choice=claim.choice if human else "",
        text=name,
        body=shown,
        tree=claim.tree or None,
        anchor=claim.anchor,
        prompt=claim.prompt if claim.via == "command" else "",
    )
    return gate, blobs
