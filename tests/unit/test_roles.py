"""docs/roles.md says of every path which role it needs, as the program has it."""

import re
from collections import Counter
from pathlib import Path

import pytest

from relay.admin.routes import ROUTES as ADMIN_ROUTES
from relay.users import ROLES
from relay.web.routes import ROUTES as CONSOLE_ROUTES

DOCUMENT = (Path(__file__).parents[2] / "docs" / "roles.md").read_text()
ROWS = [
    [cell.strip() for cell in line.split("|")[1:-1]]
    for line in DOCUMENT.splitlines()
    if line.startswith("| ") and not line.startswith("| What ")
]


def documented(column: int) -> Counter[tuple[str, str]]:
    """How often each path with its role stands in a column."""
    return Counter(
        (route, row[1].strip("`"))
        for row in ROWS
        for route in re.findall(r"`([^`]+)`", row[column])
    )


@pytest.mark.parametrize(
    ("column", "routes"), [(2, ADMIN_ROUTES), (3, CONSOLE_ROUTES)], ids=["admin API", "console"]
)
def test_every_path_stands_once_with_the_role_that_it_needs(column, routes):
    assert documented(column) == Counter((f"{one.method} {one.path}", one.role) for one in routes)


def test_every_role_of_the_table_is_one():
    assert {row[1].strip("`") for row in ROWS} == {"public", *ROLES}
