"""The sentences of the program that a page of the console may show, as its code writes them."""

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2] / "relay"
# What pages call, directly or below, and what they show of its words.
MODULES = (
    "accounts/kinds.py", "accounts/reach.py", "accounts/register.py", "accounts/signins.py",
    "accounts/values.py",
    "alerts/desk.py", "alerts/outbound.py", "backup/archive.py", "backup/backups.py",
    "backup/identities.py", "backup/operations.py", "keys/register.py", "keys/values.py",
    "limits.py", "oauth.py", "owners.py", "passwords.py", "reconcile/admin_api.py",
    "reconcile/keys.py", "reconcile/places.py", "reconcile/reports.py", "reconcile/runs.py",
    "rules.py", "upstream/proxy.py",
    "usage/periods.py", "usage/report.py", "users.py", "web/forms.py", "web/requests.py",
)  # fmt: skip
# Made with a sentence for people.
_KINDS = (
    "ValueError", "KeyProblem", "OwnerProblem", "AccountProblem", "UserProblem", "UsageProblem",
    "OAuthProblem", "BackupProblem", "WebhookProblem", "GrantRefused",
    "Outcome", "AdminKeyProblem", "AdminApiProblem", "ReconcileProblem",
)  # fmt: skip
# The field's name, which stands before some of them.
_FIELD = re.compile(r"^[a-z_]+: ")


def templates() -> set[str]:
    """Every sentence, with {1}, {2} ... where it names something."""
    found = set()
    for module in MODULES:
        tree = ast.parse((ROOT / module).read_text())
        known = dict(_constants(tree))
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in _KINDS
                and node.args
            ):
                found.add(_FIELD.sub("", _template(node.args[0], known)))
    # One whose words are all somebody else's is that one's to tell.
    return {one for one in found if re.sub(r"{\d}|\W", "", one)}


def _constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text))):
                yield name, text


def _template(node: ast.expr, known: dict[str, str]) -> str:
    numbers = itertools.count(1)

    def part(one: ast.expr) -> str:
        match one:
            case ast.Constant(value=str(text)):
                return text
            case ast.JoinedStr(values=values):
                return "".join(part(value) for value in values)
            case ast.FormattedValue(value=ast.Name(id=name)) if name in known:
                return known[name]
            case ast.Name(id=name) if name in known:
                return known[name]
            case ast.BinOp(left=left, right=right):
                return part(left) + part(right)
        return f"{{{next(numbers)}}}"

    return part(node)
