"""A first session, recorded: the real Claude Code on a private machine, our plugin in it, and a scripted model.

Everything a person would see is real: the interface, the typed command, the hooks, the engine's checks. Only the
model's words come from a script. `record` returns what the terminal showed at the moments that tell the story. As a
program it draws them into docs/pictures/first-session.svg; with `--check` it only says whether the picture there shows
the same.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from acceptance.claude.kit import Desk, Terminal, answer
from docs.drawing import SOFT, Cell, Look, Row, Window, draw, read, rows_of, words
from docs.pages import ROOT
from stagent.testing.scripted_model import Request, ScriptedModel, Thread, Turn, of_agents, text, tool

PICTURE = ROOT / "docs" / "pictures" / "first-session.svg"
TITLE = "A first session in Claude Code"
DESCRIPTION = (
    "Three pictures of a terminal. A person types /stagent:start fix the login bug. The session writes a plan and asks "
    "the person to approve it. A sub-agent builds, the engine runs the tests, another sub-agent reviews, and the run "
    "ends."
)
# So many rows that nothing scrolls away.
SIZE = (140, 100)
TASK = "fix the login bug"
FILES = {
    ".gitignore": "__pycache__/\n",
    "login.py": '''"""Who may come in."""

USERS = {"ann@example.org": "correct horse"}


def log_in(name: str, password: str) -> bool:
    """Return whether the name and the password belong together."""
    return USERS.get(name) == password
''',
    "tests/__init__.py": "",
    "tests/test_login.py": """import unittest

from login import log_in


class LogIn(unittest.TestCase):
    def test_the_right_password(self):
        self.assertTrue(log_in("ann@example.org", "correct horse"))

    def test_a_wrong_password(self):
        self.assertFalse(log_in("ann@example.org", "battery staple"))
""",
}
MENDED = "return USERS.get(name.strip().lower()) == password"
NEW_TEST = """import unittest

from login import log_in


class Spelling(unittest.TestCase):
    def test_capitals_and_blanks_do_not_matter(self):
        self.assertTrue(log_in(" Ann@Example.org ", "correct horse"))
"""
PLAN = """# Fix the login
Addresses with capitals or blanks are turned away. They shall get in.
1. `login.py`: compare the address in lower case, without blanks around it.
2. `tests/test_spelling.py`: a test that fails without it.
Acceptance: " Ann@Example.org " with the right password gets in; all tests pass.
User journeys: none. Deployment: none."""
SUMMARY = (
    "The plan: `login.py` compares the address in lower case and without blanks around it, and a new test holds that "
    "down. No existing test changes."
)
END = "The login bug is fixed:"
REPORT = (
    f"{END} `login.py` takes the address in any spelling, and `tests/test_spelling.py` holds that "
    "down. You approved the plan; the engine ran the tests itself, after the build and again after the review."
)
SESSION = "5e55ab1e-0000-4000-8000-000000000001"
# A sub-agent is known before the session's turn ends, and works until after it has ended.
THINKING, WORKING = 1.0, 3.0
# What differs from one time to the next, and what the picture shows instead.
VARIES = (
    (re.compile(r" v\d+\.\d+\.\d+$"), ""),
    (re.compile(r"\b[0-9a-f]{12}, started \d\d:\d\d:\d\d UTC"), "0123456789ab, started 09:00:00 UTC"),
    (re.compile(r" finished · \d+s"), " finished"),
    # Hints of the interface that come and go.
    (re.compile(r"(?: · /tasks to see subagents| +← for agents)+$"), ""),
)
# Rows that say nothing but how long it took, or come and go with time.
FLEETING = re.compile(r"^✻ \S+ for |/effort$|^\s*Tip: ")
ELLIPSIS = [Cell("⋮", Look(SOFT))]


class Stand(Desk):
    """A person's desk as it lies after an ordinary installation: everything below the home, the plugin taken in."""

    def _seed(self) -> None:
        home = self.root / "home"
        self.project, self.home = home / "shop", home / ".local" / "share" / "stagent"
        self.launcher = str(home / ".local" / "bin" / "stagent-cc")
        self.env |= {"STAGENT_HOME": str(self.home), "STAGENT_BIN": self.launcher, "COLORTERM": "truecolor"}
        self.project.mkdir()
        self.repository(FILES)
        super()._seed()

    def _install(self) -> None:
        self.register()

    def launch(self, name: str, words: str) -> Turn:
        """The model says where it stands and has a sub-agent work the stage."""
        given = {"subagent_type": "stagent:workflow-subagent", "description": name, "prompt": "Run your stage."}
        return Turn(({"type": "text", "text": words}, *tool("Agent", **given).blocks))

    def ask(self, request: Request) -> Turn:
        """The model sums up the plan and asks the question that the tick before printed."""
        question = json.loads(answer(request))["picker"]
        blocks = ({"type": "text", "text": SUMMARY}, *tool("AskUserQuestion", questions=[question]).blocks)
        return Turn(blocks)

    def main(self) -> Thread:
        """What the session's own model does, from the typed command to the end."""
        return Thread(
            [
                tool("Skill", skill="stagent:stagent"),
                self.call("tick"),
                tool("Read", file_path=str(self.project / "login.py")),
                self.artifact("planning", "approved", 1, PLAN),
                self.call("advance"),
                self.call("tick"),
                self.ask,
                self.call("advance"),
                self.launch("build", "Approved. The build comes next."),
                text("A sub-agent builds.", delay=THINKING),
                self.call("advance"),
                self.launch("review", "The engine ran the tests: they pass. The review comes next."),
                text("A sub-agent that did not build reviews.", delay=THINKING),
                self.call("advance"),
                self.launch("QA", "The review passes, and so do the tests. QA comes next."),
                text("A sub-agent looks for journeys to walk.", delay=THINKING),
                self.call("advance"),
                self.artifact("deploy", "skipped", 5, "The plan declares no target."),
                self.artifact("complete", "complete", 6, "Done as planned."),
                self.call("advance"),
                text(REPORT),
            ]
        )

    def workers(self) -> Thread:
        """What the sub-agents do, one after another."""
        login, spelling = self.project / "login.py", self.project / "tests" / "test_spelling.py"
        old = "return USERS.get(name) == password"
        return Thread(
            [
                self.call("bootstrap"),
                tool("Read", file_path=str(login)),
                tool("Edit", file_path=str(login), old_string=old, new_string=MENDED),
                tool("Write", file_path=str(spelling), content=NEW_TEST),
                self.artifact("executing", "done", 2, "The plan is built."),
                text("Built as planned.", delay=WORKING),
                self.call("bootstrap"),
                self.artifact("reviewing", "PASS", 3, "Every criterion is met."),
                text("The review passes.", delay=WORKING),
                self.call("bootstrap"),
                self.artifact("qa-ing", "skipped", 4, "The plan has no user journeys."),
                text("Nothing to test by journeys.", delay=WORKING),
            ],
            of_agents,
        )


def record(root: Path) -> list[Window]:
    """Hold the session on a machine in this empty folder and return its moments.

    Raises AssertionError or TimeoutError when it does not go as the script says.
    """
    with ScriptedModel() as model:
        stand = Stand(root, model)
        model.say(stand.main(), stand.workers())
        try:
            return list(moments(stand, model))
        finally:
            stand.close()


def moments(stand: Stand, model: ScriptedModel) -> Iterator[Window]:
    """Play the person, and take a picture at each step."""
    screen = stand.terminal("--session-id", SESSION, mode="acceptEdits", plugin=False, size=SIZE)
    screen.type(f"/stagent:start {TASK}")
    yield Window("1  Type the task", shown(screen))
    screen.press("enter")
    screen.see("Enter to select", 40)
    yield Window("2  Decide about the plan", part(shown(screen), "❯ /stagent:start", ""))
    screen.press("enter")
    model.wait(lambda request: request.main and "ended as complete" in request.fresh, 90)
    screen.see("after the review", 20)
    rows = shown(screen)
    checked, ended = part(rows, "● Approved.", "● A sub-agent that did not build"), part(rows, f"● {END}", "")
    yield Window("3  The engine checks the work, and the run ends", [*checked, [], ELLIPSIS, [], *ended])


def shown(screen: Terminal) -> list[Row]:
    """What a terminal shows once it is quiet: without what varies, and with one blank row where there were several."""
    screen.settle(1.5)
    found: list[Row] = []
    for row in rows_of(screen.raw, SIZE):
        steady = replaced(row)
        if not FLEETING.search(words(steady)) and (words(steady) or (found and words(found[-1]))):
            found.append(steady)
    return found


def replaced(row: Row) -> Row:
    """A row with what differs each time replaced; the replacement looks as what it replaces."""
    for pattern, instead in VARIES:
        match = pattern.search(words(row))
        if match:
            look = row[match.start()].look
            row = [*row[: match.start()], *(Cell(mark, look) for mark in instead), *row[match.end() :]]
    return row


def part(rows: list[Row], first: str, until: str) -> list[Row]:
    """The rows from the one that begins with `first`, up to the one that begins with `until`, or to the end."""
    said = [words(row) for row in rows]
    begin = next(at for at, line in enumerate(said) if line.startswith(first))
    end = next(at for at, line in enumerate(said) if at > begin and line.startswith(until)) if until else len(rows)
    found = rows[begin:end]
    return found if words(found[-1]) else found[:-1]


def main(arguments: Sequence[str]) -> int:
    """Record, and write or compare; returns 1 when the picture is behind."""
    parser = argparse.ArgumentParser(prog="scripts/picture", description="Record a first session and draw it.")
    parser.add_argument("--check", action="store_true", help="write nothing; say whether the picture shows the same")
    is_check = parser.parse_args(arguments).check
    with tempfile.TemporaryDirectory(prefix="stagent-") as folder:
        # What the desk shows of its terminals is of use only where something fails.
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said):
                svg = draw(record(Path(folder)), TITLE, DESCRIPTION)
        except (AssertionError, TimeoutError):
            sys.stderr.write(said.getvalue())
            raise
    name = PICTURE.relative_to(ROOT)
    if not is_check:
        PICTURE.parent.mkdir(exist_ok=True)
        PICTURE.write_text(svg, encoding="utf-8")
        print(f"{name} is drawn")
        return 0
    is_same = PICTURE.is_file() and read(PICTURE.read_text(encoding="utf-8")) == read(svg)
    print(f"{name} shows {'the same' if is_same else 'something else: call scripts/picture'}")
    return 0 if is_same else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
