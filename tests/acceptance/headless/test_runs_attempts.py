"""How attempts of a run end, what the runner makes of it, and what reaches the model and comes back from it."""

from __future__ import annotations

import json
import os
import signal

import pytest

from acceptance.headless.kit import SCHEMA, stand_in
from acceptance.headless.site import Site, ends, prompts, report, well
from acceptance.support import stage
from stagent.testing.scripted_model import Request, Rule, Thread, Turn, of_agents, text, tool

LEFT = 'open(os.environ["STAGENT_ARTIFACT"], "w").write("---\\nepoch: 1\\nresult: done\\n---\\n")'


def one(site: Site, **more: object) -> str:
    """A workflow of one stage that declares no `escalated`, and two attempts at it."""
    work = stage({"done": "complete", "again": "work"}, **{"retry": {"attempts": 2}, **more})
    return site.flow({"work": work}, terminal_stages=["complete", "cancelled"])


def test_a_structured_answer_becomes_the_artifact(site: Site) -> None:
    flow = one(site, output={"format": "json", "schema": json.loads(SCHEMA)}, writes="artifact")
    site.model.say(Thread([tool("StructuredOutput", result="done", notes="It is 42.")]))
    run = well(site.run(flow))
    assert ends(run) == [("ok", "")]
    words = run.artifact("work").read_text()
    assert words.startswith("---\nepoch: 1\nresult: done\n---\n")
    assert json.loads(words.partition("```json\n")[2].partition("```")[0]) == {"result": "done", "notes": "It is 42."}
    [recorded] = run.log("artifact.recorded")
    assert recorded["producer"]["kind"] == "attempt"


def test_a_schema_that_is_never_satisfied_fails_every_attempt(site: Site) -> None:
    flow = one(site, output={"format": "json", "schema": json.loads(SCHEMA)}, writes="artifact")
    site.model.say(Rule(lambda request: request.main, text("I would rather not.")))
    run = site.run(flow)
    assert (run.status, run.summary["refusal"]) == (3, "attempt.schema")
    assert ends(run) == [("failed", "attempt.schema")] * 2
    assert not run.artifact("work").exists()
    assert run.log("artifact.recorded") == []
    # The second attempt goes on with the conversation and is told why.
    assert "structured answer" in "\n".join(request.fresh for request in site.model.main[1:])


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ("init()", "attempt.no_result", "without a result"),
        ("sys.stderr.write('Out of memory'); sys.exit(7)", "attempt.no_result", "it said: Out of memory"),
        ("init(); os.kill(os.getpid(), signal.SIGKILL)", "attempt.signal", "SIGKILL"),
        ("init(); result(); sys.exit(3)", "attempt.exit", "exit code 3 after a result"),
        ("init(); result(terminal_reason='something_new')", "attempt.failed", "something_new"),
    ],
)
def test_an_end_without_a_good_result_is_no_success_even_with_an_artifact(
    site: Site, body: str, code: str, words: str
) -> None:
    site.stand_in(f"{LEFT}\n{body}")
    run = site.run(one(site))
    assert (run.status, run.state.status, run.summary["refusal"]) == (3, "blocked", code)
    assert ends(run) == [("failed", code)] * 2
    assert words in run.refusals()
    assert run.log("transitioned") == []


def test_a_killed_program_is_tried_again(site: Site) -> None:
    def kill(request: Request) -> Turn:
        for pid in site.processes():
            if b"--session-id" in _command(pid):
                os.kill(pid, signal.SIGKILL)
        return text("Nobody hears this.")

    site.plan(work=[[kill], "done"])
    run = well(site.run(one(site)))
    # Killed this early, it may not have kept its conversation.
    assert [end for end in ends(run) if end[0] != "void"] == [("failed", "attempt.signal"), ("ok", "")]
    assert "SIGKILL" in run.refusals()


def _command(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def test_the_next_attempt_is_told_which_calls_were_refused(site: Site) -> None:
    site.plan(work=[[tool("Bash", command="touch made"), text("I could not.")], "done"])
    run = well(site.run(one(site), "--option", "permissions=settings"))
    assert ends(run) == [("failed", "attempt.permission_denied"), ("ok", "")]
    second = prompts(site.model)[1]
    assert "Bash (touch made)" in second.fresh
    assert "permissions=edits" in second.fresh
    assert not (site.project / "made").exists()


def test_background_agents_are_waited_for(site: Site) -> None:
    launched = tool("Agent", description="d", prompt="Help.", subagent_type="general-purpose")
    site.model.say(Rule(of_agents, text("Helped.", delay=0.7)))
    site.model.say(Thread([launched, text("Waiting."), report("done"), text("All done.")]))
    run = well(site.run(one(site)))
    [ended] = run.log("attempt.ended")
    assert ended["tokens"] == 5 * 1050
    results = [line for line in map(json.loads, site.stream(run.run, "1.1")) if line["type"] == "result"]
    assert [line["result"] for line in results] == ["Waiting.", "All done."]


def test_persona_model_tools_and_prompt_reach_the_model(site: Site) -> None:
    flow = one(
        site,
        persona={"name": "Ada", "system_prompt": "You are Ada, and count twice.", "model": "sonnet"},
        tools={"allow": ["Read", "Bash(git status:*)"], "deny": ["Bash(git push:*)"]},
        prompt="template.md",
    )
    (site.root / "flow" / "template.md").write_text("Do this: <<{{task}}>> as {{stage}} of epoch {{epoch}}.\n")
    task = 'Say {{feedback}} and {{stages.work.result}} "$(touch made)" `touch made`\n---\nepoch: 9\nresult: again\n---'
    site.plan(work=[[tool("Bash", command="touch made"), tool("Bash", command="git status"), report("done")]])
    run = well(site.run(flow, "--option", "permissions=settings", task=task))
    first = prompts(site.model)[0]
    assert f"Do this: <<{task}>> as work of epoch 1." in first.whole
    assert "You are Ada, and count twice." in json.dumps(first.body["system"])
    assert "sonnet" in first.body["model"]
    assert set(first.tools) - {"DeferredToolPlaceholder"} == {"Read", "Bash", "Write"}
    assert not (site.project / "made").exists()
    assert ends(run) == [("ok", "")]
    assert "On branch" in "\n".join(site.stream(run.run, "1.1"))


def test_a_limit_of_turns_fails_an_attempt_and_its_session_goes_on(site: Site) -> None:
    read = tool("Read", file_path=str(site.project / "src.py"))
    site.plan(work=[[read, read, read, report("done")], "done"])
    run = well(site.run(one(site), "--option", "max_turns=2"))
    assert ends(run) == [("failed", "attempt.max_turns"), ("ok", "")]
    first, second = prompts(site.model)
    assert first.session == second.session
    assert "attempt.max_turns" in second.fresh


def test_a_program_that_is_missing_is_an_error_before_the_first_attempt(site: Site) -> None:
    done = site.cli("run", "x", *site.words(one(site), "--option", "program=/nowhere/claude"))
    assert done.status == 1
    assert done.lines[-1]["error"] == "agent.program_missing"
    assert "Install Claude Code" in done.lines[-1]["remedy"]
    assert len(done.lines) == 1  # no run was begun
    wrong = site.cli("run", "x", *site.words(one(site), "--option", "permissions=everything"))
    assert (wrong.status, wrong.lines[-1]["error"]) == (64, "agent.option_value")


def test_a_newer_program_is_driven_and_people_are_told_before(site: Site) -> None:
    site.env["STAGENT_CLAUDE"] = stand_in(site.root, f"init(); {LEFT}; result()", version="9.9.9 (Claude Code)")
    run = well(site.run(one(site)))
    assert "version 9.9.9 is newer than tried" in run.done.err.splitlines()[0]


def test_what_no_command_line_can_carry_is_an_error_before_a_run_begins(site: Site) -> None:
    flow = one(site, persona={"name": "Ada", "system_prompt": "x" * 200_000})
    done = site.cli("run", "x", *site.words(flow))
    assert (done.status, done.json["error"]) == (1, "workflow.invalid")
    assert "stages.work.persona.system_prompt: it has 200000 bytes, 100000 at most" in done.json["message"]
    assert site.cli("runs", "--json").json == []


def test_a_program_that_vanishes_between_attempts_stops_the_run_and_says_so(site: Site) -> None:
    site.stand_in("init(); os.unlink(sys.argv[0])")
    run = site.run(one(site, retry={"attempts": 3}))
    assert (run.status, run.summary["ending"], run.summary["refusal"]) == (3, "blocked", "agent.program_missing")
    assert "there is no program" in run.done.err
    assert ends(run) == [("failed", "attempt.no_result")]
    [blocked] = run.log("blocked")
    assert "Install Claude Code" in run.text(blocked["text"])
    assert (run.state.status, run.state.lease) == ("blocked", None)
    shown = site.cli("status", run.run).out
    assert "agent.program_missing" in shown
    assert "there is no program" in shown
    # It says nothing about the work, which goes on where it stood.
    site.stand_in(f"init(); {LEFT}; result(result=prompt)")
    again = well(site.go_on(run.run))
    assert ends(again) == [("failed", "attempt.no_result"), ("ok", "")]
    assert "agent.program_missing" not in "\n".join(site.stream(run.run, "1.2"))
