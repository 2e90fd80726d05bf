// An OAuth server that we did not write, on a free port of the loopback.
//
//   node server.mjs     prints "listening on URL"
//
// It checks codes and PKCE by itself. Here it also learns that a refresh token works once, and:
//   GET /test/requests  the token requests until now: [{authorization, beta, body}]
//   PUT /test/next      {status?, body?, without?: [NAME]} changes the next answer of its tokens

import { createRequire } from "node:module";

const require = createRequire(new URL("../npm/package.json", import.meta.url));
const { OAuth2Server } = require("oauth2-mock-server");

const USED_UP = { error: "invalid_grant" };
// Where the Claude API has it, so that federation can ask too.
const server = new OAuth2Server(undefined, undefined, { endpoints: { token: "/v1/oauth/token" } });
const requests = [];
const living = new Set();
let next = {};

server.service.on("beforeResponse", (answer, { body, headers }) => {
  requests.push({ authorization: headers.authorization, beta: headers["anthropic-beta"], body });
  if (body.grant_type === "refresh_token" && !living.delete(body.refresh_token)) {
    answer.statusCode = 400;
    answer.body = USED_UP;
  }
  answer.statusCode = next.status ?? answer.statusCode;
  answer.body = next.body ?? answer.body;
  for (const name of next.without ?? []) delete answer.body[name];
  next = {};
  if (answer.body.refresh_token) living.add(answer.body.refresh_token);
});

function route(method, path, answered) {
  server.service.addRoute(method, path, (request, response) => {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(answered(request)));
  });
}

route("GET", "/test/requests", () => requests);
route("PUT", "/test/next", ({ body }) => (next = body));

await server.issuer.keys.generate("RS256");
await server.start(0, "127.0.0.1");
console.log(`listening on http://127.0.0.1:${server.address().port}`);
