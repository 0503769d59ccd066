from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stagent.checks import release
from stagent.checks.declared import Unmet
from stagent.checks.release import NothingDeclared

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
