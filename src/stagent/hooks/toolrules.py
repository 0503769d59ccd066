"""The tool rules of a stage, for both hooks; loaded only where a stage has some.

A rule names a tool (`Read`), all tools of a server (`mcp__shop__*`) or, with a pattern, some inputs of a tool:
`Bash(git log:*)`, `Edit(docs/**)`, `WebFetch(domain:example.com)`, `Agent(Explore)`, `Skill(name)`. A session and an
attempt are judged alike. A shell line is allowed when every command in it is, and it can be told which these are; it is
denied when one of them may be. What a rule says of Bash it says of every other tool that takes a command line as well.
"""

from __future__ import annotations

from os import environ
from os import path as paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from stagent.hooks.hook import Hook

BASICS = frozenset(
    {"AskUserQuestion", "ToolSearch", "StructuredOutput", "ListAgents", "TodoWrite", "TaskCreate", "TaskUpdate"}
    | {"TaskGet", "TaskList", "TaskOutput", "TaskStop", "BashOutput", "KillShell"}
)
"""What touches nothing outside the conversation: it needs no permission, and can be denied by its name."""
WRITERS = ("Write", "Edit", "MultiEdit", "NotebookEdit")
HARMLESS = ("2>&1", ">/dev/null", "2>/dev/null", "&>/dev/null", "</dev/null")
STARTERS = frozenset(
    {"sudo", "doas", "env", "xargs", "nohup", "time", "timeout", "nice", "command", "exec", "eval", "builtin", "then"}
    | {"do", "else", "if", "while", "until", "!", "sh", "bash", "dash", "zsh", "busybox", "setsid", "stdbuf", "watch"}
)
"""What stands before a command and starts it."""
NAMED = {"Agent": "subagent_type", "Skill": "skill"}


def patterns(tool: str, rules: Sequence[str]) -> list[str]:
    """Return the patterns under which rules name a tool, an empty text for a rule about all of its inputs."""
    found = []
    for rule in rules:
        name, _, pattern = rule.partition("(")
        name, tool = ("Agent" if word == "Task" else word for word in (name, tool))
        server = name.startswith("mcp__") and tool.startswith(name.rstrip("*").rstrip("_") + "__")
        start = name.startswith("mcp__") and name.endswith("*") and tool.startswith(name[:-1])
        if name == tool or server or start or (name == "Edit" and pattern and tool in WRITERS):
            found.append(pattern.removesuffix(")"))
    return found


def refusal(hook: Hook) -> str:
    """Return why a tool call is against the rules of its stage; empty when it is not."""
    tools, tool = hook.live["tools"], hook.tool
    if _needed(hook):
        return ""
    if tools["allow"] is not None and tool not in BASICS and not _covered(hook, patterns(tool, tools["allow"])):
        known = ", ".join(tools["allow"]) or "no tool"
        return f"stage {hook.live['stage']} works without this call of {tool}. It may use: {known}."
    if denied(hook):
        return f"stage {hook.live['stage']} works without this call of {tool}: its workflow denies it."
    return ""


def denied(hook: Hook) -> bool:
    """Say whether the rules that deny forbid the call, or a part of it."""
    rules = hook.live["tools"]["deny"]
    found = [*patterns(hook.tool, rules), *(patterns("Bash", rules) if _shell(hook) else ())]
    return any(not pattern or _touches(hook, pattern) for pattern in found)


def _shell(hook: Hook) -> bool:
    return hook.tool == "Bash" or isinstance(hook.given.get("command"), str)


def _needed(hook: Hook) -> bool:
    """Say whether the run itself needs the call: its files, its picker, its sub-agent, a call of the launcher."""
    live, given, tool = hook.live, hook.given, hook.tool
    if tool == "Read":
        folder = paths.realpath(live["run_dir"]) + "/"
        places = hook.places(given.get("file_path"))
        return bool(places) and all(real.startswith(folder) for _, real in places)
    if tool == "AskUserQuestion":
        return bool(live["gate"]) and hook.asked()
    if tool == "Skill":
        return str(given.get("skill")).startswith("stagent:")
    if tool in ("Agent", "Task"):
        return hook.delegated and given.get("subagent_type") == "stagent:workflow-subagent"
    return tool == "Bash" and _launcher(str(given.get("command")), live["launcher"])


def _launcher(text: str, launcher: str) -> bool:
    """Say whether a line is a call of the launcher that takes its words from a quoted heredoc, and nothing else."""
    call, _, rest = text.strip("\n").partition(" <<")
    word, _, words = rest.partition("\n")
    end, lines = word.strip("'"), words.split("\n")
    quoted = word == f"'{end}'" and end.isalnum() and lines.index(end) == len(lines) - 1 if end in lines else False
    plain = all(letter.isalnum() or letter in " ./_:=,@%+-" for letter in call)
    return quoted and plain and call.split(" ")[:2] in ([launcher, "advance"], ["stagent", "advance"])


def _covered(hook: Hook, rules: Sequence[str]) -> bool:
    """Say whether rules with these patterns allow the call, all of it."""
    if "" in rules:
        return True
    if _shell(hook):
        found = commands(str(hook.given.get("command")))
        return bool(found) and all(any(is_command(rule, line) for rule in rules) for line in found or ())
    return any(_matches(hook, rule, all) for rule in rules)


def _touches(hook: Hook, pattern: str) -> bool:
    """Say whether a rule with this pattern forbids the call, or a part of it."""
    if _shell(hook):
        text = str(hook.given.get("command"))
        return any(is_command(pattern, line) for line in (" ".join(text.split()), *pieces(text)))
    known = hook.tool in (*WRITERS, "Read", "WebFetch", *NAMED, "Task")
    return not known or _matches(hook, pattern, any)


def _matches(hook: Hook, pattern: str, quantifier: Callable[[list[bool]], bool]) -> bool:
    given, tool = hook.given, "Agent" if hook.tool == "Task" else hook.tool
    if tool in NAMED:
        return is_command(pattern, str(given.get(NAMED[tool])))
    if tool == "WebFetch":
        return is_host(pattern, str(given.get("url")), quantifier is any)
    if tool not in (*WRITERS, "Read"):
        return False
    places = hook.places(given.get("notebook_path" if tool == "NotebookEdit" else "file_path"))
    project = paths.realpath(hook.live["project"])
    found = [is_path(pattern, place, project) for both in places for place in both]
    return bool(found) and quantifier(found)


def commands(text: str) -> list[str] | None:
    """Return the commands of a shell line; None when it holds what cannot be told without running it."""
    text = f" {text} "
    for harmless in HARMLESS:
        text = text.replace(f" {harmless} ", " ")
    found, quote, escaped = [""], "", False
    for letter, after in zip(text, text[1:] + " ", strict=True):
        if escaped or (letter == "\\" and quote != "'"):
            escaped = not escaped
        elif quote != "'" and (letter == "`" or (letter == "$" and after in "({")):
            return None
        elif quote:
            quote = "" if letter == quote else quote
        elif letter in "<>(){}":
            return None
        elif letter in ";&|\n":
            found.append("")
            continue
        elif letter in "'\"":
            quote = letter
        found[-1] += letter
    return None if quote or escaped else [line for piece in found if (line := " ".join(piece.split()))]


def pieces(text: str) -> list[str]:
    """Return whatever may be run as a command by a shell line, without looking at its quotes."""
    for letter in ";&|(){}`$<>\n":
        text = text.replace(letter, "\n")
    found = []
    for line in text.replace("\\\n", " ").replace("'", " ").replace('"', " ").replace("\\", "").split("\n"):
        words = line.split()
        for at, word in enumerate(words):
            before = words[at - 1] if at else "sudo"
            if before in STARTERS or before[0] in "-0123456789" or "=" in before:
                found.append(" ".join([word.rpartition("/")[2], *words[at + 1 :]]))
    return found


def is_command(pattern: str, line: str) -> bool:
    """Say whether a command is of a rule's pattern: `git log:*` and `git log *` mean it with any arguments."""
    if pattern.endswith((":*", " *")):
        return wild(pattern[:-2], line) or wild(pattern[:-2] + " *", line) or pattern == ":*"
    return wild(pattern, line)


def is_host(pattern: str, url: str, below: bool) -> bool:
    """Say whether an address is of a pattern `domain:HOST`; `below` counts the hosts below it as well."""
    host = url.partition("://")[2].replace("\\", "/").partition("/")[0].partition("?")[0].partition("#")[0]
    host = host.rpartition("@")[2].partition(":")[0].lower().rstrip(".")
    wanted = pattern.removeprefix("domain:").lower()
    return wild(wanted, host) or (below and host.endswith("." + wanted)) or (below and not host)


def is_path(pattern: str, place: str, project: str) -> bool:
    """Say whether a path fits: `*` within a name, `**` over folders; `//` begins at the root, else the project."""
    if pattern.startswith("//"):
        pattern, within = pattern[2:], place.lstrip("/")
    elif pattern.startswith("~/"):
        pattern, within = environ.get("HOME", "").strip("/") + pattern[1:], place.lstrip("/")
    elif place.startswith(project + "/"):
        bare = "/" not in pattern.rstrip("/")
        pattern, within = ("**/" if bare else "") + pattern.removeprefix("./").lstrip("/"), place[len(project) + 1 :]
    else:
        return False
    parts, names = pattern.rstrip("/").split("/"), within.split("/")
    return wild(parts, names, "**", wild) or wild([*parts, "**"], names, "**", wild)


def wild(
    pattern: str | Sequence[str],
    text: str | Sequence[str],
    star: str = "*",
    same: Callable[[str, str], bool] = lambda one, other: one == other,
) -> bool:
    """Say whether a pattern matches a whole text, or a list of names; `star` stands for any number of items."""
    at = here = back = 0
    last = -1
    while here < len(text):
        if at < len(pattern) and pattern[at] == star:
            last, back, at = at, here, at + 1
        elif at < len(pattern) and same(pattern[at], text[here]):
            at, here = at + 1, here + 1
        elif last >= 0:
            back += 1
            at, here = last + 1, back
        else:
            return False
    return all(item == star for item in pattern[at:])
