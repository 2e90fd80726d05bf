"""A look at the machine: plain values, read once and judged by the checks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from relay import reconcile
from relay.accounts import Account
from relay.alerts import Standing
from relay.store import BrokenLease
from relay.usage import Unpriced


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as systemd tells of it, in systemd's words."""

    name: str
    load: str
    active: str
    sub: str = ""
    at_boot: str = "enabled"

    @property
    def is_active(self) -> bool:
        return self.active == "active"

    @property
    def is_down(self) -> bool:
        """Whether nothing is going on that may bring it up."""
        return self.load == "loaded" and self.active in ("inactive", "failed")


@dataclass(frozen=True, slots=True)
class Door:
    """What an instance answers: statuses, None for no answer, and its version."""

    health: int | None
    ready: int | None
    version: str = ""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate's life (UTC)."""

    begins: datetime
    ends: datetime


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system of some places, and how full it is; `files` are its inodes, in percent."""

    places: tuple[Path, ...]
    percent: float
    files: float
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Memory:
    """The machine's memory in bytes."""

    total: int
    available: int


@dataclass(frozen=True, slots=True)
class Clock:
    """Whether the clock is in step with the world's, and whether somebody sees to it."""

    is_synchronized: bool
    has_service: bool


@dataclass(frozen=True, slots=True)
class Stored:
    """What Redis tells. With a `problem` nothing else was read.

    Args:
        is_refused: Redis answers, but not us.
        is_lost: Redis answers, and holds another database than this relay's, or none.
        unwritable: why it takes nothing new; empty when it does.
        accounts: None when they cannot be read; `accounts_problem` says why.
        sealed: accounts whose secrets do not open, by name, and why.
        requests, failures: of the last five minutes.
        unpriced: models without a row in the price table.
        books: how Anthropic's books compare, by organisation.
        own_errors: of the last five minutes, by what: answers that were errors of Relay's own
            and that no record tells of.
        aside: requests of the last day that could not be booked, newest first.
    """

    problem: str = ""
    is_refused: bool = False
    is_lost: bool = False
    unwritable: str = ""
    figures: Mapping[str, str] = field(default_factory=dict)
    backups: Mapping[str, str] = field(default_factory=dict)
    accounts: Sequence[Account] | None = None
    accounts_problem: str = ""
    sealed: Mapping[str, str] = field(default_factory=dict)
    requests: int = 0
    failures: int = 0
    own_errors: Mapping[str, int] = field(default_factory=dict)
    aside: Sequence[BrokenLease] = ()
    webhooks: Sequence[Standing] = ()
    unpriced: Sequence[Unpriced] = ()
    books: Sequence[reconcile.Standing] = ()

    @property
    def is_loading(self) -> bool:
        """Whether Redis reads its data after a start."""
        return self.problem.startswith("LOADING")


@dataclass(frozen=True, slots=True)
class Look:
    """All of it; None is what could not be seen.

    Args:
        at: UTC.
        units: by name; empty where systemd does not run the relay.
        doors: by port.
        certificates: by domain; a sentence where there is none.
        is_changing: an install or upgrade is under way, which stops and starts by itself.
        broken: parts of the look that failed, and why.
    """

    at: datetime
    units: Mapping[str, Unit] | None = None
    doors: Mapping[int, Door] | None = None
    certificates: Mapping[str, Certificate | str] | None = None
    disks: Sequence[Disk] | None = None
    memory: Memory | None = None
    clock: Clock | None = None
    stored: Stored | None = None
    is_changing: bool | None = None
    broken: Mapping[str, str] = field(default_factory=dict)

    @property
    def redis_answers(self) -> bool:
        return self.stored is not None and not self.stored.problem
