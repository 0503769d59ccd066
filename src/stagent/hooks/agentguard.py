"""Who works a stage: launches of sub-agents, and their beginnings; loaded only for these.

A delegated stage has one sub-agent at a time, launched by the main agent's own call, which the hook sees. One that
begins while another runs was launched past that call, by a script: it is somebody else's, and so is what it leaves.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stagent.hooks.hook import Hook

AGENT = "stagent:workflow-subagent"


def launch(hook: Hook) -> tuple[str, str] | None:
    """Guard the stage's sub-agent: none in an inline stage, else one at a time. Other types are noted.

    Return ("deny", reason), ("", what the model is told), or None.
    """
    stage, kind = hook.live["stage"], hook.given.get("subagent_type") or "general-purpose"
    if hook.live["status"] != "running" or (kind != AGENT and hook.agent):
        return None
    if kind != AGENT:
        hook.note("Launch", call=hook.call, type=str(kind)[:100])
        return None
    if hook.agent or not hook.delegated:
        return "deny", "a sub-agent launches no sub-agent." if hook.agent else hook.texts["inline"]
    running, granted = hook.worker()
    if not running and not granted:
        # Two calls of one message are asked about at the same time: the first line in the spool has it.
        hook.note("Launch", call=hook.call)
        hook.spool()
        hook.line = None
        running, granted = hook.worker()
    if running:
        return "deny", f"sub-agent {', '.join(running)} works on stage {stage} already."
    if hook.call not in granted:
        return "deny", f"a sub-agent for stage {stage} is being launched already."
    return "", hook.texts["launch"]


def scripted(hook: Hook, given: str) -> str:
    """Say why a script that launches sub-agents is not run, or return an empty text; `given` is what it is given."""
    if hook.live["status"] != "running" or not (hook.delegated or AGENT.partition(":")[2] in given):
        return ""
    return f"stage {hook.live['stage']} is not worked by a script; its one sub-agent is launched by the main agent."


def start(hook: Hook) -> str:
    """Note a sub-agent that begins, and return what it is told; only our own is the stage's worker."""
    kind = hook.text("agent_type")
    if not kind or not hook.agent or (kind == AGENT and not hook.delegated):
        return ""
    if kind != AGENT:
        hook.note("HelperStart", type=kind[:100])
        return ""
    hook.note("SubagentStart")
    # Of two that begin at the same time the first line in the spool has the stage.
    hook.spool()
    hook.line = None
    if hook.agent in hook.worker()[0] or hook.live["status"] != "running":
        return hook.texts["bootstrap"]
    return (
        f"Stagent: another sub-agent works on stage {hook.live['stage']}; what you leave is not the stage's. End now."
    )
