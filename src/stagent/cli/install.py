"""`stagent install claude-code`: generate the plugin and have the real `claude` take it in; and the way back."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click
import msgspec

from stagent.cli import output
from stagent.config import DataHome
from stagent.engine import install
from stagent.errors import NotFoundError, StoreError
from stagent.version import __version__


@click.command(name="install")
@click.argument("target", type=click.Choice(["claude-code"]))
@click.option("--claude", "program", type=click.Path(path_type=Path), help="The claude to use instead of the PATH's.")
@click.option("--dry-run", is_flag=True, help="Show the hooks and files; change nothing.")
@click.option("--uninstall", is_flag=True, help="Take the plugin, the launcher and all generated files away again.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def install_command(target: str, program: Path | None, dry_run: bool, uninstall: bool, as_json: bool) -> int:
    """Install the Claude Code plugin, or bring it up to date: the same command again.

    The plugin is generated into the data home as a marketplace in a local folder; runs are never touched.
    """
    home = DataHome.locate()
    claude = _find(program)
    if uninstall:
        return _uninstall(home, claude, dry_run, as_json)
    planned = install.plan(home)
    if dry_run:
        return _show(home, planned, claude, as_json)
    _importable()
    home.ensure()
    install.generate(planned)
    if claude is None:
        raise NotFoundError(
            "install.no_claude",
            f"the plugin is generated in {home.plugin}, but there is no claude to install it into",
            where="PATH",
            remedy="Install Claude Code and call this again (--claude PATH names one), or start a session with: "
            f"claude --plugin-dir {install.Layout(home).plugin}",
        )
    _register(claude, home)
    if as_json:
        output.as_json(_document(home, planned, claude, installed=True))
        return output.OK
    output.line(f"The plugin {install.PLUGIN_ID} {__version__} is installed, from {home.plugin}.")
    output.line(f"Launcher: {planned.launcher}")
    output.line("Sessions that are open take it up with /reload-plugins. Begin with: /stagent:start TASK")
    return output.OK


def _find(program: Path | None) -> str | None:
    if program is None:
        return shutil.which("claude")
    found = shutil.which(str(program.expanduser().absolute()))
    if found is None:
        raise NotFoundError(
            "install.claude", "there is no program", where=str(program), remedy="Name the claude program itself."
        )
    return found


def _importable() -> None:
    """Refuse to register an interpreter that finds this package only with the help of the environment."""
    done = install.ask(sys.executable, "-I", "-c", "import stagent.cli.main")
    if done.status != 0:
        raise StoreError(
            "install.python",
            f"{sys.executable} -I cannot import stagent: {done.text[-300:]}",
            where=sys.executable,
            remedy="Install stagent into that interpreter (pip, pipx or uv tool), then install the plugin again.",
        )


def _register(claude: str, home: DataHome) -> None:
    """Have the CLI know the marketplace and the plugin, whatever it knew before."""
    known = {item.name: item for item in _list(claude, "marketplace", "list")}
    here = known.get(install.MARKETPLACE)
    if here is not None and here.path != str(home.plugin):
        # The data home was moved: the CLI keeps the first path it was given.
        _tell(claude, "marketplace", "remove", install.MARKETPLACE)
        here = None
    if here is None:
        _tell(claude, "marketplace", "add", str(home.plugin))
    else:
        _tell(claude, "marketplace", "update", install.MARKETPLACE)
    plugin = next((item for item in _list(claude, "list") if item.id == install.PLUGIN_ID), None)
    if plugin is None:
        _tell(claude, "install", install.PLUGIN_ID)
    else:
        _tell(claude, "update", install.PLUGIN_ID)
        if not plugin.enabled:
            _tell(claude, "enable", install.PLUGIN_ID)


class _Item(msgspec.Struct, frozen=True):
    name: str = ""
    id: str = ""
    path: str = ""
    enabled: bool = True


def _list(claude: str, *words: str) -> list[_Item]:
    text = _tell(claude, *words, "--json")
    try:
        return msgspec.json.decode(text[text.index("[") :], type=list[_Item])
    except (ValueError, msgspec.MsgspecError) as error:
        raise StoreError(
            "install.claude_answer",
            f"`claude plugin {' '.join(words)} --json` answered something else: {text[:200]}",
            where=claude,
            remedy="Use a version of Claude Code this was tried with; see: stagent doctor.",
        ) from error


def _tell(claude: str, *words: str) -> str:
    done = install.ask(claude, "plugin", *words)
    if done.status != 0:
        raise StoreError(
            "install.claude_failed",
            f"`claude plugin {' '.join(words)}` ended with status {done.status}: {done.text[-500:]}",
            where=claude,
            remedy="Mend what it says and call this again; nothing of your runs was touched.",
        )
    return done.text


def _uninstall(home: DataHome, claude: str | None, dry_run: bool, as_json: bool) -> int:
    layout = install.Layout(home)
    paths = [place for place in (home.launcher, str(layout.root)) if Path(place).exists()]
    if not dry_run:
        if claude is not None:
            _unregister(claude)
        paths = install.remove(home)
    if as_json:
        output.as_json({"uninstalled": not dry_run, "removed": paths, "claude": claude})
        return output.OK
    for place in paths:
        output.line(f"{'would remove' if dry_run else 'removed'} {place}")
    if not paths:
        output.line("Nothing was installed.")
    if claude is None:
        output.note(
            f"There is no claude on the PATH; if it knows the plugin: claude plugin uninstall {install.PLUGIN_ID}"
        )
    return output.OK


def _unregister(claude: str) -> None:
    if any(item.id == install.PLUGIN_ID for item in _list(claude, "list")):
        _tell(claude, "uninstall", install.PLUGIN_ID)
    if any(item.name == install.MARKETPLACE for item in _list(claude, "marketplace", "list")):
        _tell(claude, "marketplace", "remove", install.MARKETPLACE)


def _show(home: DataHome, planned: install.Plan, claude: str | None, as_json: bool) -> int:
    if as_json:
        output.as_json({**_document(home, planned, claude, installed=False), "dry_run": True})
        return output.OK
    output.line(f"Would write, for {sys.executable}:")
    for place in planned.paths:
        output.line(f"  {place}")
    output.line("Would register these hooks:")
    for event, (matcher, seconds) in install.HOOKS.items():
        output.line(f"  {event}{f' ({matcher})' if matcher else ''}, at most {seconds} s")
    output.line(f"Would install it into: {claude or 'no claude found'}")
    return output.OK


def _document(home: DataHome, planned: install.Plan, claude: str | None, *, installed: bool) -> dict[str, object]:
    return {
        "plugin": install.PLUGIN_ID,
        "version": __version__,
        "marketplace": str(home.plugin),
        "plugin_dir": str(install.Layout(home).plugin),
        "python": sys.executable,
        "launcher": str(planned.launcher),
        "claude": claude,
        "installed": installed,
        "files": planned.paths,
        **install.hook_table(home, sys.executable),
    }
