from __future__ import annotations

import io
import json
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from stagent.checks import release
from stagent.checks.declared import Unmet
from stagent.checks.release import NothingDeclared
from stagent.core.canonical import digest

OUT = io.BytesIO()
LOG = "# Changes\n\n## [1.2.0] - today\n\n### Added\n\n- A thing.\n\n## 1.1.0\n\n- Old.\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@localhost"]
    subprocess.run([*git, "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], cwd=tmp_path, check=True)
    for tag in ("v1.1.0", "v1.2.0-rc.1", "other-9.9.9", "vnext"):
        subprocess.run([*git, "tag", tag], cwd=tmp_path, check=True)
    (tmp_path / "CHANGELOG.md").write_text(LOG)
    (tmp_path / "VERSION").write_text("1.2.0\n")
    declare(tmp_path)
    return tmp_path


def declare(root: Path, **fields: Any) -> None:
    (root / ".agents").mkdir(exist_ok=True)
    (root / ".agents" / "release.json").write_text(json.dumps({"version": "cat VERSION", **fields}))


def test_a_cut_that_is_well(root: Path) -> None:
    assert release.declaration(root, OUT) == "the version is 1.2.0; declared targets: none."
    assert release.cut(root, OUT) == "version 1.2.0 is above every tag, and CHANGELOG.md describes it (1 line)."


@pytest.mark.parametrize(
    ("version", "changelog", "says"),
    [
        ("1.1.0", LOG, "tag v1.1.0 exists already"),
        ("1.0.9", LOG, "not above v1.1.0"),
        ("1.2.0-beta", LOG, r"not above v1\.2\.0-rc\.1"),
        ("1.10.0", LOG, r"no heading for 1\.10\.0"),
        ("1.2", LOG, r"no heading for 1\.2\."),
        ("1.2.0", "# Changes\n\n## 1.2.0\n\n## 1.1.0\n\n- Old.\n", "says nothing below the heading"),
        ("1.2.0", "# Changes\n\n1.2.0 is mentioned.\n", "no heading"),
        ("soon", LOG, "told no version"),
        ("", LOG, "told no version"),
    ],
)
def test_one_that_is_not(root: Path, version: str, changelog: str, says: str) -> None:
    (root / "VERSION").write_text(f"{version}\n")
    (root / "CHANGELOG.md").write_text(changelog)
    with pytest.raises(Unmet, match=says):
        release.cut(root, OUT)


def test_no_changelog_is_named(root: Path) -> None:
    (root / "CHANGELOG.md").unlink()
    with pytest.raises(Unmet, match=r"CHANGELOG\.md cannot be read"):
        release.cut(root, OUT)


def test_a_target_is_deployed_to_and_watched(root: Path) -> None:
    target = {"deploy": "touch up", "probe": "test -f up && echo p >> probes", "soak": 0.3, "every": 0.1}
    declare(root, staging=target)
    assert "deployed to staging" in release.ship(root, OUT, "staging")
    assert len((root / "probes").read_text().split()) >= 3
    with pytest.raises(NothingDeclared, match="no production"):
        release.ship(root, OUT, "production")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"deploy": "false"}, "the deployment to staging `false` ended with exit code 1"),
        ({"probe": "false"}, "probe 1 of staging"),
        ({"probe": "test ! -f twice && mv once twice"}, "probe 2 of staging"),
        ({"probe": " "}, "a target needs commands"),
        ({"every": 0}, "`every` above 0"),
    ],
)
def test_a_failure_on_the_way_is_named(root: Path, change: dict[str, Any], says: str) -> None:
    declare(root, staging={"deploy": "touch once", "probe": "true", "soak": 0.2, "every": 0.1, **change})
    with pytest.raises(Unmet, match=says):
        release.ship(root, OUT, "staging")


def test_skipping_is_refused_where_a_release_is_declared(root: Path, tmp_path_factory: Any) -> None:
    with pytest.raises(Unmet, match="declares how"):
        release.none(root, OUT)
    assert release.none(tmp_path_factory.mktemp("bare"), OUT) == "no release is declared."


def test_the_tag_needs_its_place_for_the_version(root: Path) -> None:
    declare(root, tag="latest")
    with pytest.raises(Unmet, match=r"needs \{version\} once"):
        release.cut(root, OUT)
    declare(root, tag="{x}-{version}-final")
    assert "version 1.2.0" in release.cut(root, OUT)


def test_a_target_is_watched_without_deploying(root: Path) -> None:
    target = {"deploy": "touch up", "probe": "test -f up"}
    declare(root, staging=target)
    with pytest.raises(Unmet, match="probe 1 of staging"):
        release.served(root, OUT)
    (root / "up").write_text("")
    assert release.served(root, OUT) == "staging answers; 1 probe in 0 s, each of them well."
    declare(root, staging=target, production={**target, "probe": "false"})
    with pytest.raises(Unmet, match="probe 1 of production"):
        release.served(root, OUT)
    declare(root)
    with pytest.raises(Unmet, match="declares no target"):
        release.served(root, OUT)


def test_nowhere_is_where_no_target_is_declared(root: Path, tmp_path_factory: Any) -> None:
    for place in (root, tmp_path_factory.mktemp("bare")):
        assert release.nowhere(place, OUT) == "no target is declared."
    declare(root, production={"deploy": "true", "probe": "true"})
    with pytest.raises(Unmet, match="where to deploy to: production"):
        release.nowhere(root, OUT)


def git(root: Path, *arguments: str) -> None:
    named = ["git", "-c", "user.name=x", "-c", "user.email=x@localhost", "-c", "commit.gpgsign=false"]
    subprocess.run([*named, *arguments], cwd=root, check=True)


@pytest.fixture
def released(root: Path) -> Path:
    """A project whose version is its last tag."""
    git(root, "add", "VERSION", "CHANGELOG.md")
    git(root, "commit", "-qm", "cut")
    git(root, "tag", "-a", "v1.2.0", "-m", "out")
    return root


def test_nothing_changed_since_the_last_tag(released: Path) -> None:
    git(released, "commit", "-q", "--allow-empty", "-m", "nothing")
    assert release.unchanged(released, OUT) == "nothing changed since v1.2.0."


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("echo more >> CHANGELOG.md", "changed since v1.2.0: CHANGELOG.md"),
        ("echo more >> CHANGELOG.md; git commit -qam more", "changed since v1.2.0: CHANGELOG.md"),
        ("git update-index --assume-unchanged CHANGELOG.md; echo more >> CHANGELOG.md", "CHANGELOG.md"),
        ("rm CHANGELOG.md", "CHANGELOG.md"),
        ("touch new", "changed since v1.2.0: new"),
        ("echo 1.3.0 > VERSION", "the version is 1.3.0, and the last tag is v1.2.0"),
        ("git tag v1.3.0", "the version is 1.2.0, and the last tag is v1.3.0"),
        ("git tag -d v1.1.0 v1.2.0-rc.1 v1.2.0", "nothing was released yet"),
    ],
)
def test_what_is_new_is_named(released: Path, change: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "x")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "x@localhost")
    subprocess.run(["/bin/sh", "-ec", change], cwd=released, check=True, capture_output=True)
    with pytest.raises(Unmet, match=says):
        release.unchanged(released, OUT)


def test_only_tags_of_the_beginning_count(
    released: Path, tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_them = document_of("release-train")["run_files"]["tags"]["init"]
    file = tmp_path_factory.mktemp("run") / "tags"
    file.write_bytes(subprocess.run(list_them, shell=True, cwd=released, capture_output=True, check=True).stdout)
    monkeypatch.setenv("STAGENT_INPUTS", json.dumps({"tags": [str(file), digest(file.read_bytes())]}))
    assert release.unchanged(released, OUT) == "nothing changed since v1.2.0."
    (released / "VERSION").write_text("1.3.0\n")
    git(released, "commit", "-qam", "more")
    git(released, "tag", "v1.3.0")
    with pytest.raises(Unmet, match=r"the version is 1\.3\.0, and the last tag is v1\.2\.0"):
        release.unchanged(released, OUT)
    with file.open("a") as more:
        more.write("v1.3.0 0\n")
    with pytest.raises(Unmet, match="not what was recorded"):
        release.unchanged(released, OUT)


def document_of(flow: str) -> Any:
    return json.loads((files("stagent") / "workflows" / flow / "workflow.json").read_text())
