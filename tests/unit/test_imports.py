"""The house stands: imports run downwards only, and siblings do not import each other."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "relay"

# From the roof to the ground; a module imports only from rows below its own. A folder that
# stands here as a whole is one room, and its modules may import each other.
ROWS = (
    {"__main__"},
    {"cli"},
    {"canary", "trial", "monitor"},
    {"server"},
    {"asgi", "jobs", "listener", "admin"},
    {"connection", "api", "web"},
    {"http1"},
    {"dialects.chat", "dialects.responses"},
    {"dialects.openai", "objects", "selfservice", "signin", "catalogue", "rotation"},
    {"batches", "dialects.aliases"},
    {"dialects.messages"},
    {"exchange", "dialects.meters", "dialects.bounds"},
    {"delivery", "lane_client"},
    {"opening"},
    {"bases", "context", "headers"},
    {"missing_models"},
    {"leases"},
    {"lease"},
    {"checks", "reconcile"},
    {"backup", "balancer", "tokens"},
    {"keys", "accounts", "owners", "users"},
    {"budgets", "retirements"},
    {"known_models", "remarks", "repricing", "tariff"},
    {
        "attempts",
        "usage",
        "alerts",
        "audit",
        "dialects.named_models",
        "homes",
        "limits",
        "own_errors",
        "refusals",
        "settlements",
        "versions",
        "waiting",
    },
    {"dialects.state"},
    {"store", "redis_child"},
    {
        "passwords",
        "patience",
        "redis_link",
        "body",
        "call",
        "client",
        "dialects.bill",
        "dialects.file_ids",
        "dialects.models",
        "dialects.shapes",
        "dialects.named_tools",
        "dialects.retired",
        "oauth",
        "upstream",
    },
    {"bodies"},
    {
        "addresses",
        "errors",
        "log",
        "pricing",
        "rules",
        "settings",
        "simulator",
        "sse",
        "vault",
        "build",
        "release",
        "strangers",
        "systemd",
        "upstream_errors",
        "hardening",
        "http",
    },
)
ROW_OF = {room: number for number, row in enumerate(ROWS) for room in row}

MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if path != PACKAGE / "__init__.py"
)


def room_of(module: str) -> str | None:
    """The room that a module or a name in it belongs to; None outside of all rooms."""
    parts = module.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((name for name in names if name in ROW_OF), None)


def imported_rooms(module: str, source: str) -> Iterator[str]:
    """Every room that the source imports from, wherever in it the import stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith("relay.") and (room := room_of(name.removeprefix("relay."))):
                yield room


def wrong_imports(module: str, source: str) -> list[str]:
    """The rooms that this module may not import from, but does."""
    own = room_of(module)
    assert own is not None, f"{module} has no row yet: give it its place in ROWS"
    return [
        room
        for room in imported_rooms(module, source)
        if room != own and ROW_OF[room] <= ROW_OF[own]
    ]


def source_of(module: str) -> str:
    path = PACKAGE.joinpath(*module.split("."))
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()


@pytest.mark.parametrize("module", [name for name in MODULES if name != "dialects"])
def test_a_module_imports_only_from_rows_below_its_own(module: str) -> None:
    assert wrong_imports(module, source_of(module)) == []


@pytest.mark.parametrize(
    ("module", "line", "wrong"),
    [
        ("store", "from relay.lease import Lease", ["lease"]),
        ("store", "from relay import lease", ["lease"]),
        ("store", "import relay.lease", ["lease"]),
        ("keys", "def late():\n    from relay.accounts import Accounts", ["accounts"]),
        ("simulator.app", "from relay.simulator.faults import Fault", []),
        ("lease", "from relay import __version__, store", []),
    ],
)
def test_an_upward_or_sideward_import_is_found(module: str, line: str, wrong: list[str]) -> None:
    assert wrong_imports(module, line) == wrong


def test_the_environment_is_read_where_the_program_starts_and_handed_down() -> None:
    readers = {name for name in MODULES if "os.environ" in source_of(name)}

    assert readers == {"cli.common"}
