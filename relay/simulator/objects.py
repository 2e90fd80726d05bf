"""What the simulated API keeps: models to list, batches with their results, and files.

All of it lives in memory, as long as the simulator runs.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from relay.simulator import answers, state
from relay.simulator.answers import ApiError, Json, Steering

_EFFORTS = ("low", "medium", "high", "xhigh", "max")


def _listed(
    id_: str, name: str, most: int, kinds: str, efforts: int, retires_at: str | None = None
) -> Json:
    """A model's entry in the list, by the shape of the SDK's ModelInfo.

    Args:
        kinds: the types of `thinking` that the model takes.
        efforts: how many of the efforts it takes.
    """
    types = ("adaptive", "between_tools", "disabled", "enabled")
    return {
        "type": "model",
        "id": id_,
        "display_name": name,
        "created_at": "2026-01-01T00:00:00Z",
        "lifecycle": "deprecated" if retires_at else "active",
        "deprecated_at": "2026-09-30T00:00:00Z" if retires_at else None,
        "retires_at": retires_at,
        "line": id_.split("-")[1],
        "max_input_tokens": 200_000,
        "max_tokens": most,
        "capabilities": {
            "batch": {"supported": True},
            "effort": {
                "supported": efforts > 0,
                **{word: {"supported": word in _EFFORTS[:efforts]} for word in _EFFORTS},
            },
            "structured_outputs": {"supported": True},
            "thinking": {
                "supported": True,
                "types": {kind: {"supported": kind in kinds.split()} for kind in types},
            },
        },
    }


_SONNET_4_5_ENDS = "2026-11-30T00:00:00Z"
MODELS: tuple[Json, ...] = (
    _listed("claude-opus-5-5", "Claude Opus 5.5", 128_000, "adaptive", 5),
    _listed("claude-opus-5", "Claude Opus 5", 128_000, "adaptive disabled", 5),
    _listed("claude-sonnet-5-5", "Claude Sonnet 5.5", 128_000, "adaptive between_tools", 5),
    _listed(
        "claude-sonnet-4-5-20250929", "Claude Sonnet 4.5", 64_000, "disabled enabled", 0,
        _SONNET_4_5_ENDS,
    ),
    _listed("claude-haiku-5-5", "Claude Haiku 5.5", 128_000, "adaptive disabled", 5),
    _listed("claude-haiku-4-5", "Claude Haiku 4.5", 64_000, "disabled enabled", 0),
)  # fmt: skip
_BATCH_LIFE = timedelta(hours=24)
_DEFAULT_PAGE = 20
_LARGEST_PAGE = 1000
_LARGEST_BATCH = 100_000


def page(listed: list[Json], query: Mapping[str, str]) -> Json:
    """One page of a list by limit, after_id and before_id. Raises ApiError."""
    limit = query.get("limit", str(_DEFAULT_PAGE))
    if not re.fullmatch("[0-9]{1,4}", limit) or not 1 <= int(limit) <= _LARGEST_PAGE:
        raise answers.invalid(f"limit: Input should be from 1 to {_LARGEST_PAGE}")
    ids = [one["id"] for one in listed]
    size = int(limit)
    if query.get("before_id") in ids:
        rest = listed[: ids.index(query["before_id"])]
        shown = rest[-size:]
    else:
        rest = (
            listed[ids.index(query["after_id"]) + 1 :] if query.get("after_id") in ids else listed
        )
        shown = rest[:size]
    return {
        "data": shown,
        "has_more": len(rest) > size,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
    }


def model(model_id: str) -> Json:
    """One model. Raises ApiError when there is none of that id."""
    for one in MODELS:
        if one["id"] == model_id:
            return one
    raise answers.not_found(f"model: {model_id}")


@dataclass(slots=True)
class _Batch:
    shown: Json
    lines: list[Json]


class Batches:
    """Message batches. Each is answered when it is made, and shown as ended unless told to stay.

    A method that gets an id raises ApiError when there is no such batch.
    """

    def __init__(self) -> None:
        self._batches: dict[str, _Batch] = {}

    def make(
        self, fields: Json, number: int, base_url: str, steering: Steering, kept: state.Kept
    ) -> Json:
        """A new batch. Raises ApiError when its requests are not well-formed."""
        batch_id = f"msgbatch_sim{number:08d}"
        requests = fields.get("requests")
        if not isinstance(requests, list) or not 0 < len(requests) <= _LARGEST_BATCH:
            raise answers.invalid(f"requests: Input should be a list of 1 to {_LARGEST_BATCH}")
        lines = [
            _line(one, number * _LARGEST_BATCH + place, steering, kept)
            for place, one in enumerate(requests)
        ]
        if len({line["custom_id"] for line in lines}) < len(lines):
            raise answers.invalid("requests: each custom_id must be unique")
        shown = {
            "id": batch_id,
            "type": "message_batch",
            "processing_status": "in_progress",
            "request_counts": _counts([], processing=len(lines)),
            "created_at": answers.now(),
            "ended_at": None,
            "expires_at": answers.now(_BATCH_LIFE),
            "archived_at": None,
            "cancel_initiated_at": None,
            "results_url": None,
        }
        self._batches[batch_id] = _Batch(shown, lines)
        if not steering.is_open_batch:
            self._end(batch_id, base_url)
        return shown

    def end_all(self, base_url: str) -> None:
        """Let every batch that is in progress end with its answers."""
        for batch_id in self._batches:
            self._end(batch_id, base_url)

    def listed(self, query: Mapping[str, str]) -> Json:
        return page([one.shown for one in reversed(self._batches.values())], query)

    def get(self, batch_id: str, base_url: str) -> Json:
        """A batch that is being cancelled has ended at the next look."""
        batch = self._find(batch_id)
        if batch.shown["processing_status"] == "canceling":
            self._end(batch_id, base_url)
        return batch.shown

    def cancel(self, batch_id: str) -> Json:
        """Cancel what is not answered yet: all of an open batch, nothing of an ended one."""
        batch = self._find(batch_id)
        if batch.shown["processing_status"] == "in_progress":
            batch.shown |= {"processing_status": "canceling", "cancel_initiated_at": answers.now()}
            batch.lines = [{**line, "result": {"type": "canceled"}} for line in batch.lines]
        return batch.shown

    def results(self, batch_id: str) -> list[Json]:
        batch = self._find(batch_id)
        if batch.shown["processing_status"] != "ended":
            raise answers.not_found(f"The results of {batch_id} are not available yet.")
        return batch.lines

    def delete(self, batch_id: str) -> Json:
        if self._find(batch_id).shown["processing_status"] != "ended":
            raise answers.invalid(f"{batch_id} has not ended; cancel it first.")
        del self._batches[batch_id]
        return {"id": batch_id, "type": "message_batch_deleted"}

    def _find(self, batch_id: str) -> _Batch:
        if batch_id not in self._batches:
            raise answers.not_found(f"There is no batch {batch_id}.")
        return self._batches[batch_id]

    def _end(self, batch_id: str, base_url: str) -> None:
        batch = self._batches[batch_id]
        if batch.shown["processing_status"] != "ended":
            batch.shown |= {
                "processing_status": "ended",
                "ended_at": answers.now(),
                "request_counts": _counts(batch.lines),
                "results_url": f"{base_url}/v1/messages/batches/{batch_id}/results",
            }


def _counts(lines: list[Json], processing: int = 0) -> Json:
    results = [line["result"]["type"] for line in lines]
    kinds = ("succeeded", "errored", "canceled", "expired")
    return {"processing": processing, **{kind: results.count(kind) for kind in kinds}}


def _line(one: object, number: int, steering: Steering, kept: state.Kept) -> Json:
    """One line of a batch's results; what is wrong with its params is a result, too."""
    fields = one if isinstance(one, dict) else {}
    custom_id, params = fields.get("custom_id"), fields.get("params")
    if not isinstance(custom_id, str) or not isinstance(params, dict):
        raise answers.invalid("requests: each needs a custom_id and params")
    try:
        answers.check(params, "model", "max_tokens", "messages")
        made = kept.before(params, number)
    except ApiError as error:
        told = answers.error_body(error.kind, error.message, f"req_sim{number:08d}")
        return {"custom_id": custom_id, "result": {"type": "errored", "error": told}}
    answer = answers.answer(params, number, steering)
    message = replace(answer, container=made.get("container")).to_json()
    return {"custom_id": custom_id, "result": {"type": "succeeded", "message": message}}


def jsonl(lines: list[Json]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


class Files:
    """Uploaded files. A method that gets an id raises ApiError when there is no such file."""

    def __init__(self) -> None:
        self._shown: dict[str, Json] = {}
        self._contents: dict[str, bytes] = {}

    def make(self, content_type: str, body: bytes, number: int) -> Json:
        """Keep what a multipart upload holds. Raises ApiError when it holds no file."""
        name, kind, content = _uploaded(content_type, body)
        file_id = f"file_sim{number:08d}"
        self._contents[file_id] = content
        self._shown[file_id] = {
            "id": file_id,
            "type": "file",
            "filename": name,
            "mime_type": kind,
            "size_bytes": len(content),
            "created_at": answers.now(),
            "downloadable": True,
        }
        return self._shown[file_id]

    def listed(self, query: Mapping[str, str]) -> Json:
        return page([*reversed(self._shown.values())], query)

    def get(self, file_id: str) -> Json:
        if file_id not in self._shown:
            raise answers.not_found(f"There is no file {file_id}.")
        return self._shown[file_id]

    def content(self, file_id: str) -> tuple[str, bytes]:
        """Media type and bytes."""
        return self.get(file_id)["mime_type"], self._contents[file_id]

    def delete(self, file_id: str) -> Json:
        self.get(file_id)
        del self._shown[file_id], self._contents[file_id]
        return {"id": file_id, "type": "file_deleted"}


def _uploaded(content_type: str, body: bytes) -> tuple[str, str, bytes]:
    """Name, media type and content of the file in a multipart body (RFC 7578)."""
    boundary = re.search(r'boundary="?([^";,]+)', content_type)
    delimiter = b"\r\n--" + boundary[1].encode("latin-1") if boundary else b""
    for part in (b"\r\n" + body).split(delimiter)[1:] if delimiter else ():
        head, found, content = part.partition(b"\r\n\r\n")
        name = re.search(rb'filename="([^"]*)"', head)
        if found and name:
            kind = re.search(rb"(?i)content-type: *([^\r\n;]+)", head)
            media = kind[1].decode("latin-1") if kind else "application/octet-stream"
            return name[1].decode("utf-8", "replace"), media, content
    raise answers.invalid("file: Field required")
