"""What the vault seals opens only with the right key and for the right purpose."""

import re
from collections import Counter

import pytest

from relay.vault import Vault, VaultError, new_id, new_key, same_secret

OLD_KEY = "o" * 32
NEW_KEY = "n" * 32
JWT_SECRET = "j" * 32


def test_a_record_opens_for_its_own_purpose() -> None:
    vault = Vault(NEW_KEY, JWT_SECRET)

    record = vault.encrypt("sk-ant-ünïcode", purpose="account:acc_1")

    assert vault.decrypt(record, purpose="account:acc_1") == "sk-ant-ünïcode"
    assert re.fullmatch(r"v1\.[0-9a-f]{12}\.[\w-]+=*", record)


def test_a_record_does_not_open_for_another_purpose() -> None:
    vault = Vault(NEW_KEY, JWT_SECRET)
    record = vault.encrypt("secret", purpose="account:acc_1")

    with pytest.raises(VaultError, match="damaged or belongs to something else"):
        vault.decrypt(record, purpose="account:acc_2")


def test_two_records_of_one_text_differ() -> None:
    vault = Vault(NEW_KEY, JWT_SECRET)

    assert vault.encrypt("secret", purpose="p") != vault.encrypt("secret", purpose="p")


@pytest.mark.parametrize("place", [-1, -10, 16])
def test_a_changed_record_does_not_open(place: int) -> None:
    vault = Vault(NEW_KEY, JWT_SECRET)
    record = vault.encrypt("a secret of 25 characters", purpose="p")
    changed = list(record)
    changed[place] = "A" if changed[place] != "A" else "B"

    with pytest.raises(VaultError) as caught:
        vault.decrypt("".join(changed), purpose="p")
    assert "secret of 25" not in str(caught.value)


@pytest.mark.parametrize("record", ["", "v1", "v1.", "v2.abc.def", "plain text", "v1.{id}.", "{}"])
def test_what_is_no_record_is_refused_with_a_sentence(record: str) -> None:
    vault = Vault(NEW_KEY, JWT_SECRET)
    key_id = vault.encrypt("x", purpose="p").split(".")[1]

    with pytest.raises(VaultError, match=r"\.$"):
        vault.decrypt(record.replace("{id}", key_id), purpose="p")


def test_during_a_rotation_the_previous_key_still_opens_its_records() -> None:
    record = Vault(OLD_KEY, JWT_SECRET).encrypt("secret", purpose="p")

    assert Vault(NEW_KEY, JWT_SECRET, OLD_KEY).decrypt(record, purpose="p") == "secret"


def test_new_records_are_made_with_the_current_key() -> None:
    record = Vault(NEW_KEY, JWT_SECRET, OLD_KEY).encrypt("secret", purpose="p")

    assert Vault(NEW_KEY, JWT_SECRET).decrypt(record, purpose="p") == "secret"


def test_a_record_of_an_unknown_key_names_the_setting_that_helps() -> None:
    record = Vault(OLD_KEY, JWT_SECRET).encrypt("secret", purpose="p")

    with pytest.raises(VaultError, match="ENCRYPT_KEY_PREVIOUS"):
        Vault(NEW_KEY, JWT_SECRET).decrypt(record, purpose="p")


def test_the_hash_of_a_key_hangs_on_the_jwt_secret_and_not_on_the_encrypt_key() -> None:
    digest = Vault(NEW_KEY, JWT_SECRET).key_hash("sk-relay-abc")

    assert re.fullmatch("[0-9a-f]{64}", digest)
    assert Vault(OLD_KEY, JWT_SECRET).key_hash("sk-relay-abc") == digest
    assert Vault(NEW_KEY, "k" * 32).key_hash("sk-relay-abc") != digest
    assert Vault(NEW_KEY, JWT_SECRET).key_hash("sk-relay-abd") != digest


def test_empty_secrets_are_refused() -> None:
    with pytest.raises(VaultError):
        Vault("", JWT_SECRET)
    with pytest.raises(VaultError):
        Vault(NEW_KEY, "")
    with pytest.raises(VaultError):
        Vault(NEW_KEY, JWT_SECRET, "")
    with pytest.raises(VaultError):
        Vault(NEW_KEY, JWT_SECRET).key_hash("")


def test_a_new_key_has_its_prefix_and_43_base62_characters() -> None:
    assert re.fullmatch(r"sk-relay-[0-9A-Za-z]{43}", new_key("sk-relay-"))
    assert new_key("team-").startswith("team-")


def test_ids_have_22_base62_characters_and_do_not_repeat() -> None:
    ids = [new_id("req") for _ in range(1000)]

    assert all(re.fullmatch(r"req_[0-9A-Za-z]{22}", one) for one in ids)
    assert len(set(ids)) == 1000


def test_every_character_of_an_id_is_equally_likely() -> None:
    counts = Counter("".join(new_id("x")[2:] for _ in range(5000)))

    # 5000 x 22 / 62 = 1774 on average, with a standard deviation of 42; eight of them.
    assert len(counts) == 62
    assert all(abs(count - 1774) < 8 * 42 for count in counts.values())


def test_the_same_secret_equals_itself_and_an_empty_one_nothing() -> None:
    assert same_secret("sécret", "sécret")
    assert not same_secret("secret", "secrets")
    assert not same_secret("", "")
    assert not same_secret("", "secret")
