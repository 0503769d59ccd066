"""When a session that gets nowhere is held no longer; loaded by the hook only where it would hold a turn.

Two counts decide. The stage's own counts blocks without progress: the same epoch, artifact and project. The other
counts the blocks of this turn in a row, whatever changed meanwhile: beyond its cap the platform ends the turn by itself
and nobody would know why.
"""

from __future__ import annotations

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stagent.hooks.hook import Hook

CHANGED = 3  # what the program answers when the project is not as it was at the snapshot
LATE = 124  # what counts as its answer when it was ended because it took too long
CAP = 8  # how often in a row the platform lets a turn be held, unless the variable says something else
CAP_VARIABLE = b"CLAUDE_CODE_STOP_HOOK_BLOCK_CAP"
UNTOLD = " It could not be told whether the project changed."
WHY = {
    0: "",
    CHANGED: " Claude Code lets a turn be held no more than {cap} times in a row, and would have ended it next.",
    LATE: " The project could not be compared in time.",
}


def reached(hook: Hook, code: str, artifact: object) -> str:
    """Count one more block and return why the turn is let go as stalled; empty while it is to be held.

    `code` is why it would be held, `artifact` tells one state of the artifact from another.
    """
    live, most = hook.live, int(hook.live["stop"]["blocks"])
    here = f"{live['run']} {live['lease']} {live['stage']} {live['epoch']} {artifact}"
    before, _, numbers = hook.kept(".stop").rpartition("\n")
    count, tries = _numbers(numbers) if before == here else (0, 0)
    count, held, cap = count + 1, _held(hook), _cap()
    if count == 1:
        hook.program("snapshot", wait=False)
    last, why = held + 1 >= cap > 0, ""
    if not tries and (count >= most or last):
        # Only a certain change is progress: a session whose project cannot be compared is not held for ever.
        answer = hook.program("unchanged", wait=True) if count >= most else CHANGED
        if answer != CHANGED or last:
            tries = held if answer == CHANGED else count
            why = WHY.get(answer, UNTOLD).replace("{cap}", str(cap))
            hook.note("Stalled", blocks=tries, code=code, why=why)
        else:
            count = 0
    hook.keep(".stop", f"{here}\n{count} {tries}")
    return str(hook.texts["stalled"]).replace("{count}", str(tries)) + why if tries else ""


def _numbers(text: str) -> tuple[int, int]:
    count, _, tries = text.partition(" ")
    return _number(count), _number(tries)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0


def _held(hook: Hook) -> int:
    """Count how often this turn was held in a row; a call of a tool begins a new row, as it does for the platform."""
    held = 1 + (_number(hook.kept(".held")) if hook.event.get("stop_hook_active") else 0)
    hook.keep(".held", str(held))
    return held


def _cap() -> int:
    """Return how often in a row the platform lets a turn be held; 0 for as often as one likes."""
    text = posix.environ.get(CAP_VARIABLE, b"").decode("ascii", "replace").strip()
    return 0 if text.startswith("-") else _number(text) if text.isdigit() else CAP
