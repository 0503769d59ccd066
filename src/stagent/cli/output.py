"""How commands speak: results on standard output, messages on standard error, one table of exit statuses."""

from __future__ import annotations

import sys

import msgspec

from stagent.cli import frame
from stagent.core.masking import mask
from stagent.core.refusals import Refusal
from stagent.errors import RefusedError, StagentError, UsageError

OK = 0
ERROR = 1
REFUSED = 2
ENDED_OTHERWISE = 3
WAITING = 4
USAGE = 64


def status_of(error: StagentError) -> int:
    """Return the exit status of an error."""
    if isinstance(error, RefusedError):
        return REFUSED
    if isinstance(error, UsageError):
        return USAGE
    return ERROR


def line(text: str = "") -> None:
    """Print a result; bytes that are not text survive."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """Print a message for people; that nobody can read it changes nothing."""
    sys.stdout.flush()
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except OSError:
        frame.drop_output(sys.stderr)


def as_json(value: object) -> None:
    """Print a value as one JSON document."""
    sys.stdout.write(msgspec.json.format(encoded(value), indent=2).decode() + "\n")


def encoded(value: object) -> bytes:
    """Return a value as JSON; bytes in a text that are none, such as those of a file's name, stand as escapes."""
    try:
        return msgspec.json.encode(value, enc_hook=str)
    except UnicodeEncodeError:
        return msgspec.json.encode(_escaped(msgspec.to_builtins(value, enc_hook=str)))


def _escaped(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_escaped(name): _escaped(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(item) for item in value]
    return value


def fail(error: StagentError, *, as_json: bool = False) -> int:
    """Report an error and return its exit status."""
    if as_json:
        document = {"error": error.code, "message": mask(str(error)), "remedy": error.remedy, "fields": error.fields}
        _write_if_read(encoded(document).decode() + "\n")
    note(f"stagent: {mask(str(error))}")
    return status_of(error)


def _write_if_read(text: str) -> None:
    """Print what goes with an exit status that must stay as it is, whether or not anybody reads on."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError:
        frame.drop_output()


def refusal_document(refusal: Refusal) -> dict[str, object]:
    """Return a refusal as programs read it."""
    return {
        "code": refusal.code,
        "message": mask(refusal.message),
        "fields": refusal.fields,
        "known": list(refusal.known),
        "remedy": refusal.remedy,
    }


def refused(refusal: Refusal, *, as_json_too: bool = False) -> int:
    """Report a refusal and return its exit status: 4 when somebody else must finish first, else 2."""
    if as_json_too:
        as_json({"status": "refused", "refusal": refusal_document(refusal)})
    note(f"stagent: {mask(refusal.message)}")
    return WAITING if refusal.blame == "wait" else USAGE if refusal.blame == "call" else REFUSED
