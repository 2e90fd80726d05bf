"""Claude's answer as a chat completion, and what it has in common with its chunks."""

import msgspec

from relay.dialects.openai.answered import Frame, as_objects, refused
from relay.dialects.openai.answered import usage as counted
from relay.dialects.openai.fields import Json

_FINISHES = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def finish_reason(frame: Frame, stop_reason: str) -> str:
    """OpenAI's word for why an answer ended."""
    if stop_reason == "tool_use" and frame.asked.echo["is_old"]:
        return "function_call"
    return _FINISHES.get(stop_reason, "stop")


def usage(figures: Json) -> Json:
    """OpenAI's usage: the prompt counts what was read from a cache and written to it."""
    known = counted(figures)
    return {
        "prompt_tokens": known["input_tokens"],
        "completion_tokens": known["output_tokens"],
        "total_tokens": known["total_tokens"],
        "prompt_tokens_details": known["input_tokens_details"],
        "completion_tokens_details": known["output_tokens_details"],
    }


def head(frame: Frame, kind: str) -> Json:
    """The fields of a completion and of each of its chunks."""
    known = {"id": f"chatcmpl-{frame.stem}", "object": kind, "created": frame.created_at}
    return {**known, "model": frame.model}


def whole(frame: Frame, message: Json) -> Json:
    """The chat completion of an answer that came whole."""
    frame.begin(message)
    blocks = as_objects(message.get("content"))
    texts = [str(block.get("text") or "") for block in blocks if block.get("type") == "text"]
    calls = [block for block in blocks if block.get("type") == "tool_use"]
    stop_reason = str(message.get("stop_reason") or "")
    told: Json = {"role": "assistant", "content": "".join(texts) if texts else None}
    declined = stop_reason == "refusal"
    told["refusal"] = refused(message.get("stop_details")) if declined else None
    thought = "".join(
        str(block.get("thinking") or "") for block in blocks if block.get("type") == "thinking"
    )
    if thought:
        told["reasoning_content"] = thought
    if calls and frame.asked.echo["is_old"]:
        told["function_call"] = _function(frame, calls[0])
    elif calls:
        told["tool_calls"] = [
            {"id": str(call.get("id")), "type": "function", "function": _function(frame, call)}
            for call in calls
        ]
    reason = finish_reason(frame, stop_reason)
    choice = {"index": 0, "message": told, "logprobs": None, "finish_reason": reason}
    return {
        **head(frame, "chat.completion"),
        "choices": [choice],
        "usage": usage(frame.usage),
        "service_tier": "priority" if frame.usage.get("service_tier") == "priority" else "default",
    }


def _function(frame: Frame, block: Json) -> Json:
    arguments = msgspec.json.encode(block.get("input") or {}).decode()
    name = frame.asked.box.tool(str(block.get("name"))).name
    return {"name": name, "arguments": arguments}
