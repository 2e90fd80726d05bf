"""Every page of the console: its path, its method, and the role without which nobody opens it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from quart import Response

from relay.users import ROLES
from relay.web import (
    accounts,
    auditing,
    backups,
    books,
    door,
    keys,
    my,
    overview,
    own,
    owners,
    reports,
    requests,
    sessions,
    settings,
    spent,
    users,
    webhooks,
)

PUBLIC = "public"
VIEWER, OPERATOR, ADMIN = ROLES


@dataclass(frozen=True, slots=True)
class Route:
    """One page. `role` is PUBLIC or one of ROLES; a greater role may do what a smaller one may."""

    method: str
    path: str
    role: str
    view: Callable[..., Awaitable[Response]]

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}".replace(".", "_")


ROUTES = (
    Route("GET", "/web/static/<path:name>", PUBLIC, door.static_file),
    Route("GET", "/web/sign-in", PUBLIC, door.sign_in_page),
    Route("POST", "/web/sign-in", PUBLIC, door.sign_in),
    Route("GET", "/web/my", PUBLIC, my.ask),
    Route("POST", "/web/my", PUBLIC, my.show),
    Route("POST", "/web/sign-out", VIEWER, door.sign_out),
    Route("GET", "/web", VIEWER, overview.page),
    Route("GET", "/web/live", VIEWER, overview.stream),
    Route("GET", "/web/keys", VIEWER, keys.listing),
    Route("GET", "/web/keys/new", OPERATOR, keys.new),
    Route("POST", "/web/keys/new", OPERATOR, keys.create),
    Route("GET", "/web/keys/<key_id>", VIEWER, keys.show),
    Route("GET", "/web/keys/<key_id>/edit", OPERATOR, keys.edit_page),
    Route("POST", "/web/keys/<key_id>/edit", OPERATOR, keys.edit),
    Route("POST", "/web/keys/<key_id>/rotate", OPERATOR, keys.rotate),
    Route("POST", "/web/keys/<key_id>/enable", OPERATOR, keys.enable),
    Route("POST", "/web/keys/<key_id>/disable", OPERATOR, keys.disable),
    Route("POST", "/web/keys/<key_id>/delete", OPERATOR, keys.delete),
    Route("GET", "/web/owners", VIEWER, owners.listing),
    Route("POST", "/web/owners", OPERATOR, owners.save_new),
    Route("GET", "/web/owners/<name>", VIEWER, owners.show),
    Route("POST", "/web/owners/<name>", OPERATOR, owners.save),
    Route("GET", "/web/accounts", VIEWER, accounts.listing),
    Route("GET", "/web/accounts/new", OPERATOR, accounts.new),
    Route("POST", "/web/accounts/new", OPERATOR, accounts.add),
    Route("GET", "/web/accounts/<account_id>", VIEWER, accounts.show),
    Route("GET", "/web/accounts/<account_id>/edit", OPERATOR, accounts.edit_page),
    Route("POST", "/web/accounts/<account_id>/edit", OPERATOR, accounts.edit),
    Route("POST", "/web/accounts/<account_id>/test", OPERATOR, accounts.test),
    Route("POST", "/web/accounts/<account_id>/enable", OPERATOR, accounts.enable),
    Route("POST", "/web/accounts/<account_id>/disable", OPERATOR, accounts.disable),
    Route("POST", "/web/accounts/<account_id>/reset", OPERATOR, accounts.reset),
    Route("POST", "/web/accounts/<account_id>/sign-in", OPERATOR, accounts.sign_in),
    Route("POST", "/web/accounts/<account_id>/remove", OPERATOR, accounts.remove),
    Route("GET", "/web/requests", VIEWER, requests.listing),
    Route("GET", "/web/requests/<request_id>", VIEWER, requests.show),
    Route("GET", "/web/usage", VIEWER, spent.page),
    Route("GET", "/web/usage.csv", VIEWER, spent.as_csv),
    Route("GET", "/web/usage.json", VIEWER, spent.as_json),
    Route("GET", "/web/reports", VIEWER, reports.listing),
    Route("GET", "/web/reports.json", VIEWER, reports.as_json),
    Route("GET", "/web/books", VIEWER, books.page),
    Route("POST", "/web/books", ADMIN, books.add),
    Route("POST", "/web/books/<admin_key>/compare", ADMIN, books.compare),
    Route("POST", "/web/books/<admin_key>/link", ADMIN, books.link),
    Route("POST", "/web/books/<admin_key>/remove", ADMIN, books.remove),
    Route("GET", "/web/audit", ADMIN, auditing.listing),
    Route("POST", "/web/audit/verify", ADMIN, auditing.verify),
    Route("GET", "/web/audit.json", ADMIN, auditing.as_json),
    Route("GET", "/web/users", ADMIN, users.listing),
    Route("POST", "/web/users", ADMIN, users.add),
    Route("GET", "/web/users/<name>", ADMIN, users.show),
    Route("POST", "/web/users/<name>/role", ADMIN, users.role),
    Route("POST", "/web/users/<name>/password", ADMIN, users.password),
    Route("POST", "/web/users/<name>/enable", ADMIN, users.enable),
    Route("POST", "/web/users/<name>/disable", ADMIN, users.disable),
    Route("POST", "/web/users/<name>/sign-out", ADMIN, users.sign_out),
    Route("POST", "/web/users/<name>/second-factor", ADMIN, users.reset_second_factor),
    Route("POST", "/web/users/<name>/remove", ADMIN, users.remove),
    Route("GET", "/web/sessions", ADMIN, sessions.listing),
    Route("POST", "/web/sessions/close", ADMIN, sessions.close),
    Route("POST", "/web/sessions/close-all", ADMIN, sessions.close_all),
    Route("GET", "/web/settings", ADMIN, settings.page),
    Route("GET", "/web/prices", ADMIN, settings.prices),
    Route("GET", "/web/clients", ADMIN, settings.clients),
    Route("GET", "/web/webhooks", ADMIN, webhooks.listing),
    Route("GET", "/web/webhooks/<webhook_id>", ADMIN, webhooks.show),
    Route("POST", "/web/webhooks/<webhook_id>/test", ADMIN, webhooks.test),
    Route("POST", "/web/webhooks/<webhook_id>/retry", ADMIN, webhooks.retry),
    Route("GET", "/web/backups", ADMIN, backups.listing),
    Route("POST", "/web/backups/make", ADMIN, backups.make),
    Route("POST", "/web/backups/drill", ADMIN, backups.drill),
    Route("GET", "/web/own", VIEWER, own.page),
    Route("POST", "/web/own/password", VIEWER, own.password),
    Route("POST", "/web/own/second-factor", VIEWER, own.second_factor),
    Route("POST", "/web/own/second-factor/confirm", VIEWER, own.confirm_second_factor),
    Route("POST", "/web/own/second-factor/remove", VIEWER, own.drop_second_factor),
    Route("POST", "/web/own/sessions/close", VIEWER, own.close_session),
    Route("POST", "/web/own/sessions/close-all", VIEWER, own.close_all),
)
