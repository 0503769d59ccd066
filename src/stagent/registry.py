"""One table per extension point; `resolve()` imports an entry when it is used.

Outsiders add entries through the entry point groups `stagent.stores` and `stagent.agents`. `PARTS` are ours alone:
what only some commands need and the quick ones should not have to import.
"""

from __future__ import annotations

from importlib import import_module

from stagent.errors import UsageError

STORES = {
    "memory": "stagent.storage.memory:MemoryStore",
    "sqlite": "stagent.storage.sqlite:SqliteStore",
}
AGENTS = {
    "claude": "stagent.agents.claude:ClaudeBackend",
    "scripted": "stagent.agents.scripted:ScriptedBackend",
}
LOADERS = {
    "folder": "stagent.loaders.folder:load",
}
EXPORTERS = {
    "md": "stagent.exporters.markdown:render",
    "html": "stagent.exporters.html:render",
}
PARTS = {
    "index": "stagent.storage.registry_db:Registry",
    "workspace": "stagent.workspace.project:Project",
    "project_root": "stagent.workspace.project:project_root",
    "reparse": "stagent.engine.flows:reparse",
    "workshop": "stagent.engine.workshop:Workshop",
    "schema_faults": "stagent.engine.schemas:faults",
    "schema_problems": "stagent.engine.schemas:problems",
}
TABLES = {"stores": STORES, "agents": AGENTS, "loaders": LOADERS, "exporters": EXPORTERS, "parts": PARTS}


def names(kind: str) -> list[str]:
    """Return the known names of one extension point, built-in and installed by others."""
    from importlib.metadata import entry_points  # costs more than most commands take: only when it is asked for

    return sorted({*TABLES[kind], *(entry.name for entry in entry_points(group=f"stagent.{kind}"))})


def resolve(kind: str, name: str) -> object:
    """Return the object registered under a name. Raises UsageError for an unknown name, listing the known ones."""
    target = TABLES[kind].get(name)
    if target is None:
        from importlib.metadata import entry_points

        for entry in entry_points(group=f"stagent.{kind}"):
            if entry.name == name:
                return entry.load()
        raise UsageError(
            f"{kind}.unknown",
            f'nothing is registered as "{name}"',
            where=kind,
            known=names(kind),
            remedy="Choose a known name.",
        )
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)
