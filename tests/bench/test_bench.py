"""The benchmark itself: that its figures are figures of something. No timing is asserted."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import trio

from relay.sse import Framer
from tests.bench import payloads, streams_load, table
from tests.bench.contenders import Contender
from tests.bench.measure import Result
from tests.bench.processes import Program, cpu_s, rss_mib, tree
from tests.bench.streams_load import Shape, percentile
from tests.bench.upstreams import Upstreams

RUN = Path(__file__).with_name("run")
QUICK_DEADLINE_S = 150


class Broken(Contender):
    """Says a last word and ends."""

    name = "broken"

    async def _start(self, nursery: trio.Nursery, upstreams: Upstreams) -> None:
        command = [sys.executable, "-c", "import sys; sys.exit('nobody told me how')"]
        program = await Program.start(nursery, self.name, command, upstreams.folder)
        await program.until_it_listens(1)


async def test_a_contender_that_cannot_start_is_a_row_with_its_reason(tmp_path: Path) -> None:
    contender = Broken()
    async with trio.open_nursery() as nursery:
        await contender.start(nursery, Upstreams("", "", (), tmp_path))
    assert contender.failure == "ended with status 1: nobody told me how"
    shown = table.text([Result("broken", failure=contender.failure)], ())
    assert "broken  failed: ended with status 1: nobody told me how" in shown


async def test_a_process_tree_holds_the_children_and_what_they_cost() -> None:
    script = "import os, time; os.fork(); sum(range(3_000_000)); print('x', flush=True); input()"
    async with trio.open_nursery() as nursery:
        run = partial(trio.run_process, stdin=subprocess.PIPE, stdout=subprocess.PIPE, check=False)
        process = await nursery.start(run, [sys.executable, "-c", script])
        with trio.fail_after(10):
            seen = b""
            while seen.count(b"x") < 2:
                seen += await process.stdout.receive_some()
        pids = tree(process.pid)
        assert len(pids) == 2
        assert cpu_s(pids) > 0
        assert rss_mib(pids) > 1
        nursery.cancel_scope.cancel()


def test_a_stream_is_a_whole_messages_stream_with_stamped_chunks() -> None:
    frames = Framer().feed(payloads.opening() + payloads.chunk() + payloads.closing(1))
    assert [frame.event.decode() for frame in frames] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert payloads.STAMP.search(frames[2].data)
    assert json.loads(frames[0].data)["message"]["usage"]["input_tokens"]


def test_request_and_answer_have_the_sizes_that_the_figures_are_known_by() -> None:
    assert len(payloads.request()) == pytest.approx(1900, rel=0.05)
    assert len(payloads.answer()) == pytest.approx(1100, rel=0.05)
    assert payloads.chunks_wanted(payloads.request(chunks=50)) == 50


def test_a_percentile_is_a_value_that_was_seen() -> None:
    assert percentile([float(value) for value in range(1, 101)], 99) == 99
    assert percentile([3.0, 1.0], 50) == 1
    assert percentile([], 99) is None


async def test_a_refusal_is_an_incomplete_stream_and_no_quick_first_byte() -> None:
    async def refuse(connection: trio.SocketStream) -> None:
        await connection.receive_some()
        await connection.send_all(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n")

    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, refuse, 0, host="127.0.0.1")
        [listener] = await nursery.start(serve)
        contender = Contender()
        contender.streams_url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        seen = await streams_load.run(contender, Shape(5, 10, spread_s=0.1))
        nursery.cancel_scope.cancel()
    assert (seen.completed, seen.ttfb_p50_ms) == (0, None)


@pytest.mark.slow
def test_a_quick_run_has_figures_for_every_contender() -> None:
    done = subprocess.run(
        [RUN, "--quick", "--json"],
        capture_output=True,
        text=True,
        timeout=QUICK_DEADLINE_S,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    proxies = {"bare answer", "bare httpx", "nginx", "caddy"}
    assert {"direct", *proxies, "relay", "relay, chat", "relay, responses"} == rows.keys()
    for row in rows.values():
        assert [(one["clients"], one["errors"]) for one in row["requests"]] == [(32, 0)]
        assert [one["completed"] for one in row["streams"]] == [10]
    assert rows["relay"]["loaded"]["aside_mib"] > 0
    assert rows["relay"]["requests"][0]["store_scripts"] > 0


@pytest.mark.slow
def test_fifty_requests_on_two_processes_pass_exactly_what_each_limit_is() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--part", "limits", "--quick", "--json"],
        cwd=RUN.parents[2],
        capture_output=True,
        text=True,
        timeout=QUICK_DEADLINE_S,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert {row["rounds"] for row in rows.values()} == {3}
    assert all(row["fewest"] == row["most"] == row["bound"] for row in rows.values()), rows
    assert [rows[name]["bound"] for name in ("10 a minute", "5 at one time")] == [10, 5]
    strict = rows["strict $0.02"]
    assert strict["bound"] > 1
    assert strict["spent_micros"] <= strict["budget_micros"] == 20_000
