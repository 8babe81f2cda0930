"use strict";
// Socket.IO on Node, doing what servers/app.py does: node_server.js HOST PORT PING_MS
const http = require("http");
const { PerformanceObserver, performance } = require("perf_hooks");
const { Server } = require("socket.io");

const [host, port, pingInterval] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const FIRST_NUMBER = 1000000;
const STAMP = 10 ** 15;

let pauses = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) pauses.push(entry.duration);
}).observe({ entryTypes: ["gc"] });

const stamp = () => STAMP + Number(process.hrtime.bigint() / 1000n);
const packetLength = () => `42["tick",${JSON.stringify({ n: FIRST_NUMBER, at: STAMP, text: "" })}]`.length;

function emitAll(order) {
  const text = "x".repeat(order.size - packetLength());
  const spaces =
    order.namespaces <= 1
      ? [io.of("/")]
      : [...Array(order.namespaces).keys()].map((i) => io.of(`/n${String(i).padStart(2, "0")}`));
  const begun = performance.now();
  let next = 0;
  const turn = () => {
    for (let left = order.per_turn; left > 0 && next < order.count; left--, next++) {
      const space = spaces[next % spaces.length];
      const target = order.block ? space.to(`b${order.block}-${next % order.rooms}`) : space;
      target.emit("tick", { n: FIRST_NUMBER + next, at: STAMP, text });
    }
    if (next >= order.count) return;
    if (order.rate) setTimeout(turn, Math.max(0, begun + (next * 1000) / order.rate - performance.now()));
    else setImmediate(turn);
  };
  setImmediate(turn);
}

function gcStatus() {
  const taken = pauses;
  pauses = [];
  return {
    count: taken.length,
    longest_ms: taken.reduce((a, b) => Math.max(a, b), 0),
    all_ms: taken.reduce((a, b) => a + b, 0),
  };
}

function settle() {
  global.gc();
  const begun = performance.now();
  global.gc();
  return { collect_ms: performance.now() - begun };
}

function answer(request, body) {
  switch (request.url) {
    case "/ping":
      return "pong";
    case "/emit":
      emitAll(JSON.parse(body));
      return JSON.stringify({ started: stamp() });
    case "/settle":
      return JSON.stringify(settle());
    case "/status":
      return JSON.stringify({
        pid: process.pid,
        version: `Node ${process.versions.node}, socket.io ${require("socket.io/package.json").version}`,
        clients: io.engine.clientsCount,
        gc: gcStatus(),
        transport: {},
      });
    default:
      return "";
  }
}

const server = http.createServer((request, response) => {
  let body = "";
  request.on("data", (part) => (body += part));
  request.on("end", () => response.end(answer(request, body)));
});
server.keepAliveTimeout = 75000;

const io = new Server(server, { pingInterval, pingTimeout: 60000 });
const welcome = (socket) => {
  for (const room of socket.handshake.auth.rooms || []) socket.join(room);
};
io.of(/^\/n\d\d$/).on("connection", welcome);
io.on("connection", (socket) => {
  welcome(socket);
  socket.on("publish", (data) => io.emit("tick", data));
  socket.on("echo", (data) => socket.emit("echo", data));
});
server.listen({ host, port, backlog: 4096 });
