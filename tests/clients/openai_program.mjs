// What the programs of the TypeScript SDK have in common; openai_program.py is the same in Python.

import { createRequire } from "node:module";

const [, , baseURL] = process.argv;
const require = createRequire(new URL("../npm/package.json", import.meta.url));
const { OpenAI, APIError } = require("openai");

export const { KEY, LEAVING_KEY } = process.env;
export const MODEL = "claude-opus-5";
export const SLOW = { "anthropic-sim-chunks": "1000", "anthropic-sim-delay-ms": "20" };
const FIGURES = { input_tokens: 100, cache_read_input_tokens: 900, output_tokens: 200 };
export const USAGE = { "anthropic-sim-usage": JSON.stringify(FIGURES) };
export const FUNCTION = {
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
export const CITY = {
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
export const PIXEL = "data:image/png;base64,iVBORw0KGgo=";
export const RATE_LIMITED = {
  status: 429, error_type: "rate_limit_error", message: "Slowly.", headers: { "retry-after": "0" },
};
export const ERROR_EVENT = { error_event: "overloaded_error", message: "Busy.", after_events: 5 };
export const CUT = { cut_at: 2200 };

export function client(apiKey = KEY, options = {}) {
  return new OpenAI({ baseURL, apiKey, ...options });
}

// Options by which the simulator does something wrong.
export function steered(fault) {
  return { maxRetries: 0, headers: { "anthropic-sim-fault": JSON.stringify(fault) } };
}

export async function errorOf(call) {
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

// The text of an answer, or what was raised instead.
export async function raisedBy(call) {
  try {
    return { text: await call() };
  } catch (error) {
    return { raised: error.constructor.name };
  }
}

// Prints what each scenario told; one that failed is shown by the test that looks at it.
export async function play(scenarios) {
  const told = {};
  for (const [name, scenario] of Object.entries(scenarios)) {
    try {
      told[name] = await scenario();
    } catch (error) {
      told[name] = { failed: `${error.stack}` };
    }
  }
  process.stdout.write(JSON.stringify(told));
}
