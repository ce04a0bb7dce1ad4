"""`kg serve`.

Hides the process that serves: it is started here, ended here, and replaced where it ends by itself. Promises that an empty directory is
filled with the seeds whole or not at all, that a server told to end finishes what runs, and that meanwhile nobody else has its port.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import time

import click

from kg import assets, config, loading
from kg.cli.files import tell
from kg.cli.shell import flags, main
from kg.config import Config
from kg.errors import ConfigurationError
from kg.library import open_library
from kg.terms import Base

#: Seconds beyond the limit of a query within which a server that was told to end has ended.
_FAREWELL = 3.0

#: Those of them within which it sends what became of the queries that ran, also that one took too long.
_LAST_WORDS = 1.5

#: How the web process ends where another one would fare no better.
_CANNOT_SERVE = 2

#: Seconds between the starts of two web processes: one that cannot live is not started as fast as it dies.
_RESPAWN = 1.0

#: Connections that wait while no web process is there.
_BACKLOG = 1_024


@main.command()
@flags()
def serve(settings: Config) -> None:
    """Serve the graph in a data directory; an empty one is filled with the seeds first."""
    listening = _listen(settings)
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
    _greet(settings, base)
    sys.exit(_keep_serving(listening, settings.query_timeout))


def _keep_serving(listening: socket.socket, patience: float) -> int:
    """Have a web process serve, and another one whenever it ends, until a signal; the exit code. What runs then has so many seconds."""
    told: list[float] = []
    # A fork would inherit the store's threads in an unknown state.
    spawn = multiprocessing.get_context("spawn")

    def end(*_: object) -> None:
        if not told:
            told.append(time.monotonic())
            listening.close()
            for child in multiprocessing.active_children():
                child.terminate()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    while not told:
        begun = time.monotonic()
        web = spawn.Process(target=_serve, args=(listening, patience), name="web")
        web.start()
        if told:
            web.terminate()
        while web.is_alive():
            web.join(1.0)
            if told and time.monotonic() - told[0] > patience + _FAREWELL:
                web.kill()
        if told:
            break
        if web.exitcode == _CANNOT_SERVE:
            return _CANNOT_SERVE
        click.echo(f"kg: the web process ended with code {web.exitcode}; another is started", err=True)
        while not told and time.monotonic() < begun + _RESPAWN:
            time.sleep(0.05)
    return 0


def _serve(listening: socket.socket, patience: float) -> None:
    """What the web process does."""
    from kg.web import process  # a third of a second that the process which only keeps it has no use for

    sys.exit(0 if process.run(listening, patience + _LAST_WORDS) else _CANNOT_SERVE)


def _listen(settings: Config) -> socket.socket:
    """What listens on the address, of which the name is looked up. Raises `ConfigurationError` where it cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(_BACKLOG)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {settings.bind}: {error.strerror}; choose another with --bind, such as --bind 127.0.0.1:8001",
            setting="KG_BIND",
        ) from None
    return listening


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
