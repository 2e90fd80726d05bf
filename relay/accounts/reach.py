"""Where accounts may lead: whoever owns the machine may name any address, roles may not.

On the command line somebody acts who can read every secret and reach every address of the machine
anyway. Who acts by a role, in the console or by the admin API, names public addresses, those of
`claude.innerNetworks`, and that of `claude.baseUrl`. It is judged here when it is named, and again
by the upstream client at each connection, because a name may mean something else by then.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import trio

from relay import audit
from relay.accounts.values import AccountProblem, origin
from relay.addresses import InnerAddress, Network, judged
from relay.settings import is_anthropics

_DEADLINE_S = 5.0


@dataclass(frozen=True, slots=True)
class Reach:
    """What the settings say of accounts' addresses.

    Args:
        base_url: the usual one; the owner of the settings named it.
        networks: inner ones that roles may name, too.
    """

    base_url: str = ""
    networks: Sequence[Network] = ()

    def named_by(self) -> str:
        """Who names an account's addresses now, as it is stored beside them."""
        return "machine" if audit.by_machine() else "role"

    def judges(self, fields: Mapping[str, str], *, own_proxy: bool) -> tuple[bool, bool]:
        """Whether the upstream client judges the host of an account, and its proxy.

        An account that an earlier release stored names nobody: it goes on as it did.
        """
        if fields.get("named_by", "machine") == "machine":
            return False, False
        return not self._is_usual(fields["base_url"]), own_proxy

    def _is_usual(self, base_url: str) -> bool:
        return bool(self.base_url) and origin(base_url) == origin(self.base_url)

    async def check(self, kind: str, base_url: str, proxy: str) -> None:
        """Raise AccountProblem where a role may not name these.

        Args:
            proxy: the account's own one; empty for none.
        """
        if audit.by_machine():
            return
        if kind == "federation" and not (is_anthropics(base_url) or self._is_usual(base_url)):
            raise AccountProblem(
                "base_url: An identity token goes to Anthropic or claude.baseUrl, unless the"
                " account is set on the relay's own command line.",
                "base_url",
            )
        if not self._is_usual(base_url):
            await self._judge(base_url, "base_url")
        if proxy:
            await self._judge(proxy, "proxy")

    async def leads_inside(self, base_url: str, proxy: str) -> str:
        """The first of an account's addresses, as a field's name, that lies inside; or empty.

        Args:
            proxy: the account's own one; empty for none.
        """
        for field, url in (("base_url", base_url), ("proxy", proxy)):
            if not url or (field == "base_url" and self._is_usual(url)):
                continue
            try:
                await self._judge(url, field)
            except AccountProblem:
                return field
        return ""

    async def _judge(self, url: str, field: str) -> None:
        _, host, port = origin(url)
        # A name that is not known now is judged when it is connected to.
        with trio.move_on_after(_DEADLINE_S):
            try:
                await judged(host, port, self.networks)
            except InnerAddress:
                raise AccountProblem(
                    "It lies in a private network or on this machine; claude.innerNetworks allows"
                    " such.",
                    field,
                ) from None
            except (OSError, UnicodeError):
                return
