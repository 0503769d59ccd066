"""New workflows: which names they may have, where they are put, and what they begin with."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files as resources
from pathlib import Path
from typing import cast

from stagent import disk
from stagent.core.canonical import digest, encode
from stagent.core.ids import is_name
from stagent.core.verify.folder import DOCUMENT
from stagent.engine.flows import ALIASES, bundled
from stagent.errors import StoreError, UsageError
from stagent.registry import resolve

RESERVED = frozenset({"cancelled", "complete", "demo", "escalated", "failed", "interrupted", "pending"})
"""Names of ends and of the pause, and of the hub's own template."""
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))})
_SHAPE = "letters, digits, dot, underscore and hyphen, beginning with a letter or digit, at most 100 characters"


def name_problems(name: str) -> list[str]:
    """Return why a new workflow cannot have this name, a sentence for every reason; nothing for a good name."""
    if not name:
        return ["the name is empty"]
    found = []
    folded = name.casefold()
    if "/" in name or "\\" in name:
        found.append(f'"{name}" holds a separator of paths')
    elif not is_name(name):
        found.append(f'"{name}" is no name: {_SHAPE}')
    if name.endswith("."):
        found.append(f'"{name}" ends with a dot, which some systems drop')
    if folded in RESERVED:
        found.append(f'"{name}" has a meaning of its own')
    if folded.partition(".")[0] in _DEVICES:
        found.append(f'"{name}" is a device on some systems')
    if folded in {known.casefold() for known in (*bundled(), *ALIASES)}:
        found.append(f'"{name}" is a bundled workflow, which would be found instead')
    return found


def place_problems(folder: Path) -> list[str]:
    """Return why a new workflow cannot be put at a place, a sentence for every reason."""
    if folder.is_symlink() or folder.exists():
        return [f"{folder} exists already"]
    above = folder.parent
    if above.is_symlink() or (above.exists() and not above.is_dir()):
        return [f"{above} is no folder of its own"]
    return []


def refuse(problems: Sequence[str], where: str) -> UsageError:
    """Form the one error with everything that is wrong about a new workflow's name and place."""
    return UsageError(
        "template.new",
        "; ".join(problems),
        where=where,
        remedy="Choose another name or place.",
        fields={"problems": list(problems)},
    )


def load(folder: Path) -> dict[str, bytes]:
    """Return the files of a workflow folder by name. Raises WorkflowError when they cannot be read."""
    return cast(Callable[[Path], dict[str, bytes]], resolve("loaders", "folder"))(folder)


def fingerprint(texts: Mapping[str, bytes]) -> str:
    """Return the digest of a workflow's files: the one a run of them pins."""
    return digest(encode({name: digest(data) for name, data in texts.items()}))


def description(texts: Mapping[str, bytes]) -> str:
    """Return the first line of a workflow's readme that is no heading; empty without one."""
    lines = texts.get("readme.md", b"").decode("utf-8", "replace").splitlines()
    return next((line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")), "")


def scaffold(name: str) -> dict[str, bytes]:
    """Return the files of a small workflow that validates strictly, to begin with."""
    folder = resources("stagent") / "scaffold"
    texts = {item.name: item.read_bytes() for item in folder.iterdir() if item.name.endswith(".md")}
    document = json.loads((folder / DOCUMENT).read_bytes())
    document["title"] = name
    texts["readme.md"] = texts["readme.md"].replace(b"{{title}}", name.encode())
    texts.pop("guide.md")
    return {DOCUMENT: json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n", **texts}


def guide() -> str:
    """Return what an author of workflows must know, and the schema of the document."""
    place = resources("stagent")
    schema = (place / "schemas" / "workflow.schema.json").read_text("utf-8")
    text = (place / "scaffold" / "guide.md").read_text("utf-8")
    return f"{text}\n## The schema of workflow.json\n\n```json\n{schema.strip()}\n```\n"


def put(folder: Path, texts: Mapping[str, bytes]) -> None:
    """Write a new workflow folder whole or not at all. Raises StoreError when that is not possible."""
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}.new")
    try:
        disk.remove(fresh)
        disk.make_folder(fresh)
        for name, data in texts.items():
            disk.write(fresh / name, data)
        disk.sync_folder(fresh)
        disk.move(fresh, folder)
        disk.sync_folder(folder.parent)
    except OSError as error:
        raise StoreError(
            "template.unwritable",
            f"the workflow cannot be written: {error.strerror or error}",
            where=str(folder),
            remedy="Make the place writable, or name another one.",
        ) from error
    finally:
        disk.remove(fresh)
