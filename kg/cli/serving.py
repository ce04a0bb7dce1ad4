"""`kg serve`.

Hides the HTTP server and its processes. Promises that an empty directory is filled with the seeds whole or not at all, and that a
server told to end finishes what runs.
"""

from __future__ import annotations

import os
import socket
import sys

import click

from kg import assets, config, loading
from kg.cli.files import tell
from kg.cli.shell import flags, main
from kg.config import Config
from kg.errors import ConfigurationError
from kg.library import open_library
from kg.terms import Base

#: Seconds beyond the limit of a query within which a server that was told to end has ended.
_FAREWELL = 3


@main.command()
@flags()
def serve(settings: Config) -> None:
    """Serve the graph in a data directory; an empty one is filled with the seeds first."""
    from granian import Granian
    from granian.constants import Interfaces, Loops

    address = _free_address(settings)
    # Commands hold the index for moments; who holds it for longer is another server.
    with open_library(settings, create=True, owner=True, patience=3) as library:
        base = library.base
        if library.journal.last() == 0:
            click.echo(f"{settings.data} is new: loading the seeds …", err=True)
            summary = loading.load(
                library,
                assets.files("seeds", "**/*.ttl"),
                agent="seeds",
                note="the seeds of this version",
                strict=True,  # in one batch, so that a server killed meanwhile does not leave a part of them for ever
            )
            tell(summary, base)
    os.environ.update(config.as_environment(settings))
    os.environ["KG_DATA"] = str(settings.data.resolve())
    import multiprocessing

    multiprocessing.set_start_method(
        "spawn", force=True
    )  # a fork would inherit the store's threads in an unknown state
    server = Granian(
        "kg.web.process:application",
        address=address,
        port=settings.port,
        interface=Interfaces.RSGI,
        loop=Loops.uvloop,
        factory=True,
        workers=1,
        websockets=False,
        log_enabled=False,
        respawn_failed_workers=True,
        workers_kill_timeout=int(settings.query_timeout) + _FAREWELL,  # what runs is finished first
    )

    def ready() -> None:
        _greet(settings, base)

    server.on_startup(ready)
    server.serve()


def _free_address(settings: Config) -> str:
    """The address to listen on, as numbers; names are looked up. Raises `ConfigurationError` where it cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {settings.bind}: {error.strerror}; choose another with --bind, such as --bind 127.0.0.1:8001",
            setting="KG_BIND",
        ) from None
    return str(address[0])


def _greet(settings: Config, base: Base) -> None:
    here = f"http://{settings.bind}/"
    click.echo(
        f"Serving {settings.data} at {here}"
        + (f" (documents are named {base}…)" if base.iri != settings.default_base else "")
    )
    query = "SELECT ?who ?proposition WHERE { ?act a ekg:Admission ; ekg:speaker/rdfs:label ?who ; ekg:content/schema:text ?proposition }"
    click.echo("Three things to try:")
    click.echo(f"  open {here} in a browser")
    click.echo(f"  curl -L -H 'Accept: text/turtle' {here}article/russia-admits-north-korean-soldiers")
    click.echo(f"  curl -G {here}sparql -H 'Accept: text/csv' --data-urlencode \\\n    'query={query}'")
    sys.stdout.flush()
