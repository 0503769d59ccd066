"""The hook of a headless attempt, run as `<absolute python> -I -S attempt.pyc <data home>`.

It applies the stage's rules to the tools of a process that carries STAGENT_ATTEMPT, and none of a session's: the run
is the runner's. It reads `live/attempt-<attempt>.json` and writes nothing. `hook.pyc` lies beside it. Without its
file, or broken, it denies what it is asked about: nobody is there to see a warning.
"""

from __future__ import annotations

import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from stagent.hooks import hook, toolrules

    Json = dict[str, Any]
else:
    sys.path.insert(0, sys.argv[0].rpartition("/")[0])
    import hook
    import toolrules


class Attempt(hook.Hook):
    """One event of an attempt's process."""

    def __init__(self, home: str, event: Json, live: Json) -> None:
        super().__init__(home, event, live)
        self.who = "attempt"

    def rules(self) -> Json | None:
        """Decide a tool call by the stage's rules; None leaves it to the permissions of the process.

        The process was started with these rules too, but there a pattern only spares a question.
        """
        if self.tool == "StructuredOutput":
            return self.structured()
        shell = isinstance(self.given.get("command"), str)
        answer = self.guard() if shell or self.tool in hook.WRITERS or self.tool.startswith("mcp__") else None
        refusal = "" if answer else toolrules.refusal(self)
        return hook.permit("deny", refusal) if refusal else answer

    def structured(self) -> Json | None:
        """Let a structured answer through unless its result is none of this stage's."""
        results = self.live["results"]
        if "result" not in self.given or self.given["result"] in (list(results) or [self.given["result"]]):
            return None
        known = ", ".join(sorted(results))
        return hook.permit("deny", f"stage {self.live['stage']} knows the results {known}. Answer with one of them.")

    def program(self, what: str, wait: bool, *more: str) -> int:
        """Start the program as no attempt's: in one it refuses nearly everything, also to read a line for its hook."""
        posix.environ.pop(b"STAGENT_ATTEMPT", None)
        return super().program(what, wait, *more)

    def not_the_author(self) -> str:
        """Say why the artifact is not to be written: the whole attempt is its producer."""
        live = self.live
        return "" if live["kind"] in ("agent", "review") else "the engine writes this artifact itself."


def decision(answer: Json | None) -> str:
    """Return what an answer decides; empty for none."""
    return str(answer["hookSpecificOutput"].get("permissionDecision", "")) if answer else ""


def handle(home: str, text: str) -> Json | None:
    """Return the answer to one event; raises for input that is no event and for an attempt without its file."""
    event = hook.load(text)
    name, attempt = event["hook_event_name"], hook.environment("STAGENT_ATTEMPT")
    data = hook.read(f"{home}/live/attempt-{attempt}.json") if hook.safe(attempt) else None
    if data is None:
        raise LookupError("the attempt has no live file")
    made = Attempt(home, event, hook.load(data.decode("utf-8", "surrogateescape")))
    if name == "SessionStart":
        report = f"{attempt}/{hook.environment('STAGENT_LAUNCH')}"
        return {"suppressOutput": True, "hookSpecificOutput": {"hookEventName": name}, "stagent": report}
    answer = made.rules()
    if name == "PermissionRequest":
        allowed = {"hookEventName": name, "decision": {"behavior": "allow"}}
        return {"hookSpecificOutput": allowed} if decision(answer) == "allow" else None
    return answer


def main(argv: list[str]) -> None:
    """Read an event and answer it; exit 0 whatever happens."""
    text = ""
    try:
        text = hook.drain(0, hook.LARGE).decode("utf-8", "replace")
        answer = handle(argv[1], text)
    except BaseException as error:  # noqa: BLE001 - the outermost frame: what cannot be decided is not allowed
        why = f"the hook failed ({type(error).__name__}: {error}); run stagent doctor."
        answer = hook.tell(why)
        if '"SessionStart"' not in text[: hook.LIMIT] and '"PermissionRequest"' not in text[: hook.LIMIT]:
            answer |= hook.permit("deny", why)
    if answer is not None:
        posix.write(1, hook.dump(answer).encode())


if __name__ == "__main__":
    main(sys.argv)
