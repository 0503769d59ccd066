"""What an agent can leave in the place of its artifact."""

from __future__ import annotations

import pytest

from acceptance.bad_input.kit import Bench
from acceptance.support import Headless, shell, stage

PLACE = '"$STAGENT_ARTIFACT"'
FRONT = "---\\nepoch: 1\\nresult: done\\n---\\n"
_WRITE = f"printf -- '{FRONT}"
TWO = f"{_WRITE}---\\nepoch: 7\\nresult: other\\n---\\n' > {PLACE}"

FINE = {
    "CRLF": f"{_WRITE.replace(chr(92) + 'n', chr(92) + 'r' + chr(92) + 'n')}text\\r\\n' > {PLACE}",
    "two front matters": TWO,
    "bytes that are no text": f"{_WRITE}caf\\351 \\377\\376 \\000 end\\n' > {PLACE}",
    "50 MB": f"{_WRITE}' > {PLACE}; head -c 52428800 /dev/zero >> {PLACE}",
    "no body": f"{_WRITE}' > {PLACE}",
}
REFUSED = {
    "0 bytes": (f": > {PLACE}", "artifact.front_matter", "line 1", "Write epoch: 1 and one of the known results"),
    "a folder": (f"mkdir {PLACE}", "artifact.missing", "", "Write"),
    "a pipe": (f"mkfifo {PLACE}", "artifact.missing", "", "Write"),
    "a link": (f'{_WRITE}\' > it.md; ln -s "$PWD/it.md" {PLACE}', "artifact.missing", "", "Write"),
    "a link that leads nowhere": (f"ln -s nowhere {PLACE}", "artifact.missing", "", "Write"),
    "no text in the front matter": (
        f"printf -- '---\\nepoch: 1\\nresult: d\\377ne\\n---\\n' > {PLACE}",
        "artifact.front_matter",
        "line 3",
        "Write epoch: 1 and one of the known results",
    ),
    "70 MB": (
        f"{_WRITE}' > {PLACE}; head -c 73400320 /dev/zero >> {PLACE}",
        "artifact.front_matter",
        "larger than 64 MiB",
        "",
    ),
}


def _drive(machine: Bench, command: str) -> Headless:
    flow = machine.flow({"work": stage({"done": "complete"}, retry={"attempts": 1})})
    return machine.drive(flow, {"work": [shell(command)]})


@pytest.mark.parametrize("how", FINE)
def test_an_odd_artifact_is_taken_whole(machine: Bench, how: str) -> None:
    run = _drive(machine, FINE[how])
    assert (run.status, run.state.terminal) == (0, "complete"), run.refusals()
    [taken] = run.log("artifact.recorded")
    assert taken["size"] == run.artifact("work").stat().st_size
    assert taken["result"] == "done"
    assert machine.call("show", run.run, "--artifact", "work").status == 0
    assert machine.call("audit", "verify", run.run).status == 0


@pytest.mark.parametrize("how", REFUSED)
def test_what_is_no_artifact_is_refused_with_its_place(machine: Bench, how: str) -> None:
    command, code, what, remedy = REFUSED[how]
    run = _drive(machine, command)
    assert (run.status, run.place) == (3, ("work", 1))
    assert run.codes() == [code]
    said = run.refusals()
    assert str(run.artifact("work")) in said
    assert what in said
    assert remedy in said
    # The run stands where it stood: with a whole artifact it goes on.
    machine.script({"work": [shell(f"rm -rf {PLACE}; {_WRITE}' > {PLACE}")]})
    again = machine.resume(run.run)
    assert (again.status, again.state.terminal) == (0, "complete")
