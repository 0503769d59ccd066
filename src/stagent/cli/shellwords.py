"""Whether a command line only names the program: in a message, a search, a text, but never where a shell would run it.

The hook denies a line in which the program and a person's verb stand side by side; before it does, it asks here. A line
is let off only when it can be read for certain and all such words are given to commands that print, search or record
words. Whatever is not certain is taken for a call.
"""

from __future__ import annotations

import re

import msgspec

from stagent.hooks.shellguard import Command

LEADING = frozenset({"if", "then", "else", "elif", "while", "until", "do", "!", "time", "{"})
CLOSING = frozenset({"fi", "done", "}"})
DEFINING = frozenset({"function", "alias", "hash", "enable", "shopt"})
"""What may give a name another meaning: beside it no name can be trusted."""
_TEXT = ("cat", "cut", "echo", "egrep", "fgrep", "grep", "head", "jq", "printf", "rg", "tail", "tee", "tr", "wc")
_FILES = ("basename", "cd", "dirname", "ls", "mkdir", "pwd", "touch")
HARMLESS = frozenset((*_TEXT, *_FILES, "false", "gh", "git", "sleep", "test", "true", "["))
"""Commands that run nothing of what they are given as words, apart from what `_harmful` knows of them."""
_GIT = frozenset({"add", "blame", "branch", "commit", "diff", "grep", "log", "show", "status", "tag"})
_OPTIONS = {"rg": ("--pre", "--hostname-bin"), "printf": ("-v",)}
_OPTIONS["git"] = ("-O", "--open-files-in-pager", "--ext-diff", "--textconv", "--output", "--exec", "--upload-pack")
"""Options that run something, or write a file; a long one also in any shortened form."""
_RUNS = frozenset(
    {"sh", "bash", "dash", "zsh", "ksh", "fish", "busybox", "source", ".", "eval", "exec", "xargs", "env"}
)
_RUNS |= {"command", "builtin", "parallel", "ssh", "script", "trap", "find", "awk", "sed", "perl", "ruby", "node"}
"""Commands that run what they find in a file, or in their words."""
_QUIET = frozenset({"/dev/null", "/dev/stdout", "/dev/stderr"})
_VARIABLE = re.compile(r"\$(?:\{\w+\}|\w+|[@*#?$!-])")
_UNSURE = ("$_", "${_", "BASH_", "$'", '$"', "$((", "$[")
_REDIRECTION = re.compile(r"&>>?|<<<|<<-?|>>|>&|<&|<>|>\||<|>")
_ENDS = " \t\n;&|<>()"


class Unsure(ValueError):
    """The text cannot be read for certain."""


class Simple:
    """One command: its words (None for one that is not written out), what runs inside of them, whether it writes."""

    def __init__(self) -> None:
        self.words: list[str | None] = []
        self.inner: list[Pipeline] = []
        self.writes = False

    @property
    def called(self) -> list[str | None]:
        """The words from the command's name on."""
        at = 0
        while at < len(self.words) and self.words[at] in LEADING:
            at += 1
        return self.words[at:]

    @property
    def harmless(self) -> bool:
        """Whether the command runs nothing that its own words say."""
        words = self.called
        if not words:
            return True
        if words[0] == "(" or words[0] in CLOSING:
            return len(words) == 1
        name = re.sub(r"\A(?:/usr)?/bin/", "", words[0] or "")
        return name in HARMLESS and not _harmful(name, words[1:])


class Pipeline:
    """Commands joined by pipes, and their text with everything that is fed to them."""

    def __init__(self) -> None:
        self.commands = [Simple()]
        self.text = ""

    @property
    def harmless(self) -> bool:
        """Whether all its commands are; raises Unsure for the output of a block, which is written elsewhere."""
        if len(self.commands) > 1 and any(
            command.called[:1] and command.called[0] in CLOSING for command in self.commands
        ):
            raise Unsure
        return all(command.harmless for command in self.commands)


class Here(msgspec.Struct):
    """A text that stands below the line which announces it."""

    end: str
    indented: bool
    quoted: bool
    owner: Pipeline


def only_named(text: str, launcher: str, verbs: set[str]) -> bool:
    """Say whether a line certainly calls none of `verbs` of the program, although it holds such words."""
    if any(mark in text for mark in _UNSURE):
        return False
    try:
        pipelines = _all(Reader(text.replace("\\\n", "")).everything())
        suspects = [pipeline for pipeline in pipelines if not pipeline.harmless]
    except (Unsure, RecursionError):
        return False
    names = {name for pipeline in pipelines for command in pipeline.commands for name in command.called[:1]}
    if None in names or not DEFINING.isdisjoint(names):
        return False
    if any(_may_take(pipeline) for pipeline in suspects):
        # A text that only names the program may be what it runs: of a file's name, of the last commit.
        return False
    written = [command for pipeline in pipelines if pipeline not in suspects for command in pipeline.commands]
    if suspects and any(command.writes or command.called[:1] == ["tee"] for command in written):
        # What is written here may be what is run there.
        return False
    return not Command("\n".join(pipeline.text for pipeline in suspects), launcher).forbidden(verbs)


def _all(pipelines: list[Pipeline]) -> list[Pipeline]:
    inner = [_all(command.inner) for pipeline in pipelines for command in pipeline.commands]
    return pipelines + [pipeline for found in inner for pipeline in found]


def _may_take(pipeline: Pipeline) -> bool:
    """Say whether something unknown here may run a text that stands somewhere else in the line."""
    for at, command in enumerate(pipeline.commands):
        if command.harmless or command.called[:1] == ["for"]:
            continue
        words = [word for word in command.called if word is None or "=" not in word]
        name = (words[0] or "").rpartition("/")[2] if words else ""
        code = name.startswith("python") and (words[1:2] != ["-m"] or None in words)
        hidden = None in words or any(letter in word for word in words if word for letter in "*?[{")
        if at or hidden or code or name in _RUNS or len(words) < len(command.called):
            return True
    return False


def _harmful(name: str, words: list[str | None]) -> bool:
    """Say whether a command that is harmless as a rule may run something here."""
    first = words[0] if words else ""
    if (name == "git" and first not in _GIT) or (name == "gh" and first not in ("pr", "issue")):
        return True
    if None in words and (name in ("rg", "printf") or (name, first) == ("git", "grep")):
        return True
    return any(_risky(word, _OPTIONS.get(name, ())) for word in words if word is not None)


def _risky(word: str, options: tuple[str, ...]) -> bool:
    option = word.partition("=")[0]
    short = any(len(known) == 2 and word.startswith(known) for known in options)
    return short or (len(option) > 2 and any(known.startswith(option) for known in options))


class Reader:
    """Reads a shell's text into pipelines; raises Unsure for everything that is not plain."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.heres: list[Here] = []

    def everything(self) -> list[Pipeline]:
        """Return the pipelines of the whole text, in order."""
        found = self._list("")
        if self.heres:
            raise Unsure
        return found

    def _list(self, closing: str) -> list[Pipeline]:
        found: list[Pipeline] = []
        while self.at < len(self.text):
            if self.text[self.at] == ")":
                if closing != ")":
                    raise Unsure
                self.at += 1
                return found
            pipeline = self._pipeline()
            if any(command.words or command.inner or command.writes for command in pipeline.commands):
                found.append(pipeline)
        if closing:
            raise Unsure
        return found

    def _pipeline(self) -> Pipeline:
        start, pipeline = self.at, Pipeline()
        while self.at < len(self.text) and not self._separated():
            self._part(pipeline)
        pipeline.text = self.text[start : self.at]
        separator = self.text[self.at : self.at + 2]
        if separator == ";;":
            raise Unsure
        if not separator.startswith(")"):
            self.at += 2 if separator in ("&&", "||") else 1
        if separator.startswith("\n"):
            self._below()
        return pipeline

    def _separated(self) -> bool:
        two = self.text[self.at : self.at + 2]
        return two[0] in ";\n)" or two == "||" or (two[0] == "&" and two != "&>")

    def _part(self, pipeline: Pipeline) -> None:
        command, letter = pipeline.commands[-1], self.text[self.at]
        if letter in " \t":
            self.at += 1
        elif letter == "#":
            end = self.text.find("\n", self.at)
            self.at = len(self.text) if end < 0 else end
        elif letter == "|":
            self.at += 2 if self.text[self.at + 1 : self.at + 2] == "&" else 1
            pipeline.commands.append(Simple())
        elif letter == "(":
            if command.words or self.text[self.at + 1 : self.at + 2] == "(":
                raise Unsure
            self.at += 1
            command.words.append("(")
            command.inner += self._list(")")
        elif letter in "<>&":
            self._redirection(pipeline, command)
        else:
            command.words.append(self._word(command))

    def _redirection(self, pipeline: Pipeline, command: Simple) -> None:
        before = command.words[-1] if command.words else None
        if before and before.isdigit() and self.text[self.at - 1].isdigit():
            command.words.pop()
        found = _REDIRECTION.match(self.text, self.at)
        if found is None or self.text[found.end() : found.end() + 1] == "(":
            raise Unsure
        self.at = found.end()
        while self.text[self.at : self.at + 1] in (" ", "\t"):
            self.at += 1
        start, kind = self.at, found[0]
        target = self._word(command)
        if kind in ("<<", "<<-"):
            quoted = any(letter in self.text[start : self.at] for letter in "'\"\\")
            if not target:
                raise Unsure
            self.heres.append(Here(target, kind == "<<-", quoted, pipeline))
        elif ">" in kind:
            known = ("1", "2", "-") if kind == ">&" else ()
            command.writes = command.writes or not (target in _QUIET or target in known)

    def _below(self) -> None:
        """Read the texts that the line just ended has announced."""
        waiting, self.heres = self.heres, []
        for here in waiting:
            body: list[str] = []
            while True:
                end = self.text.find("\n", self.at)
                line = self.text[self.at : end if end >= 0 else len(self.text)]
                if (line.lstrip("\t") if here.indented else line) == here.end:
                    break
                if end < 0:
                    raise Unsure
                body.append(line)
                self.at = end + 1
            self.at += len(line)
            here.owner.text += "\n" + "\n".join(body)
            if not here.quoted and any(mark in text for text in body for mark in ("$(", "${", "`")):
                raise Unsure

    def _word(self, command: Simple) -> str | None:
        """Return the word that begins here, without its quotes; None for one with an expansion in it."""
        parts: list[str] = []
        sure = True
        while self.at < len(self.text) and (letter := self.text[self.at]) not in _ENDS:
            if letter == "\\":
                parts.append(self._next())
            elif letter == "'":
                end = self._find("'", self.at + 1)
                parts.append(self.text[self.at + 1 : end])
                self.at = end + 1
            elif letter == '"':
                self.at += 1
                sure = self._double(parts, command) and sure
            elif letter in "$`":
                self._expansion(command)
                sure = False
            else:
                parts.append(letter)
                self.at += 1
        return "".join(parts) if sure else None

    def _double(self, parts: list[str], command: Simple) -> bool:
        sure = True
        while (letter := self.text[self._inside()]) != '"':
            if letter == "\\":
                parts.append(self._next())
            elif letter in "$`":
                self._expansion(command)
                sure = False
            else:
                parts.append(letter)
                self.at += 1
        self.at += 1
        return sure

    def _expansion(self, command: Simple) -> None:
        if self.text[self.at] == "`":
            end = self._find("`", self.at + 1)
            inner = self.text[self.at + 1 : end]
            if "\\" in inner:
                raise Unsure
            command.inner += Reader(inner).everything()
            self.at = end + 1
        elif self.text.startswith("$(", self.at):
            self.at += 2
            command.inner += self._list(")")
        elif found := _VARIABLE.match(self.text, self.at):
            self.at = found.end()
        elif self.text.startswith("${", self.at):
            raise Unsure
        else:
            self.at += 1

    def _inside(self) -> int:
        if self.at >= len(self.text):
            raise Unsure
        return self.at

    def _next(self) -> str:
        """Return the letter behind a backslash."""
        self.at += 1
        letter = self.text[self._inside()]
        self.at += 1
        return letter

    def _find(self, letter: str, start: int) -> int:
        found = self.text.find(letter, start)
        if found < 0:
            raise Unsure
        return found
