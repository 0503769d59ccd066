"""An agent that calls the program from inside its attempt: by its own tool, behind a script, with the plugin there."""

from __future__ import annotations

import json
import sys

import pytest

from acceptance.headless.site import Site, ends, report, well
from acceptance.support import stage
from stagent.testing.scripted_model import text, tool

SNEAKED = (
    "advance --json",
    "tick --json",
    "start another --json",
    "run another --json",
    "config flow x --json",
    "interrupt --json",
    "approve --json",
    "reject --json",
    "cancel --json",
    "stop 1 --json",
)
OWN = {"approve --json", "reject --json", "cancel --json"}


def gated(site: Site) -> str:
    """A workflow of one stage with a gate, so that there is something to be forged."""
    return site.flow({"work": stage({"done": "complete"}, gate={"type": "require_approval"})})


def test_what_moves_a_run_is_refused_inside_an_attempt(site: Site) -> None:
    """Behind a script, where no hook sees the words: the program itself refuses."""
    out = site.root / "home" / "said"
    lines = [f'{sys.executable} -m stagent {words} 2>/dev/null; echo "status $?"' for words in SNEAKED]
    site.write("sneak.sh", f'#!/bin/sh\nexec >"{out}"\n' + "\n".join(lines) + "\n")
    settings = site.root / "home" / ".claude" / "settings.json"
    settings.parent.mkdir()
    settings.write_text(json.dumps({"permissions": {"allow": ["Bash(sh sneak.sh:*)"]}}))
    site.plan(work=[[report("done"), tool("Bash", command="sh sneak.sh"), text("Done.")]])
    run = site.run(gated(site))
    assert (run.status, run.summary["ending"]) == (4, "waiting")
    statuses = [line for line in out.read_text().splitlines() if line.startswith("status ")]
    assert statuses == ["status 2"] * len(SNEAKED)
    found = [json.loads(part) for part in _documents(out.read_text())]
    assert len(found) == len(SNEAKED)
    codes = {words: document["error"] for words, document in zip(SNEAKED, found, strict=True)}
    assert {words for words, code in codes.items() if code == "attempt.commands"} == set(SNEAKED) - OWN
    assert all(codes[words].startswith("person.") for words in OWN), codes
    assert [event["actor"].split(":")[0] for event in run.log()] == ["runner"] * len(run.log())
    assert run.log("gate.decided") == []
    assert not (site.home / "config.json").exists()
    assert site.only == run.run


def _documents(said: str) -> list[str]:
    """The documents among what was said, one for each command."""
    parts = [part.strip() for part in said.split("status 2")]
    return [part for part in parts if part.startswith("{")]


@pytest.mark.parametrize("words", ["advance", "approve", "run another", "config flow x"])
def test_the_hook_refuses_it_before(site: Site, words: str) -> None:
    site.plan(work=[[tool("Bash", command=f"stagent {words}"), report("done")]])
    run = site.run(gated(site))
    assert run.status == 4
    assert f"an attempt does not call stagent {words.split()[0]}" in "\n".join(site.stream(run.run, "1.1"))
    assert run.log("gate.decided") == []


def test_with_the_plugin_installed_each_event_has_one_answer(site: Site) -> None:
    site.env["STAGENT_BIN"] = str(site.root / "bin" / "stagent-cc")
    done = site.cli("install", "claude-code", "--claude", site.env["STAGENT_CLAUDE"], timeout=60)
    assert done.status == 0, done.err
    before = sorted(path.name for path in (site.home / "live").glob("*")) if (site.home / "live").exists() else []
    site.plan(work=[[tool("Bash", command="stagent advance"), report("done")]])
    flow = site.flow({"work": stage({"done": "complete"})})
    run = well(site.run(flow))
    assert ends(run) == [("ok", "")]
    stream = [json.loads(line) for line in site.stream(run.run, "1.1")]
    init = next(line for line in stream if line.get("subtype") == "init")
    assert [plugin["name"] for plugin in init["plugins"] if plugin["name"].startswith("stagent")] == ["stagent-runner"]
    assert [line["hook_event"] for line in stream if line.get("subtype") == "hook_response"] == ["SessionStart"]
    refused = [request for request in site.model.main if any(result.get("is_error") for result in request.results())]
    [first] = refused
    assert first.fresh.count("an attempt does not call stagent advance") == 1
    # Nothing of a session came of it: no line of a hook, no live file, no second run.
    spool = site.home / "spool"
    assert not spool.exists() or list(spool.iterdir()) == []
    after = sorted(path.name for path in (site.home / "live").glob("*"))
    assert [name for name in after if name not in before] == []
    assert site.only == run.run
