"""The whole graph to download: `/dump.nq.gz` and `/dump.trig.gz`.

Hides ranges and conditions (RFC 9110, sections 13 and 14). Promises that parts fetched under one entity tag fit together.
"""

from __future__ import annotations

from flask import Blueprint, Response, request
from werkzeug.wsgi import FileWrapper

from kg.dumps import FORMS, Dumps
from kg.errors import BeingMade
from kg.library import Library

#: Bytes read at a time.
_PIECE = 2**18


def blueprint(library: Library) -> Blueprint:
    """The routes `/dump.nq.gz` and `/dump.trig.gz`."""
    routes = Blueprint("dumps", __name__)
    dumps = Dumps(library.journal, library.config.data / "dumps")

    @routes.get(f"/dump.<any({', '.join(FORMS)}):form>.gz")
    def dump(form: str) -> Response:
        found = dumps.get(form)
        try:
            file = found.path.open("rb")
        except FileNotFoundError:
            raise BeingMade("the dump has just been replaced by a newer one; ask again", retry_after=1) from None
        size = file.seek(0, 2)
        file.seek(0)
        response = Response(FileWrapper(file, _PIECE), mimetype="application/gzip", direct_passthrough=True)
        response.call_on_close(file.close)
        response.content_length = size
        response.set_etag(found.tag)
        if found.modified is not None:
            response.last_modified = found.modified
        response.headers["KG-Revision"] = str(found.revision)
        # One that is not the newest any more must not be kept for those who ask after the newest is made.
        response.headers["Cache-Control"] = "no-cache" if found.revision == library.journal.last() else "no-store"
        response.headers["Content-Disposition"] = f'attachment; filename="dump-{found.revision}.{form}.gz"'
        return response.make_conditional(request, accept_ranges=True, complete_length=size)  # type: ignore[return-value]

    return routes
