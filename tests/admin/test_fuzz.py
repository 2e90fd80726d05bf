"""Whatever is sent, the API answers as its own OpenAPI document says, and never fails."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from relay.admin.document import BASE
from relay.settings import Secret, Webhook

from ..e2e.conftest import BODY
from .conftest import api_running

pytestmark = pytest.mark.slow

PATIENCE_S = 300
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance",
    "response_schema_conformance", "negative_data_rejection", "unsupported_method", "ignored_auth",
)  # fmt: skip
# They take seconds, or call what is not ours; other tests do these.
NOT_TRIED = "/(backups|test|reconciliation/)"
# It would delete the token that the run is made with.
ITS_OWN = "peopleDeleteToken"


async def test_the_api_does_what_its_document_says(
    redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    webhook = Webhook(
        id="hook", name="hook", url=Secret("http://127.0.0.1:1/"), shown="http://127.0.0.1:1"
    )
    async with api_running(redis_url, tmp_path, webhooks=(webhook,)) as api:
        async with api.relay.client() as client:
            assert (await client.post("/v1/messages", json=BODY)).status_code == 200
        await api.relay.settled()
        command = [
            str(Path(sys.executable).with_name("st")), "run",
            f"{api.relay.url}{BASE}/openapi.json",
            "--header", f"Authorization: Bearer {api.tokens['admin']}",
            "--phases", "coverage,fuzzing", "--max-examples", "3", "--seed", "1",
            "--checks", ",".join(CHECKS), "--exclude-path-regex", NOT_TRIED,
            "--exclude-operation-id", ITS_OWN, "--request-timeout", "10",
            "--continue-on-failure", "--no-shrink", "--no-color",
        ]  # fmt: skip
        with trio.fail_after(PATIENCE_S):
            done = await trio.run_process(
                command, capture_stdout=True, stderr=subprocess.STDOUT, check=False, cwd=tmp_path
            )
        assert done.returncode == 0, done.stdout.decode()
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR] == []
