"""No code of ours writes, removes, renames, makes durable, commits or starts anything without a fail point.

The function that does it passes one before, and for whatever others can see at once (a rename, a removal, a commit, a
file made durable, a process started) one after as well. Then the crash tests can end the process on either side of it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

# What `checks/` holds runs in the child that a check or a command stage is: a crash there is one that failed.
PLACES = ("engine/", "storage/", "workspace/", "runner/", "config.py", "cli/")
Function = ast.FunctionDef | ast.AsyncFunctionDef
WRITE, LASTING = "write", "lasting"

# What may write without a fail point, and why a crash there changes nothing anybody relies on.
ALLOWED = {
    "cli/checkup.py:git": "asks git for its version",
    "cli/frame.py:open_streams": "opens /dev/null; no file is written",
    "cli/frame.py:drop_output": "points standard output at /dev/null; no file is written",
    "cli/frame.py:_nothing": "opens /dev/null; no file is written",
    "cli/people.py:Terminal.say": "text for the person at the terminal",
    "cli/people.py:Terminal.ask": "a question for the person at the terminal",
    "cli/people.py:terminal": "opens the terminal",
    "cli/people.py:Asker.ask": "opens the terminal",
    "runner/example.py:Example.make": "a folder of its own in the temporary folder, made before any run begins",
    "runner/example.py:_git": "the repository in that folder",
    "runner/supervisor.py:Supervisor.stop": "one byte into our own pipe, in a signal handler",
    "runner/supervisor.py:_Watched._give_input": "what the attempt's process reads from a pipe",
}

WRITING_METHODS = {"write_bytes": WRITE, "write_text": WRITE, "touch": WRITE, "symlink_to": LASTING}
WRITING_METHODS |= {"hardlink_to": LASTING, "unlink": LASTING, "rename": LASTING, "rmdir": LASTING}
FUNCTIONS = {
    "os": {"fsync", "link", "symlink", "remove", "unlink", "rename", "replace", "rmdir", "posix_spawn", "fork"},
    "shutil": {"rmtree", "move", "copytree", "copy", "copy2", "copyfile"},
    "subprocess": {"Popen", "run", "call", "check_call", "check_output"},
}
SILENT = {"os": {"write", "pwrite", "truncate", "ftruncate"}, "tempfile": {"mkdtemp", "mkstemp"}}
WRITING_FLAGS = {"O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND"}


def kind_of(call: ast.Call) -> str | None:
    """`write`, `lasting` or None: what a call does to what others can see."""
    function = call.func
    if isinstance(function, ast.Name):
        return WRITE if function.id == "open" and _opens_for_writing(call) else None
    if not isinstance(function, ast.Attribute):
        return None
    owner = function.value.id if isinstance(function.value, ast.Name) else ""
    name = function.attr
    if owner == "os" and name == "open":
        flags = {node.attr for node in ast.walk(call) if isinstance(node, ast.Attribute)}
        return WRITE if flags & WRITING_FLAGS else None
    if name in FUNCTIONS.get(owner, ()):
        return LASTING
    if name in SILENT.get(owner, ()):
        return WRITE
    if name == "open":
        return WRITE if _opens_for_writing(call) else None
    if name == "replace":
        # A path's has one argument; a text's has two, that of a structure has names.
        return LASTING if len(call.args) == 1 and not call.keywords else None
    if name == "commit" or any(_starts(argument, "COMMIT") for argument in call.args):
        return LASTING
    if name == "fcntl" and any("FULLFSYNC" in ast.unparse(argument) for argument in call.args):
        return LASTING
    return WRITING_METHODS.get(name)


def _starts(node: ast.expr, word: str) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(word)


def _opens_for_writing(call: ast.Call) -> bool:
    index = 1 if isinstance(call.func, ast.Name) else 0
    modes = [keyword.value for keyword in call.keywords if keyword.arg == "mode"] or call.args[index : index + 1]
    for mode in modes:
        if not (isinstance(mode, ast.Constant) and isinstance(mode.value, str)):
            # A mode that is worked out may be any; a method called `open` need not open a file.
            return isinstance(call.func, ast.Name)
        if set(mode.value) & set("wax+"):
            return True
    return False


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


def own_calls(function: ast.Module | Function) -> Iterator[ast.Call]:
    """The calls in a function's own body, those of functions defined in it left out."""
    todo: list[ast.AST] = list(ast.iter_child_nodes(function))
    while todo:
        node = todo.pop()
        if isinstance(node, Function):
            continue
        if isinstance(node, ast.Call):
            yield node
        todo += ast.iter_child_nodes(node)


def bare(tree: ast.Module) -> Iterator[tuple[str, int, str]]:
    """Function, line and complaint for every writing call that lacks a fail point before or after it."""
    for name, function in functions(tree):
        calls = list(own_calls(function))
        points = [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "hit"]
        for call in calls:
            kind = kind_of(call)
            if kind is None:
                continue
            if not any(line < call.lineno for line in points):
                yield name, call.lineno, "no fail point before it"
            elif kind == LASTING and not any(line > (call.end_lineno or 0) for line in points):
                yield name, call.lineno, "no fail point after it"


def test_every_writing_call_has_its_fail_points(checkout: Path) -> None:
    package = checkout / "src" / "stagent"
    found: list[str] = []
    excused: set[str] = set()
    writing = 0
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package).as_posix()
        if not place.startswith(PLACES):
            continue
        tree = ast.parse(path.read_text("utf-8"))
        writing += sum(kind_of(call) is not None for call in ast.walk(tree) if isinstance(call, ast.Call))
        for name, line, complaint in bare(tree):
            key = f"{place}:{name}"
            if key in ALLOWED:
                excused.add(key)
            else:
                found.append(f"{place}:{line} ({name}): {complaint}")
    assert found == []
    assert writing > 40
    assert excused == set(ALLOWED), "what needs no excuse any more leaves the list"


@pytest.mark.parametrize(
    "line",
    [
        'open(path, "w")',
        'open(path, mode="ab")',
        "open(path, chosen)",
        'path.open("x")',
        "os.open(path, os.O_RDWR | os.O_CREAT)",
        "os.write(descriptor, data)",
        'path.write_text("x")',
    ],
)
def test_a_call_that_writes_wants_a_point_before_it(line: str) -> None:
    text = "def f():\n    {}\n    {}\n    {}\n"
    assert [found[2] for found in bare(ast.parse(text.format("pass", line, "pass")))] == ["no fail point before it"]
    assert list(bare(ast.parse(text.format("hit('a')", line, "pass")))) == []
    assert len(list(bare(ast.parse(text.format("pass", line, "hit('a')"))))) == 1


@pytest.mark.parametrize(
    "line",
    [
        "os.fsync(descriptor)",
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
    text = "class A:\n  def f():\n    {}\n    {}\n    {}\n"
    assert [found[0] for found in bare(ast.parse(text.format("pass", line, "pass")))] == ["A.f"]
    assert len(list(bare(ast.parse(text.format("hit('a')", line, "pass"))))) == 1
    assert list(bare(ast.parse(text.format("hit('a')", line, "hit('b')")))) == []
    inner = f"def f():\n  hit('a')\n  def g():\n    {line}\n  hit('b')\n"
    assert [found[0] for found in bare(ast.parse(inner))] == ["f.g"]


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
    ],
)
def test_a_call_that_only_reads_wants_none(line: str) -> None:
    assert list(bare(ast.parse(f"def f():\n    {line}\n"))) == []
