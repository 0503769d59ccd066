"""The Claude Code hook: one self-contained file, run as `<absolute python> -I -S hook.py <data home>`.

It reads one event as JSON from standard input and `live/<session_id>.json` from the data home. Without that file the
session is a bystander and nothing happens, except that the arguments of a `stagent:` command are kept for it. It
decides from the live file, appends at most one line to the run's spool, and answers in the documented JSON. It never
raises: a bystander must never be harmed, and a broken hook says so through `systemMessage` in its own session.

Only modules that are built into the interpreter are imported at the top: a hook runs at every tool call.
"""

import posix
import sys

VERSION = "1"
LIMIT = 4096
"""The longest spool line (bytes): one write of this size reaches the file in one piece."""
AGENT = "stagent:workflow-subagent"
WRITERS = {"Write": "file_path", "Edit": "file_path", "MultiEdit": "file_path", "NotebookEdit": "notebook_path"}
PLAIN = ("tick", "next", "context", "bootstrap", "advance", "wait", "status")
PERSONS = ("approve", "reject", "redo", "answer", "cancel", "interrupt", "hook", "install", "config", "project")
LAUNCH_SECONDS = 60
"""How long a launch of the sub-agent counts before its start was seen."""


# -- JSON ------------------------------------------------------------------------------------------------------------


class _Context:
    strict = False
    object_hook = object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float
    memo: dict = {}


def load(text):
    """Decode a JSON text; raises ValueError or StopIteration for anything else."""
    try:
        from _json import make_scanner
    except ImportError:
        import json

        return json.loads(text, strict=False)
    value, end = make_scanner(_Context)(text, _skip(text, 0))
    if _skip(text, end) != len(text):
        raise ValueError("more than one value")
    return value


def _skip(text, at):
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def dump(value):
    """Encode what the hook itself makes: texts, numbers, booleans, None, lists, dicts."""
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, dict):
        return "{" + ",".join(_quote(str(key)) + ":" + dump(item) for key, item in value.items()) + "}"
    return "[" + ",".join(dump(item) for item in value) + "]"


def _quote(text):
    try:
        from _json import encode_basestring_ascii
    except ImportError:
        from json.encoder import encode_basestring_ascii
    return encode_basestring_ascii(text)


# -- files -----------------------------------------------------------------------------------------------------------


def read(path, limit=1 << 22):
    """Return a file's bytes, or None when there is no such regular file within the limit."""
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
    except OSError:
        return None
    try:
        if posix.fstat(descriptor).st_mode & 0o170000 != 0o100000:
            return None
        data = b""
        while len(data) <= limit:
            part = posix.read(descriptor, 1 << 20)
            if not part:
                return data
            data += part
        return None
    except OSError:
        return None
    finally:
        posix.close(descriptor)


def write(path, data, mode=0o600):
    """Write a file whole or not at all."""
    fresh = path + "." + str(posix.getpid()) + ".new"
    descriptor = posix.open(fresh, posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC, mode)
    try:
        posix.write(descriptor, data)
    finally:
        posix.close(descriptor)
    posix.rename(fresh, path)


def safe(name):
    """Say whether an id may be part of a file name."""
    return (
        isinstance(name, str)
        and 0 < len(name) <= 128
        and name[0] != "."
        and all(letter.isascii() and (letter.isalnum() or letter in "._-") for letter in name)
    )


def environment(name):
    """Return a variable of the environment as text, empty when it is not set."""
    return posix.environ.get(name.encode(), b"").decode("utf-8", "replace")


# -- the artifact ----------------------------------------------------------------------------------------------------


def front(data):
    """Read front matter as the engine does; return (fields, "") or (None, why). Same grammar, same cases, two codes."""
    start = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    at, line = _line(data, start)
    if line != b"---":
        return None, "line 1: the file does not begin with a line ---"
    fields, number = {}, 1
    while True:
        if at >= len(data) or at - start > 65536:
            return None, "line %d: the block is not closed by a line ---" % number
        number += 1
        at, line = _line(data, at)
        if line == b"---":
            return fields, ""
        problem = _field(line, fields)
        if problem:
            return None, "line %d: %s" % (number, problem)


def _line(data, start):
    end = data.find(b"\n", start)
    if end < 0:
        return len(data), data[start:].rstrip(b"\r")
    line = data[start:end]
    return end + 1, line[:-1] if line.endswith(b"\r") else line


def _field(line, fields):
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return "the line is not UTF-8"
    stripped = text.strip(" \t")
    if not stripped or stripped.startswith("#"):
        return ""
    key, colon, value = text.partition(":")
    key = key.rstrip(" \t")
    if not colon or not key or not key.isascii() or not key.replace("-", "_").isidentifier() or key[0] == "-":
        return "the line is not of the form key: value"
    value = value.strip(" \t")
    if key in fields:
        return "the key %s stands twice" % key
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1]
    fields[key] = value
    return ""


def mark(path):
    """Return what tells one state of the artifact from another, or None without one."""
    try:
        status = posix.stat(path)
    except OSError:
        return None
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "ino": status.st_ino}


def judge(live):
    """Return (result, "", "") for a finished artifact of this stage and epoch, else (None, code, why)."""
    path, epoch = live["artifact"]["path"], live["epoch"]
    data = read(path, 64 << 20)
    if data is None:
        return None, "artifact.missing", "there is no artifact at " + path
    fields, problem = front(data)
    if fields is None:
        return None, "artifact.front_matter", "%s: %s" % (path, problem)
    stated = fields.get("epoch", "")
    if not (stated.isascii() and stated.isdigit() and len(stated) <= 9):
        return None, "artifact.no_epoch", path + " states no epoch"
    if int(stated) != epoch:
        return None, "artifact.epoch", "epoch mismatch: %s states %d" % (path, int(stated))
    result = fields.get("result", "")
    if result in ("", "pending"):
        return None, "artifact.pending", path + " has no result yet"
    if result not in live["results"]:
        return None, "artifact.result", '%s has the unknown result "%s"' % (path, result)
    return result, "", ""


# -- answers ---------------------------------------------------------------------------------------------------------


def say(event, text):
    """Give the model context."""
    return {"hookSpecificOutput": {"hookEventName": event, "additionalContext": text}}


def permit(decision, reason):
    """Decide a tool call."""
    return {
        "hookSpecificOutput": {
            "hookEventName": "PreToolUse",
            "permissionDecision": decision,
            "permissionDecisionReason": reason,
        }
    }


def fill(text, **values):
    """Put values into one of the live file's texts."""
    for key, value in values.items():
        text = text.replace("{" + key + "}", str(value))
    return text


class Hook:
    """One event of a session that has a run."""

    def __init__(self, home, event, live):
        self.home = home
        self.event = event
        self.name = event["hook_event_name"]
        self.live = live
        self.session = event["session_id"]
        self.agent = event.get("agent_id") or None
        self.line = None
        self.durable = False

    def note(self, kind, durable=False, **data):
        """Ask for one spool line about this event."""
        self.line = (kind, data)
        self.durable = durable

    # -- session ----------------------------------------------------------------------------------------------------

    def session_start(self):
        """Tell the session where its run stands; a session id that replaced another takes the run with it."""
        source = self.event.get("source")
        if source == "clear":
            self.note("Rebound", durable=True, old=self.live["session"])
        elif source in ("startup", "resume"):
            self.note("SessionStart", source=source)
        return say(self.name, self.live["texts"]["where"])

    def session_end(self):
        """End the lease, unless the same process goes on under another id."""
        if self.event.get("reason") != "clear" and self.owner():
            self.note("SessionEnd", durable=True, reason=str(self.event.get("reason")))

    def owner(self):
        """Say whether this event comes from the process that holds the run."""
        return self.live["pid"] is None or environment("CLAUDE_PID") == str(self.live["pid"])

    def waiting(self, reason):
        """Keep what the session waits for, for `status`; only a change is written."""
        path = self.home + "/live/" + self.session + ".waiting"
        known = read(path, LIMIT)
        if (known or b"").decode("utf-8", "replace") != reason:
            if reason:
                write(path, reason.encode())
            else:
                posix.unlink(path)

    def prompt(self):
        """Somebody answers: nothing is waited for any more."""
        self.waiting("")

    def notification(self):
        """Note why the session waits, from the documented type."""
        kind = self.event.get("notification_type")
        self.waiting({"permission_prompt": "permission", "idle_prompt": "idle"}.get(kind, "notification"))

    def permission(self):
        """A permission dialog is open."""
        self.waiting("permission")

    def failed(self):
        """The turn ended with an error of the agent or its service."""
        self.waiting("error: " + str(self.event.get("error"))[:200])

    def compacted(self):
        """After a compaction the model may have lost the thread; SessionStart `compact` tells it."""
        return

    # -- people -----------------------------------------------------------------------------------------------------

    def expansion(self):
        """Keep a command's arguments; an approval typed by a person is a decision."""
        keep_arguments(self.home, self.event)
        name = self.event.get("command_name")
        verb = str(name).partition(":")[2]
        if name in ("stagent:approve", "stagent:reject") and self.live["gate"]:
            self.decide(verb, str(self.event.get("command_args") or ""), "command")
        elif name in ("stagent:interrupt", "stagent:cancel"):
            self.decide(verb, str(self.event.get("command_args") or ""), "command")

    def decide(self, decision, text, via, choice=""):
        """Note a decision with everything that proves, or does not prove, that a person made it."""
        reference, gate = "", self.live["gate"] or {}
        if len(text) > 1000:
            reference = self.session + "." + str(self.event.get("prompt_id") or self.event.get("tool_use_id")) + ".text"
            write(self.home + "/pending/" + reference, text.encode("utf-8", "surrogatepass"))
            text = ""
        self.note(
            "Decision",
            durable=True,
            decision=decision,
            text=text,
            reference=reference,
            via=via,
            source=str(self.event.get("command_source") or ""),
            prompt=str(self.event.get("prompt_id") or ""),
            attended=environment("CLAUDE_CODE_SESSION_ATTENDED"),
            parent=posix.getppid(),
            epoch=self.live["epoch"],
            anchor=self.live.get("head") or "",
            choice=choice,
            body=gate.get("body") or "",
            tree=gate.get("tree") or "",
        )

    def picker(self, before):
        """Before: the picker is open. After: an answer equal to a label decides, anything else is feedback."""
        if before:
            self.waiting("picker")
            return
        self.waiting("")
        gate, given = self.live["gate"], self.event.get("tool_input")
        if not gate or self.agent or not isinstance(given, dict):
            return
        questions, answers = given.get("questions"), given.get("answers")
        if not isinstance(questions, list) or len(questions) != 1 or not isinstance(answers, dict):
            return
        asked = questions[0]
        if not isinstance(asked, dict) or asked.get("question") != gate["question"]:
            return
        shown = [
            {"label": option.get("label"), "description": option.get("description")}
            for option in asked.get("options") or []
            if isinstance(option, dict)
        ]
        if (
            asked.get("header") != gate["header"]
            or shown != [plain_option(option) for option in gate["options"]]
            or asked.get("multiSelect")
        ):
            return
        answer = answers.get(gate["question"])
        for option in gate["options"]:
            if answer == option["label"]:
                self.decide(option["decision"], "", "picker", option["label"])
                return
        if isinstance(answer, str) and answer.strip():
            self.decide("feedback", answer, "picker")

    # -- tools ------------------------------------------------------------------------------------------------------

    def before_tool(self):
        """Guard the run's files and commands, the sub-agent, and the two calls that need no asking."""
        if self.live["status"] != "running":
            return None
        tool, given = self.event.get("tool_name"), self.event.get("tool_input")
        given = given if isinstance(given, dict) else {}
        if tool in WRITERS:
            return self.write_tool(given.get(WRITERS[tool]))
        if tool == "Bash":
            return self.shell(given.get("command"))
        if tool in ("Agent", "Task"):
            return self.launch(given)
        if tool == "AskUserQuestion":
            self.picker(before=True)
        return None

    def after_tool(self):
        """Note what the engine must know about a finished tool call."""
        tool, given = self.event.get("tool_name"), self.event.get("tool_input")
        given = given if isinstance(given, dict) else {}
        if tool == "AskUserQuestion":
            self.picker(before=False)
        elif tool in WRITERS and self.agent and self.resolve(given.get(WRITERS[tool])) == self.artifact():
            self.note("ArtifactWrite")
        elif tool in ("Agent", "Task") and self.name == "PostToolUseFailure" and given.get("subagent_type") == AGENT:
            self.note("LaunchFailed", call=str(self.event.get("tool_use_id")))

    def artifact(self):
        """The real path of the current stage's artifact."""
        return self.resolve(self.live["artifact"]["path"])

    def resolve(self, path):
        """Return the real path a tool would write, as far as it exists."""
        if not isinstance(path, str) or not path or "\0" in path:
            return ""
        import os.path

        if path.startswith("~"):
            path = os.path.expanduser(path)
        return os.path.realpath(os.path.join(str(self.event.get("cwd") or "/"), path))

    def write_tool(self, path):
        """Allow the stage's own artifact; deny what only the engine or another stage may write."""
        live, real = self.live, self.resolve(path)
        if not real:
            return None
        import os.path

        if real == self.artifact():
            if live["kind"] not in ("agent", "review"):
                return permit("deny", "Stagent: the engine writes this artifact itself.")
            if live["execution"] == "subagent" and not self.agent:
                return permit("deny", "Stagent: " + live["texts"]["subagent_writes"])
            if live["execution"] == "inline" and self.agent:
                return permit("deny", "Stagent: a sub-agent does not write the artifact of an inline stage.")
            return permit("allow", "Stagent: the artifact of stage %s" % live["stage"])
        if within(real, os.path.realpath(self.home)):
            return permit("deny", "Stagent: the data home belongs to the engine.")
        runs = os.path.realpath(live["project"] + "/.stagent")
        if within(real, runs):
            report = os.path.realpath(live["run_dir"]) + "/"
            ends = [report + name + "-report.md" for name in live["ends"]]
            if real in ends and not self.agent:
                return permit("allow", "Stagent: the report of the run")
            return permit("deny", "Stagent: in .stagent this stage writes only " + live["artifact"]["path"])
        if live["writes"] == "artifact" and within(real, os.path.realpath(live["project"])):
            return permit("deny", "Stagent: stage %s may write nothing but its artifact." % live["stage"])
        return None

    def shell(self, command):
        """Allow one plain call of the launcher; deny what only a person or the engine may do."""
        if not isinstance(command, str):
            return None
        if plain_call(command, self.live["launcher"], PLAIN):
            if self.agent and command.split()[1] not in ("context", "bootstrap", "status", "tick"):
                return permit("deny", "Stagent: a sub-agent does not move the run. Finish the artifact and end.")
            return permit("allow", "Stagent: a plain call")
        forbidden = person_call(command)
        if forbidden:
            return permit("deny", "Stagent: only a person calls stagent %s, in a terminal." % forbidden)
        if self.home in command:
            return permit("deny", "Stagent: the data home belongs to the engine.")
        return None

    def launch(self, given):
        """Guard the stage's sub-agent: none in an inline stage, one at a time in a sub-agent stage."""
        live = self.live
        ours = given.get("subagent_type") == AGENT
        if live["status"] != "running" or self.agent:
            return None
        if live["execution"] != "subagent" or live["kind"] not in ("agent", "review"):
            return permit("deny", "Stagent: " + live["texts"]["inline"]) if ours else None
        if not ours:
            return None
        running, launched = self.ledger()
        if running:
            return permit(
                "deny", "Stagent: sub-agent %s works on stage %s already." % (", ".join(running), live["stage"])
            )
        if launched:
            return permit("deny", "Stagent: a sub-agent for stage %s is being launched already." % live["stage"])
        self.note("Launch", call=str(self.event.get("tool_use_id")))
        return say("PreToolUse", live["texts"]["launch"])

    def ledger(self):
        """Return the running agents of this stage and epoch, and whether a launch was not yet seen to start."""
        running = {item["agent"] for item in self.live["ledger"] if not item["ended"]}
        over = {item["agent"] for item in self.live["ledger"] if item["ended"]}
        launches = {}
        for line in self.unfolded():
            kind, agent, data = line.get("e"), line.get("a"), line.get("d") or {}
            if kind == "SubagentStart":
                running |= {agent} - over
                launches.clear()
            elif kind == "SubagentStop":
                running.discard(agent)
            elif kind == "Launch":
                launches[data.get("call")] = line.get("t") or 0
            elif kind == "LaunchFailed":
                launches.pop(data.get("call"), None)
        now = millis()
        return sorted(running), any(now - at < LAUNCH_SECONDS * 1000 for at in launches.values())

    def unfolded(self):
        """Return the spool lines the engine has not folded yet, of this stage's time."""
        data = read(self.live["spool"]) or b""
        lines = []
        for raw in data[self.live["folded"] :].split(b"\n")[:-1]:
            try:
                lines.append(load(raw.decode("utf-8", "replace")))
            except (ValueError, StopIteration):
                continue
        return [line for line in lines if isinstance(line, dict)]

    # -- sub-agents -------------------------------------------------------------------------------------------------

    def agent_start(self):
        """Only our own sub-agent enters the ledger."""
        if self.event.get("agent_type") == AGENT and self.agent:
            self.note("SubagentStart")
            return say(self.name, self.live["texts"]["bootstrap"])
        return None

    def agent_stop(self):
        """Note what the sub-agent left; insist once when it left nothing."""
        if self.event.get("agent_type") != AGENT or not self.agent:
            return None
        result, _, why = judge(self.live)
        if result is None and not self.event.get("stop_hook_active") and self.live["execution"] == "subagent":
            reason = fill(self.live["texts"]["subagent_unfinished"], why=why)
            return {"decision": "block", "reason": "Stagent: " + reason}
        self.note("SubagentStop", durable=True, artifact=mark(self.live["artifact"]["path"]))
        return None

    # -- stop -------------------------------------------------------------------------------------------------------

    def stop(self):
        """Decide whether the turn may end; the table of the session's stop."""
        live, texts = self.live, self.live["texts"]
        if live["status"] != "running" or live["checking"]:
            return None
        if not self.owner():
            return {"systemMessage": "Stagent: another process drives this run; this session does not."}
        result, code, why = judge(live)
        gate = live["gate"]
        if code == "artifact.missing" and not self.begun():
            return self.block("begin", texts["begin"])
        if live["interruptible"] or live["kind"] == "human":
            self.waiting("question")
            return {"systemMessage": "Stagent: " + (self.done(result) if result else texts["paused"])}
        if result and gate and gate["decided"] != "approve" and (not gate["for"] or result in gate["for"]):
            self.waiting("gate")
            return {"systemMessage": "Stagent: " + texts["gate"]}
        if result:
            return self.block("advance", self.done(result))
        if code == "artifact.result":
            return self.block(code, self.problem(why))
        busy = self.busy()
        if busy:
            return {"systemMessage": "Stagent: waiting for " + ", ".join(busy)}
        return self.block(code, self.problem(why) + "\n\n" + texts["how"])

    def begun(self):
        """Say whether the run's driver has looked at it since it began."""
        if self.live["epoch"] > 1:
            return True
        noted = read(self.home + "/live/" + self.session + ".begun", LIMIT)
        return noted is not None and noted.decode("utf-8", "replace") == self.live["run"]

    def done(self, result):
        """Say what follows from a finished artifact."""
        return fill(self.live["texts"]["advance"], result=result, target=self.live["results"][result])

    def problem(self, why):
        """Say what is wrong with the artifact, in the engine's words."""
        return fill(self.live["texts"]["problem"], why=why)

    def busy(self):
        """Return what excuses a stop: this run's agents of this stage, and its own waiting commands."""
        tasks = self.event.get("background_tasks")
        tasks = [task for task in tasks if isinstance(task, dict)] if isinstance(tasks, list) else []
        alive = {str(task.get("id")) for task in tasks if task.get("type") != "shell"}
        found = ["sub-agent " + agent[:12] for agent in self.ledger()[0] if agent in alive or not tasks]
        for task in tasks:
            command = task.get("command")
            if task.get("type") == "shell" and isinstance(command, str):
                if plain_call(command, self.live["launcher"], ("wait", "advance")):
                    found.append("stagent " + command.split()[1])
        return found

    def block(self, code, reason):
        """Insist, as often as the stage allows without progress; then let the turn go as stalled."""
        live = self.live
        path = self.home + "/live/" + self.session + ".stop"
        here = [live["run"], live["stage"], live["epoch"], mark(live["artifact"]["path"])]
        try:
            known = load((read(path, LIMIT) or b"{}").decode("utf-8", "replace"))
        except (ValueError, StopIteration):
            known = {}
        count = known.get("count", 0) + 1 if isinstance(known, dict) and known.get("here") == here else 1
        write(path, dump({"here": here, "count": count}).encode())
        if count == 1:
            command_line(live, self.session, "snapshot", wait=False)
        if count >= live["stop"]["blocks"]:
            write(path, b"{}")
            if command_line(live, self.session, "unchanged", wait=True) == 0:
                self.note("Stalled", durable=True, blocks=count, code=code)
                return {"systemMessage": "Stagent: " + fill(live["texts"]["stalled"], count=count)}
        if live["stop"]["message"]:
            reason += "\n\n" + live["stop"]["message"]
        return {"decision": "block", "reason": "Stagent: " + reason}


EVENTS = {
    "SessionStart": Hook.session_start,
    "SessionEnd": Hook.session_end,
    "UserPromptSubmit": Hook.prompt,
    "UserPromptExpansion": Hook.expansion,
    "PreToolUse": Hook.before_tool,
    "PostToolUse": Hook.after_tool,
    "PostToolUseFailure": Hook.after_tool,
    "PermissionRequest": Hook.permission,
    "SubagentStart": Hook.agent_start,
    "SubagentStop": Hook.agent_stop,
    "Stop": Hook.stop,
    "StopFailure": Hook.failed,
    "Notification": Hook.notification,
    "PreCompact": Hook.compacted,
    "PostCompact": Hook.compacted,
}


def plain_option(option):
    """Return the part of a gate's option that a picker shows."""
    return {"label": option["label"], "description": option["description"]}


def within(path, folder):
    """Say whether a real path lies in a folder, or is it."""
    return path == folder or path.startswith(folder + "/")


def plain_call(command, launcher, verbs):
    """Say whether a command line is one plain call of the launcher with one of these verbs, and nothing else."""
    command = command.strip()
    if not command or any(not (letter.isalnum() or letter in " ./_:=,@%+-") for letter in command):
        return False
    words = command.split()
    return len(words) >= 2 and words[0] in (launcher, "stagent") and words[1] in verbs


def person_call(command):
    """Return the verb of a call that only a person or the engine makes, or an empty text."""
    words = [""]
    for letter in command:
        if letter.isalnum() or letter in "./_-:=@%+,":
            words[-1] += letter
        elif words[-1]:
            words.append("")
    for index, word in enumerate(words):
        name = word.rpartition("/")[2]
        if name not in ("stagent", "stagent-cc", "hook.py"):
            continue
        if name == "hook.py":
            return "hook"
        rest = words[index + 1 : index + 12]
        verb = next((item for item in rest if item and not item.startswith("-")), "")
        if verb in PERSONS:
            return verb
        for verb_of, option in (("continue", "--take-over"), ("start", "--force"), ("app", "--token")):
            if verb == verb_of and option in rest:
                return verb + " " + option
    return ""


def millis():
    """Return the time in unix milliseconds."""
    import time

    return int(time.time() * 1000)


def command_line(live, session, what, wait):
    """Start the program once for what a hook cannot do itself: look at the whole project. Return its exit status."""
    argv = [live["python"], "-I", "-m", "stagent", "hook", what, "--session", session]
    env = {key: value for key, value in posix.environ.items()}
    env[b"STAGENT_HOME"] = live["home"].encode("utf-8", "surrogateescape")
    quiet = [(posix.POSIX_SPAWN_OPEN, number, "/dev/null", posix.O_RDWR, 0) for number in (0, 1, 2)]
    try:
        child = posix.posix_spawn(argv[0], argv, env, file_actions=quiet, setsid=not wait)
    except OSError:
        return 127
    if not wait:
        return 0
    return posix.waitstatus_to_exitcode(posix.waitpid(child, 0)[1])


def keep_arguments(home, event):
    """Keep a `stagent:` command's arguments word for word, for the command's own line to take once."""
    name, session = event.get("command_name"), event.get("session_id")
    if not isinstance(name, str) or not name.startswith("stagent:") or not safe(session):
        return
    document = {
        "v": 1,
        "command": name,
        "args": str(event.get("command_args") or ""),
        "prompt": str(event.get("prompt_id") or ""),
        "pid": environment("CLAUDE_PID"),
        "attended": environment("CLAUDE_CODE_SESSION_ATTENDED"),
        "source": str(event.get("command_source") or ""),
        "t": millis(),
    }
    make_folder(home + "/pending")
    write(home + "/pending/" + session + ".json", dump(document).encode())


def make_folder(path):
    """Make a folder of ours when it is not there."""
    try:
        posix.mkdir(path, 0o700)
    except FileExistsError:
        return


def spool(hook):
    """Append the event's one line to the run's spool, in one write."""
    kind, data = hook.line
    event = hook.event
    part = str(event.get("tool_use_id") or event.get("prompt_id") or hook.agent or "")
    pid = environment("CLAUDE_PID")
    document = {
        "v": 1,
        "k": ":".join((hook.session, part, hook.name, kind)),
        "t": millis(),
        "e": kind,
        "s": hook.session,
        "p": int(pid) if pid.isdigit() else None,
        "a": hook.agent,
        "d": data,
    }
    line = dump(document).encode() + b"\n"
    if len(line) > LIMIT:
        document["d"] = {"cut": len(line)}
        line = dump(document).encode() + b"\n"
    flags = posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT | posix.O_CLOEXEC
    descriptor = posix.open(hook.live["spool"], flags, 0o600)
    try:
        posix.write(descriptor, line)
        if hook.durable:
            posix.fsync(descriptor)
    finally:
        posix.close(descriptor)


def rebind(home, event):
    """Give a session id that replaced another (`/clear`) the live file of the run its process drives."""
    pid, session = environment("CLAUDE_PID"), event["session_id"]
    if event.get("hook_event_name") != "SessionStart" or event.get("source") != "clear" or not pid.isdigit():
        return None
    old = (read(home + "/live/pid-" + pid, LIMIT) or b"").decode("utf-8", "replace").strip()
    if not safe(old) or old == session:
        return None
    data = read(home + "/live/" + old + ".json")
    if data is None:
        return None
    live = load(data.decode("utf-8", "surrogateescape"))
    if str(live.get("pid")) != pid:
        return None
    write(home + "/live/" + session + ".json", data)
    write(home + "/live/pid-" + pid, session.encode())
    return live


def handle(home, text):
    """Return the answer to one event, or None; raises for input that is no event."""
    event = load(text)
    if not isinstance(event, dict):
        return None
    session, name = event.get("session_id"), event.get("hook_event_name")
    if not safe(session) or name not in EVENTS:
        return None
    if environment("STAGENT_ATTEMPT"):
        return None
    data = read(home + "/live/" + session + ".json")
    if data is None:
        live = rebind(home, event)
        if live is None:
            if name == "UserPromptExpansion":
                keep_arguments(home, event)
            return None
    else:
        live = load(data.decode("utf-8", "surrogateescape"))
    hook = Hook(home, event, live)
    answer = EVENTS[name](hook)
    if hook.line is not None:
        spool(hook)
    return answer


def main(argv):
    """Read an event, answer it, and never fail: exit 0 whatever happens."""
    name = ""
    try:
        data = b""
        while True:
            part = posix.read(0, 1 << 20)
            if not part:
                break
            data += part
            if len(data) > 64 << 20:
                return
        text = data.decode("utf-8", "replace")
        answer = handle(argv[1], text)
        if answer is not None:
            posix.write(1, dump(answer).encode())
    except BaseException as error:  # noqa: BLE001 - the outermost frame: a hook that fails must harm nobody
        # Only where this session has a run is a broken hook anybody's business.
        name = type(error).__name__
        if len(argv) > 1 and b"hook_event_name" in data and _has_run(argv[1], data):
            posix.write(
                1, dump({"systemMessage": "Stagent: the hook failed (%s); run stagent doctor." % name}).encode()
            )


def _has_run(home, data):
    try:
        session = load(data.decode("utf-8", "replace")).get("session_id")
        return safe(session) and read(home + "/live/" + session + ".json") is not None
    except BaseException:  # noqa: BLE001 - see main
        return False


if __name__ == "__main__":
    main(sys.argv)
