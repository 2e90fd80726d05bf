"""Owners: people or teams to whom keys belong, with budgets over all of their keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from relay import limits, rules, versions
from relay.audit import Audit
from relay.store import Store
from relay.vault import Vault


class OwnerProblem(rules.Problem):
    """A sentence about why an owner's settings cannot be changed."""


@dataclass(frozen=True, slots=True)
class Owner:
    """An owner and their budgets: US dollars and mode by period."""

    name: str
    budgets: Mapping[str, str]

    @property
    def version(self) -> str:
        """A word that changes with the budgets."""
        return versions.version_of(self.budgets)


class Owners:
    """Sets and lists owners' budgets; a key names its owner whether they have any or not."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._audit = Audit(store, vault)

    async def set(
        self,
        name: str,
        amounts: Mapping[str, object],
        mode: str = "",
        *,
        seen: str = "",
        is_new: bool = False,
    ) -> Owner:
        """Give an owner these budgets instead of those before; none takes them away.

        Args:
            seen: the version of the owner that is to be changed; empty for any.
            is_new: only an owner without budgets is meant.

        Raises:
            Changed: there is another version by now.
        """
        try:
            kept = limits.budgets(amounts, mode)
        except ValueError as rule:
            raise OwnerProblem(str(rule), "budgets") from None
        try:
            owner = rules.words([name])
        except ValueError as rule:
            raise OwnerProblem(str(rule), "name") from None
        if not seen:
            await self._store.owners.add(owner)
        if is_new:
            seen = _owner(owner, "").version
        await versions.write(
            self._store.owners,
            owner,
            {"budgets": kept},
            seen,
            lambda fields: _owner(owner, fields["budgets"]).version,
        )
        await self._audit.note("owner.set", name, None, {"budgets": limits.shown(kept)})
        return _owner(owner, kept)

    async def list(self) -> Sequence[Owner]:
        """Every owner who has ever had budgets, by name."""
        found = await self._store.owners.all()
        return [_owner(name, budgets) for name, budgets in sorted(found.items())]


def _owner(name: str, budgets: str) -> Owner:
    return Owner(name, limits.shown(budgets))
