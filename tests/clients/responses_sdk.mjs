// What a program does with the TypeScript SDK's Responses API.
// responses_sdk.py does the same in Python.

import {
  CITY, CUT, ERROR_EVENT, FUNCTION, KEY, LEAVING_KEY, MODEL, PIXEL, RATE_LIMITED, SLOW, USAGE,
  client, errorOf, play, raisedBy, steered,
} from "./openai_program.mjs";

const TOOL = { type: "function", ...FUNCTION };
const THINKS = { effort: "low", summary: "auto" };

function asking(input, fields = {}) {
  return { model: MODEL, input, store: false, max_output_tokens: 2000, ...fields };
}

async function events(running) {
  const found = [];
  for await (const event of running) found.push(event);
  return found;
}

async function create() {
  const answer = await client().responses.create(asking("hello"), { headers: USAGE });
  return {
    text: answer.output_text,
    status: answer.status,
    model: answer.model,
    usage: answer.usage,
    request_id: answer._request_id,
  };
}

async function stream() {
  const running = client().responses.stream(asking("tell me"));
  const found = await events(running);
  const final = await running.finalResponse();
  return {
    types: found.map((one) => one.type),
    pieces: found.filter((one) => one.type === "response.output_text.delta").map((one) => one.delta),
    final: final.output_text,
    output_tokens: final.usage.output_tokens,
  };
}

async function plain_stream() {
  const found = await events(await client().responses.create({ ...asking("tell me"), stream: true }));
  return { numbers: found.map((one) => one.sequence_number) };
}

async function thinking() {
  const final = await client().responses.stream(asking("think", { reasoning: THINKS })).finalResponse();
  return {
    kinds: final.output.map((item) => item.type),
    summary: final.output[0].summary.map((one) => one.text),
  };
}

async function tools() {
  const fields = { tools: [TOOL], reasoning: THINKS };
  const items = [{ role: "user", content: "please use tool" }];
  const called = await client().responses.stream(asking(items, fields)).finalResponse();
  const call = called.output.at(-1);
  const done = { type: "function_call_output", call_id: call.call_id, output: `DONE ${KEY.slice(-9)}` };
  const more = [...items, ...called.output, done, { role: "user", content: "go on" }];
  const answer = await client().responses.create(asking(more, fields));
  return {
    kinds: called.output.map((item) => item.type),
    name: call.name,
    arguments: JSON.parse(call.arguments),
    text: answer.output_text,
  };
}

async function image() {
  const parts = [
    { type: "input_text", text: `what is this ${KEY.slice(-9)}` },
    { type: "input_image", image_url: PIXEL, detail: "auto" },
  ];
  const answer = await client().responses.create(asking([{ role: "user", content: parts }]));
  return { text: answer.output_text };
}

async function parsed() {
  const headers = { "anthropic-sim-text": '{"name": "Bern", "inhabitants": 146000}' };
  const asked = asking(`a city ${KEY.slice(-9)}`, { text: { format: CITY } });
  const answer = await client().responses.parse(asked, { headers });
  return { city: answer.output_parsed };
}

async function cut_short() {
  const answer = await client().responses.create(asking("hello", { max_output_tokens: 3 }));
  return { status: answer.status, reason: answer.incomplete_details.reason, text: answer.output_text };
}

async function at_once() {
  const asked = [0, 1, 2].map((number) => client().responses.create(asking(`no. ${number}`)));
  return { texts: (await Promise.all(asked)).map((answer) => answer.output_text) };
}

await play({
  create, stream, plain_stream, thinking, tools, image, parsed, cut_short, at_once,
  wrong_key: () => errorOf(() => client(`sk-relay-${"x".repeat(43)}`).responses.create(asking("hi"))),
  refused_field: () =>
    errorOf(() => client().responses.create(asking("go on", { previous_response_id: "resp_1" }))),
  refused_item: () => {
    const content = [{ type: "input_file", file_id: "file_1" }];
    return errorOf(() => client().responses.create(asking([{ role: "user", content }])));
  },
  unknown_model: () =>
    errorOf(() => client().responses.create(asking("hello", { model: "gpt-of-old" }))),
  rate_limited: () =>
    errorOf(() => client().responses.create(asking("hello"), steered(RATE_LIMITED))),
  error_event: () =>
    errorOf(() => client().responses.stream(asking("x"), steered(ERROR_EVENT)).finalResponse()),
  cut_stream: () =>
    raisedBy(async () => {
      const running = client().responses.stream(asking("x"), steered(CUT));
      return (await running.finalResponse()).output_text;
    }),
  leaving: async () => {
    const running = client(LEAVING_KEY).responses.stream(asking(`leave ${KEY.slice(-9)}`), { headers: SLOW });
    for await (const event of running) {
      if (event.type === "response.output_text.delta") {
        running.abort();
        return { first: event.delta };
      }
    }
    return { first: null };
  },
});
