"""Claude's answer as a Response object: the same items, whether it comes whole or in events."""

from typing import Any

from relay.dialects.openai import answered
from relay.dialects.openai.answered import refused, usage
from relay.dialects.openai.fields import Json
from relay.dialects.openai.tools import Tool
from relay.dialects.responses import carried

_INCOMPLETE = {
    "max_tokens": "max_output_tokens",
    "model_context_window_exceeded": "max_output_tokens",
    "pause_turn": "max_messages",
    "refusal": "content_filter",
}
_TIERS = {"standard": "default", "priority": "priority", "batch": "default"}


class Frame(answered.Frame):
    """What every Response object of one answer has in common."""

    def item_id(self, kind: str, index: int) -> str:
        return f"{kind}_{self.stem}_{index}"

    def response(self, status: str, output: list[Json], **more: Any) -> Json:
        """A Response object."""
        is_over = status != "in_progress"
        return {
            "id": f"resp_{self.stem}",
            "object": "response",
            "created_at": self.created_at,
            "completed_at": int(self.now()) if status == "completed" else None,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "model": self.model,
            "output": output,
            "usage": usage(self.usage) if is_over else None,
            "service_tier": _TIERS.get(str(self.usage.get("service_tier")), "default"),
            **self.asked.echo,
            **more,
        }

    def ended(self, output: list[Json], stop_reason: str) -> Json:
        """The Response object of an answer that came to its end."""
        reason = _INCOMPLETE.get(stop_reason)
        if reason is None:
            return self.response("completed", output)
        return self.response("incomplete", output, incomplete_details={"reason": reason})


def reasoning(item_id: str, block: Json | None, *, shown: bool) -> Json:
    """A reasoning item of a block of thinking; of none yet while the block is still coming."""
    text = str((block or {}).get("thinking") or "")
    summary = [{"type": "summary_text", "text": text}] if text and shown else []
    packed = carried.pack_block(block) if block else None
    return {"id": item_id, "type": "reasoning", "summary": summary, "encrypted_content": packed}


def whole_turn(item_id: str, blocks: list[Json]) -> Json:
    """An item that holds an answer's blocks as they came."""
    packed = carried.pack_turn(blocks)
    return {"id": item_id, "type": "reasoning", "summary": [], "encrypted_content": packed}


def message(item_id: str, content: list[Json], status: str) -> Json:
    return {
        "id": item_id,
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": content,
    }


def text_part(text: str, citations: list[Json]) -> Json:
    found = [one for one in (citation(one, len(text)) for one in citations) if one]
    return {"type": "output_text", "text": text, "annotations": found, "logprobs": []}


def refusal_part(details: Json | None) -> Json:
    return {"type": "refusal", "refusal": refused(details)}


def citation(cited: Json, length: int) -> Json | None:
    """A page that a text rests on; a citation of the client's own documents has no counterpart."""
    if cited.get("type") != "web_search_result_location":
        return None
    return {
        "type": "url_citation",
        "url": str(cited.get("url") or ""),
        "title": str(cited.get("title") or ""),
        "start_index": 0,
        "end_index": length,
    }


def call(item_id: str, call_id: str, tool: Tool, text: str, status: str) -> Json:
    """A call of the client's tool.

    Args:
        text: a function's arguments as Claude wrote them, or a custom tool's input.
    """
    known: Json = {"id": item_id, "call_id": call_id, "name": tool.name}
    if tool.namespace:
        known["namespace"] = tool.namespace
    if tool.kind == "custom":
        return {**known, "type": "custom_tool_call", "input": text}
    return {**known, "type": "function_call", "arguments": text, "status": status}


def search(item_id: str, query: str, status: str, sources: list[Json] | None) -> Json:
    """A search of the web that Claude made."""
    action: Json = {"type": "search", "query": query}
    if sources is not None:
        action["sources"] = sources
    return {"id": item_id, "type": "web_search_call", "status": status, "action": action}


def sources_of(result: Json) -> tuple[str, list[Json]]:
    """How a search ended, and the pages that it found."""
    content = result.get("content")
    if not isinstance(content, list):
        return "failed", []
    return "completed", [
        {"type": "url", "url": str(one.get("url") or "")}
        for one in content
        if isinstance(one, dict)
    ]
