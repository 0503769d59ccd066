"""Every fenced block of every page is executed, loaded or validated; none is passed over.

`console` and `sh` blocks run in a sandbox, page by page and in order; JSON is loaded, workflows and stages are
validated; Python runs as doctest or as it stands; Markdown is read as an artifact. Text must say that it is only shown.
"""

from __future__ import annotations

import doctest
import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from docs.pages import LANGUAGES, WORDS, Block, Page, pages
from docs.sandbox import Ran, Sandbox, fits
from stagent.core.frontmatter import FrontMatter, parse
from stagent.core.verify.folder import validate
from stagent.core.verify.problem import errors
from stagent.errors import UsageError
from stagent.runner.policy import Policy

WITH_BLOCKS = [page for page in pages() if page.blocks]


class Place:
    """Runs the blocks of one page, in order."""

    def __init__(self, root: Path, page: Page) -> None:
        self.root = root
        self.page = page
        self.sandboxes: list[Sandbox] = []
        self.names: dict[str, object] = {}
        self.others: dict[str, Callable[[Block], None]] = {
            "json": self.json,
            "python": self.python,
            "markdown": self.markdown,
            "text": self.text,
        }

    @property
    def sandbox(self) -> Sandbox:
        """The present sandbox, made when it is first needed."""
        if not self.sandboxes:
            self.fresh()
        return self.sandboxes[-1]

    def fresh(self, *, empty: bool = False) -> None:
        """Begin with a new sandbox."""
        self.sandboxes.append(Sandbox(self.root / str(len(self.sandboxes)), empty=empty))

    def take(self, block: Block) -> None:
        """Execute, load or validate one block."""
        where = f"{self.page.name}:{block.line}"
        assert block.language in LANGUAGES, f"{where}: a block of the unknown language {block.language!r}"
        assert set(block.directive) <= set(WORDS), f"{where}: unknown words in {block.directive}"
        if "new" in block.directive:
            self.fresh(empty=block.directive["new"] == "empty")
        if "file" in block.directive:
            self.sandbox.write(block.directive["file"], block.text)
        if block.language in ("console", "sh"):
            self.shell(block, where)
        else:
            self.others[block.language](block)

    # -- commands --------------------------------------------------------------------------------------------

    def shell(self, block: Block, where: str) -> None:
        """Run the commands of a block and compare what they print."""
        steps = list(commands(block))
        assert steps, f"{where}: no line begins with `$ `"
        for number, (command, expected) in enumerate(steps):
            ran = self._run(command, block)
            asked = number + 1 < len(steps) and steps[number + 1][0] == "echo $?"
            wanted = int(block.directive.get("exit", 0)) if number + 1 == len(steps) else 0
            assert asked or ran.status == wanted, f"{where}: `{command}` ended with {ran.status}:\n{ran.text}"
            if block.language == "sh":
                continue
            made = self.sandbox.comparable(ran.text)
            wished = self.sandbox.comparable(expected)
            assert fits(wished, made), (
                f"{where}: `{command}` printed\n{ran.text}\n--- compared as\n{made}\n---\n{wished}"
            )

    def _run(self, command: str, block: Block) -> Ran:
        answers = block.directive.get("says")
        asks = answers is not None and not command.startswith("echo ")
        return (
            self.sandbox.person(command, (answers or "").replace("\\n", "\n").split("|"))
            if asks
            else self.sandbox.run(command)
        )

    # -- the rest --------------------------------------------------------------------------------------------

    def json(self, block: Block) -> None:
        """Load a document; validate it where it is a workflow, a stage, a policy."""
        document = json.loads(block.text)
        if "stage" in block.directive:
            document = as_workflow(document)
        if isinstance(document, dict) and "initial_stage" in document:
            names = document["stages"]
            files = {"workflow.json": json.dumps(document).encode(), **{f"{name}.md": b"x" for name in names}}
            _, problems = validate(files)
            assert errors(problems, strict=True) == []
        elif isinstance(document, dict) and set(document) == {"gates"}:
            Policy(block.text.encode(), self.page.name)

    def python(self, block: Block) -> None:
        """Run a doctest, or a block without prompts as it stands; a page shares its names."""
        if ">>>" not in block.text:
            exec(compile(block.text, f"{self.page.name}:{block.line}", "exec"), self.names)
            return
        test = doctest.DocTestParser().get_doctest(block.text, self.names, self.page.name, None, block.line)
        said: list[str] = []
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        assert runner.run(test, out=said.append, clear_globs=False).failed == 0, "".join(said)
        self.names.update(test.globs)

    def markdown(self, block: Block) -> None:
        """Read an artifact's front matter; a stage file is written for a command of the page to use."""
        if "file" not in block.directive:
            assert isinstance(parse(block.text.encode()), FrontMatter), block.text

    def text(self, block: Block) -> None:
        """Text is for people; the page must say so."""
        assert "shown" in block.directive, f"{self.page.name}:{block.line}: say `<!-- doc: shown -->`, or use console"


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """Yield each command of a block and the output that follows it."""
    command, output = "", ""
    for line in block.text.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, output
            command, output = line[2:], ""
        elif (line.startswith("> ") or line == ">") and command and not output:
            command += f"\n{line[2:]}"
        else:
            assert command, f"line {block.line}: output before the first command"
            output += f"{line}\n"
    if command:
        yield command, output


def as_workflow(part: dict[str, object]) -> dict[str, object]:
    """Put a part of a stage into the smallest workflow that can hold it."""
    kind = part.get("kind", "agent")
    base: dict[str, object] = {"transitions": {"done": "complete"}}
    if kind in ("agent", "review"):
        base["execution"] = {"type": "subagent"}
    first = {"execution": {"type": "inline"}, "transitions": {"done": "stage"}}
    return {
        "initial_stage": "first",
        "terminal_stages": ["complete", "escalated", "cancelled"],
        "run_files": {"baseline": {"init": "git rev-parse HEAD"}},
        "stages": {"first": first, "stage": {**base, **part}},
    }


@pytest.mark.parametrize("page", WITH_BLOCKS, ids=[page.name for page in WITH_BLOCKS])
def test_blocks(page: Page, tmp_path: Path) -> None:
    place = Place(tmp_path, page)
    try:
        for block in page.blocks:
            place.take(block)
    finally:
        for sandbox in place.sandboxes:
            sandbox.close()


def test_the_pages_hold_blocks_of_every_kind() -> None:
    assert {block.language for page in WITH_BLOCKS for block in page.blocks} == set(LANGUAGES)


# --- the collector itself bites ---------------------------------------------------------------------------------------


def taken(tmp_path: Path, text: str) -> None:
    """Take every block of a page with this text."""
    place = Place(tmp_path, Page(Path(__file__).parents[2] / "x.md", text))
    try:
        for block in place.page.blocks:
            place.take(block)
    finally:
        for sandbox in place.sandboxes:
            sandbox.close()


@pytest.mark.parametrize(
    "text",
    [
        "```console\n$ echo one\none\n$ printf 'a\\nb\\n'\na\n...\n```\n",
        "```console\n$ false\n$ echo $?\n1\n```\n",
        "<!-- doc: exit=3 -->\n```console\n$ (exit 3)\n```\n",
        "```console\n$ x=5; cd tests\n$ echo $x; ls test_prices.py\n5\ntest_prices.py\n```\n",
        "<!-- doc: says=yes -->\n```console\n$ read -p 'Sure? ' a; test -t 0; echo got $a\nSure? yes\ngot yes\n```\n",
        '<!-- doc: stage -->\n```json\n{"gate": {"type": "require_approval"}}\n```\n',
        "```python\n>>> 1 + 1\n2\n```\n",
    ],
)
def test_good_blocks_pass(tmp_path: Path, text: str) -> None:
    taken(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "```console\n$ echo one\ntwo\n```\n",
        "```console\n$ echo one\n```\n",
        "```console\n$ false\n```\n",
        "```console\nnothing\n```\n",
        "```yaml\na: 1\n```\n",
        "```\nplain\n```\n",
        "```text\nplain\n```\n",
        "```json\n{\n```\n",
        '<!-- doc: stage -->\n```json\n{"gate": {"type": "nonsense"}}\n```\n',
        '```json\n{"gates": {"a": {"decision": "perhaps", "reason": ""}}}\n```\n',
        "```python\n>>> 1 + 1\n3\n```\n",
        "```python\nraise AssertionError\n```\n",
        "```markdown\nno front matter\n```\n",
        "<!-- doc: unknown -->\n```text\nplain\n```\n",
    ],
)
def test_bad_blocks_fail(tmp_path: Path, text: str) -> None:
    with pytest.raises((AssertionError, ValueError, UsageError)):
        taken(tmp_path, text)


def test_sh_blocks_ignore_output_but_not_failure(tmp_path: Path) -> None:
    taken(tmp_path, f"```sh\n$ {shlex.join(['echo', 'anything'])}\n```\n")
    with pytest.raises(AssertionError):
        taken(tmp_path / "again", "```sh\n$ false\n```\n")
