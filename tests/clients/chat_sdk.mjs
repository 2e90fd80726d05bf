// What a program does with the TypeScript SDK's Chat Completions.
// chat_sdk.py does the same in Python.

import {
  CITY, CUT, ERROR_EVENT, FUNCTION, KEY, LEAVING_KEY, MODEL, PIXEL, RATE_LIMITED, SLOW, USAGE,
  client, errorOf, play, raisedBy, steered,
} from "./openai_program.mjs";

const TOOL = { type: "function", function: FUNCTION };

function asking(text, fields = {}) {
  const messages = Array.isArray(text) ? text : [{ role: "user", content: text }];
  return { model: MODEL, messages, max_completion_tokens: 2000, ...fields };
}

const create = (text, fields, options) => client().chat.completions.create(asking(text, fields), options);

async function wholeStream(fault) {
  let text = "";
  const chunks = await create("x", { stream: true }, steered(fault));
  for await (const chunk of chunks) text += chunk.choices[0].delta.content ?? "";
  return text;
}

await play({
  create: async () => {
    const answer = await create("hello", {}, { headers: USAGE });
    return {
      text: answer.choices[0].message.content,
      finish: answer.choices[0].finish_reason,
      model: answer.model,
      usage: answer.usage,
      request_id: answer._request_id,
    };
  },
  stream: async () => {
    const asked = asking("tell me", { stream_options: { include_usage: true } });
    const running = client().chat.completions.stream(asked);
    const pieces = [];
    running.on("content", (piece) => pieces.push(piece));
    const final = await running.finalChatCompletion();
    return {
      pieces,
      final: final.choices[0].message.content,
      output_tokens: final.usage.completion_tokens,
    };
  },
  plain_stream: async () => {
    const chunks = [];
    for await (const chunk of await create("tell me", { stream: true })) chunks.push(chunk);
    return {
      ids: new Set(chunks.map((chunk) => chunk.id)).size,
      first: chunks[0].choices[0].delta.role,
      last: chunks.at(-1).choices[0].finish_reason,
      usage: chunks.map((chunk) => chunk.usage).filter((usage) => usage),
    };
  },
  thinking: async () => {
    const answer = await create("think", { reasoning_effort: "low" });
    return { thought: answer.choices[0].message.reasoning_content };
  },
  tools: async () => {
    const messages = [{ role: "user", content: "please use tool" }];
    const running = client().chat.completions.stream(asking(messages, { tools: [TOOL] }));
    const called = (await running.finalChatCompletion()).choices[0];
    const call = called.message.tool_calls[0];
    messages.push(
      { role: "assistant", content: called.message.content, tool_calls: called.message.tool_calls },
      { role: "tool", tool_call_id: call.id, content: `DONE ${KEY.slice(-9)}` },
      { role: "user", content: "go on" },
    );
    const answer = await create(messages, { tools: [TOOL] });
    return {
      finish: called.finish_reason,
      name: call.function.name,
      arguments: JSON.parse(call.function.arguments),
      text: answer.choices[0].message.content,
    };
  },
  image: async () => {
    const content = [
      { type: "text", text: `what is this ${KEY.slice(-9)}` },
      { type: "image_url", image_url: { url: PIXEL } },
    ];
    return { text: (await create([{ role: "user", content }])).choices[0].message.content };
  },
  parsed: async () => {
    const headers = { "anthropic-sim-text": '{"name": "Bern", "inhabitants": 146000}' };
    const { type, ...json_schema } = CITY;
    const asked = asking(`a city ${KEY.slice(-9)}`, { response_format: { type, json_schema } });
    const answer = await client().chat.completions.parse(asked, { headers });
    return { city: answer.choices[0].message.parsed };
  },
  cut_short: async () => {
    const [choice] = (await create("hello", { max_completion_tokens: 3 })).choices;
    return { finish: choice.finish_reason, text: choice.message.content };
  },
  at_once: async () => {
    const answers = await Promise.all([0, 1, 2].map((number) => create(`no. ${number}`)));
    return { texts: answers.map((answer) => answer.choices[0].message.content) };
  },
  models: async () => {
    const listed = [];
    for await (const model of client().models.list()) listed.push(model.id);
    return { listed, one: (await client().models.retrieve(MODEL)).id };
  },
  wrong_key: () =>
    errorOf(() => client(`sk-relay-${"x".repeat(43)}`).chat.completions.create(asking("let me in"))),
  refused_field: () => errorOf(() => create("hello", { n: 2 })),
  refused_part: () => {
    const content = [{ type: "file", file: { file_id: "file_1" } }];
    return errorOf(() => create([{ role: "user", content }]));
  },
  unknown_model: () => errorOf(() => create("hello", { model: "gpt-of-old" })),
  rate_limited: () => errorOf(() => create("hello", {}, steered(RATE_LIMITED))),
  error_event: () => errorOf(() => wholeStream(ERROR_EVENT)),
  cut_stream: () => raisedBy(() => wholeStream(CUT)),
  leaving: async () => {
    const asked = asking(`leave ${KEY.slice(-9)}`, { stream: true });
    const chunks = await client(LEAVING_KEY).chat.completions.create(asked, { headers: SLOW });
    for await (const chunk of chunks) {
      const first = chunk.choices[0].delta.content;
      if (first) {
        chunks.controller.abort();
        return { first };
      }
    }
    return { first: null };
  },
});
