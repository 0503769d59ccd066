"""Options several commands share."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from stagent.cli.select import Selector


def selector_options(function: Callable[..., int]) -> Callable[..., int]:
    """Add `[RUN] --session --topic` and pass them on as `selector`."""

    @click.argument("run", required=False)
    @click.option("--session", help="The run of this agent session.")
    @click.option("--topic", help="The run with exactly this topic.")
    @wraps(function)
    def wrapped(run: str | None, session: str | None, topic: str | None, **rest: Any) -> int:
        return function(selector=Selector(run=run, session=session, topic=topic), **rest)

    return wrapped
