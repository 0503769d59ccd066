"""Declared rules with a command each: invariants that must always hold, and requirements to comply with."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import msgspec

from stagent.checks import declared
from stagent.checks.declared import Seal, Unmet


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule: its name, what it demands, and the command that ends with 0 while it is met.

    Without a command it is judged by people and reviews only; `timeout` is in seconds.
    """

    name: str
    says: str
    run: str = ""
    timeout: float = declared.COMMAND_TIMEOUT


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `.agents/invariants.json` or `.agents/compliance.json` says; `files` are globs the commands rest on."""

    rules: list[Rule]
    files: list[str] = []


class Ruleset:
    """The rules of one kind, as a project declares them."""

    def __init__(self, kind: str, *, hold_from_the_start: bool) -> None:
        self.kind = kind
        self.hold_from_the_start = hold_from_the_start

    def declaration(self, root: Path, out: BinaryIO) -> str:
        """Judge whether rules are declared and their commands can be run. Raises Unmet otherwise."""
        return self._run(root, out, self._read(root), must_hold=self.hold_from_the_start)

    def seal(self, root: Path, out: BinaryIO) -> str:
        """Judge the declaration and record what its commands rest on. Raises Unmet when it does not hold."""
        rules = self._read(root)
        reason = self._run(root, out, rules, must_hold=self.hold_from_the_start)
        files = declared.behind(root, self.kind, [rule.run for rule in rules.rules], rules.files)
        declared.seal(root, self.kind, Seal(files=files))
        return f"{reason} The seal covers {declared.counted(len(files), 'file')}."

    def hold(self, root: Path, out: BinaryIO) -> str:
        """Judge whether every rule with a command is met, measured with what was sealed. Raises Unmet otherwise."""
        rules = self._read(root)
        commands = [rule.run for rule in rules.rules]
        declared.unbroken(root, self.kind, commands, rules.files)
        reason = self._run(root, out, rules, must_hold=True)
        declared.unbroken(root, self.kind, commands, rules.files)
        return reason

    def _read(self, root: Path) -> Rules:
        found = declared.read(root, self.kind, Rules)
        where = declared.place(self.kind)
        names = [rule.name for rule in found.rules]
        if len(set(names)) != len(names) or not all(rule.name.strip() and rule.says.strip() for rule in found.rules):
            raise Unmet(f"{where}: every rule needs a name of its own and says what it demands.")
        if not any(rule.run.strip() for rule in found.rules):
            raise Unmet(f"{where}: no rule has a command in `run`. Declare at least one that can be checked.")
        silent = [rule.name for rule in found.rules if not rule.run.strip()]
        if silent and self.hold_from_the_start:
            raise Unmet(f"{where}: without a command: {declared.listed(silent)}. Give each one in `run`.")
        return found

    def _run(self, root: Path, out: BinaryIO, rules: Rules, *, must_hold: bool) -> str:
        broken, missing, held = [], [], 0
        for rule in rules.rules:
            if not rule.run.strip():
                continue
            ran = declared.run(rule.run, root, out, rule.timeout)
            held += ran.code == 0
            if not ran.started:
                missing.append(f"{rule.name} (`{rule.run}` {ran.how})")
            elif ran.code != 0:
                broken.append(f"{rule.name} (`{rule.run}` {ran.how})")
        if missing:
            raise Unmet(f"these commands are not there: {declared.listed(missing)}. Correct them.")
        if broken and must_hold:
            raise Unmet(f"these do not hold: {declared.listed(broken)}.")
        by_hand = sum(not rule.run.strip() for rule in rules.rules)
        extra = f" {by_hand} without a command are for people to judge." if by_hand else ""
        return f"{held} of {held + len(broken)} rules hold.{extra}"


INVARIANTS = Ruleset("invariants", hold_from_the_start=True)
COMPLIANCE = Ruleset("compliance", hold_from_the_start=False)
