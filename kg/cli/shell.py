"""What all commands share: the group they hang on, exit codes, flags of settings, progress on a terminal.

Hides click's machinery. Promises that an error of ours leaves as one line on standard error and its exit code.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import click

from kg import __version__, config
from kg.config import SETTINGS
from kg.errors import (
    ConfigurationError,
    DocumentError,
    KgError,
    NotFound,
    Overloaded,
    QueryError,
    Rejected,
    RequestError,
    StillReferredTo,
    StorageError,
)

#: Kinds of error and the exit code of each; the nearest kind above decides.
EXIT_CODES: dict[type[KgError], int] = {
    KgError: 2,
    ConfigurationError: 2,
    RequestError: 2,
    DocumentError: 2,
    Rejected: 1,
    StillReferredTo: 1,
    NotFound: 1,
    QueryError: 1,
    StorageError: 3,
    Overloaded: 4,
}


def exit_code(error: KgError) -> int:
    """The exit code for an error."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)


class _Commands(click.Group):
    """Turns our errors into a message and an exit code, in one place."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KgError as error:
            _fail(error)
        except BrokenPipeError:  # `kg export | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)


def _fail(error: KgError) -> None:
    place = ":".join(str(error.facts[key]) for key in ("line", "column") if key in error.facts)
    # Names in the graph stand in it, and must not reach a terminal as commands.
    detail = "".join(c if c.isprintable() or c == "\n" else " " for c in error.detail)
    click.echo(f"kg: {f'{place}: ' if place else ''}{detail}", err=True)
    sys.exit(exit_code(error))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kg")
def main() -> None:
    """An event knowledge graph: who said what happened, on whose word, when, and with which evidence."""


def flags(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Flags for some settings, or for all; the command gets them as one `Config` under the name `settings`."""
    chosen = [setting for setting in SETTINGS if not setting.secret and (not names or setting.name in names)]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def with_config(**arguments: Any) -> None:
            overrides = {setting.name: arguments.pop(setting.name) for setting in chosen}
            command(settings=config.read(**overrides), **arguments)

        with_config.__name__, with_config.__doc__ = command.__name__, command.__doc__
        wrapped: Callable[..., None] = with_config
        wrapped.__click_params__ = list(getattr(command, "__click_params__", []))  # type: ignore[attr-defined]
        for setting in reversed(chosen):
            default = (
                f" [{setting.variable}; default {setting.default}]" if setting.default else f" [{setting.variable}]"
            )
            wrapped = click.option(
                "--" + setting.name.replace("_", "-"), setting.name, metavar="VALUE", help=setting.help + default
            )(wrapped)
        return wrapped

    return decorate
