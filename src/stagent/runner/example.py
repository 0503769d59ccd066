"""The bundled example: a real small repository, a scripted agent, and a declared policy for its one gate."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from stagent.errors import UsageError
from stagent.runner.policy import Policy

SOURCE = Path(__file__).resolve().parent.parent / "example"
TASK = "Add slugify(title) to textkit: short names for links, with tests."


class Example(msgspec.Struct, frozen=True):
    """An example made anew in a folder of its own."""

    project: Path
    task: str
    script: Path
    policy: Policy

    @classmethod
    def make(cls) -> Example:
        """Create the example repository in a new temporary folder, with one commit.

        Its tests need nothing but this interpreter. Raises UsageError when git cannot make the repository.
        """
        project = Path(tempfile.mkdtemp(prefix="stagent-example-")) / "textkit"
        shutil.copytree(SOURCE / "project", project)
        name = ["-c", "user.name=Example", "-c", "user.email=example@localhost", "-c", "commit.gpgsign=false"]
        for arguments in (["init", "-q"], ["add", "-A"], [*name, "commit", "-q", "-m", "Begin textkit"]):
            _git(project, arguments)
        # The repository is ours, so is its test command; it is pinned with the run like any declared one.
        os.environ["STAGENT_TEST_COMMAND"] = f'"{sys.executable}" -m unittest'
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        return cls(project, TASK, SOURCE / "script.json", Policy.load(SOURCE / "policy.json"))


def _git(project: Path, arguments: list[str]) -> None:
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        subprocess.run(["git", *arguments], cwd=project, env=env, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UsageError(
            "example.git", f"git cannot make the example repository: {error}", remedy="Install git 2.31 or newer."
        ) from error
