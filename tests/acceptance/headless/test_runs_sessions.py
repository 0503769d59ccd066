"""What goes on from one attempt to the next: the conversation where it can be had, else what came of it."""

from __future__ import annotations

from acceptance.headless.site import Site, ends, prompts, report, well
from acceptance.support import stage
from stagent.testing.scripted_model import text, tool

GONE = 'rm -rf "$HOME/.claude/projects"; '
# A file or folder that a check names would be protected by it.
CHECK = "git grep -q 'x = 2' || { echo THE-NUMBER-IS-WRONG; exit 1; }"


def checked(site: Site, before: str = "") -> str:
    """A workflow of one stage whose check wants the number changed."""
    return site.flow({"work": stage({"done": "complete"}, checks=[{"name": "number", "run": before + CHECK}])})


def mended(site: Site) -> list[object]:
    """The turns that change the number."""
    path = str(site.project / "src.py")
    edit = tool("Edit", file_path=path, old_string="x = 1", new_string="x = 2")
    return [tool("Read", file_path=path), edit, report("done", "Now it is mended.")]


def test_a_refused_check_goes_on_in_the_same_conversation(site: Site) -> None:
    site.plan(work=[[report("done", "It is finished.")], mended(site)])
    run = well(site.run(checked(site)))
    assert ends(run) == [("ok", ""), ("refused", "check.failed"), ("ok", "")]
    first, second = prompts(site.model)
    assert second.session == first.session
    assert "It is finished." in second.whole
    assert "THE-NUMBER-IS-WRONG" in second.fresh
    assert "Mend the project." not in second.fresh
    # Each attempt is charged for its own part of the conversation.
    spent = [event["tokens"] for event in run.log("attempt.ended") if event["outcome"] == "ok"]
    assert spent == [2 * 1050, 4 * 1050]
    assert run.state.spent_tokens == 6 * 1050


def test_a_conversation_that_is_gone_is_begun_afresh_with_all_that_is_known(site: Site) -> None:
    site.plan(work=[[report("done", "It is FINISHED, says the first.")], mended(site)])
    run = well(site.run(checked(site, GONE)))
    assert ends(run) == [("ok", ""), ("refused", "check.failed"), ("void", "attempt.unresumable"), ("ok", "")]
    [void] = [event for event in run.log("attempt.ended") if event["outcome"] == "void"]
    assert "No conversation found" in run.text(void["text"])
    first, second = prompts(site.model)
    assert second.session != first.session
    for words in ("Mend the project.", "It is FINISHED, says the first.", "THE-NUMBER-IS-WRONG"):
        assert words in second.fresh
    numbers = [event["number"] for event in run.log("attempt.started")]
    assert numbers == [1, 2, 3]
    assert "unresumable" in site.cli("show", run.run).out


def test_a_conversation_in_use_is_begun_afresh_too(site: Site) -> None:
    body = """
open(os.path.join(os.environ["HOME"], "told"), "a").write(prompt + "\\n===\\n")
if "--resume" in sys.argv:
    sys.stderr.write("Error: Session ID s-1 is already in use.\\n"); sys.exit(1)
init()
with open(os.environ["STAGENT_ARTIFACT"], "a+") as file:
    file.seek(0); before = file.read(); file.truncate(0)
    file.write("---\\nepoch: 1\\nresult: done\\n---\\n%s\\n" % ("SECOND" if before else "FIRST"))
if before: open("src.py", "w").write("x = 2\\n")
result()
"""
    site.stand_in(body)
    run = well(site.run(checked(site)))
    assert ends(run) == [("ok", ""), ("refused", "check.failed"), ("void", "attempt.unresumable"), ("ok", "")]
    told = (site.root / "home" / "told").read_text().split("\n===\n")
    assert "Mend the project." not in told[1]
    for words in ("Mend the project.", "FIRST", "THE-NUMBER-IS-WRONG"):
        assert words in told[2]
    assert "SECOND" in run.artifact("work").read_text()


def test_a_redo_after_the_runner_has_ended_resumes_the_conversation(site: Site) -> None:
    flow = site.flow({"work": stage({"done": "complete"}, gate={"type": "require_approval"})})
    site.plan(work=[[report("done", "The FIRST text.")], [report("done", "The SECOND text.")]])
    waiting = site.run(flow)
    assert (waiting.status, waiting.summary["ending"]) == (4, "waiting")
    words = [("[yes/no]", "yes"), ("eedback", "Shorter, please.")]
    said = site.person("redo", waiting.run, "--feedback", "Shorter, please.", words=words)
    assert said.status == 0, said.out
    again = site.go_on(waiting.run)
    assert again.status == 4
    first, second = prompts(site.model)
    assert second.session == first.session
    assert "The FIRST text." in second.whole
    assert "Shorter, please." in second.fresh
    assert site.person("approve", waiting.run).status == 0
    done = site.go_on(waiting.run)
    assert (done.status, done.state.terminal) == (0, "complete")
    assert ends(done) == [("ok", "")] * 2


def test_conversations_are_never_shared_between_stages(site: Site) -> None:
    flow = site.flow({"work": stage({"done": "proof"}), "proof": stage({"good": "complete", "bad": "work"})})
    site.plan(work=[[text("A SECRET of the worker.")], "done"], proof=["bad", "good"])
    well(site.run(flow))
    # The first attempt left nothing, so that the second one goes on with its conversation.
    first, second, third, fourth, fifth = prompts(site.model)
    assert first.session == second.session
    assert len({request.session for request in (second, third, fourth, fifth)}) == 4
    assert all("A SECRET of the worker." not in request.whole for request in (third, fourth, fifth))
