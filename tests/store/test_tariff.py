"""A newer price table: who may give it, that all processes take it, and what brings it back."""

import base64
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from relay import settings as relay_settings
from relay import tariff
from relay.audit import Audit
from relay.settings import Settings
from relay.store import Store
from relay.tariff import Tariff, TariffProblem
from relay.vault import Vault

SHIPPED = (files("relay.pricing") / "prices.toml").read_text()
ROW = '\n[[row]]\nname = "Opus 9"\nmodels = ["claude-opus-9"]\ninput = "6"\noutput = "30"\n'
KEY = Ed25519PrivateKey.generate()
VAULT = Vault("e" * 32, "j" * 32)


def table(version: str, rows: str = ROW) -> str:
    return SHIPPED.replace('version = "2026-11-28"', f'version = "{version}"') + rows


def settings_of(home: Path, **changed: object) -> Settings:
    given = {"RELAY_HOME": str(home), "JWT_SECRET": "j" * 32,
                                "ENCRYPT_KEY": "e" * 32}  # fmt: skip
    public = base64.b64encode(KEY.public_key().public_bytes_raw()).decode()
    return replace(relay_settings.load(given), prices_public_key=public, **changed)  # type: ignore[arg-type]


def process(store: Store, settings: Settings) -> Tariff:
    """What one relay process has."""
    return Tariff(store, settings, tariff.load(settings), Audit(store, VAULT))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_of(tmp_path)


@pytest.mark.parametrize("is_base64", [False, True])
async def test_a_signed_table_counts_for_every_process(
    opened: Store, settings: Settings, is_base64: bool
):
    here, there = process(opened, settings), process(opened, settings)
    text = table("2026-12-01")
    signature = KEY.sign(text.encode())
    if is_base64:
        signature = base64.b64encode(signature) + b"\n"
    done = await here.update(text, signature)
    assert (done.version, done.before, done.is_signed) == ("2026-12-01", "2026-11-28", True)
    await there.follow()
    assert [one._prices.row_of("claude-opus-9") for one in (here, there)] == ["Opus 9"] * 2
    assert (await tariff.in_force(opened, settings)).version == "2026-12-01"


@pytest.mark.parametrize(
    "signature",
    [b"", b"x", bytes(64), base64.b64encode(bytes(64)), KEY.sign(b"another table"),
     Ed25519PrivateKey.generate().sign(table("2026-12-01").encode())],
)  # fmt: skip
async def test_a_table_without_the_keys_signature_changes_nothing(
    opened: Store, settings: Settings, signature: bytes
):
    one = process(opened, settings)
    with pytest.raises(TariffProblem, match="signature"):
        await one.update(table("2026-12-01"), signature)
    assert await opened.prices.version() == ""
    assert one._prices.version == "2026-11-28"
    assert await opened.audit.newest(1) == []


async def test_where_no_key_is_set_nothing_is_signed_by_it(opened: Store, settings: Settings):
    text = table("2026-12-01")
    one = process(opened, replace(settings, prices_public_key=""))
    with pytest.raises(TariffProblem, match=r"pricing\.publicKey"):
        await one.update(text, KEY.sign(text.encode()))


async def test_an_unsigned_table_is_taken_where_it_is_said_and_the_audit_names_it(
    opened: Store, settings: Settings
):
    one = process(opened, settings)
    done = await one.update(table("2026-12-01"), unsigned=True)
    assert not done.is_signed
    (entry,) = await Audit(opened, VAULT).newest(2)
    assert (entry.action, entry.subject) == ("prices.update", "2026-12-01")
    assert (entry.after["signed"], entry.before["version"]) == (False, "2026-11-28")
    stored = await tariff.stored_table(opened, one._prices)
    assert stored["signed"] == ""


async def test_a_wrong_table_is_refused_whole_and_names_its_field(
    opened: Store, settings: Settings
):
    one = process(opened, settings)
    text = table("2026-12-01", ROW.replace('"30"', '"-30"'))
    with pytest.raises(TariffProblem) as error:
        await one.update(text, unsigned=True)
    assert error.value.field == "table"
    assert await opened.prices.version() == ""


async def test_a_table_that_a_release_brings_wins_over_an_older_stored_one(
    opened: Store, settings: Settings
):
    old = {"version": "2026-11-01", "text": table("2026-11-01"), "signed": "1", "by": "", "at": ""}
    assert await opened.prices.replace("", old)
    one = process(opened, settings)
    await one.follow()
    assert one._prices.version == "2026-11-28"
    assert await tariff.stored_table(opened, one._prices) == {}


async def test_a_stored_table_that_this_release_cannot_read_is_not_used_and_can_be_replaced(
    opened: Store, settings: Settings
):
    for text in ("version = ", table("2027-01-01", '\n[[row]]\nname = "X"\nwhat = 1\n')):
        stored = {"version": "2027-01-01", "text": text, "signed": "1", "by": "", "at": ""}
        assert await opened.prices.replace(await opened.prices.version(), stored)
        one = process(opened, settings)
        await one.follow()
        assert one._prices.version == "2026-11-28"
        await one.update(table("2027-01-02"), unsigned=True)
        assert one._prices.version == "2027-01-02"


async def test_of_two_updates_at_one_time_one_is_taken(opened: Store, settings: Settings):
    stored = {"version": "2026-12-01", "text": table("2026-12-01")}
    assert await opened.prices.replace("", stored)
    assert not await opened.prices.replace("", {**stored, "version": "2026-12-02"})
    assert await opened.prices.version() == "2026-12-01"


async def test_an_operators_rows_stay_before_those_of_a_newer_table(opened: Store, tmp_path: Path):
    own = tmp_path / "own.toml"
    own.write_text(ROW.replace("Opus 9", "Ours"))
    one = process(opened, settings_of(tmp_path, prices_file=own))
    await one.update(table("2026-12-01"), unsigned=True)
    assert one._prices.row_of("claude-opus-9") == "Ours"
    assert one._prices.version.startswith("2026-12-01+")


async def test_models_that_have_a_row_at_last_are_named(opened: Store, settings: Settings):
    await opened.prices.note_unpriced({"claude-opus-9": "2026-11-20", "gpt-9": "2026-11-21"}, 9)
    done = await process(opened, settings).update(table("2026-12-01"), unsigned=True)
    assert done.priced == {"claude-opus-9": "2026-11-20"}
