// What a program does with the TypeScript SDK's Responses API.
//
//   node responses_sdk.mjs BASE_URL     with KEY and LEAVING_KEY in the environment
//
// Prints one JSON object: what came of each scenario. responses_sdk.py does the same in Python.

import { createRequire } from "node:module";

const [, , baseURL] = process.argv;
const { KEY, LEAVING_KEY } = process.env;
const require = createRequire(new URL("../npm/package.json", import.meta.url));
const { OpenAI, APIError } = require("openai");

const MODEL = "claude-opus-5";
const SLOW = { "anthropic-sim-chunks": "1000", "anthropic-sim-delay-ms": "20" };
const TOOL = {
  type: "function",
  name: "shout",
  description: "Says it loudly.",
  strict: true,
  parameters: {
    type: "object",
    properties: { text: { type: "string" } },
    required: ["text"],
    additionalProperties: false,
  },
};
const CITY = {
  type: "json_schema",
  name: "city",
  strict: true,
  schema: {
    type: "object",
    properties: { name: { type: "string" }, inhabitants: { type: "integer" } },
    required: ["name", "inhabitants"],
    additionalProperties: false,
  },
};
const THINKS = { effort: "low", summary: "auto" };
const PIXEL = "data:image/png;base64,iVBORw0KGgo=";

function client(apiKey = KEY, options = {}) {
  return new OpenAI({ baseURL, apiKey, ...options });
}

function asking(input, fields = {}) {
  return { model: MODEL, input, store: false, max_output_tokens: 2000, ...fields };
}

function steered(fault) {
  return { maxRetries: 0, headers: { "anthropic-sim-fault": JSON.stringify(fault) } };
}

async function errorOf(call) {
  try {
    await call();
  } catch (error) {
    if (!(error instanceof APIError)) throw error;
    const classes = [];
    for (let one = error.constructor; one.name; one = Object.getPrototypeOf(one)) classes.push(one.name);
    return {
      classes,
      status: error.status ?? null,
      type: error.type ?? null,
      code: error.code ?? null,
      param: error.param ?? null,
      message: error.message,
      request_id: error.requestID ?? null,
    };
  }
  return { classes: ["nothing was raised"] };
}

async function events(running) {
  const found = [];
  for await (const event of running) found.push(event);
  return found;
}

async function create() {
  const usage = { input_tokens: 100, cache_read_input_tokens: 900, output_tokens: 200 };
  const headers = { "anthropic-sim-usage": JSON.stringify(usage) };
  const answer = await client().responses.create(asking("hello"), { headers });
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

const SCENARIOS = {
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
  rate_limited: () => {
    const fault = { status: 429, error_type: "rate_limit_error", message: "Slowly.",
                    headers: { "retry-after": "0" } };
    return errorOf(() => client().responses.create(asking("hello"), steered(fault)));
  },
  error_event: () => {
    const fault = { error_event: "overloaded_error", message: "Busy.", after_events: 5 };
    return errorOf(() => client().responses.stream(asking("x"), steered(fault)).finalResponse());
  },
  cut_stream: async () => {
    try {
      const running = client().responses.stream(asking("x"), steered({ cut_at: 2200 }));
      return { text: (await running.finalResponse()).output_text };
    } catch (error) {
      return { raised: error.constructor.name };
    }
  },
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
};

const told = {};
for (const [name, scenario] of Object.entries(SCENARIOS)) {
  try {
    told[name] = await scenario();
  } catch (error) {
    told[name] = { failed: `${error.stack}` };
  }
}
process.stdout.write(JSON.stringify(told));
