"""Which files a tool call may touch, for both hooks; loaded only for calls that name one.

The data home and the run folders are the engine's: of them a stage writes its own artifact and, where the run may end,
the report of that end. Paths count as what they lead to in the end, by any name.
"""

from __future__ import annotations

from os import lstat
from os import path as paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import stat_result

    from stagent.hooks.hook import Hook

READING = ("read", "list", "get", "search", "find", "view", "stat", "directory")
"""How the name of another server's tool begins that only looks."""
NAMED = ("file_path", "path", "notebook_path", "filePath", "source", "destination", "paths")
"""Under which names such calls give a path, or several."""


def places(cwd: str, path: object) -> list[tuple[str, str]]:
    """Return each reading of a tool's path: where it lies, and where it leads in the end; may raise ValueError."""
    if not isinstance(path, str) or not path:
        return []
    joined = path if path.startswith("/") else f"{cwd}/{path}"
    found = []
    for reading in [joined, paths.expanduser(path)] if path.startswith("~") else [joined]:
        folder, name = paths.split(reading.rstrip("/") or "/")
        found.append((paths.normpath(paths.realpath(folder) + "/" + name), paths.realpath(reading)))
    return found


def written(hook: Hook, path: object) -> tuple[str, str] | None:
    """Allow the stage's own artifact; deny what only the engine or another stage may write: (decision, reason)."""
    live, cwd = hook.live, hook.text("cwd")
    try:
        found = places(cwd, path)
    except ValueError:
        return "deny", "this path names no file."
    own = places(cwd, live["artifact"]["path"])[0][0]
    for place, real in found:
        if reason := protected(hook, place, real):
            return "deny", reason
        kept = live["writes"] == "artifact" and live["status"] == "running" and place != own
        if kept and inside(real, paths.realpath(live["project"])) and not report(hook, place, real, own):
            return "deny", f"stage {live['stage']} may write nothing but its artifact."
    declared = paths.realpath(live["project"]) + str(live["artifact"]["path"]).removeprefix(live["project"])
    plain = [own] == [place for place, _ in found] and own == declared and str(path).startswith("/")
    seen = status(own)
    plain = plain and hook.owner and (seen is None or seen.st_nlink == 1)
    return ("allow", f"the artifact of stage {live['stage']}") if plain else None


def named(hook: Hook) -> str:
    """Say why a call of a tool nobody knows is denied for a file it names, or return an empty text."""
    if hook.tool.rpartition("__")[2].startswith(READING):
        return ""
    try:
        given = [value for key in NAMED if (value := hook.given.get(key))]
        items = [item for value in given for item in (value if isinstance(value, list) else [value])]
        found = [both for item in items for both in places(hook.text("cwd"), item)]
    except ValueError:
        return "this path names no file."
    return next((reason for place, real in found if (reason := protected(hook, place, real))), "")


def protected(hook: Hook, place: str, real: str) -> str:
    """Say why a file of the engine's is not to be written by this call, or return an empty text."""
    live = hook.live
    own = places("/", live["artifact"]["path"])[0][0]
    if inside(real, paths.realpath(hook.home)):
        return "the data home belongs to the engine."
    if place == own:
        return hook.not_the_author() if real == own else "the artifact's place is taken by a link; remove it."
    if inside(real, paths.realpath(live["project"] + "/.stagent")) and not report(hook, place, real, own):
        return f"in .stagent this stage writes only {live['artifact']['path']}"
    return ""


def inside(path: str, folder: str) -> bool:
    """Say whether a real path lies in a real folder, or is it, by any name (a file system may ignore case)."""
    place = status(folder)
    while path and path != folder:
        here = status(path)
        if place and here and (here.st_dev, here.st_ino) == (place.st_dev, place.st_ino):
            return True
        path = path.rpartition("/")[0]
    return path == folder


def report(hook: Hook, place: str, real: str, own: str) -> bool:
    """Say whether a file is the report of an end that the stage leads to, and may be written."""
    reports = [own.rpartition("/")[0] + f"/{name}-report.md" for name in hook.live["ends"]]
    return real in reports and real == place and not hook.agent and hook.live["status"] == "running"


def status(path: str) -> stat_result | None:
    """Return what the file system knows about a file, a link not followed; None without one."""
    try:
        return lstat(path)
    except (OSError, ValueError):
        return None
