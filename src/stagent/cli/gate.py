"""`approve`, `reject`, `redo`, `answer`: a person's decision at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from stagent.bootstrap import Home
from stagent.cli import gateview, output, people
from stagent.cli.options import selector_options
from stagent.cli.select import Selector, choose
from stagent.core.refusals import Refusal
from stagent.errors import RefusedError, UsageError


def _decide(selector: Selector, decision: str, choice: str, feedback: str | None, as_json: bool) -> int:
    home = Home()
    try:
        chosen = choose(home, selector)
        state = chosen.service.state(chosen.run)
        tty = people.terminal(decision, state)
        try:
            gathered = chosen.service.gate_evidence(state)
            refusal = people.impossible(chosen.service, state, tty, gathered.evidence, decision, choice)
            if refusal is not None:
                return output.refused(refusal, as_json_too=as_json)
            for line in gateview.shown(chosen.service, state, gathered):
                tty.say(line)
            words = _words(tty, decision, feedback)
            asked = tty.ask(f"{decision.capitalize()}{' ' + choice if choice else ''}? [yes/no] ")
            if asked is None or asked.lower() not in ("y", "yes"):
                raise RefusedError("person.declined", "not confirmed", where=decision, remedy="Nothing was decided.")
            answer = people.decide(chosen.service, state, tty, gathered.evidence, decision, choice, words)
        finally:
            tty.close()
        if isinstance(answer, Refusal):
            return output.refused(answer, as_json_too=as_json)
        if as_json:
            output.as_json({"run": answer.run, "stage": answer.stage, "decision": decision, "head": answer.head})
        else:
            output.line(f"{decision}: stage {answer.stage} of {answer.run}. Log head: {answer.head}")
        return 0
    finally:
        home.close()


def _words(tty: people.Terminal, decision: str, feedback: str | None) -> str:
    if feedback == "-":
        return sys.stdin.read()
    if feedback is not None or decision in ("approve", "answer"):
        return feedback or ""
    words = people.feedback(tty)
    if not words:
        raise UsageError("gate.feedback", "no feedback", where=decision, remedy="Say what is to be changed.")
    return words


def _command(name: str, summary: str) -> Callable[..., int]:
    @click.command(name=name, help=summary)
    @selector_options
    @click.option("--feedback", help="What is to be changed; - reads it from standard input.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    def command(selector: Selector, feedback: str | None, as_json: bool) -> int:
        return _decide(selector, name, "", feedback, as_json)

    return command


approve_command = _command(
    "approve",
    "Approve what the current stage left. The approval is bound to the artifact and, where the stage writes the "
    "project, to its tree: change either and it is void.",
)
reject_command = _command("reject", "Reject what the current stage left; the run stays in the stage.")
redo_command = _command("redo", "Reject with feedback and have another attempt made that carries it.")


@click.command(name="answer")
@selector_options
@click.option("--choice", required=True, help="One of the results of the human stage.")
@click.option("--feedback", "--text", help="Words to go with the choice; - reads them from standard input.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def answer_command(selector: Selector, choice: str, feedback: str | None, as_json: bool) -> int:
    """Choose at a human stage."""
    return _decide(selector, "answer", choice, feedback, as_json)
