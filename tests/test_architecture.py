"""The house stands as it was drawn: arrows of imports run one way, each library has its one place, and nothing lies about."""

from __future__ import annotations

import ast
import functools
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: From the bottom up: a module imports only from those before it.
ORDER = [
    "kg",
    "kg.child",
    "kg.errors",
    "kg.terms",
    "kg.config",
    "kg.tokens",
    "kg.assets",
    "kg.lexis",
    "kg.documents.syntaxes",
    "kg.documents.received",
    "kg.documents.written",
    "kg.documents",
    "kg.retraction",
    "kg.report",
    "kg.shacl",
    "kg.gate",
    "kg.journal.rows",
    "kg.journal.file",
    "kg.journal.writing",
    "kg.journal",
    "kg.history",
    "kg.dumps",
    "kg.judging",
    "kg.verdict",
    "kg.rules",
    "kg.engine",
    "kg.engine.evaluator",
    "kg.engine.deriver",
    "kg.engine.turns",
    "kg.engine.gateway",
    "kg.engine.federation",
    "kg.engine.standard",
    "kg.engine.exchange",
    "kg.engine.process",
    "kg.engine.scratch",
    "kg.engine.workers",
    "kg.engine.snapshots",
    "kg.engine.index",
    "kg.engine.embedded",
    "kg.engine.remote.server",
    "kg.engine.remote.operations",
    "kg.engine.remote.following",
    "kg.engine.remote.rewriting",
    "kg.engine.remote",
    "kg.questions",
    "kg.tables",
    "kg.spelling",
    "kg.register",
    "kg.names",
    "kg.search",
    "kg.openapi.parts",
    "kg.openapi.addresses",
    "kg.openapi",
    "kg.examples",
    "kg.describe",
    "kg.verification",
    "kg.safekeeping",
    "kg.library",
    "kg.updates",
    "kg.asking",
    "kg.client",
    "kg.loading",
    "kg.passages",
    "kg.web.ui.backend",
    "kg.web.libraries",
    "kg.web.negotiation",
    "kg.web.wire",
    "kg.web.parsing",
    "kg.web.connection",
    "kg.web.cache",
    "kg.web.authority",
    "kg.web.vocabulary",
    "kg.web.reading",
    "kg.web.wording",
    "kg.web.chronicle",
    "kg.web.checking",
    "kg.web.verdicts",
    "kg.web.searching",
    "kg.web.answers",
    "kg.web.questions",
    "kg.web.enquiry",
    "kg.web.timeline",
    "kg.web.positions",
    "kg.web.maps",
    "kg.web.articles",
    "kg.web.places",
    "kg.web.events",
    "kg.web.actors",
    "kg.web.propositions",
    "kg.web.things",
    "kg.web.pages",
    "kg.web.documents",
    "kg.web.writing",
    "kg.web.lists",
    "kg.web.history",
    "kg.web.feed",
    "kg.web.dumps",
    "kg.web.sparql",
    "kg.web.updating",
    "kg.web.operations",
    "kg.web",
    "kg.web.wsgi",
    "kg.web.moment",
    "kg.web.front",
    "kg.web.process",
    "kg.cli.shell",
    "kg.cli.files",
    "kg.cli.serving",
    "kg.cli.answers",
    "kg.cli.asking",
    "kg.cli.history",
    "kg.cli.keeping",
    "kg.cli.tokens",
    "kg.cli",
    "kg.cli.__main__",
]

#: Libraries and the only places that may import them.
PLACES = {
    "pyshacl": ("kg.shacl",),
    "rdflib": ("kg.shacl",),
    "sqlite3": ("kg.journal", "kg.tokens", "kg.register", "kg.names", "kg.search"),
    "SPARQLWrapper": ("kg.engine",),
    "flask": ("kg.web",),
    "werkzeug": ("kg.web",),
    "jinja2": ("kg.web",),
    "click": ("kg.cli",),
    "rich": ("kg.cli",),
    "httptools": ("kg.web.parsing",),
    "uvloop": ("kg.web.process",),
    "yaml": ("kg.questions", "kg.rules"),
    "pyld": ("kg.documents",),
}

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "kg").rglob("*.py"))
}


@functools.cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text("utf-8"))


def is_for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """Everything in a tree but what stands under `if TYPE_CHECKING`, which makes no arrow when the program runs."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not is_for_types_only(child):
            yield from executed(child)


@functools.cache
def imports(module: str) -> list[tuple[int, str]]:
    """Line and whole name of each thing that a module imports."""
    found: list[tuple[int, str]] = []
    for node in executed(tree(module)):
        if isinstance(node, ast.Import):
            found += ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{MODULES[module]}:{node.lineno}: a relative import"
            found += ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
    return found


def module_of(name: str) -> str:
    return name if name in MODULES else name.rpartition(".")[0]


def inside(module: str, place: str) -> bool:
    return module == place or module.startswith(place + ".")


def test_every_module_has_its_place_in_the_order() -> None:
    assert sorted(ORDER) == sorted(MODULES), "a new module goes into ORDER above, an old one out of it"


def test_imports_run_one_way_only() -> None:
    rank = {module: place for place, module in enumerate(ORDER)}
    upward = [
        f"{MODULES[module].relative_to(ROOT)}:{line} imports {module_of(name)}"
        for module in MODULES
        for line, name in imports(module)
        if name.partition(".")[0] == "kg" and rank.get(module_of(name), len(rank)) >= rank.get(module, len(rank))
    ]
    assert upward == []


def test_arrows_for_types_point_to_modules_that_are_there() -> None:
    names = [
        f"{node.module}"
        for module in MODULES
        for under in ast.walk(tree(module))
        if is_for_types_only(under)
        for node in ast.walk(under)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kg")
    ]
    assert [name for name in names if name not in MODULES] == []


@pytest.mark.parametrize("library", PLACES)
def test_library_is_imported_only_where_it_belongs(library: str) -> None:
    strays = [
        f"{MODULES[module].relative_to(ROOT)}:{line}"
        for module in MODULES
        for line, name in imports(module)
        if inside(name, library) and not any(inside(module, place) for place in PLACES[library])
    ]
    assert strays == []


def test_only_the_engine_names_the_store() -> None:
    """Without one there is nothing to call `query` or `update` on."""
    strays = [
        f"{MODULES[module].relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
        for module in MODULES
        if not inside(module, "kg.engine")
        for node in ast.walk(tree(module))
        if (
            isinstance(node, ast.Attribute) and node.attr == "Store" and ast.unparse(node.value) in ("ox", "pyoxigraph")
        )
        or (isinstance(node, ast.ImportFrom) and node.module == "pyoxigraph")
        or (isinstance(node, ast.Import) and any(a.name == "pyoxigraph" and a.asname != "ox" for a in node.names))
    ]
    assert strays == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    empty = {"utils", "util", "helpers", "helper", "services", "service", "manager", "models", "common", "misc", "base"}
    assert [module for module in MODULES if empty & set(module.split("."))] == []


def test_every_module_says_what_it_hides_and_promises() -> None:
    assert [module for module in MODULES if len(ast.get_docstring(tree(module)) or "") < 40] == []


def names_exception(node: ast.expr | None) -> bool:
    return node is None or any(isinstance(part, ast.Name) and part.id == "Exception" for part in ast.walk(node))


def test_everything_is_caught_in_one_place_only() -> None:
    """At the edge of the web, where a fault of ours becomes a 500; elsewhere it would hide one."""
    handlers = [
        str(MODULES[module].relative_to(ROOT))
        for module in MODULES
        for node in ast.walk(tree(module))
        if (isinstance(node, ast.ExceptHandler) and names_exception(node.type))
        or (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("errorhandler", "register_error_handler")
            and any(names_exception(argument) for argument in node.args)
        )
    ]
    assert handlers == ["kg/web/__init__.py"]


def test_nothing_runs_text_as_code_or_through_a_shell() -> None:
    forbidden = {"eval", "exec", "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
    modules = {"pickle", "marshal", "shelve", "dill", "cloudpickle"}
    found = [
        f"{MODULES[module].relative_to(ROOT)}:{node.lineno}: {ast.unparse(node.func)}"
        for module in MODULES
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call)
        and (
            ast.unparse(node.func) in forbidden
            or any(word.arg == "shell" and ast.unparse(word.value) != "False" for word in node.keywords)
        )
    ]
    found += [
        f"{MODULES[module].relative_to(ROOT)}:{line}: {name}"
        for module in MODULES
        for line, name in imports(module)
        if name.partition(".")[0] in modules
    ]
    assert found == []


def test_top_level_holds_what_was_drawn_and_nothing_else() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git repository, so nothing tells what belongs to it")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    top = {name.partition("/")[0] for name in listed if name}
    drawn = {"ontology", "shapes", "queries", "seeds", "kg", "tests"} | {
        "setup.cfg",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
    }
    assert {name for name in top - drawn if not name.startswith(".")} == set()
