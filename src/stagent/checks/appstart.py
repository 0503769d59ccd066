"""Whether a project's application really starts: it is started, asked, and ended."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import BinaryIO

import msgspec

from stagent.checks import declared
from stagent.checks.declared import Unmet

KIND = "app"
_POLL = 0.2


class App(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `.agents/app.json` says.

    `start` runs the application and stays; empty for one that ends by itself. `probe` ends with 0 once it works.
    `within` is how long it may take to be ready, in seconds.
    """

    probe: str
    start: str = ""
    within: float = 60.0


def declaration(root: Path, out: BinaryIO) -> str:
    """Judge whether it is declared how the application is started and asked. Raises Unmet otherwise."""
    app = _read(root)
    return f"started by `{app.start or app.probe}`."


def works(root: Path, out: BinaryIO) -> str:
    """Start the application, ask it until it answers, and end it. Raises Unmet when it does not work."""
    app = _read(root)
    if not app.start.strip():
        ran = declared.run(app.probe, root, out, app.within)
        if ran.code != 0:
            raise Unmet(f"`{app.probe}` {ran.how}.")
        return f"`{app.probe}` {ran.how}."
    if declared.run(app.probe, root, out, app.within).code == 0:
        raise Unmet(f"`{app.probe}` is well before anything was started, so it proves nothing. Ask this application.")
    return _started(app, root, out)


def _started(app: App, root: Path, out: BinaryIO) -> str:
    out.write(f"$ {app.start} &\n".encode("utf-8", "surrogateescape"))
    out.flush()
    process = subprocess.Popen(
        ["/bin/sh", "-c", app.start], cwd=root, env=declared.environment(), start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
    )  # fmt: skip
    began = time.monotonic()
    try:
        while time.monotonic() - began < app.within:
            if process.poll() is not None:
                raise Unmet(f"`{app.start}` ended by itself with exit code {process.returncode}. It should stay.")
            if declared.run(app.probe, root, out, app.within).code == 0 and process.poll() is None:
                return f"`{app.start}` answered `{app.probe}` after {time.monotonic() - began:.1f} s."
            time.sleep(_POLL)
    finally:
        declared.end_group(process)
    raise Unmet(f"`{app.start}` did not answer `{app.probe}` within {app.within:g} s.")


def _read(root: Path) -> App:
    app = declared.read(root, KIND, App)
    if not app.probe.strip() or app.within <= 0:
        raise Unmet(f"{declared.place(KIND)}: it needs a command in `probe`, and `within` above 0.")
    return app
