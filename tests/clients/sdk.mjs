// What a program does with the TypeScript SDK, today's or an older one.
//
//   node sdk.mjs PACKAGE BASE_URL     with KEY, OTHER_KEY and LEAVING_KEY in the environment
//
// Prints one JSON object: what came of each scenario. sdk.py does the same in Python.

import { createRequire } from "node:module";

const [, , packageName, baseURL] = process.argv;
const { KEY, OTHER_KEY, LEAVING_KEY } = process.env;
const require = createRequire(new URL("../npm/package.json", import.meta.url));
const { Anthropic, APIError, toFile } = require(packageName);

const OPUS = "claude-opus-5";
const HAIKU = "claude-haiku-4-5";
const FIGURES = { "anthropic-sim-usage": '{"input_tokens": 1000, "output_tokens": 200}' };
const SLOW = { "anthropic-sim-chunks": "1000", "anthropic-sim-delay-ms": "20" };
const TOOL = {
  name: "shout",
  description: "Says it loudly.",
  input_schema: { type: "object", properties: { text: { type: "string" } } },
};

function client(apiKey = KEY, options = {}) {
  return new Anthropic({ baseURL, apiKey, ...options });
}

function asking(content, model = HAIKU, fields = {}) {
  return { model, max_tokens: 2000, messages: [{ role: "user", content }], ...fields };
}

function spoiled(fault) {
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
      type: error.error?.error?.type ?? null,
      message: error.error?.error?.message ?? null,
      request_id: error.requestID ?? null,
      retry_after: error.headers?.get?.("retry-after") ?? null,
    };
  }
  return { classes: ["nothing was raised"] };
}

async function all(pages, field) {
  const found = [];
  for await (const one of pages) found.push(one[field]);
  return found;
}

async function madeBatch() {
  const one = { custom_id: "one", params: asking("in bulk") };
  return client().messages.batches.create({ requests: [one] });
}

const scenarios = {
  async message() {
    const answer = await client().messages.create(asking("hello", OPUS), { headers: FIGURES });
    return {
      text: answer.content[0].text,
      stop_reason: answer.stop_reason,
      input_tokens: answer.usage.input_tokens,
      output_tokens: answer.usage.output_tokens,
      request_id: answer._request_id,
    };
  },

  async stream() {
    const pieces = [];
    const running = client().messages.stream(asking("tell me"));
    running.on("text", (piece) => pieces.push(piece));
    const final = await running.finalMessage();
    return { pieces, final: final.content[0].text, output_tokens: final.usage.output_tokens };
  },

  async thinking() {
    const budget = { thinking: { type: "enabled", budget_tokens: 1024 } };
    const final = await client().messages.stream(asking("think", HAIKU, budget)).finalMessage();
    return { kinds: final.content.map((block) => block.type) };
  },

  async tools() {
    const first = asking("please use tool", HAIKU, { tools: [TOOL] });
    const called = await client().messages.stream(first).finalMessage();
    const use = called.content.at(-1);
    const result = { type: "tool_result", tool_use_id: use.id, content: "done" };
    first.messages.push(
      { role: "assistant", content: called.content },
      { role: "user", content: [result, { type: "text", text: "go on" }] },
    );
    const answer = await client().messages.create(first);
    return {
      stop_reason: called.stop_reason,
      name: use.name,
      input: use.input,
      text: answer.content[0].text,
    };
  },

  async count_tokens() {
    const messages = [{ role: "user", content: "how many" }];
    return { tokens: (await client().messages.countTokens({ model: OPUS, messages })).input_tokens };
  },

  async models() {
    return {
      ids: await all(client().models.list({ limit: 2 }), "id"),
      one: (await client().models.retrieve(OPUS)).display_name,
    };
  },

  async wrong_key() {
    let requests = 0;
    const counting = (...request) => ((requests += 1), fetch(...request));
    const wrong = client(`sk-relay-${"x".repeat(43)}`, { fetch: counting });
    const told = await errorOf(() => wrong.messages.create(asking("let me in")));
    return { ...told, requests };
  },

  async unknown_model() {
    return errorOf(() => client().messages.create(asking("hello", "gpt-of-old")));
  },

  async rate_limited() {
    const fault = { status: 429, error_type: "rate_limit_error", message: "Slowly.",
      headers: { "retry-after": "0" } };
    return errorOf(() => client().messages.create(asking("spoil it"), spoiled(fault)));
  },

  async error_event() {
    const spoil = spoiled({ error_event: "overloaded_error", message: "Busy.", after_events: 4 });
    return errorOf(() => client().messages.stream(asking("spoil it"), spoil).finalMessage());
  },

  async cut_stream() {
    const running = client().messages.stream(asking("spoil it"), spoiled({ cut_at: 2200 }));
    try {
      return { text: await running.finalText() };
    } catch (error) {
      return { raised: error.constructor.name };
    }
  },

  async leaving() {
    const body = asking(`leave ${KEY.slice(-9)}`, HAIKU, { stream: true });
    const running = await client(LEAVING_KEY).messages.create(body, { headers: SLOW });
    let first;
    for await (const event of running) {
      first = event.delta?.text;
      if (first) break;
    }
    return { first };
  },

  async batch() {
    const { batches } = client().messages;
    const others = client(OTHER_KEY).messages.batches;
    const made = await madeBatch();
    return {
      status: (await batches.retrieve(made.id)).processing_status,
      is_listed: (await all(batches.list(), "id")).includes(made.id),
      others: await all(others.list(), "id"),
      others_error: await errorOf(() => others.retrieve(made.id)),
      deleted: (await batches.delete(made.id)).type,
    };
  },

  async batch_results() {
    const told = {};
    for await (const line of await client().messages.batches.results((await madeBatch()).id)) {
      told[line.custom_id] = line.result.message.content[0].text;
    }
    return told;
  },

  async file() {
    const { files } = client().beta;
    const others = client(OTHER_KEY).beta.files;
    const made = await files.upload({ file: await toFile(Buffer.from("some notes"), "notes.txt") });
    return {
      name: (await files.retrieveMetadata(made.id)).filename,
      content: await (await files.download(made.id)).text(),
      is_listed: (await all(files.list(), "id")).includes(made.id),
      others: await all(others.list(), "id"),
      others_error: await errorOf(() => others.download(made.id)),
      deleted: (await files.delete(made.id)).id === made.id,
    };
  },

  // The last, because its account rests afterwards.
  async overloaded() {
    const fault = { status: 529, error_type: "overloaded_error", message: "Busy." };
    return errorOf(() => client().messages.create(asking("spoil it"), spoiled(fault)));
  },
};

const told = {};
for (const [name, scenario] of Object.entries(scenarios)) {
  try {
    told[name] = await scenario();
  } catch (error) {
    told[name] = { failed: String(error?.stack ?? error) };
  }
}
console.log(JSON.stringify(told));
process.exit(0);
