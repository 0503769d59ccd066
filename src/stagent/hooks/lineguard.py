"""Which files a command line may touch, for both hooks; loaded only for a shell.

Every word may be a path, from every folder that the line may have gone to, and leads where variables, patterns and
links lead it. What is the engine's (`fileguard`) may be named only by a command that is known to read and do no more.
A program that is started is not looked into.
"""

from __future__ import annotations

from os import environ
from os import path as paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from stagent.hooks.hook import Hook

LOOKING = frozenset(
    {"cat", "ls", "head", "tail", "grep", "egrep", "fgrep", "rg", "wc", "diff", "cmp", "comm", "test", "["}
    | {"stat", "file", "cd", "pushd", "popd", "pwd", "echo", "printf", "cut", "tr", "nl", "tac", "od", "less"}
    | {"more", "jq", "md5sum", "sha256sum", "cksum", "du", "tree", "basename", "dirname", "realpath"}
    | {"readlink", "true", "false", ":", "sleep"}
)
"""Commands that only read what they name."""
GIT = frozenset(
    {"add", "blame", "branch", "commit", "diff", "grep", "log", "show", "status", "check-ignore"} | {"rev-parse"}
)
REMOVING = frozenset({"rm", "mv", "rmdir"})
"""What reaches into all that lies in a folder it names."""
BEFORE = frozenset({"if", "then", "else", "elif", "while", "until", "do", "!", "{", "time", "command"})
DEFINING = frozenset({"export", "declare", "typeset", "local", "readonly"})
ENGINES = "the data home belongs to the engine."
LENGTH = 4096  # the longest path (bytes)
_NAMING = ("alias ", "function ")
_MOST, _PLACES = 8, 2000  # folders a line goes to, alternatives of a word; places that are looked at
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"
_SIGNS = dict.fromkeys(b"=:@,[]}", " ")
_WORDS = {
    **dict.fromkeys(b";|&()`", "\n"), **dict.fromkeys(b"'\"\\"), 60: " < ", 62: " > ", 9: " ",
}  # fmt: skip


def refusal(hook: Hook, text: str, files: Any, shell: Any) -> str:
    """Say why a command line is denied for a file it may touch, or return an empty text.

    `files` is `fileguard`, `shell` is `shellguard`: a hook's files load one another only through it.
    """
    return Line(hook, text, files, shell).refusal()


class Line:
    """The paths of a command line."""

    def __init__(self, hook: Hook, text: str, files: Any, shell: Any) -> None:
        self.hook, self.files, self.shell = hook, files, shell
        self.home, self.project = paths.realpath(hook.home), paths.realpath(hook.live["project"])
        self.runs = paths.realpath(f"{self.project}/.stagent")
        self.folders = [_clean(hook.text("cwd")) or "/"]
        self.values = {"PWD": self.folders[0]}
        self.text = _clean(text).replace("\\\n", "")
        self.own = self.files.places("/", hook.live["artifact"]["path"])[0][0]
        self.asked: dict[tuple[str, str, bool, bool], str] = {}
        self._clear: dict[str, bool] = {}
        known = (hook.home, self.home, hook.live["project"], self.project, self.folders[0])
        # As words, folders with a space in their names could not be told.
        self.spaced = [folder for folder in known if " " in folder]

    def refusal(self) -> str:
        """Say why the line is denied, or return an empty text."""
        if "$STAGENT_HOME" in self.text or "${STAGENT_HOME" in self.text:
            return ENGINES
        told = _without_texts(self.text, (self.hook.live["launcher"], "stagent"))
        segments = self._segments(told)
        nested = any(mark in told for mark in ("$(", "`", "xargs", "parallel", "<("))
        # What is read may be what another command is given.
        looking = not nested or all(_looks(words) for words in segments)
        for words in segments:
            if reason := self._segment(words, looking and _looks(words)):
                return reason
        # A text that goes to a file may speak of the run folders, but not of the data home.
        more = self._segments(self.text) if told != self.text else []
        named = any(self._in_home(place) for words in more for word in words for place in self._candidates(word))
        return ENGINES if named else ""

    def _segments(self, text: str) -> list[list[str]]:
        """Return the words of each command, without what stands before a command."""
        text = text.replace("&>", ">").replace(">&", ">").translate(_WORDS)
        for number, folder in enumerate(self.spaced):
            text = text.replace(folder, f"/\x04{number}")
        found = []
        for part in text.split("\n"):
            words = part.split()
            while words and words[0] in BEFORE:
                del words[0]
            found += [words] if words else []
        return found

    def _segment(self, words: list[str], looking: bool) -> str:
        """Say why one command of the line is denied; where it goes and what it assigns holds for the rest."""
        command, before = "", ""
        for at, word in enumerate(words):
            name, equals, value = word.partition("=")
            begins = not command and word not in "<>" and before not in (">", "<")
            if (begins or command in DEFINING) and equals and name.isidentifier():
                self.values[name] = self._expanded(value)
            elif begins:
                command = word.rpartition("/")[2]
                if "/" not in word:
                    continue
            if word not in "<>":
                moved = command == "mv" and at == len(words) - 1
                for place in self._candidates(word):
                    if reason := self._place(place, "" if moved else command, before == ">", looking):
                        return reason
            if before == "-C":
                self._go([word])
            before = word
        if command in ("cd", "pushd"):
            self._go(words[1:] or ["~"])
        return ""

    def _go(self, words: list[str]) -> None:
        # As a shell does, a step up is taken from the path, not from where a link leads.
        fresh = [paths.normpath(place) for word in words for place in self._candidates(word)]
        self.values["OLDPWD"] = self.folders[0]
        self.folders = list(dict.fromkeys([*fresh[:_MOST], *self.folders]))[:_MOST]
        self.values["PWD"] = self.folders[0]

    def _place(self, place: str, command: str, redirected: bool, looking: bool) -> str:
        """Say why a command may not name a place, or return an empty text."""
        key = (place, command, redirected, looking)
        if key not in self.asked:
            if len(self.asked) >= _PLACES:
                return "it names more paths than are looked at. Split it."
            self.asked[key] = self._judged(*key)
        return self.asked[key]

    def _judged(self, place: str, command: str, redirected: bool, looking: bool) -> str:
        if self._in_home(place):
            return ENGINES
        real, lies = self._real(place), self._real(paths.dirname(place)) + "/" + paths.basename(place)
        if command in REMOVING and any(self.files.inside(folder, real) for folder in (self.home, self.runs)):
            return "what lies in this folder belongs to the engine."
        ways = (real, paths.normpath(lies))
        named = any(self.files.inside(way, self.runs) for way in ways) or self._fits(place, self.runs)
        if not named or (looking and not redirected):
            return ""
        if self.own in (real, lies):
            return ""  # what it holds then, and who wrote it, the engine looks at
        if self.files.report(self.hook, real, real, self.own):
            return ""
        return f"in .stagent this stage writes only {self.hook.live['artifact']['path']}"

    def _in_home(self, place: str) -> bool:
        lower, homes = paths.normpath(place).lower() + "/", (self.hook.home, self.home)
        named = any(lower.startswith(home.lower() + "/") or self._fits(place, home) for home in homes)
        return named or self.files.inside(self._real(place), self.home)

    def _fits(self, place: str, folder: str) -> bool:
        """Say whether a place with patterns in it may be a folder or lie in it."""
        if not any(letter in place for letter in "*?["):
            return False
        names, wanted = paths.normpath(place).split("/"), folder.split("/")
        return len(names) >= len(wanted) and all(
            self._same(one, other) for one, other in zip(names, wanted, strict=False)
        )

    def _same(self, pattern: str, name: str) -> bool:
        """Say whether a pattern may be a name; each of its marks may stand for anything, but not for a dot in front."""
        first, *rest = pattern.replace("?", "*").replace("[", "*[").split("*")
        rest = [part.rpartition("]")[2] if part[:1] == "[" else part for part in rest]
        hidden = name.startswith(".") and pattern[:1] in ("*", "?", "[")
        return name == pattern or (not hidden and bool(self.shell.matches(name, first, rest)))

    def _real(self, place: str) -> str:
        """Return where a place leads in the end."""
        return paths.normpath(place) if any(letter in place for letter in "*?[") else paths.realpath(place)

    def _candidates(self, word: str) -> Iterator[str]:
        """Yield each place a word may name that can be one of the engine's."""
        expanded = self._expanded(word)
        pieces = {expanded, *expanded.translate(_SIGNS).split()} if "{" not in expanded else {expanded}
        if expanded.startswith("-"):
            pieces = {piece for piece in (*pieces, "/" + expanded.partition("/")[2]) if piece[:1] != "-"}
        for piece in sorted(pieces):
            for found in _alternatives(piece):
                if found[:1] == "/":
                    yield from [found] if len(found) < LENGTH else []
                elif found and len(found) < LENGTH:
                    joined = [paths.join(folder, found) for folder in self.folders]
                    yield from (place for place in joined if not self._plain(place, found))

    def _plain(self, place: str, word: str) -> bool:
        """Say whether a place is certainly an ordinary one: a mere name, of a file or of nothing, in another folder."""
        if any(letter in word for letter in "/*?[") or word == "..":
            return False
        folder = paths.dirname(place)
        if folder not in self._clear:
            real = paths.realpath(folder)
            self._clear[folder] = not self.files.inside(real, self.home) and not self.files.inside(real, self.runs)
        seen = self.files.status(place)
        return self._clear[folder] and (seen is None or seen.st_mode & 0o170000 == 0o100000)

    def _expanded(self, word: str) -> str:
        """Return a word with the variables that are known put in; empty when that makes it too long for a path."""
        for number, folder in enumerate(self.spaced):
            word = word.replace(f"/\x04{number}", folder)
        if word == "~" or word.startswith("~/"):
            word = environ.get("HOME", "~") + word[1:]
        found, *parts = word.split("$")
        for part in parts:
            inner, closed, after = part[1:].partition("}") if part[:1] == "{" else ("", "", "")
            name = inner if closed else part[: len(part) - len(part.lstrip(_LETTERS))]
            known = self.values.get(name, environ.get(name))
            found += "$" + part if known is None else known + (after if closed else part[len(name) :])
            if len(found) > 2 * LENGTH:
                return ""
        return found


def _clean(text: str) -> str:
    """Return a text that can be a path: without what no file name can hold."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")


def _looks(words: list[str]) -> bool:
    """Say whether a command only reads what it names; a command that only assigns does."""
    words = [word for at, word in enumerate(words) if word not in "<>" and words[at - 1 : at] not in (["<"], [">"])]
    while words and "=" in words[0]:
        del words[0]
    if not words:
        return True
    name, rest = words[0].rpartition("/")[2], words[1:]
    if name == "git":
        return (
            rest[:1] != []
            and rest[0] in GIT
            and not any(word.startswith("--o") for word in rest if word != "--oneline")
        )
    if name == "find":
        return not any(word.startswith(("-delete", "-exec", "-ok", "-fprint", "-fls")) for word in rest)
    if name == "sed":
        return rest[:1] == ["-n"] and rest[1:2] != [] and all(letter in "0123456789,$p" for letter in rest[1])
    if name == "sort":
        return not any(word.startswith(("-o", "--o")) for word in rest)
    return name in LOOKING


def _alternatives(word: str) -> list[str]:
    """Return what braces make of a word."""
    found = [word]
    while "{" in found[0] and "}" in found[0] and len(found) < _MOST:
        before, _, rest = found[0].partition("{")
        inner, _, after = rest.partition("}")
        found = found[1:] + [before + part + after for part in ([*inner.split(",")] if "," in inner else ["*"])]
    return found


def _without_texts(text: str, names: tuple[str, ...]) -> str:
    """Return a line without the texts below it that only go to a file, or to the program; all of it when in doubt."""
    rows, kept, at = text.split("\n"), list[str](), 0
    if not 0 < text.count("<<") <= _MOST or "()" in text.replace(" ", "") or any(word in text for word in _NAMING):
        return text
    while at < len(rows):
        row = rows[at]
        kept.append(row)
        at += 1
        before, sign, after = row.partition("<<")
        if not sign:
            continue
        word = (after.removeprefix("-").split() or [""])[0]
        end = word.strip("'\"") if word[:1] == word[-1:] else word
        called = (before.replace("&&", "&").rpartition("&")[2].split() or [""])[0]
        plain = end.isalnum() and called in ("cat", "tee", *names) and not any(mark in row for mark in "|(`;")
        stop = next((here for here in range(at, len(rows)) if rows[here].lstrip("\t") == end), -1)
        expands = word == end and any(mark in body for body in rows[at:stop] for mark in ("$(", "`"))
        if not plain or stop < 0 or expands or "<<" in after or after[:1] == "<" or not _closed("\n".join(kept)):
            return text
        at = stop
    return "\n".join(kept)


def _closed(text: str) -> bool:
    """Say whether no quote is open at the end of a text."""
    quote, escaped = "", False
    for letter in text:
        if escaped or (letter == "\\" and quote != "'"):
            escaped = not escaped
        elif quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
    return not quote
