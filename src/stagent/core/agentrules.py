"""What a stage declares about its agent: tools, prompt, persona, and what its answer must look like."""

from __future__ import annotations

import re
from collections.abc import Mapping

from stagent.core import keys
from stagent.core.canonical import encode
from stagent.core.ids import is_name
from stagent.core.model import Kind, Output, Persona, Tools
from stagent.core.shapes import Shapes, shown
from stagent.core.verify.problem import Findings

Json = Mapping[str, object]
_TOOL = re.compile(r"(?:[A-Za-z][A-Za-z0-9_-]{0,199}|mcp__[A-Za-z0-9_-]{1,195}\*)(?:\([^\x00-\x1f]{1,500}\))?")
LONGEST = 100_000
"""How many bytes a text may have that an agent's program is given on its command line; systems take little more."""
_FIELDS = ("tools", "prompt", "persona", "output")


class AgentReader:
    """Reads these parts of one stage after another."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.shapes = Shapes(findings)

    def nobody(self, raw: Json, path: str, kind: Kind) -> bool:
        """Say whether no agent works in the stage, and report what only an agent could make use of."""
        if kind not in ("command", "human"):
            return False
        for key in _FIELDS:
            if raw.get(key) is not None:
                self.findings.error(
                    "no_agent", f"{path}.{key}", f"no agent works in a {kind} stage", f"Leave {key} out."
                )
        return True

    def tools(self, raw: Json, path: str) -> Tools:
        """Return the tool rules; no rules when they are absent or wrong."""
        entry = self._object(raw, path, "tools", keys.TOOLS, frozenset(), '{"deny": ["WebFetch"]}')
        if entry is None:
            return Tools()
        where = f"{path}.tools"
        allow, deny = self._names(entry, where, "allow"), self._names(entry, where, "deny") or ()
        for name in sorted({*(allow or ())} & {*deny}):
            self.findings.error("tools", f"{where}.deny", f'"{name}" is allowed and denied', "Name it in one of them.")
        return Tools(allow, deny)

    def _names(self, entry: Json, where: str, key: str) -> tuple[str, ...] | None:
        value = entry.get(key)
        if value is None:
            return None
        if isinstance(value, list) and all(isinstance(item, str) and _TOOL.fullmatch(item) for item in value):
            return tuple(dict.fromkeys(value))
        what = f"{key} is not a list of names of tools"
        self.findings.error(
            "tools", f"{where}.{key}", what, 'Write such as ["Read", "mcp__shop__*", "Bash(git log:*)"].'
        )
        return None

    def prompt(self, raw: Json, path: str) -> str | None:
        """Return the file name of the prompt's template, None for the instruction file itself."""
        value = raw.get("prompt")
        if value is None:
            return None
        if isinstance(value, str) and value.endswith(".md") and is_name(value):
            return value
        self.findings.error(
            "prompt",
            f"{path}.prompt",
            f"{shown(value)} is no name of a file beside workflow.json",
            'Name a file that ends in .md, such as "plan-prompt.md".',
        )
        return None

    def persona(self, raw: Json, path: str) -> Persona:
        """Return who the agent is; nobody in particular when it is absent or wrong."""
        entry = self._object(raw, path, "persona", keys.PERSONA, frozenset(), '{"system_prompt": "..."}')
        if entry is None:
            return Persona()
        where = f"{path}.persona"
        texts = {key: self._text(entry, where, key) for key in sorted(keys.PERSONA)}
        return Persona(texts["name"], texts["system_prompt"], texts["model"] or None)

    def _text(self, entry: Json, where: str, key: str) -> str:
        value = entry.get(key)
        if value is None:
            return ""
        if isinstance(value, str) and value.strip() and not (key == "model" and value.startswith("-")):
            if problem := uncarried(value):
                self.findings.error("persona", f"{where}.{key}", problem, "Shorten or correct it.")
            return value
        self.findings.error("persona", f"{where}.{key}", f"{shown(value)} is no {key}", "Write a text or leave it out.")
        return ""

    def output(self, raw: Json, path: str) -> Output:
        """Return what the answer must look like; `json` without a schema asks for any object."""
        example = '{"schema": {"type": "object"}}'
        entry = self._object(raw, path, "output", keys.OUTPUT, keys.LATER_OUTPUT, example)
        if entry is None:
            return Output()
        where = f"{path}.output"
        schema, form = entry.get("schema"), self._format(entry, where)
        if schema is None:
            return Output(encode({"type": "object"}).decode() if form == "json" else None)
        if not isinstance(schema, dict):
            self.findings.error("output", f"{where}.schema", "the schema is not an object", f"Write {example}.")
            return Output()
        if form == "text":
            self.findings.error(
                "output", f"{where}.format", "a text has no schema", 'Write "json", or leave format or schema out.'
            )
        try:
            text = encode(schema).decode()
            if problem := uncarried(text):
                self.findings.error("output", f"{where}.schema", problem, "Shorten it.")
            return Output(text)
        except (RecursionError, UnicodeEncodeError):
            self.findings.error("output", f"{where}.schema", "the schema cannot be written as JSON", "Simplify it.")
            return Output()

    def _format(self, entry: Json, where: str) -> str | None:
        value = entry.get("format")
        if isinstance(value, str) and value in keys.LATER_FORMATS:
            self.findings.error(
                "not_implemented",
                f"{where}.format",
                f'the format "{value}" is not carried out by this version',
                "Use another format.",
                keys.FORMATS,
            )
        elif value is not None and value not in keys.FORMATS:
            self.findings.error(
                "output", f"{where}.format", f"unknown format {shown(value)}", "Choose one.", keys.FORMATS
            )
        return value if isinstance(value, str) else None

    def _object(
        self, raw: Json, path: str, key: str, known: frozenset[str], later: frozenset[str], example: str
    ) -> Json | None:
        entry = raw.get(key)
        if entry is None:
            return None
        where = f"{path}.{key}"
        if not isinstance(entry, dict):
            self.findings.error("no_object", where, f"{key} is not an object", f"Write {example}.")
            return None
        self.shapes.keys(entry, where, known, later)
        return entry


def uncarried(text: str) -> str:
    """Return why no command line can carry a text; empty when one can."""
    size = len(text.encode("utf-8", "replace"))
    if size > LONGEST:
        return f"it has {size} bytes, {LONGEST} at most are possible"
    return "it holds a zero byte" if "\0" in text else ""
