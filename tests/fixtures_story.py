"""A story with something of everything, made by hand."""

from __future__ import annotations

from stagent.core.story import (
    Artifact,
    Attempt,
    CheckRun,
    Decision,
    DiffPart,
    FileChange,
    Note,
    Story,
    Visit,
)

D = "d" * 64
PATCH = (
    "diff --git a/a.txt b/a.txt\nindex 1..2 100644\n--- a/a.txt\n+++ b/a.txt\n@@ -1,2 +1,2 @@\n same\n--- old <b>\n+new"
)


def story(text: str = "words", **changes: object) -> Story:
    """Return a story; `text` stands wherever an agent, a person or a project may write."""
    visit = Visit(
        stage="plan",
        title=text,
        kind="agent",
        epoch=1,
        entered=1_000,
        left=75_000,
        result="approved",
        target="build",
        attempts=[
            Attempt(number=1, by=text, started=1_000, ended=2_000, outcome="refused", code="check.failed", text=text),
            Attempt(number=2, by="scripted", started=2_000, ended=3_000, outcome="ok", tokens=1_500, cost_usd=0.5),
        ],
        artifacts=[
            Artifact(
                stage="plan", epoch=1, result="approved", digest=D, body=D, size=9, producer=f"attempt {text}",
                at=3_000, accepted=True, text=f"---\nepoch: 1\nresult: approved\n---\n{text}",
            ),
            Artifact(
                stage="plan", epoch=1, result="left-behind", digest="e" * 64, body=D, size=9, producer="engine", at=3
            ),
        ],
        checks=[
            CheckRun(
                name="proof", artifact=D, tree=D, started=1, ended=2, outcome="protected", exit=1, millis=1, text=text,
                protected=text, added=text, changed=text,
            )
        ],
        decisions=[
            Decision(opened=3_000, decided=4_000, decision="approve", actor=text, channel="policy", text=text, body=D),
            Decision(decided=5_000, decision="answer", actor="person:x", channel="terminal", choice="yes", stale=True),
            Decision(opened=6_000),
        ],
        notes=[Note(seq=9, at=7_000, actor=text, words="interrupted", text=text)],
        unproven=True,
    )  # fmt: skip
    standing = Visit(stage="build", title="", kind="agent", epoch=2, entered=75_000)
    values: dict[str, object] = {
        "run": "r-" + "0" * 26,
        "flow": "flow",
        "workflow": D,
        "title": text,
        "mode": "headless",
        "project": f"/tmp/{text}",
        "task": f"{text}\nmore of it",
        "status": "running",
        "ended": False,
        "success": False,
        "stage": "build",
        "epoch": 2,
        "started": 1_000,
        "updated": 80_000,
        "events": 9,
        "head": "a" * 64,
        "baseline": D,
        "commit": None,
        "visits": [visit, standing],
        "warnings": [text],
        "consistent": True,
        "audit": "consistent, not anchored",
        "report": text,
        "tokens": 1_500,
        "cost_usd": 0.5,
        "diff": DiffPart(
            files=[
                FileChange(path=text, status="M", added=1, removed=1),
                FileChange(path="b.bin", status="A", added=0, removed=0, binary=True),
            ],
            text=f"{PATCH}\n {text}",
            left_out=7_000,
        ),
    }
    return Story(**{**values, **changes})  # type: ignore[arg-type]  # the keys above are those of a story
