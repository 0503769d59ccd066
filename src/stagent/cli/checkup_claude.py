"""What `stagent doctor` asks of Claude Code: its version, its settings, and a session that asks no model anything.

The session is begun once, with the person's own settings, and ends by itself: its only words are a command that Claude
Code answers alone, and every address it might turn to is a port of this machine that nobody listens at.
"""

from __future__ import annotations

import codecs
import os
import shutil
import socket
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from stagent.cli.patient import Finding, Findings, Patient
from stagent.core import claudecode
from stagent.engine import install

_AGAIN = "stagent install claude-code"
_SECONDS = 60.0
VARIABLE = "STAGENT_DOCTOR"
"""What the plugin's SessionStart hook repeats when it is set, so that its answer is known among others."""
_MANAGED = Path("/Library/Application Support/ClaudeCode" if sys.platform == "darwin" else "/etc/claude-code")


class _Settings(msgspec.Struct, frozen=True):
    disableAllHooks: bool = False
    allowManagedHooksOnly: bool = False


class _Plugin(msgspec.Struct, frozen=True):
    source: str = ""
    path: str = ""


class _Line(msgspec.Struct, frozen=True):
    subtype: str = ""
    hook_event: str = ""
    stdout: str = ""
    plugins: list[_Plugin] = []
    plugin_errors: list[msgspec.Raw] = []


class _Project(msgspec.Struct, frozen=True):
    hasTrustDialogAccepted: bool = False


class _Known(msgspec.Struct, frozen=True):
    projects: dict[str, _Project] = {}


def claude(patient: Patient) -> Findings:
    """Claude Code is there, of a version the plugin was tried with, loads the plugin, and runs its hooks."""
    layout = install.Layout(patient.data)
    if not layout.root.exists():
        return
    program = shutil.which("claude")
    if program is None:
        yield Finding(
            code="claude.missing",
            where="PATH",
            what="there is no claude to use the plugin with, so no session was tried",
            remedy=f"Install Claude Code, then: {_AGAIN}; or take the plugin away: {_AGAIN} --uninstall.",
        )
        return
    said = install.ask(program, "--version", seconds=30)
    found = claudecode.version(said.text) if said.status == 0 else None
    if found is None or not claudecode.OLDEST <= found < claudecode.BELOW:
        oldest, below = claudecode.dotted(claudecode.OLDEST), claudecode.dotted(claudecode.BELOW)
        old = "; no decision in its sessions counts as a person's" if found is None or found < claudecode.OLDEST else ""
        yield Finding(
            code="claude.version",
            where=program,
            what=f"its version is {said.text or 'unknown'}; the plugin was tried from {oldest} to below {below}{old}",
            remedy="Use a version in that range, or try a run and watch that its hooks fire.",
        )
    causes = list(_settings())
    yield from causes
    if found is not None and found >= claudecode.OLDEST:
        yield from _session(program, layout, causes)


def _settings() -> Findings:
    """Every settings file that counts here can be read, and none switches hooks off."""
    places = [
        _config() / "settings.json",
        *(Path.cwd() / ".claude" / f"settings{kind}.json" for kind in ("", ".local")),
    ]
    managed = _MANAGED / "managed-settings.json"
    for place in dict.fromkeys([*places, managed]):
        try:
            data = place.read_bytes().removeprefix(codecs.BOM_UTF8).strip()
            settings = msgspec.json.decode(data, type=_Settings) if data else _Settings()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, msgspec.MsgspecError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or error
            yield Finding(
                code="claude.settings",
                where=str(place),
                what=f"Claude Code takes nothing from these settings, they cannot be read: {why}",
                remedy="Mend the file, or restore it from a copy.",
            )
            continue
        # Only an organization's settings can demand its own hooks alone; in any other file it changes nothing.
        names = {"disableAllHooks": settings.disableAllHooks}
        names["allowManagedHooksOnly"] = settings.allowManagedHooksOnly and place == managed
        for name in [name for name, is_set in names.items() if is_set]:
            yield Finding(
                code="claude.hooks_off",
                where=str(place),
                what=f"{name} is set, so that no hook of the plugin fires and nothing holds a session to its run",
                remedy=f"Remove {name} from it{', or have it removed' if place == managed else ''}.",
            )


def _session(program: str, layout: install.Layout, causes: list[Finding]) -> Findings:
    """A session loads the plugin and runs its hooks; what `causes` explain is not said again."""
    said, word = _begin(program)
    lines = list(_lines(said.text))
    begun = next((line for line in lines if line.subtype == "init"), None)
    known = {cause.code for cause in causes}
    if begun is None:
        yield Finding(
            code="claude.session",
            where=program,
            what=f"no session could be begun to look at its plugins and hooks: {said.text[-200:] or said.status}",
            remedy=f"Begin one with: {program} -p /cost; and mend what it says.",
        )
    elif not any(item.source == install.PLUGIN_ID for item in begun.plugins):
        if "claude.settings" not in known:
            errors = "; ".join(bytes(error).decode()[:200] for error in begun.plugin_errors)
            yield Finding(
                code="claude.plugin",
                where=program,
                what=f"a session here does not load the plugin {install.PLUGIN_ID}{f': {errors}' if errors else ''}",
                remedy=f"{_AGAIN}; or start sessions with: claude --plugin-dir {layout.plugin}",
            )
    elif "claude.hooks_off" not in known and not any(
        line.subtype == "hook_response" and line.hook_event == "SessionStart" and word in line.stdout for line in lines
    ):
        yield Finding(
            code="claude.hooks_silent",
            where=program,
            what="a session loads the plugin, but none of its hooks answered; no settings file here switches them off, "
            "so the settings of an organization (disableAllHooks, allowManagedHooksOnly) probably do",
            remedy="See /status in a session for where settings come from, and have the plugin's hooks allowed there.",
        )


def _begin(program: str) -> tuple[install.Answer, str]:
    """Begin a session and return all it said, and the word our hook in it repeats; no session is kept."""
    session = str(uuid.uuid4())
    sources = "user,project,local" if _trusted() else "user"
    words = [program, "-p", "/cost", "--session-id", session, "--no-session-persistence", "--strict-mcp-config"]
    words += ["--setting-sources", sources, "--output-format", "stream-json", "--verbose", "--include-hook-events"]
    with _closed_port() as address:
        said = install.ask(*words, seconds=_SECONDS, env=_environment(address, session))
    with suppress(OSError):
        (_config() / "session-env" / session).rmdir()
    return said, session


def _environment(address: str, word: str) -> dict[str, str]:
    """This process's environment without what a session around it set, and with nothing to reach beyond `address`."""
    kept = ("CLAUDE_CONFIG_DIR",)
    env = {
        name: value
        for name, value in os.environ.items()
        if name in kept or not name.startswith(("CLAUDE", "ANTHROPIC_", "AI_AGENT", "STAGENT_ATTEMPT"))
    }
    env |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ANTHROPIC_BASE_URL"), address)
    env |= dict.fromkeys(("DISABLE_TELEMETRY", "DISABLE_AUTOUPDATER", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"), "1")
    env |= {"CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1", "CLAUDE_CODE_MAX_RETRIES": "0"}
    return env | {"ANTHROPIC_API_KEY": "none", "NO_PROXY": "", "no_proxy": "", VARIABLE: word}


@contextmanager
def _closed_port() -> Iterator[str]:
    """Hold a port of this machine at which nobody listens, so that every call to it is refused."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def _config() -> Path:
    return Path(os.environ.get("CLAUDE_CONFIG_DIR") or Path.home() / ".claude")


def _trusted() -> bool:
    """Say whether the person told Claude Code to trust this folder: only then may its settings run anything here."""
    named = os.environ.get("CLAUDE_CONFIG_DIR")
    place = Path(named or Path.home()) / ".claude.json"
    try:
        projects = msgspec.json.decode(place.read_bytes(), type=_Known).projects
    except (OSError, msgspec.MsgspecError):
        return False
    here = Path.cwd()
    return any(
        str(folder) in projects and projects[str(folder)].hasTrustDialogAccepted for folder in (here, *here.parents)
    )


def _lines(text: str) -> Iterator[_Line]:
    for line in text.splitlines():
        with suppress(msgspec.MsgspecError):
            yield msgspec.json.decode(line, type=_Line)
