"""The click group over the command table: commands are imported when they are called, help lists all of them."""

from __future__ import annotations

from difflib import get_close_matches

import click

from stagent.cli.output import USAGE
from stagent.cli.table import COMMANDS, GROUPS, load
from stagent.errors import UsageError

_NAME = max(map(len, COMMANDS))


class Group(click.Group):
    """Finds commands in the table."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, or None for an unknown name."""
        return load(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table alone, without importing any."""
        for heading, group in GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(_NAME), summary) for name, (_, summary) in group.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; for an unknown name say which one may be meant."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = " or ".join(get_close_matches(args[0], COMMANDS, n=2))
            meant = f" Did you mean {near}?" if near else ""
            ctx.fail(f"No such command '{args[0]}'.{meant}")
        return super().resolve_command(ctx, args)


@click.command(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="stagent", message="stagent %(version)s")
def cli() -> None:
    """Hold a coding agent to a declared workflow; every transition is decided from evidence checked by the engine."""


def invoke(arguments: list[str]) -> int:
    """Run the command line and return its exit status; wrong usage gives 64."""
    try:
        result = cli.main(args=arguments, prog_name="stagent", standalone_mode=False)
    except click.UsageError as error:
        if "--json" in arguments:
            place = error.ctx.command_path if error.ctx else "stagent"
            raise UsageError("usage", error.format_message(), where=place, remedy=f"See: {place} --help.") from error
        error.show()
        return USAGE
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.Abort:
        return 130
    except SystemExit as stop:
        # click's answer to a reader of our output who has gone; ours is in `main`.
        raise BrokenPipeError from stop
    except click.ClickException as error:
        raise UsageError("usage", error.format_message(), remedy="See: stagent --help.") from error
    return result if isinstance(result, int) else 0
