"""`stagent template`: the workflows that have a name here, a new one to begin with, and what one could do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import msgspec

from stagent.cli import output, people
from stagent.cli.words import plain, table
from stagent.config import DataHome
from stagent.core.capabilities import Capabilities, capabilities
from stagent.core.model import Stage, Workflow
from stagent.core.verify.problem import errors, refuse
from stagent.engine import authoring, consent, flows, templates
from stagent.errors import RefusedError, StagentError, UsageError, WorkflowError

SKIPPED = 3
"""The exit status of `template check publish` where there is no hub to publish to."""
_EXCERPT = 12
Step = Callable[[Path], authoring.Verdict]
_STEPS: dict[str, Step] = {"plan": authoring.plan, "prepare": authoring.prepare, "validate": authoring.judge}


@click.group(name="template", invoke_without_command=True)
@click.pass_context
def template_command(context: click.Context) -> int:
    """List, show and make workflows."""
    if context.invoked_subcommand is None:
        output.line(context.get_help())
    return output.OK


@template_command.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(as_json: bool) -> int:
    """List the workflows that have a name here: the bundled ones, the project's, your own."""
    found = [_listed(item) for item in flows.listed(Path.cwd())]
    if as_json:
        output.as_json(found)
        return output.OK
    rows = [
        [
            str(item["name"]),
            str(item["source"]),
            str(item["digest"])[:12],
            str(item["count"]),
            plain(str(item["title"] or item["description"])),
        ]
        for item in found
    ]
    for line in table(["NAME", "FROM", "DIGEST", "STAGES", "TITLE"], rows):
        output.line(line)
    for item in found:
        if item["problem"]:
            output.note(plain(f"{item['name']} ({item['folder']}): {item['problem']}"))
    return output.OK


def _listed(item: flows.Template) -> dict[str, object]:
    document: dict[str, object] = {
        "name": item.name,
        "source": item.source,
        "folder": str(item.folder),
        "title": "",
        "description": "",
        "digest": "",
        "stages": [],
        "count": "-",
        "problem": item.hidden,
    }
    try:
        _, texts, workflow, problems = flows.read(str(item.folder), item.folder)
    except WorkflowError as error:
        return {**document, "problem": document["problem"] or error.what}
    document |= {"digest": templates.fingerprint(texts), "description": templates.description(texts)}
    if workflow is not None:
        document |= {"title": workflow.title, "stages": list(workflow.stages), "count": len(workflow.stages)}
    bad = len(errors(problems))
    if bad:
        document["problem"] = document["problem"] or f"{bad} {'problem' if bad == 1 else 'problems'}: stagent validate"
    return document


@template_command.command(name="show")
@click.argument("reference", metavar="NAME|DIR")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_command(reference: str, as_json: bool) -> int:
    """Show a workflow: its stages, limits, and what it could do on this machine. Nothing of it is run."""
    here = Path.cwd()
    folder = flows.folder_of(_folder_or_name(reference), here)
    name, texts, workflow, problems = flows.read(str(folder), here)
    bad = errors(problems)
    if workflow is None or bad:
        raise refuse(bad, str(folder))
    document = _document(name, folder, texts, workflow)
    if as_json:
        output.as_json(document)
        return output.OK
    _print(document, texts, workflow, capabilities(workflow))
    return output.OK


def _folder_or_name(reference: str) -> str:
    """Return a folder's path where there is one of this name here, else the reference as it is."""
    here = Path.cwd() / reference
    return str(here.absolute()) if (here / "workflow.json").exists() else reference


def _document(name: str, folder: Path, texts: dict[str, bytes], workflow: Workflow) -> dict[str, object]:
    return {
        "name": name,
        "folder": str(folder),
        "title": workflow.title,
        "digest": templates.fingerprint(texts),
        "readme": _readme(texts),
        "initial": workflow.initial,
        "terminals": list(workflow.terminals),
        "max_epoch": workflow.max_epoch,
        "budget": msgspec.to_builtins(workflow.budget),
        "stages": [_stage(stage) for stage in workflow.stages.values()],
        "capabilities": msgspec.to_builtins(capabilities(workflow)),
    }


def _stage(stage: Stage) -> dict[str, object]:
    gate = stage.gate
    return {
        "name": stage.name,
        "title": stage.title,
        "kind": stage.kind,
        "execution": stage.execution if stage.kind in ("agent", "review") else None,
        "transitions": stage.transitions,
        "gate": {"type": gate.type, "for": list(gate.results or stage.transitions)} if gate else None,
        "checks": [{"name": check.name, "for": list(check.results), "run": check.run} for check in stage.checks],
        "attempts": stage.retry.attempts,
        "timeout": stage.timeout,
    }


def _readme(texts: dict[str, bytes]) -> str:
    lines = texts.get("readme.md", b"").decode("utf-8", "replace").strip().splitlines()
    return "\n".join(lines[:_EXCERPT])


def _print(document: dict[str, object], texts: dict[str, bytes], workflow: Workflow, able: Capabilities) -> None:
    output.line(plain(f"{document['name']}: {workflow.title}" if workflow.title else str(document["name"])))
    output.line(plain(f"Folder:    {document['folder']}"))
    output.line(f"Digest:    {document['digest']}")
    output.line(f"Terminals: {', '.join(workflow.terminals)}; at most {workflow.max_epoch} epochs")
    output.line()
    for line in _readme(texts).splitlines():
        output.line(f"  | {plain(line)}")
    output.line()
    rows = [_row(stage) for stage in workflow.stages.values()]
    for line in table(["STAGE", "KIND", "RESULTS", "GATE", "CHECKS"], rows):
        output.line(line)
    output.line()
    output.line("What it could do:")
    _lines("shell commands of the engine", [f"{item.where}: {item.run}" for item in able.commands])
    _lines("hints of a network", [f"{item.where}: {item.run}" for item in able.network])
    for item in able.stages:
        tools = "any" if item.tools is None else ", ".join(item.tools) or "none"
        denied = f", not {', '.join(item.denied)}" if item.denied else ""
        writes = ", ".join(item.writes) or "nothing but its artifact"
        output.line(plain(f"  {item.stage}: writes {writes}; tools: {tools}{denied}"))


def _lines(title: str, lines: list[str]) -> None:
    output.line(f"  {title}: {'none' if not lines else len(lines)}")
    for line in lines:
        output.line(plain(f"    {line}"))


def _row(stage: Stage) -> list[str]:
    kind = stage.kind if stage.kind in ("command", "human") else f"{stage.kind}, {stage.execution}"
    results = ", ".join(f"{result}->{target}" for result, target in stage.transitions.items())
    gate = stage.gate.type if stage.gate else "person" if stage.kind == "human" else "-"
    return [stage.name, kind, results, gate, ", ".join(dict.fromkeys(check.name for check in stage.checks)) or "-"]


@template_command.command(name="new")
@click.argument("name")
@click.option("--from", "origin", metavar="NAME|DIR", help="What to copy; without it a small one to begin with.")
@click.option("--dir", "parent", type=click.Path(path_type=Path), help="The folder to put it in.")
@click.option("--user", "own", is_flag=True, help="Put it among your own templates, for every project.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def new_command(name: str, origin: str | None, parent: Path | None, own: bool, as_json: bool) -> int:
    """Make a new workflow NAME that validates strictly, in the project's folder `workflows/`."""
    here = Path.cwd()
    if own and parent is not None:
        raise UsageError("usage", "--user and --dir", where="template new", remedy="Give one of them.")
    place = parent.absolute() if parent is not None else flows.user_folder() if own else flows.project_folder(here)
    problems = templates.name_problems(name)
    folder = place / name
    problems += [] if problems else templates.place_problems(folder)
    texts: dict[str, bytes] = {}
    try:
        texts = templates.load(flows.folder_of(origin, here)) if origin is not None else templates.scaffold(name)
        if "workflow.json" not in texts:
            problems.append(f"there is no workflow in {origin}")
    except StagentError as error:
        problems.append(str(error))
    if problems:
        raise templates.refuse(problems, f"template new {name}".strip())
    templates.put(folder, texts)
    reference = f"{folder}" if parent is not None else name
    if as_json:
        output.as_json({"name": name, "folder": str(folder), "digest": templates.fingerprint(texts), "flow": reference})
        return output.OK
    output.line(plain(f"Made {folder}"))
    output.line(plain(f"Validate: stagent validate {folder} --strict"))
    output.line(plain(f'Use:      stagent run "TASK" --flow {reference}'))
    return output.OK


@template_command.command(name="trust")
@click.argument("reference", metavar="NAME|DIR")
def trust_command(reference: str) -> int:
    """Agree that a workflow which came with this project may run its commands here, as long as it does not change.

    Only a person does that. In a CI it is a step of its own, before `stagent run`.
    """
    people.no_agent("trust a workflow")
    flow = flows.usable(_folder_or_name(reference), Path.cwd())
    commands = capabilities(flow.workflow).commands
    _lines("shell commands of the engine", [f"{item.where}: {item.run}" for item in commands])
    made = templates.fingerprint(flow.files)
    consent.give(DataHome.locate(), made)
    output.line(plain(f"Trusted {flow.folder} ({made[:12]})"))
    return output.OK


@template_command.command(name="publish")
@click.argument("folder", metavar="DIR")
def publish_command(folder: str) -> int:
    """Publish a workflow to a server. This version has none and refuses; a folder can be shared as it is."""
    raise RefusedError(
        "template.no_server",
        "workflows are published to a server, and this version has none",
        where=plain(folder),
        remedy="Share the folder as it is, or keep it for every project of yours: stagent template new --user.",
    )


@template_command.command(name="check")
@click.argument("step", type=click.Choice([*_STEPS, "publish", "reference"]))
def check_command(step: str) -> int:
    """Do what a stage of the workflow create-workflow has the engine do itself.

    `reference` prints what an author must know. Exit status 3 of `publish`: there is no hub to publish to.
    """
    if step == "reference":
        output.line(templates.guide().rstrip("\n"))
        return output.OK
    if step == "publish":
        return _publish()
    verdict = _STEPS[step](Path.cwd())
    for line in verdict.lines:
        output.line(line)
    for problem in verdict.problems:
        output.line(f"- {problem}")
    count = len(verdict.problems)
    output.line(
        f"{step}: " + ("passed." if not count else f"failed, {count} {'problem' if count == 1 else 'problems'}.")
    )
    return output.ERROR if count else output.OK


def _publish() -> int:
    place = authoring.written(Path.cwd())
    output.line(f"publish: skipped. There is no hub to publish {place} to; the folder is complete where it is.")
    output.line(f"Before it is used here, in a terminal: stagent template trust {place.name}")
    output.line(f"For every project of yours: stagent template new {place.name} --from {place}/ --user")
    output.line(f"Once there is a server, which this version does not have: stagent template publish {place}")
    return SKIPPED
