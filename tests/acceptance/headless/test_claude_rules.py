"""The stage's rules in the real program: tools, structured answers, protected files, permissions, one hook only."""

from __future__ import annotations

import json
import shutil

import pytest

from acceptance.headless.kit import SCHEMA, Office
from stagent.agents import claude_plugin
from stagent.errors import RefusedError
from stagent.testing.scripted_model import Thread, Turn, of_agents, text, tool


def artifact(office: Office) -> Turn:
    return tool("Write", file_path=str(office.artifact), content=office.report())


def test_a_structured_answer_comes_out(office: Office) -> None:
    office.model.say(Thread([tool("StructuredOutput", result="done", notes="n")]))
    ended = office.attempt(schema=SCHEMA, tools=["Read"])
    assert ended.outcome.status == "ok"
    assert json.loads(ended.outcome.structured or "") == {"result": "done", "notes": "n"}
    assert set(ended.init["tools"]) == {"Read", "StructuredOutput"}


def test_a_structured_answer_with_an_unknown_result_is_sent_back(office: Office) -> None:
    office.model.say(Thread([tool("StructuredOutput", result="perfect"), tool("StructuredOutput", result="again")]))
    ended = office.attempt(schema=SCHEMA)
    assert "knows the results again, done" in ended.told()
    assert (ended.outcome.status, json.loads(ended.outcome.structured or "")) == ("ok", {"result": "again"})


def test_a_schema_that_is_never_satisfied_fails(office: Office) -> None:
    office.model.say(Thread([tool("StructuredOutput", notes="no result"), text("No."), text("No.")]))
    ended = office.attempt(schema=SCHEMA)
    assert (ended.outcome.status, ended.outcome.code, ended.outcome.exit) == ("failed", "schema", 0)


def test_allowed_tools_are_all_there_are(office: Office) -> None:
    office.model.say(
        Thread(
            [
                tool("Bash", command="touch forbidden"),
                tool("Write", file_path=str(office.project / "forbidden"), content="x"),
                artifact(office),
                text("Done."),
            ]
        )
    )
    ended = office.attempt(tools=["Read", "Task"], options={"permissions": "edits"})
    assert ended.outcome.status == "ok"
    offered = set(office.model.main[0].tools) - {"DeferredToolPlaceholder"}
    assert offered == {"Read", "Agent", "Write"}
    assert "No such tool available: Bash" in ended.told()
    assert "works without this call of Write" in ended.told()
    assert not (office.project / "forbidden").exists()
    assert office.artifact.exists()


def test_denied_tools_are_gone_but_the_artifact_can_be_written(office: Office) -> None:
    there = str(office.project / "src.py")
    office.model.say(
        Thread([tool("Bash", command="ls"), tool("Write", file_path=there, content="x"), artifact(office)])
    )
    ended = office.attempt(deny_tools=["Bash", "Write", "Agent"], options={"permissions": "edits"})
    assert not {"Bash", "Agent"} & set(office.model.main[0].tools)
    assert office.read("src.py") == "x = 1\n"
    assert office.artifact.exists()
    assert ended.outcome.status == "ok"


def test_a_rule_about_a_command_permits_that_command(office: Office) -> None:
    office.model.say(Thread([tool("Bash", command="git --version"), tool("Bash", command="touch x"), artifact(office)]))
    ended = office.attempt(tools=["Bash(git:*)"])
    assert ended.told().count("works without this call of Bash") == 1
    assert "It may use: Bash(git:*)." in ended.told()
    assert not (office.project / "x").exists()


LARGE = {"permissions": {"allow": ["Bash", "Edit", "Write", "Agent"]}}
GENEROUS = [({"permissions": "edits"}, {}), ({"permissions": "all"}, {}), ({"permissions": "settings"}, LARGE)]


@pytest.mark.parametrize(("options", "settings"), GENEROUS, ids=["edits", "all", "settings"])
def test_a_pattern_limits_whatever_else_is_permitted(
    office: Office, options: dict[str, str], settings: dict[str, object]
) -> None:
    office.settings(settings)
    there = str(office.project / "src.py")
    (office.project / "docs").mkdir()
    beyond = [
        tool("Bash", command="touch made"),
        tool("Bash", command="git status && touch made"),
        tool("Edit", file_path=there, old_string="x = 1", new_string="x = 2"),
        tool("Write", file_path=str(office.project / "made"), content="x"),
    ]
    within = [
        tool("Bash", command="git status"),
        tool("Read", file_path=there),
        tool("Write", file_path=str(office.project / "docs" / "a.md"), content="x"),
    ]
    office.model.say(Thread([*beyond, *within, artifact(office), text("Done.")]))
    rules = ["Bash(git status:*)", "Edit(docs/**)", "Read"]
    ended = office.attempt(tools=rules, options=options, env={"IS_SANDBOX": "1"})
    assert ended.told().count("works without this call") == len(beyond)
    assert not (office.project / "made").exists()
    assert office.read("src.py") == "x = 1\n"
    assert office.read("docs/a.md") == "x"
    assert ended.outcome.status == "ok"
    assert office.artifact.exists()


def test_a_denied_pattern_holds_for_what_cannot_be_told_for_certain(office: Office) -> None:
    there = str(office.project / "src.py")
    commands = ["touch made", "true && touch made", "sh -c 'touch made'", "$(echo touch) made; touch made"]
    edit = tool("Edit", file_path=there, old_string="x = 1", new_string="x = 2")
    steps = [tool("Read", file_path=there), *(tool("Bash", command=command) for command in commands), edit]
    office.model.say(Thread([*steps, tool("Bash", command="echo y > kept"), artifact(office), text("Done.")]))
    ended = office.attempt(
        deny_tools=["Bash(touch:*)", "Edit(src.py)"], options={"permissions": "all"}, env={"IS_SANDBOX": "1"}
    )
    assert not (office.project / "made").exists()
    assert office.read("src.py") == "x = 1\n"
    assert office.read("kept") == "y\n"
    assert ended.outcome.status == "ok"


def test_a_rule_holds_for_the_agents_an_agent_launches(office: Office) -> None:
    touch, echo = (tool("Bash", command=command) for command in ("touch made", "git --version && touch made"))
    office.model.say(Thread([touch, echo, text("Helped.")], of_agents))
    launched = tool("Agent", description="d", prompt="Help.", subagent_type="general-purpose", run_in_background=False)
    other = tool("Agent", description="d", prompt="Look.", subagent_type="Explore", run_in_background=False)
    office.model.say(Thread([other, launched, artifact(office), text("Done.")]))
    rules = ["Bash(git:*)", "Agent(general-purpose)"]
    ended = office.attempt(tools=rules, options={"permissions": "all"}, env={"IS_SANDBOX": "1"})
    assert "works without this call of Agent" in ended.told()
    assert len(office.model.agents) == 3
    assert not (office.project / "made").exists()


@pytest.mark.parametrize("mode", ["settings", "edits"])
def test_what_the_engine_keeps_is_protected(office: Office, mode: str) -> None:
    state = office.artifact.parent / "state.md"
    other = office.artifact.parent / "review-report.md"
    before = state.read_text()
    steps = [
        tool("Write", file_path=str(state), content="mine"),
        tool("Write", file_path=str(other), content="mine"),
        tool("Write", file_path=str(office.home / "config.json"), content="{}"),
        tool("Bash", command=f"cat {office.home}/registry.db"),
        tool("Bash", command="stagent advance"),
        tool("Bash", command="stagent approve"),
    ]
    office.model.say(Thread([*steps, artifact(office), text("Done.")]))
    ended = office.attempt(options={"permissions": mode})
    refusals = [event.text for event in ended.of("tool") if event.code == "failed"]
    assert len(refusals) == len(steps)
    assert all("Stagent:" in refusal for refusal in refusals), refusals
    assert state.read_text() == before
    assert not other.exists()
    assert office.artifact.exists()
    assert ended.outcome.status == "ok"


def test_the_own_artifact_needs_no_permission_even_where_writing_is_asked_about(office: Office) -> None:
    office.settings({"permissions": {"ask": ["Write"]}})
    office.model.say(Thread([artifact(office), text("Done.")]))
    assert office.attempt().outcome.status == "ok"
    assert office.artifact.exists()


def test_the_context_can_be_asked_for(office: Office) -> None:
    office.model.say(Thread([tool("Bash", command="stagent context"), artifact(office), text("Done.")]))
    ended = office.attempt()
    assert ended.outcome.status == "ok"
    assert "permission_denied" not in [event.code for event in ended.of("tool")]


def test_a_refused_permission_that_left_no_artifact_is_said_with_its_remedy(office: Office) -> None:
    office.model.say(Thread([tool("Bash", command="touch made"), text("I could not.")]))
    ended = office.attempt()
    assert (ended.outcome.status, ended.outcome.code) == ("failed", "permission_denied")
    assert "Bash (touch made)" in ended.outcome.reason
    assert "permissions.allow" in ended.outcome.reason
    assert not (office.project / "made").exists()


def test_a_refused_permission_does_not_fail_finished_work(office: Office) -> None:
    office.model.say(Thread([tool("Bash", command="touch made"), artifact(office), text("Done.")]))
    ended = office.attempt()
    assert (ended.outcome.status, ended.outcome.code) == ("ok", "permission_denied")


def test_the_users_own_rules_hold_and_their_mode_does_not(office: Office) -> None:
    office.settings({"permissions": {"allow": ["Bash(touch:*)"], "defaultMode": "auto"}})
    office.model.say(Thread([tool("Bash", command="touch made"), artifact(office)]))
    ended = office.attempt()
    assert ended.init["permissionMode"] == "default"
    assert (office.project / "made").exists()


def test_edits_may_be_permitted(office: Office) -> None:
    made = str(office.project / "made.py")
    office.model.say(Thread([tool("Write", file_path=made, content="y = 2\n"), artifact(office)]))
    assert office.attempt(options={"permissions": "edits"}).outcome.code == ""
    assert office.read("made.py") == "y = 2\n"


def test_everything_is_not_permitted_to_root(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(RefusedError, match="IS_SANDBOX=1"):
        office.attempt(options={"permissions": "all"})
    office.model.say(Thread([tool("Bash", command="touch made"), artifact(office)]))
    ended = office.attempt(options={"permissions": "all"}, env={"IS_SANDBOX": "1"})
    assert (ended.outcome.status, ended.init["permissionMode"]) == ("ok", "bypassPermissions")
    assert (office.project / "made").exists()


def test_the_installed_plugin_is_off_and_one_hook_decides(office: Office) -> None:
    arguments = ("install", "claude-code", "--claude", office.program)
    done = office.cli(*arguments, env={"STAGENT_BIN": str(office.root / "bin" / "stagent-cc")}, timeout=40)
    assert done.status == 0, done.err
    office.model.say(Thread([artifact(office), text("Done.")]))
    ended = office.attempt()
    assert ended.outcome.status == "ok"
    ours = [plugin["name"] for plugin in ended.init["plugins"] if plugin["name"].startswith("stagent")]
    assert ours == ["stagent-runner"]
    starts = [line for line in ended.lines if line.get("subtype") == "hook_response"]
    assert len(starts) == 1
    spool = office.home / "spool"
    assert not spool.exists() or list(spool.iterdir()) == []
    settings = json.loads((office.root / "home" / ".claude" / "settings.json").read_text())
    assert settings["enabledPlugins"] == {"stagent@stagent-local": True}


def test_without_its_plugin_nothing_counts(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure = claude_plugin.ensure

    def lost(home: object) -> object:
        made = ensure(home)  # type: ignore[arg-type]
        shutil.rmtree(made)
        return made

    monkeypatch.setattr(claude_plugin, "ensure", lost)
    ended = office.attempt()
    assert (ended.outcome.status, ended.outcome.code) == ("failed", "hook_missing")
    assert "Path not found" in ended.outcome.reason
    assert [event.code for event in ended.of("error")] == ["plugin", "hook_missing"]


def test_without_hooks_nothing_counts(office: Office) -> None:
    office.settings({"disableAllHooks": True})
    ended = office.attempt()
    assert (ended.outcome.status, ended.outcome.code) == ("failed", "hook_missing")
    assert "disableAllHooks" in ended.outcome.reason


def test_without_its_live_file_nothing_counts(office: Office) -> None:
    office.model.say(Thread([artifact(office), text("Done.")]))
    ended = office.attempt(live=False)
    assert (ended.outcome.status, ended.outcome.code) == ("failed", "hook_failed")
    assert not office.artifact.exists()
