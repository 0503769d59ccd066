"""What a person agreed to: that a workflow which came with a project may run its commands on this machine.

A project is somebody else's until it was read. Consent is an empty file named by the workflow's digest, so that any
change of the workflow asks anew; bundled workflows, the user's own, and folders elsewhere were chosen by the user.
"""

from __future__ import annotations

from pathlib import Path

from stagent import disk
from stagent.config import DataHome
from stagent.core.capabilities import capabilities
from stagent.engine import flows, templates
from stagent.engine.flows import Flow
from stagent.errors import RefusedError, StoreError


def give(data: DataHome, digest: str) -> None:
    """Remember that a person agreed to a workflow of this digest. Raises StoreError when it cannot be written."""
    try:
        data.ensure()
        disk.make_folder(data.trusted, private=True)
        disk.write(data.trusted / digest, b"", 0o600)
        disk.sync_folder(data.trusted)
    except OSError as error:
        raise StoreError(
            "home.unwritable",
            f"consent cannot be kept: {error.strerror}",
            where=str(data.trusted),
            remedy="Make the data home writable.",
        ) from error


def need(data: DataHome, flow: Flow, root: Path) -> None:
    """Raise RefusedError when a workflow of the project at `root` would run commands that nobody agreed to."""
    commands = capabilities(flow.workflow).commands
    own = flow.folder.parent.resolve() == (root / flows.FOLDER).resolve()
    if not own or not commands or (data.trusted / templates.fingerprint(flow.files)).exists():
        return
    count = len(commands)
    raise RefusedError(
        "flow.untrusted",
        f"this workflow came with the project and would run {count} shell {'command' if count == 1 else 'commands'} "
        "of its own, which nobody on this machine has agreed to",
        where=str(flow.folder),
        remedy=f"Read it (stagent template show {flow.folder}), then, in a terminal or in a step of your CI: "
        f"stagent template trust {flow.folder}. A changed workflow asks again.",
        fields={"commands": [f"{item.where}: {item.run}" for item in commands]},
    )
