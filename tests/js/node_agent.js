/* The agent in Node: reads one JSON request a line, {"id", "do", "args"}, and answers each with a line. */
"use strict";

const readline = require("node:readline");
const { io } = require("socket.io-client");
require("./agent.js");

const agent = globalThis.makeAgent(io);

async function answer({ id, do: name, args }) {
  try {
    return { id, value: (await agent[name](...args)) ?? null };
  } catch (error) {
    return { id, error: String(error.message || error) };
  }
}

const lines = readline.createInterface({ input: process.stdin, crlfDelay: Infinity });
lines.on("line", async (line) => process.stdout.write(JSON.stringify(await answer(JSON.parse(line))) + "\n"));
// Whoever started this has gone.
lines.on("close", () => process.exit(0));
