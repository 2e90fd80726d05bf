"""What the rooms of a request share: built once in server.py and handed down."""

from dataclasses import dataclass

from relay.accounts import Accounts, SignIns
from relay.alerts import Alerts
from relay.audit import Audit
from relay.backup import Backups
from relay.bodies import BodyBudget
from relay.checks import Checks
from relay.keys import Keys
from relay.known_models import KnownModels
from relay.leases import Leases
from relay.limits import Clients
from relay.missing_models import MissingModels
from relay.own_errors import OwnErrors
from relay.owners import Owners
from relay.pricing import Prices
from relay.reconcile import AdminKeys, Reconciler
from relay.settings import Settings
from relay.store import Store
from relay.tariff import Tariff
from relay.tokens import Tokens
from relay.upstream import Upstreams
from relay.users import Users


@dataclass(frozen=True, slots=True)
class Context:
    """One process's parts."""

    settings: Settings
    store: Store
    keys: Keys
    owners: Owners
    accounts: Accounts
    signins: SignIns
    checks: Checks
    models: KnownModels
    audit: Audit
    users: Users
    tokens: Tokens
    admin_keys: AdminKeys
    reconciler: Reconciler
    alerts: Alerts
    backups: Backups
    prices: Prices
    tariff: Tariff
    leases: Leases
    missing_models: MissingModels
    own_errors: OwnErrors
    clients: Clients
    upstreams: Upstreams
    bodies: BodyBudget
    spools: BodyBudget
