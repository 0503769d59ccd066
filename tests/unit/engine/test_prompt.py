"""What a headless agent is told: the values of a template, and what reaches it without being asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stagent.core import commands as cmd
from stagent.core import events as ev
from stagent.core.canonical import digest
from stagent.core.ports import Record
from stagent.core.verify.prompts import variables
from stagent.engine import prompt
from stagent.storage.memory import MemoryStore
from unit.core.documents import files
from unit.engine.service_world import ServiceWorld

GATE = {"type": "require_approval", "for": ["done"]}
DOCUMENT: dict[str, Any] = {
    "initial_stage": "plan",
    "terminal_stages": ["complete", "escalated"],
    "run_files": {},
    "stages": {
        "plan": {
            "execution": {"type": "inline"},
            "criteria": ["short", "sound"],
            "gate": GATE,
            "transitions": {"done": "choose", "again": "plan"},
        },
        "choose": {"kind": "human", "transitions": {"left": "build", "right": "build"}},
        "build": {
            "execution": {"type": "inline"},
            "tools": {"allow": ["Read"], "deny": ["WebFetch"]},
            "transitions": {"done": "complete", "replan": "plan"},
        },
    },
}


@pytest.fixture
def world(tmp_path: Path) -> ServiceWorld:
    """A headless run of a workflow without templates."""
    return made(tmp_path)


def made(place: Path, store: MemoryStore | None = None, **templates: str) -> ServiceWorld:
    """A headless run in which stages have these templates."""
    stages = {name: dict(stage) for name, stage in DOCUMENT["stages"].items()}
    for name in templates:
        stages[name]["prompt"] = f"{name}-prompt.md"
    given = files({**DOCUMENT, "stages": stages})
    given |= {f"{name}.md": f"Do {name} {{{{as it is}}}}.\n".encode() for name in stages}
    given |= {f"{name}-prompt.md": text.encode() for name, text in templates.items()}
    return ServiceWorld(place, store or MemoryStore(), given, "runner")


def say(world: ServiceWorld, decision: Any, words: str, choice: str = "") -> None:
    """A person decides with these words."""
    data = words.encode()
    command = cmd.DecideGate(decision=decision, channel="terminal", choice=choice, text=digest(data))
    caller = cmd.Caller(actor="person:ann", kind="person")
    world.service.submit(world.run, caller, command, {digest(data): data})


def plan(world: ServiceWorld, body: str = "The plan.", words: str = "Fine.") -> None:
    """Work the first stage and lead the run to the choice."""
    world.work("done", body)
    world.advance()
    say(world, "approve", words)
    world.advance()
    assert world.now.stage == "choose"


def choose(world: ServiceWorld) -> None:
    """Make the choice and lead the run to the last stage."""
    world.advance()
    say(world, "answer", "The left one.", "left")
    world.advance()
    assert world.now.stage == "build"


def told(world: ServiceWorld, *names: str) -> dict[str, str]:
    return prompt.values(world.service, world.now, names or None)


def fresh(world: ServiceWorld) -> str:
    return prompt.attempt_prompt(world.service, world.now, continued=False)


def test_every_known_name_has_a_value_and_no_other_has(world: ServiceWorld) -> None:
    assert set(told(world)) == set(variables(world.workflow))
    assert told(world, "task", "nonsense") == {"task": "Whatever it takes."}


def test_the_values_at_the_beginning(world: ServiceWorld) -> None:
    found = told(world)
    assert found["task"] == found["task_description"] == "Whatever it takes."
    assert found["criteria"] == "- short\n- sound"
    assert (found["run"], found["stage"], found["epoch"]) == (world.run, "plan", "1")
    assert found["project"] == str(world.root)
    assert found["artifact"] == str(world.folder.artifact("plan"))
    known = {"task", "task_description", "criteria", "run", "stage", "epoch", "project", "artifact"}
    assert {name for name, value in found.items() if value} == known


def test_what_earlier_stages_left_and_people_said(world: ServiceWorld) -> None:
    plan(world)
    assert told(world, "previous_output") == {"previous_output": "The plan."}
    choose(world)
    found = told(world)
    assert (found["stages.plan.output"], found["stages.plan.result"]) == ("The plan.", "done")
    assert found["stages.plan.decision"] == "approve\n\nFine."
    assert (found["stages.choose.output"], found["stages.choose.result"]) == ("The left one.", "left")
    assert found["stages.choose.decision"] == found["user_decision"] == "left\n\nThe left one."
    assert found["previous_output"] == "The left one."
    assert (found["stages.build.output"], found["stages.build.result"], found["prior_attempt_output"]) == ("", "", "")


def test_a_stage_that_is_entered_again_has_nothing_accepted(world: ServiceWorld) -> None:
    plan(world)
    choose(world)
    world.work("replan", "It cannot be built.")
    world.advance()
    found = told(world)
    assert world.now.stage == "plan"
    assert found["stages.plan.output"] == ""
    assert found["previous_output"] == found["stages.build.output"] == "It cannot be built."
    assert found["prior_attempt_output"] == ""


def test_a_stage_that_leads_to_itself_knows_what_it_left(world: ServiceWorld) -> None:
    world.work("again", "First try.")
    world.advance()
    assert (world.now.stage, world.now.epoch, world.now.accepted) == ("plan", 2, {})
    assert told(world, "previous_output") == {"previous_output": "First try."}
    assert told(world, "user_decision") == {"user_decision": ""}


class Counting(MemoryStore):
    """Counts how often a log is read."""

    reads = 0

    def read(self, run: str, after: int = 0, limit: int | None = None) -> Iterator[Record]:
        self.reads += 1
        return super().read(run, after, limit)


def test_the_log_is_read_for_decisions_only(tmp_path: Path) -> None:
    store = Counting()
    world = made(tmp_path, store)
    plan(world)
    choose(world)
    before = store.reads
    told(world, *(name for name in variables(world.workflow) if "decision" not in name))
    assert store.reads == before
    told(world, "user_decision", "stages.plan.decision")
    assert store.reads == before + 1


def test_without_a_template_the_instructions_stand_as_they_are(world: ServiceWorld) -> None:
    context = world.service.brief(world.now).context()
    assert fresh(world) == f"{context}\nDo plan {{{{as it is}}}}.\n"
    assert prompt.rendered(world.service, world.now).text == "Do plan {{as it is}}.\n"


def test_a_template_takes_the_place_of_the_instructions(tmp_path: Path) -> None:
    text = "{{#if previous_output}}Build from {{previous_output}}{{else}}nothing{{/if}}: {{stages.choose.result}}\n"
    world = made(tmp_path, build=text, plan="Plan {{task}} {{#if feedback}}({{feedback}}){{/if}}")
    assert fresh(world).endswith("\nPlan Whatever it takes. ")
    plan(world, body="{{task}} stays $&")
    choose(world)
    assert fresh(world).endswith("\nBuild from The left one.: left\n")
    assert "as it is" not in fresh(world)


def test_the_instructions_a_template_stands_for_are_not_named_to_a_runners_agent(tmp_path: Path) -> None:
    world = made(tmp_path, plan="Plan it.")
    for text in (fresh(world), world.service.brief(world.now).context()):
        assert "Instructions:" not in text
        assert "Do plan" not in text
    assert world.service.brief(world.now).tick().stage_instructions_path is None
    world.service.submit(world.run, world.driver, cmd.Interrupt())
    holder = ev.Holder(kind="session", session="s-1", pid=1)
    world.service.submit(world.run, world.driver, cmd.Resume(holder=holder))
    brief = world.service.brief(world.now)
    assert f"Instructions: {brief.tick().stage_instructions_path}" in brief.context()


def test_values_of_a_template_are_never_templates(tmp_path: Path) -> None:
    world = made(tmp_path, choose="", build="<{{stages.plan.output}}>")
    plan(world, body="{{task}} {{#if x}} $& \\1")
    choose(world)
    assert fresh(world).endswith("<{{task}} {{#if x}} $& \\1>")


def test_a_redo_carries_the_words_and_the_work_once(world: ServiceWorld) -> None:
    world.work("done", "First plan.")
    world.advance()
    say(world, "redo", "Think of the tests.")
    text = fresh(world)
    assert text.count("Think of the tests.") == 1
    assert text.count("First plan.") == 1
    assert "What the attempt before this one left:\nFirst plan." in text
    assert told(world, "user_input", "feedback") == dict.fromkeys(("user_input", "feedback"), "Think of the tests.")


def test_words_of_a_person_survive_an_attempt_that_failed(world: ServiceWorld) -> None:
    world.work("done", "First plan.")
    world.advance()
    say(world, "redo", "Think of the tests.")
    fail(world, "It ran out of memory.")
    text = fresh(world)
    assert "It ran out of memory." in text
    assert "A person says about the work so far:\nThink of the tests." in text
    again = prompt.attempt_prompt(world.service, world.now, continued=True)
    assert "It ran out of memory." in again
    assert "A person says about your work on stage plan, epoch 1:\nThink of the tests." in again


def fail(world: ServiceWorld, words: str | None, outcome: Any = "failed") -> None:
    """An attempt ends without an artifact of its own."""
    state = world.now
    fields: dict[str, Any] = {"stage": state.stage, "epoch": state.epoch, "number": state.attempt + 1}
    begun = cmd.BeginAttempt(event=ev.AttemptStarted(backend="scripted", **fields))
    world.service.submit(world.run, world.driver, begun)
    data = (words or "").encode()
    ended = ev.AttemptEnded(outcome=outcome, text=digest(data) if words else None, **fields)
    world.service.submit(world.run, world.driver, cmd.EndAttempt(event=ended), {digest(data): data})


def test_what_a_template_says_itself_is_not_said_twice(tmp_path: Path) -> None:
    world = made(tmp_path, plan="{{#if prior_attempt_output}}Mend {{prior_attempt_output}}.{{/if}} {{user_input}}")
    world.work("done", "First plan.")
    world.advance()
    say(world, "reject", "No.")
    fail(world, "crash")
    text = fresh(world)
    assert text.count("First plan.") == 1
    assert "Mend First plan.. No." in text
    assert "attempt before" not in text
    assert "A person says" not in text


def test_a_template_that_leaves_things_out_does_not_keep_them_from_the_agent(tmp_path: Path) -> None:
    world = made(tmp_path, plan="{{#if feedback}}{{else}}{{prior_attempt_output}}{{user_input}}{{/if}}")
    world.work("done", "First plan.")
    world.advance()
    say(world, "reject", "Not like this.")
    fail(world, "crash")
    text = fresh(world)
    for words in ("First plan.", "Not like this.", "crash"):
        assert text.count(words) == 1


def test_an_unfinished_or_unreadable_artifact_is_the_work_so_far(world: ServiceWorld) -> None:
    world.attempt(1, b"no front matter")
    world.advance()
    assert told(world, "prior_attempt_output") == {"prior_attempt_output": "no front matter"}
    world.attempt(2, b"---\nepoch: 1\nresult: pending\n---\n\nHalf of it.\n\n")
    assert told(world, "prior_attempt_output") == {"prior_attempt_output": "Half of it."}
    assert "front matter" in fresh(world)


def test_the_recorded_artifact_is_the_work_so_far_when_the_file_is_another_epochs(world: ServiceWorld) -> None:
    world.work("done", "First plan.")
    world.advance()
    world.write(b"---\nepoch: 9\nresult: done\n---\nlater\n")
    assert told(world, "prior_attempt_output") == {"prior_attempt_output": "First plan."}
    world.folder.artifact("plan").unlink()
    assert told(world, "prior_attempt_output") == {"prior_attempt_output": "First plan."}


def test_an_agent_that_goes_on_hears_only_what_is_new(world: ServiceWorld) -> None:
    world.attempt(1, b"---\nepoch: 1\n---\n")
    world.advance()
    text = prompt.attempt_prompt(world.service, world.now, continued=True)
    assert text.startswith("Your work on stage plan, epoch 1, was not accepted. Take this into account:\n")
    assert "has no result yet" in text
    assert f"Output: {world.folder.artifact('plan')}" in text
    assert "epoch: 1\nresult: <one of: again, done>" in text
    assert "Do plan" not in text
    assert "Whatever it takes." not in text


@pytest.mark.parametrize(("outcome", "words"), [("timeout", " (attempt.timeout)"), ("orphaned", " (attempt.orphaned)")])
def test_an_agent_that_goes_on_without_a_word(world: ServiceWorld, outcome: str, words: str) -> None:
    fail(world, None, outcome)
    text = prompt.attempt_prompt(world.service, world.now, continued=True)
    assert text.startswith(
        f"Your last attempt at stage plan, epoch 1, ended before its work was accepted{words}. Go on with it.\n"
    )


def test_the_tools_of_a_stage_are_told(world: ServiceWorld) -> None:
    plan(world)
    choose(world)
    text = fresh(world)
    assert "it may use only these tools: Read" in text
    assert "It may not use these tools: WebFetch" in text


def test_a_long_text_is_cut_and_a_deleted_one_says_so(world: ServiceWorld) -> None:
    plan(world, body="x" * (prompt.LIMIT + 1500))
    found = told(world, "previous_output")["previous_output"]
    assert found.endswith("x\n[1,500 more characters are left out]")
    accepted = world.now.accepted["plan"]
    world.store.bury_blob(accepted.digest, "asked for", 1)
    assert told(world, "previous_output") == {"previous_output": "[deleted: asked for]"}
