"""The keys a workflow document may hold; `schemas/workflow.schema.json` is proved equal to these sets by a test.

`LATER_*` are keys of ours that this version does not carry out: a file that uses one is refused by name, because
silently ignoring a rule somebody declared would be a lie. Any other unknown key is a warning.
"""

from __future__ import annotations

TOP = frozenset(
    {
        "$schema",
        "title",
        "initial_stage",
        "terminal_stages",
        "max_epoch",
        "modifies_worktree",
        "run_files",
        "budget",
        "stages",
    }
)
TOP_ORIGINAL = TOP - {"$schema", "title", "budget"}
LATER_TOP = frozenset({"groups", "profiles", "default_profile", "gates", "roles", "providers", "policies", "vars"})

STAGE = frozenset(
    {
        "title",
        "kind",
        "criteria",
        "interruptible",
        "execution",
        "transitions",
        "inputs",
        "gate",
        "checks",
        "protects",
        "writes",
        "watch",
        "run",
        "results",
        "stop",
        "retry",
        "timeout",
        "tools",
        "prompt",
        "persona",
        "output",
    }
)
STAGE_ORIGINAL = frozenset({"interruptible", "execution", "transitions", "inputs"})
STAGE_BEYOND = STAGE - STAGE_ORIGINAL
LATER_STAGE = frozenset({"group", "input_source", "prepare", "fanout", "loops", "restart"})

KINDS = ("agent", "review", "command", "human")
LATER_KINDS = frozenset({"fanout"})

RUN_FILE = frozenset({"init", "description"})
EXECUTION = frozenset({"type", "model"})
EXECUTION_TYPES = ("inline", "subagent")
MODELS = ("opus", "sonnet", "haiku")
INPUTS = frozenset({"required", "optional"})
INPUT = frozenset({"from_stage", "from_run_file", "description"})
LATER_INPUT = frozenset({"from", "else"})
TRANSITION = frozenset({"to", "label"})
LATER_TRANSITION = frozenset({"when"})
GATE = frozenset({"type", "for", "explicit", "unattended"})
GATE_TYPES = ("require_approval",)
LATER_GATE = frozenset({"quorum", "expires", "min", "max", "fields"})
LATER_GATE_TYPES = frozenset({"require_selection", "require_all_checked", "require_fields"})
CHECK = frozenset({"name", "run", "timeout", "for", "protect", "env"})
STOP = frozenset({"blocks", "message"})
RETRY = frozenset({"attempts", "backoff"})
WRITES = ("project", "artifact")
TOOLS = frozenset({"allow", "deny"})
PERSONA = frozenset({"name", "system_prompt", "model"})
OUTPUT = frozenset({"format", "schema"})
LATER_OUTPUT = frozenset({"file"})
FORMATS = ("text", "json")
LATER_FORMATS = frozenset({"options", "checklist", "structured", "research", "findings"})
BUDGET = ("cost_usd", "tokens", "minutes")
LIMIT = ("warn", "pause", "halt")
