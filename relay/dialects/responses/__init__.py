"""OpenAI's Responses API over Claude's Messages API: pure functions over plain data and events."""
