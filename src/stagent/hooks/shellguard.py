"""Reads a shell's command line as far as that is possible without running it, for both hooks and the program.

`Command` looks for a call of ours that is not the caller's to make. A word counts in a place where a shell or what it
starts may run it; quotes, expansions and patterns are read as anything they may stand for. What was missed is refused
by the program itself: it asks for a person's terminal. `judged` decides about a whole line; only modules that are
built in are imported, and every step is linear in the length of the line.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stagent.hooks.hook import Hook

LONGEST = 64 << 10  # the longest line that is read (bytes)
PLAIN = {
    "session": ("tick", "next", "context", "bootstrap", "advance", "wait", "status"),
    "agent": ("tick", "next", "context", "bootstrap", "status"),
    "attempt": ("context", "bootstrap"),
}
PLAIN_KEYS = {"command", "description", "timeout", "run_in_background"}
DECISIONS = {"approve", "reject", "redo", "answer", "cancel", "interrupt"}
PERSONS = DECISIONS | {"hook", "install", "config", "project"}
AGENT_NEVER = PERSONS | {"advance", "continue", "start", "run"}
NEVER = {"session": PERSONS, "agent": AGENT_NEVER, "attempt": AGENT_NEVER}
OPTIONS = {"continue": ("--take-over", "--pending"), "start": ("--force", "--pending"), "app": ("--token",)}
LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
MODULES = ("stagent.cli", "stagent.__main__", "stagent.bootstrap", "stagent.hooks")
FILES = ("stagent/__main__.py", "stagent/hooks/")
INDIRECT = {"eval", "xargs", "alias", "parallel"}
CODE = ("python", "pypy", "perl", "ruby", "node", "php", "lua", "awk", "gawk", "tclsh", "deno", "bun")
STARTERS = frozenset(
    {"sudo", "doas", "env", "nohup", "time", "timeout", "nice", "ionice", "command", "exec", "builtin"}
    | {"setsid", "su", "stdbuf", "watch", "strace", "ltrace", "unshare", "nsenter", "chrt", "taskset"}
    | {"setarch", "catchsegv", "coproc", "sh", "bash", "dash", "zsh", "ksh", "fish", "busybox", "script"}
    | {"ssh", "flock", "chroot", "runuser", "systemd-run", "xargs", "parallel", "eval", "then", "do", "else"}
    | {"elif", "if", "while", "until", "!", "{", "trap", "uv", "uvx", "pipx", "poetry", "pipenv"}
)
"""What stands before a command and starts it."""
GIVEN = frozenset({"-exec", "-execdir", "-ok", "-okdir", "-c", "-m", "--", "-lc", "-qec", "-qc", "-ec"})
"""Options whose value is run."""
MARK, ANY = "\x01", "\x02"  # a place where a command may begin; what an expansion stands for
_FLAT = {
    **dict.fromkeys(b"()`!", f" {MARK} "), **dict.fromkeys(b"[]},", " "), **dict.fromkeys(b";|&", "\n"),
    **dict.fromkeys(b"<>", " > "), **dict.fromkeys(b"\\"),
}  # fmt: skip


def judged(hook: Hook, text: str, who: str) -> tuple[str, str] | None:
    """Decide about a command line of a session, of its sub-`agent` or of an `attempt`: (decision, reason)."""
    line = Command(text, hook.live["launcher"])
    if len(text) > LONGEST:
        return "deny", "a command of more than 64 KiB is not read. Keep what it holds in a file, with the Write tool."
    words = line.plain(PLAIN[who])
    if words and hook.tool == "Bash" and hook.given.keys() <= PLAIN_KEYS and _own(words, hook.live):
        return ("allow", "a plain call") if hook.owner else None
    found = line.forbidden(NEVER[who])
    if found and hook.program("names" if who == "session" else "agent-names", True, "--line=" + text) == 0:
        found = ""  # the line only names the program
    if found and who == "attempt":
        return "deny", f"an attempt does not call stagent {found}. Finish the artifact and end."
    if found in AGENT_NEVER - PERSONS:
        return "deny", "a sub-agent does not move the run. Finish the artifact and end."
    if found:
        return "deny", f"only a person calls stagent {found}, in a terminal of their own."
    return None


def _own(words: list[str], live: dict[str, object]) -> bool:
    """Say whether a plain call is about this run, not about another one it names."""
    for at, word in enumerate(words[1:], 1):
        option, equals, value = word.partition("=")
        if (
            option in ("--session", "--topic")
            and (value if equals else "".join(words[at + 1 : at + 2])) != live["session"]
        ):
            return False
    return words[1:2] in ([], [live["run"]]) or words[1].startswith("-")


class Command:
    """A shell's command line, as far as it can be read without running it."""

    def __init__(self, text: str, launcher: str) -> None:
        self.text, self.launcher = text, launcher
        self.names = ("stagent", "stagent-cc", launcher.lower().rpartition("/")[2])

    def plain(self, verbs: tuple[str, ...]) -> list[str]:
        """Return the words of one plain call of the launcher from its verb on, if that is all; else none."""
        words = self.text.strip(" \n").split(" ")
        plain = all(letter in LETTERS or letter in "./_:=,@%+-" for word in words for letter in word)
        called = plain and len(words) > 1 and words[0] in (self.launcher, "stagent") and words[1] in verbs
        return words[1:] if called else []

    def forbidden(self, verbs: set[str]) -> str:
        """Return what may be called that only a person or the engine may call, or an empty text."""
        text = self.text.lower().replace("\\\n", "").replace("&>", ">").replace(">&", ">")
        text = text.replace(MARK, "").replace(ANY, "")
        # An expansion may stand for nothing in the middle of a word, or for anything.
        for shape in dict.fromkeys((text, _cut(text, ""), _starred(text))):
            lines = _lines(shape)
            whole = Whole(text, {word.rpartition("=")[2] for line in lines for word in line}, self.names)
            for line in lines:
                if found := Call(line, whole).forbidden(verbs):
                    return found
        return ""


class Whole:
    """What is known of the whole line when its commands are read one by one."""

    def __init__(self, text: str, words: set[str], names: tuple[str, ...]) -> None:
        self.words, self.names = words, names
        self.hinted = "stag" in text or "$'" in text
        self.expands = "$" in text or "`" in text
        self.code = any(name in text for name in CODE)
        self.indirect = not INDIRECT.isdisjoint(words)
        self.named = not words.isdisjoint(names)


class Call:
    """The words of one command of a line."""

    def __init__(self, line: list[str], whole: Whole) -> None:
        self.line, self.whole = line, whole
        self._asked = set[str]()

    def forbidden(self, verbs: set[str]) -> str:
        """Return what the command calls, wherever in it the program may be called."""
        found, starts, code = "", list[bool](), False
        for at, word in enumerate(self.line):
            named = self._program(word)
            if named or ANY in word or "*" in word or "?" in word:
                starts = starts or _starts(self.line)
                if named:
                    found = self._named(at, starts[at], code, verbs)
                elif starts[at] and self._fits(word):
                    found = self._hidden(at, verbs)
                if found:
                    return found
            code = code or word.rpartition("/")[2].startswith(CODE)
        return ""

    def _program(self, word: str) -> bool:
        base = word.rpartition("=")[2].rpartition("/")[2].strip("$@")
        module = base.startswith(MODULES) or any(name in word for name in FILES)
        return base in self.whole.names or module or (_short(word) and base.endswith(self.whole.names))

    def _fits(self, word: str) -> bool:
        """Say whether a word with patterns or expansions in it may stand for the program; a lone star does not."""
        base = word.rpartition("=")[2].rpartition("/")[2].replace("?", "*").replace(ANY, "*")
        first, *rest = base.split("*")
        return word not in ("*", "?") and any(matches(name, first, rest) for name in self.whole.names)

    def _named(self, at: int, starts: bool, code: bool, verbs: set[str]) -> str:
        """Return what is called where the program is named; away from a command's place only what decides.

        `code`: whether an interpreter stands before it in the command.
        """
        word, before = self.line[at], self.line[at - 1] if at else ""
        imported = before in ("import", "from") or word.startswith(MODULES)
        run = starts or _short(word) or (code and any(name in word for name in FILES))
        if "stagent/hooks" in word or "stagent.hooks" in word:
            return "hook" if run or imported else ""
        verb = self._verb(at)
        if verb in (verbs if run else verbs & DECISIONS):
            return verb
        if run and any(letter in verb for letter in f"$*?{ANY}"):
            return "with a verb that is not written out"
        if run and (option := self._option(verb, at)):
            return option
        indirect = imported or self.whole.indirect or ("=" in word and self.whole.expands)
        indirect = indirect or (before == MARK and self.whole.code)
        return min(verbs & self.whole.words, default="") if indirect else ""

    def _hidden(self, at: int, verbs: set[str]) -> str:
        """Return what is called where a command that is not written out may be the program."""
        verb, hinted = self._verb(at, MARK), self.whole.hinted
        if verb in (verbs if hinted else verbs & DECISIONS):
            return verb
        # The name may have come to the variable from anywhere in the line.
        named = verbs & self.whole.words if self.whole.named else set[str]()
        return (self._option(verb, at) if hinted else "") or min(named, default="")

    def _verb(self, at: int, end: str = "") -> str:
        """Return the first word behind a command that is no option and no redirection."""
        before = ""
        for here in range(at + 1, len(self.line)):
            item, after = self.line[here], self.line[here + 1] if here + 1 < len(self.line) else ""
            if item == end:
                return ""
            if item != MARK and item[0] not in "->" and before != ">" and not (item.isdigit() and after[:1] == ">"):
                return item
            before = item.strip(">") or ">"
        return ""

    def _option(self, verb: str, at: int) -> str:
        """Return the call with an option that only a person gives, also shortened or not written out."""
        if verb not in OPTIONS or verb in self._asked:
            return ""
        self._asked.add(verb)  # what does not stand behind the first such call does not behind a later one
        for word in self.line[at + 1 :]:
            name, hidden = word.partition("=")[0], any(letter in word for letter in f"$*?{ANY}")
            for option in OPTIONS[verb]:
                if hidden or (len(name) > 3 and option.startswith(name)):
                    return f"{verb} {option}"
        return ""


def _short(word: str) -> bool:
    """Say whether a word is a short option, its value perhaps in it."""
    return word[0] == "-" and word[1:2] != "-"


def matches(name: str, first: str, rest: list[str]) -> bool:
    """Say whether a name begins with `first`, and holds the rest in this order up to its end."""
    if not rest or not name.startswith(first):
        return name == first
    at = len(first)
    for part in rest[:-1]:
        here = name.find(part, at)
        if here < 0:
            return False
        at = here + len(part)
    return name.endswith(rest[-1]) and at + len(rest[-1]) <= len(name)


def _starts(line: list[str]) -> list[bool]:
    """Say of each word whether it may be the name of a command."""
    found, open_, before = [], True, ""
    for word in line:
        here = word != MARK and (open_ or before in GIVEN)
        found.append(here)
        if word == MARK:
            open_ = True
        elif here and word[0] != ">" and before != ">":
            # Behind what starts a command come its options, their values, and variables; an expansion may be nothing.
            empty = not word.strip(ANY)
            passed = open_ and (empty or word[0] in "-0123456789" or before[:1] == "-" or "=" in word)
            open_ = passed or word.rpartition("/")[2] in STARTERS
        before = word
    return found


def _lines(text: str) -> list[list[str]]:
    """Return the words of each command; where a quoted text begins, a command may begin as well."""
    text = f"\n{text}".replace("\n{", f"\n{MARK} ").replace(" {", f" {MARK} ").replace("\t{", f" {MARK} ")
    marks = text.translate(_FLAT)
    for quote in ("'", '"', "'", '"'):
        for lead in (" ", "\t", "\n", "="):
            marks = marks.replace(lead + quote, f"{lead} {MARK} ")
    return [line.split() for line in marks.translate({39: None, 34: None, 123: " "}).split("\n") if line]


def _cut(text: str, put: str) -> str:
    """Return a text with something else in the place of its expansions."""
    for opening, closing in (("${", "}"), ("$(", ")"), ("$@", ""), ("$*", "")):
        first, *parts = text.split(opening)
        text = first + "".join(put + (part.partition(closing)[2] if closing else part) for part in parts)
    return put.join(text.split("`")[::2])


def _starred(text: str) -> str:
    """Return a text with `ANY` in the place of whatever a shell puts something else for, within a word."""
    first, *parts = text.split("$'")
    text = first + "".join(ANY + part.partition("'")[2] for part in parts)
    first, *parts = _cut(text, ANY).split("$")
    names = "abcdefghijklmnopqrstuvwxyz0123456789_"
    text = first + "".join(ANY + (part.lstrip(names) if part[:1] not in tuple("?!#-$") else part[1:]) for part in parts)
    for opening, closing in (("[", "]"), ("{", "}")):
        first, *parts = text.split(opening)
        made = [first]
        for part in parts:
            inner, found, after = part.partition(closing)
            word = found and inner.split() == [inner]
            made.append(ANY + after if word else opening + part)
        text = "".join(made)
    return text
