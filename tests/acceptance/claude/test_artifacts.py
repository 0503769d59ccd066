"""An artifact that is not this stage's, this epoch's or this run's, or none: refused, and the model is told why."""

from __future__ import annotations

from acceptance.claude.kit import Desk, Play
from acceptance.claude.steps import delegated, launch, worked
from acceptance.support import claim, stage
from stagent.testing.scripted_model import Answer, Request, ScriptedModel, Thread, Turn, of_agents, text

FOREIGN = {"plan": stage({"PASS": "build"}), "build": delegated({"PASS": "complete"})}
LOOP = {
    "build": stage({"PASS": "review"}),
    "review": stage({"PASS": "complete", "FAIL": "build"}),
}


def test_what_was_made_for_another_stage_or_run_is_refused_in_print_mode(desk: Desk, model: ScriptedModel) -> None:
    flow = desk.flow(FOREIGN)
    other = desk.drive(flow, {"plan": [claim("PASS")], "build": [claim("PASS")]})
    assert other.state.terminal == "complete"
    foreign = other.artifact("build")
    assert "result: PASS" in foreign.read_text()

    def put(command: str) -> Answer:
        def made(request: Request) -> Turn:
            # From a script: a line that says it would be denied.
            script = desk.root / "put.sh"
            script.write_text(command.format(folder=desk.report(request.session, "build").parent, foreign=foreign))
            return desk.shell(f"sh {script}")

        return made

    model.say(Thread(worked(desk, "build", "PASS", 2), of_agents))
    play = Play(
        model,
        (desk.call("tick"), '"status": "plan"'),
        (desk.artifact("plan", "PASS"), "created"),
        (desk.call("advance"), "Stage build, epoch 2"),
        (desk.call("advance"), r"\[error\].*there is no artifact at"),
        (put("cp {folder}/plan-report.md {folder}/build-report.md"), r"\[result\]"),
        (desk.call("advance"), r"\[error\].*epoch mismatch: \S+build-report.md states 1"),
        (put("rm {folder}/build-report.md && ln -s {foreign} {folder}/build-report.md"), r"\[result\]"),
        (desk.call("advance"), r"\[error\].*there is no artifact at"),
        (put("rm {folder}/build-report.md && cp {foreign} {folder}/build-report.md"), r"\[result\]"),
        (desk.call("advance"), r"\[error\].*worked by a sub-agent, but the log holds none"),
        (put("rm {folder}/build-report.md"), r"\[result\]"),
        (text("Done."), "Stop hook feedback.*there is no artifact at"),
        (launch(run_in_background=False), "The stage build is over"),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    desk.headless(f"/stagent:start --flow {flow} a task", allow=["Bash"])
    play.over(quiet=0)
    (mine,) = (run for run in desk.runs() if run != other.run)
    codes = [event["code"] for event in desk.log(mine) if event["type"] == "attempt.ended" and event.get("code")]
    assert codes == ["artifact.missing", "artifact.epoch", "artifact.missing", "producer.no_subagent"]
    assert desk.state(mine).terminal == "complete"


def test_what_an_earlier_round_left_is_refused_interactively(desk: Desk, model: ScriptedModel) -> None:
    play = Play(
        model,
        (desk.call("tick"), '"status": "build"'),
        (desk.artifact("build", "PASS"), "created"),
        (desk.call("advance"), "Stage review, epoch 2"),
        (desk.artifact("review", "FAIL", 2), "created"),
        (desk.call("advance"), "Stage build, epoch 3"),
        (text("It was built already."), "Stop hook feedback.*there is no artifact at"),
        (desk.artifact("build", "PASS", 1), "created|updated"),
        (text("It was built already."), r"Stop hook feedback.*epoch mismatch: \S+ states 1"),
        (desk.call("advance"), r"\[error\].*epoch mismatch: \S+build-report.md states 1.*write epoch: 3"),
        (desk.artifact("build", "PASS", 4), "created|updated"),
        (desk.call("advance"), r"\[error\].*epoch mismatch: \S+build-report.md states 4"),
        (desk.artifact("build", "FAIL", 3), "created|updated"),
        (desk.call("advance"), r'\[error\].*unknown result "FAIL".*PASS'),
        (desk.artifact("build", "PASS", 3), "created|updated"),
        (desk.call("advance"), "Stage review, epoch 4"),
        (desk.artifact("review", "PASS", 4), "created"),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    screen = desk.terminal()
    screen.say(f"/stagent:start --flow {desk.flow(LOOP)} a task")
    play.over()
    run = desk.run()
    assert run.codes() == ["artifact.epoch", "artifact.epoch", "artifact.result"]
    assert run.state.terminal == "complete"
