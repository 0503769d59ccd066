"""Settings and the layout of the data home: the one place that knows where things lie."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from stagent import disk
from stagent.errors import StoreError, UsageError


class Setting(msgspec.Struct, frozen=True):
    """One setting: its name in `stagent config`, its environment variable, its default and its help.

    `number` settings are whole numbers from 1.
    """

    name: str
    env: str
    default: str
    help: str
    choices: tuple[str, ...] = ()
    number: bool = False


SETTINGS = (
    Setting("mode", "STAGENT_DEFAULT_MODE", "local", "Where runs live: only on this machine.", ("local",)),
    Setting("agent", "STAGENT_AGENT", "", "The agent backend `stagent run` uses when none is named."),
    Setting("flow", "STAGENT_FLOW", "default", "The workflow used when none is named."),
    Setting("claude.program", "STAGENT_CLAUDE", "", "The program the agent `claude` is; without it the one on PATH."),
    Setting(
        "claude.permissions",
        "STAGENT_CLAUDE_PERMISSIONS",
        "settings",
        "What Claude Code may do headless: what its own settings allow, file edits too, or all.",
        ("settings", "edits", "all"),
    ),
    Setting(
        "provider_pause",
        "STAGENT_PROVIDER_PAUSE",
        "30",
        "Seconds to wait at least when an agent's provider turns an attempt away; doubled each time.",
        number=True,
    ),
    Setting(
        "provider_longest",
        "STAGENT_PROVIDER_LONGEST",
        "",
        "Minutes a provider is waited for at most; a limit that ends later is a failed attempt. Without it any.",
        number=True,
    ),
    Setting("attempts", "STAGENT_MAX_ATTEMPTS", "4", "How many attempts may run at once; others wait.", number=True),
)
_MOST = 1000
"""The largest value of a setting that is a number."""
HOME_VARIABLE = "STAGENT_HOME"
LAUNCHER_VARIABLE = "STAGENT_BIN"


class DataHome:
    """The folder everything durable lies in. Paths only; nothing is created before it is needed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def locate(cls) -> DataHome:
        """Return the data home: `$STAGENT_HOME`, else the platform's folder for user data."""
        named = os.environ.get(HOME_VARIABLE)
        root = Path(named).absolute() if named else _platform_folder()
        if not is_text(root):
            raise StoreError(
                "home.not_text",
                "the path of the data home is not text in UTF-8",
                where=repr(os.fsencode(root))[2:-1],
                remedy=f"Set {HOME_VARIABLE} to a path that is.",
            )
        return cls(root)

    @property
    def registry(self) -> Path:
        """The database that knows projects and where each run is."""
        return self.root / "registry.db"

    def project(self, project_id: str) -> Path:
        """The folder of one project: its database, blobs, streams and shadow repository."""
        return self.root / "projects" / project_id

    def spool(self, run: str) -> Path:
        """The file hooks append to for one run."""
        return self.root / "spool" / f"{run}.ndjson"

    def activity(self, run: str) -> Path:
        """What the tools of a session's run were used for, as hooks saw it; the older half ends in `.1.ndjson`."""
        return self.root / "activity" / f"{run}.ndjson"

    def live(self, session: str) -> Path:
        """The projection hooks read for one session."""
        return self.root / "live" / f"{session}.json"

    @property
    def pending(self) -> Path:
        """Where hooks keep what is too large for a spool line, and a command's arguments."""
        return self.root / "pending"

    @property
    def slots(self) -> Path:
        """Where the locks lie that say how many attempts run at once."""
        return self.root / "slots"

    def turn(self, session: str) -> Path:
        """The file whose lock lets one call at a time give an agent session a run."""
        return self.root / "turns" / session

    @property
    def templates(self) -> Path:
        """Where the user's own workflows lie, each in a folder of its name."""
        return self.root / "templates"

    @property
    def trusted(self) -> Path:
        """Where consent lies: an empty file for each workflow of a project that a person agreed to, named by digest."""
        return self.root / "trusted"

    @property
    def plugin(self) -> Path:
        """Where the Claude Code plugin is generated."""
        return self.root / "plugin"

    @property
    def launcher(self) -> str:
        """The absolute path of the launcher the plugin's texts use, as it was installed."""
        try:
            return (self.plugin / "launcher").read_text("utf-8").strip()
        except OSError:
            return default_launcher()

    @property
    def settings(self) -> Path:
        """The file `stagent config` writes."""
        return self.root / "config.json"

    def ensure(self) -> None:
        """Create the data home for its owner alone. Raises StoreError when that is not possible."""
        try:
            disk.make_folder(self.root, private=True)
        except OSError as error:
            raise _unwritable(self, "the data home cannot be created", error) from error


def _unwritable(home: DataHome, what: str, error: OSError) -> StoreError:
    return StoreError(
        "home.unwritable",
        f"{what}: {error.strerror or error}",
        where=str(home.root),
        remedy=f"Make the folder writable, or set {HOME_VARIABLE} to one that is.",
    )


def _platform_folder() -> Path:
    """Return the platform's folder for user data.

    The library for this takes as long to import as a whole `tick` may take beyond the interpreter's own start.
    """
    if sys.platform == "darwin":
        return _user_folder() / "Library" / "Application Support" / "stagent"
    named = os.environ.get("XDG_DATA_HOME", "")
    return (Path(named) if named.startswith("/") else _user_folder() / ".local" / "share") / "stagent"


def _user_folder() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:
        raise StoreError(
            "home.unknown",
            "HOME is not set, and the system knows no folder of this user",
            where="HOME",
            remedy=f"Set HOME, or set {HOME_VARIABLE} to a folder you may write.",
        ) from error


def is_text(path: Path) -> bool:
    """Say whether a path can be stored and shown as it is: its bytes are text in UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def default_launcher() -> str:
    """Return where the launcher is installed: `$STAGENT_BIN`, else `~/.local/bin/stagent-cc`."""
    named = os.environ.get(LAUNCHER_VARIABLE)
    return str(Path(named).absolute() if named else _user_folder() / ".local" / "bin" / "stagent-cc")


def known(name: str) -> Setting:
    """Return a setting by name. Raises UsageError for an unknown one."""
    for setting in SETTINGS:
        if setting.name == name:
            return setting
    raise UsageError(
        "config.unknown",
        f'no setting "{name}"',
        where="config",
        known=[setting.name for setting in SETTINGS],
        remedy="Correct the name.",
    )


def stored(home: DataHome) -> dict[str, str]:
    """Return what the settings file holds; an unreadable file is an error, a missing one is empty."""
    try:
        raw = home.settings.read_bytes()
        return msgspec.json.decode(raw, type=dict[str, str])
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, RecursionError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise StoreError(
            "config.damaged",
            f"not a JSON object of texts: {why}",
            where=str(home.settings),
            remedy="Mend or delete it.",
        ) from error


def value(home: DataHome, name: str) -> tuple[str, str]:
    """Return a setting's value and where it comes from: `environment`, `file` or `default`."""
    setting = known(name)
    from_env = os.environ.get(setting.env)
    if from_env:
        return _valid(setting, from_env, setting.env), "environment"
    from_file = stored(home).get(name)
    if from_file:
        return _valid(setting, from_file, str(home.settings)), "file"
    return setting.default, "default"


def change(home: DataHome, name: str, text: str | None) -> None:
    """Set a setting in the file, or remove it with None. Raises UsageError for a value that is not allowed."""
    setting = known(name)
    values = stored(home)
    values.pop(name, None)
    if text is not None:
        values[name] = _valid(setting, text, "config")
    home.ensure()
    data = msgspec.json.format(msgspec.json.encode(values), indent=2) + b"\n"
    fresh = home.settings.with_name(f".{home.settings.name}.{os.getpid()}.new")
    try:
        disk.replace(home.settings, data, fresh)
    except OSError as error:
        raise _unwritable(home, "the settings cannot be written", error) from error


def _valid(setting: Setting, text: str, where: str) -> str:
    if setting.choices and text not in setting.choices:
        raise UsageError(
            "config.value",
            f'"{text}" is no value of {setting.name}',
            where=where,
            known=setting.choices,
            remedy="Choose a known value.",
        )
    if setting.number and not (text.isascii() and text.isdecimal() and 0 < int(text) <= _MOST):
        raise UsageError(
            "config.value",
            f'"{text}" is no value of {setting.name}',
            where=where,
            remedy=f"Give a whole number from 1 to {_MOST}.",
        )
    return text
