"""Pages hang together: links resolve, every page is reached, words are in the glossary, decisions are numbered."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from docs.pages import ROOT, Page, page, pages
from stagent.version import __version__

PAGES = {item.path: item for item in pages()}
SECTIONS = ["## Context", "## Decision", "## Consequences"]
LONGEST_DECISION = 40


def broken(of: Page) -> list[str]:
    """The relative links of a page that lead nowhere."""
    found = []
    for line, target in of.links:
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = unquote(target).partition("#")
        place = (of.path.parent / name).resolve() if name else of.path
        there = PAGES.get(place)
        known = there.anchors if there is not None else {anchor}
        if not place.exists() or (anchor and place.suffix == ".md" and anchor not in known):
            found.append(f"{of.name}:{line}: {target}")
    return found


@pytest.mark.parametrize("of", PAGES.values(), ids=[item.name for item in PAGES.values()])
def test_links_resolve(of: Page) -> None:
    assert broken(of) == []


def test_a_broken_link_is_found() -> None:
    made = Page(
        ROOT / "README.md", "[a](docs/none.md) [b](docs/glossary.md#none) [c](docs/glossary.md) `[d](none.md)`\n"
    )
    assert [entry.rpartition(" ")[2] for entry in broken(made)] == ["docs/none.md", "docs/glossary.md#none"]


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        path = waiting.pop()
        if path not in reached and path in PAGES:
            reached.add(path)
            targets = [target.partition("#")[0] for _, target in PAGES[path].links if not target.startswith("http")]
            waiting += [(path.parent / target).resolve() for target in targets if target]
    assert sorted(item.name for path, item in PAGES.items() if path not in reached) == []


def test_every_page_has_one_title() -> None:
    assert [item.name for item in PAGES.values() if [level for level, _ in item.headings].count(1) != 1] == []


def test_the_glossary_has_the_words_of_the_house() -> None:
    rows = [line.split("|") for line in page("docs/glossary.md").text.splitlines() if line.startswith("| ")][1:]
    terms = [row[1].strip() for row in rows]
    assert len(terms) == len(set(terms))
    assert all(len(row) == 5 and row[2].strip() and row[3].strip() for row in rows)
    words = re.findall(r"\*\*(\w+)s?\*\*", page("AGENTS.md").text.partition("## Words")[2])
    assert words
    assert [word for word in words if word.removesuffix("s") not in terms] == []


def decisions() -> list[Path]:
    """The records of decisions, in their order."""
    return sorted(path for path in (ROOT / "docs" / "adr").glob("*.md") if path.name != "README.md")


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [int(path.name[:4]) for path in decisions()] == list(range(1, len(decisions()) + 1))
    listed = re.findall(r"\((\d{4}-[\w-]+\.md)\)", page("docs/adr/README.md").text)
    assert listed == [path.name for path in decisions()]


@pytest.mark.parametrize("path", decisions(), ids=lambda path: path.stem)
def test_a_decision_is_short_and_complete(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# {path.name[:4]}. ")
    assert re.findall(r"^## .*$", text, re.MULTILINE) == SECTIONS
    assert len(text.splitlines()) <= LONGEST_DECISION
    named = re.findall(r"`(tests/[\w/.]+)`", text)
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_files_the_texts_name_exist() -> None:
    missing = []
    for item in PAGES.values():
        for name in re.findall(r"`((?:src|tests|scripts|benchmarks|docs)/[\w/.-]+)`", item.text):
            if not (ROOT / name).exists() and "<" not in name:
                missing.append(f"{item.name}: {name}")
    assert missing == []


def test_the_changelog_begins_with_this_version() -> None:
    headings = [words for level, words in page("CHANGELOG.md").headings if level == 2]
    assert headings[0].startswith(f"[{__version__}]")
