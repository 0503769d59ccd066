"""Settings and the layout of the data home: the one place that knows where things lie."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from stagent.errors import StoreError, UsageError
from stagent.failpoints import hit


class Setting(msgspec.Struct, frozen=True):
    """One setting: its name in `stagent config`, its environment variable, its default and its help."""

    name: str
    env: str
    default: str
    help: str
    choices: tuple[str, ...] = ()


SETTINGS = (
    Setting("mode", "STAGENT_DEFAULT_MODE", "local", "Where runs live: only on this machine.", ("local",)),
    Setting("agent", "STAGENT_AGENT", "", "The agent backend `stagent run` uses when none is named."),
    Setting("flow", "STAGENT_FLOW", "default", "The workflow used when none is named."),
)
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
        return cls(Path(named).absolute() if named else _platform_folder())

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

    def live(self, session: str) -> Path:
        """The projection hooks read for one session."""
        return self.root / "live" / f"{session}.json"

    @property
    def pending(self) -> Path:
        """Where hooks keep what is too large for a spool line, and a command's arguments."""
        return self.root / "pending"

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
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                "home.unwritable",
                f"the data home cannot be created: {error.strerror or error}",
                where=str(self.root),
                remedy=f"Make the folder writable, or set {HOME_VARIABLE} to one that is.",
            ) from error


def _platform_folder() -> Path:
    """Return the platform's folder for user data.

    The library for this takes as long to import as a whole `tick` may take beyond the interpreter's own start.
    """
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "stagent"
    named = os.environ.get("XDG_DATA_HOME", "")
    return (Path(named) if named.startswith("/") else Path.home() / ".local" / "share") / "stagent"


def default_launcher() -> str:
    """Return where the launcher is installed: `$STAGENT_BIN`, else `~/.local/bin/stagent-cc`."""
    named = os.environ.get(LAUNCHER_VARIABLE)
    return str(Path(named).absolute() if named else Path.home() / ".local" / "bin" / "stagent-cc")


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
    except FileNotFoundError:
        return {}
    try:
        return msgspec.json.decode(raw, type=dict[str, str])
    except msgspec.DecodeError as error:
        raise StoreError(
            "config.damaged",
            f"not a JSON object of texts: {error}",
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
    fresh = home.settings.with_suffix(".json.new")
    hit("config.write.before")
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(values), indent=2) + b"\n")
    hit("config.rename.before")
    fresh.replace(home.settings)
    hit("config.rename.after")


def _valid(setting: Setting, text: str, where: str) -> str:
    if setting.choices and text not in setting.choices:
        raise UsageError(
            "config.value",
            f'"{text}" is no value of {setting.name}',
            where=where,
            known=setting.choices,
            remedy="Choose a known value.",
        )
    return text
