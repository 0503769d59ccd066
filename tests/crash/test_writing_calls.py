"""No code of ours writes, removes, renames, makes durable, commits or starts anything without a fail point.

Whichever way the code takes, before each call that does, a fail point is passed, and none of its neighbours comes
between: so there is one between two neighbours, as between a file's writing and its flush. After what others can see at
once (a rename, a removal, a commit, a file made durable, a process started) one is passed as well. Then the crash tests
can end the process on either side of each. Pieces written to a file one after the other are one writing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

Function = ast.FunctionDef | ast.AsyncFunctionDef
WRITE, MORE, LASTING, POINT = "write", "more", "lasting", "point"
"""What a call is: it begins to write a file (or makes a folder), writes on, does what lasts, or is a fail point."""

# Modules and folders that are not looked at, and why.
APART = {
    "checks/": "runs in the child that a check or a command stage is: a crash there is one that failed",
    "testing/": "runs in the tests of people who write adapters, never in a run",
    "hooks/": "imports nothing of ours; tests/crash/test_hook_kills.py kills it on either side of each writing call",
    "agents/scripted_child.py": "the scripted agent's own process: what it leaves half done is what agents do",
}
# What may write without a fail point, and why a crash there changes nothing anybody relies on.
ALLOWED = {
    "agents/claude_program.py:_version": "asks the program for its version",
    "cli/checkup.py:git": "asks git for its version",
    "cli/checkup_claude.py:_begin": "takes away the empty folder of the session it looked at",
    "cli/checkup_hook.py:_answers": "a folder of its own in the temporary folder",
    "cli/export.py:_hand_over": "a pipe or a device that somebody named; nothing of ours is there to be halved",
    "cli/frame.py:open_streams": "opens /dev/null; no file is written",
    "cli/frame.py:drop_output": "points standard output at /dev/null; no file is written",
    "cli/frame.py:_nothing": "opens /dev/null; no file is written",
    "cli/asker.py:Asker.ask": "opens the terminal",
    "cli/outside.py:_lent": "the person's own program at the terminal",
    "cli/outside.py:edited": "a folder of its own in the temporary folder",
    "cli/outside.py:page": "a file without a name, for the person's pager",
    "cli/people.py:terminal": "opens the terminal",
    "cli/prompt.py:_paste": "a word for the terminal itself",
    "cli/prompt.py:write": "text for the person at the terminal",
    "guardian.py:guard.divide": "a process between two points of its caller; what it forks ends when we are killed",
    "processes.py:table_from_ps": "asks ps which processes there are",
    "runner/example.py:Example.make": "a folder of its own in the temporary folder, made before any run begins",
    "runner/example.py:_git": "the repository in that folder",
    "runner/replay.py:_private": "opens the file for a call that has points around it",
    "runner/supervisor.py:Supervisor.stop": "one byte into our own pipe, in a signal handler",
    "runner/supervisor.py:_Watched._give_input": "what the attempt's process reads from a pipe",
    "runner/supervisor.py:_Watched._take_output": "a stream file's own method, which has the points",
    "storage/sql.py:SqlStore._stage": "the blob files' own method, which has the points",
    "storage/sqlite.py:SqliteDriver.__init__": "opens a database whose file was made with points around it",
}

METHODS = {"write_bytes": WRITE, "write_text": WRITE, "touch": WRITE, "mkdir": WRITE, "write": MORE, "writelines": MORE}
METHODS |= dict.fromkeys(("symlink_to", "hardlink_to", "unlink", "rename", "rmdir", "commit"), LASTING)
_BY_MODULE = {
    ("os", WRITE): "mkdir makedirs mkfifo",
    ("os", MORE): "write writev pwrite pwritev truncate ftruncate sendfile copy_file_range",
    ("os", LASTING): "fsync fdatasync sync link symlink remove unlink rename renames replace rmdir removedirs "
    "fork forkpty posix_spawn posix_spawnp spawnv spawnve system popen",
    ("pty", LASTING): "fork spawn",
    ("py_compile", WRITE): "compile",
    ("shutil", LASTING): "rmtree move copytree copy copy2 copyfile",
    ("sqlite3", WRITE): "connect",
    ("subprocess", LASTING): "Popen run call check_call check_output getoutput getstatusoutput",
    ("tempfile", WRITE): "mkdtemp mkstemp TemporaryDirectory TemporaryFile NamedTemporaryFile",
}
FUNCTIONS = {f"{module}.{name}": kind for (module, kind), names in _BY_MODULE.items() for name in names.split()}
"""Calls by their full name, however a module spells them."""
READING = {"O_RDONLY", "O_NONBLOCK", "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NOCTTY", "os"}
"""What the flags of a file that is only read are made of."""


def imported(tree: ast.Module) -> dict[str, str]:
    """The full name of everything a module imports, by the name it has there."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {item.asname or item.name: item.name for item in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {item.asname or item.name: f"{node.module}.{item.name}" for item in node.names}
    return names


def kind_of(call: ast.Call, names: dict[str, str]) -> str | None:
    """What a call does to what others can see; None for nothing."""
    words = ast.unparse(call.func).split(".")
    full = ".".join([names.get(words[0], words[0]), *words[1:]])
    if full in ("hit", "stagent.failpoints.hit") or full.startswith("stagent.disk."):
        return POINT  # what `disk` does begins and ends with one; it is looked at like any other module
    if full == "os.open":
        return WRITE if _has_writing_flags(call) else None
    if full in FUNCTIONS:
        return FUNCTIONS[full]
    if words[-1] == "open":
        return WRITE if _opens_for_writing(call, 1 if full in ("open", "io.open") else 0) else None
    if any(isinstance(item, ast.Constant) and str(item.value).startswith("COMMIT") for item in call.args):
        return LASTING
    if words[-1] == "fcntl" and any("FULLFSYNC" in ast.unparse(argument) for argument in call.args):
        return LASTING
    if len(words) == 1 or words[0] in names or words[0] == "sys" or words[:-1] == ["self"]:
        return None  # a function or method of ours, or the standard output
    if words[-1] == "replace":
        # A path's has one argument; a text's has two, that of a structure has names.
        return LASTING if len(call.args) == 1 and not call.keywords else None
    return METHODS.get(words[-1])


def _has_writing_flags(call: ast.Call) -> bool:
    flags = [*call.args[1:2], *(word.value for word in call.keywords if word.arg == "flags")]
    nodes = [node for item in flags for node in ast.walk(item)]
    named = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    # Flags that are worked out elsewhere may be any.
    return not named | {node.id for node in nodes if isinstance(node, ast.Name)} <= READING


def _opens_for_writing(call: ast.Call, index: int) -> bool:
    for mode in [word.value for word in call.keywords if word.arg == "mode"] or call.args[index : index + 1]:
        if not (isinstance(mode, ast.Constant) and isinstance(mode.value, str)):
            # A mode that is worked out may be any; a method called `open` need not open a file.
            return isinstance(call.func, ast.Name)
        if set(mode.value) & set("wax+"):
            return True
    return False


Last = frozenset[tuple[str | None, int]]
"""What the last calls that count may have been, with their lines: one for every way that leads to a place."""


class Ways:
    """Goes every way through the body of one function and keeps what is missing on any of them."""

    def __init__(self, body: Iterable[ast.stmt], names: dict[str, str]) -> None:
        self.names = names
        self.found: set[tuple[int, str]] = set()
        self.leave(self.block(body, frozenset({(None, 0)})))

    def leave(self, last: Last) -> None:
        """The function ends after one of these."""
        self.found |= {(line, "no fail point after it") for kind, line in last if kind == LASTING}

    def calls(self, node: ast.AST, last: Last) -> Last:
        """The calls of an expression, inner ones first; those of a lambda count where it stands."""
        calls = [item for item in ast.walk(node) if isinstance(item, ast.Call)]
        for call in sorted(calls, key=lambda item: (item.end_lineno or 0, item.end_col_offset or 0)):
            kind = kind_of(call, self.names)
            if kind is None or not last:
                continue
            fine = {POINT, WRITE, MORE} if kind == MORE else {POINT}
            if kind != POINT and not {was for was, _ in last} <= fine:
                self.found.add((call.lineno, "no fail point before it"))
            last = frozenset({(kind, call.lineno)})
        return last

    def block(self, body: Iterable[ast.stmt], last: Last) -> Last:
        """One statement after the other."""
        for statement in body:
            last = self.step(statement, last)
        return last

    def step(self, node: ast.stmt, last: Last) -> Last:
        """One statement, with everything that is in it."""
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                return last
            case ast.ClassDef():
                return self.block(node.body, last)
            case ast.If():
                last = self.calls(node.test, last)
                return self.block(node.body, last) | self.block(node.orelse, last)
            case ast.For() | ast.AsyncFor() | ast.While():
                last = self.calls(node.test if isinstance(node, ast.While) else node.iter, last)
                # A second time round, what came last in the first is its neighbour.
                once = self.block(node.body, last)
                return self.block(node.orelse, last | once | self.block(node.body, last | once))
            case ast.With() | ast.AsyncWith():
                for item in node.items:
                    last = self.calls(item.context_expr, last)
                return self.block(node.body, last)
            case ast.Try():
                after = self.block(node.orelse, self.block(node.body, last))
                for handler in node.handlers:
                    # What tidies up after a call that failed, and fails as well, leaves no less than a crash there.
                    if not isinstance(handler.body[-1], ast.Raise):
                        after |= self.block(handler.body, last)
                return self.block(node.finalbody, after or last)
            case ast.Match():
                last = self.calls(node.subject, last)
                return last.union(*(self.block(case.body, last) for case in node.cases))
            case ast.Return():
                self.leave(self.calls(node, last))
                return frozenset()
            case ast.Raise():
                self.calls(node, last)
                return frozenset()
        return self.calls(node, last)


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.Module | Function]]:
    """Every function with its full name, and the module itself as the last one."""
    todo: list[tuple[str, ast.AST]] = [("", tree)]
    while todo:
        prefix, node = todo.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, Function):
                yield f"{prefix}{child.name}", child
            inner = f"{prefix}{child.name}." if isinstance(child, Function | ast.ClassDef) else prefix
            todo.append((inner, child))
    yield "<module>", tree


def bare(tree: ast.Module) -> Iterator[tuple[str, int, str]]:
    """Function, line and complaint for every writing call that lacks a fail point before or after it."""
    names = imported(tree)
    for name, function in functions(tree):
        yield from ((name, line, what) for line, what in sorted(Ways(function.body, names).found))


def test_every_writing_call_has_its_fail_points(checkout: Path) -> None:
    package = checkout / "src" / "stagent"
    found: list[str] = []
    excused: set[str] = set()
    places = [path.relative_to(package).as_posix() for path in package.rglob("*.py")]
    for place in sorted(place for place in places if not place.startswith(tuple(APART))):
        for name, line, complaint in bare(ast.parse((package / place).read_text("utf-8"))):
            key = f"{place}:{name}"
            excused.add(key)
            if key not in ALLOWED:
                found.append(f"{place}:{line} ({name}): {complaint}")
    assert found == []
    assert excused == set(ALLOWED), "what needs no excuse any more leaves the list"
    assert [name for name in APART if not any(place.startswith(name) for place in places)] == []


def complaints(*lines: str) -> list[str]:
    """What is missing in a function of these lines."""
    text = (
        "import os, posix, shutil, subprocess\nfrom os import fsync, open as raw\nfrom stagent import disk\ndef f():\n"
    )
    return [what for _, _, what in bare(ast.parse(text + "".join(f"    {line}\n" for line in lines)))]


BEFORE, AFTER = "no fail point before it", "no fail point after it"


@pytest.mark.parametrize(
    "line",
    [
        'open(path, "w")',
        'open(path, mode="ab")',
        "open(path, chosen)",
        'path.open("x")',
        "os.open(path, os.O_RDWR | os.O_CREAT)",
        "os.open(path, flags)",
        "raw(path, os.O_WRONLY)",
        "os.write(descriptor, data)",
        "file.write(data)",
        'path.write_text("x")',
        "path.mkdir(parents=True)",
        "os.makedirs(path)",
    ],
)
def test_a_call_that_writes_wants_a_point_before_it(line: str) -> None:
    assert complaints(line) == [BEFORE]
    assert complaints("hit('a')", line) == []
    assert complaints(line, "hit('a')") == [BEFORE]


@pytest.mark.parametrize(
    "line",
    [
        "os.fsync(descriptor)",
        "fsync(descriptor)",
        "os.fdatasync(descriptor)",
        "path.replace(other)",
        "os.replace(one, other)",
        "path.unlink(missing_ok=True)",
        "shutil.rmtree(path)",
        "subprocess.Popen(command)",
        'driver.patiently("COMMIT")',
        "connection.commit()",
        "fcntl.fcntl(fd, fcntl.F_FULLFSYNC)",
    ],
)
def test_a_call_that_lasts_wants_a_point_on_both_sides(line: str) -> None:
    assert complaints(line) == [AFTER, BEFORE]
    assert complaints("hit('a')", line) == [AFTER]
    assert complaints("hit('a')", line, "hit('b')") == []
    inner = f"def f():\n  hit('a')\n  def g():\n    {line}\n  hit('b')\n"
    assert {found[0] for found in bare(ast.parse(f"from os import fsync\n{inner}"))} == {"f.g"}


def test_two_neighbours_want_a_point_between_them() -> None:
    assert complaints("hit('a')", "os.fsync(f)", "os.fsync(f)", "os.rename(a, b)", "hit('b')") == [BEFORE, BEFORE]
    assert complaints("hit('a')", "with open(p, 'wb') as f:", "  f.write(x)", "  os.fsync(f)", "hit('b')") == [BEFORE]
    assert complaints("hit('a')", "with open(p, 'wb') as f:", "  f.write(x)", "  f.write(y)") == []
    assert complaints("hit('a')", "one.write_bytes(x)", "other.write_bytes(x)") == [BEFORE]
    assert complaints("disk.write(p, x)", "path.unlink()", "disk.sync_folder(p)") == []


def test_every_way_is_looked_at() -> None:
    assert complaints("hit('a')", "if x:", "  path.unlink()", "else:", "  path.rmdir()", "hit('b')") == []
    assert complaints("if x:", "  hit('a')", "path.unlink()", "hit('b')") == [BEFORE]
    assert complaints("hit('a')", "for path in found:", "  path.unlink()", "hit('b')") == [BEFORE]
    assert complaints("hit('a')", "path.unlink()", "if x:", "  return 1", "hit('b')") == [AFTER]
    assert complaints("hit('a')", "try:", "  one.write_bytes(x)", "except OSError:", "  one.unlink()", "  raise") == []
    assert complaints("try:", "  pass", "except OSError:", "  one.unlink()", "hit('b')") == [BEFORE]


@pytest.mark.parametrize(
    "line",
    [
        "open(path)",
        'open(path, "rb")',
        "os.open(path, os.O_RDONLY | os.O_NONBLOCK)",
        'text.replace("a", "b")',
        "msgspec.structs.replace(event, text=text)",
        "names.remove(name)",
        'tx.execute("SELECT 1")',
        "sys.stdout.write(text)",
    ],
)
def test_a_call_that_only_reads_wants_none(line: str) -> None:
    assert complaints(line) == []
