"""`kg token`: who may write over HTTP.

Promises that the token stands alone on standard output, once, so that a script can take it from there.
"""

from __future__ import annotations

import click

from kg.cli.shell import flags, main
from kg.config import Config
from kg.tokens import ROLES, Tokens, last_day


@main.group()
def token() -> None:
    """Tokens for writing over HTTP: create, list, revoke."""


@token.command()
@click.option("--name", required=True, help="Who or what writes with it; each revision carries this name.")
@click.option("--role", required=True, type=click.Choice(ROLES), help="An admin may also delete.")
@click.option("--expires", metavar="DAY", help="The last day, such as 2027-01-01, or days from now, such as 90d.")
@flags("data")
def create(settings: Config, name: str, role: str, expires: str | None) -> None:
    """Make a token and print it, this once: only its digest is kept."""
    secret = Tokens(settings.data).create(name, role, last_day(expires) if expires else None)
    click.echo(secret)
    click.echo("It cannot be shown again. Send it as: Authorization: Bearer …", err=True)


@token.command("list")
@flags("data")
def list_(settings: Config) -> None:
    """All tokens there ever were, tab-separated: name, role, created, expires, last used, revoked."""
    click.echo("name\trole\tcreated\texpires\tused\trevoked")
    for one in Tokens(settings.data).all():
        days = (one.created, one.expires, one.used, one.revoked)
        click.echo("\t".join([one.name, one.role, *("" if day is None else str(day) for day in days)]))


@token.command()
@click.argument("name")
@flags("data")
def revoke(settings: Config, name: str) -> None:
    """Take a token's power away, at once, on a running server too."""
    Tokens(settings.data).revoke(name)
    click.echo(f"{name} is revoked", err=True)
