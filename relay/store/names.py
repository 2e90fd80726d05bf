"""Every Redis key name of the relay. All share one hash tag, so scripts run on a Cluster."""

NAMES = {
    "schema": "{relay}:schema",
    "key": "{relay}:key:%s",
    "key_by_hash": "{relay}:key:by-hash",
    "account": "{relay}:account:%s",
    "accounts": "{relay}:accounts",
    "lease": "{relay}:lease:%s",
    "leases": "{relay}:leases",
    "leases_seen": "{relay}:leases:seen",
    "booked": "{relay}:booked:%s",
    "inflight_key": "{relay}:inflight:key:%s",
    "inflight_account": "{relay}:inflight:account:%s",
    "object": "{relay}:object:%s",
    "objects": "{relay}:objects:%s:%s",
    "affinity": "{relay}:affinity:%s",
    "turn": "{relay}:turn",
    "states": "{relay}:states",
    "alerts": "{relay}:alerts",
    "lock": "{relay}:lock:%s",
    "signin": "{relay}:signin:%s",
    "owner": "{relay}:owner:%s",
    "owners": "{relay}:owners",
    "spend": "{relay}:spend:%s",
    "waiting": "{relay}:waiting:%s",
    "waiting_seen": "{relay}:waiting:seen",
    "window": "{relay}:window:%s:%s",
    "tokens": "{relay}:tokens:%s",
    "average": "{relay}:average:%s",
    "audit": "{relay}:audit",
    "audit_last": "{relay}:audit:last",
    "usage": "{relay}:usage",
    "usage_since": "{relay}:usage:since",
    "series": "{relay}:series:%s",
    "count_hour": "{relay}:count:hour:%s",
    "count_day": "{relay}:count:day:%s",
    "reports": "{relay}:reports",
    "decision": "{relay}:decision:%s",
    "backup": "{relay}:backup",
    "fsync": "{relay}:fsync",
}


def name(kind: str, *parts: str) -> str:
    """The Redis key of `kind`, e.g. name("lease", "req_…")."""
    return NAMES[kind] % parts if parts else NAMES[kind]
