/* What a test does with Socket.IO's own client: the same in Node and in a browser.
 *
 * Every function takes and returns JSON. Binary values are {"$bytes": BASE64, "type": "Buffer"}; which kind is
 * made of one that comes from the test, its type says: Buffer, ArrayBuffer, Uint8Array or Blob.
 */
(function (root) {
  "use strict";

  const PAUSE_MS = 1;

  function toBase64(bytes) {
    if (typeof Buffer !== "undefined") return Buffer.from(bytes).toString("base64");
    let text = "";
    for (let start = 0; start < bytes.length; start += 8192) {
      text += String.fromCharCode(...bytes.subarray(start, start + 8192));
    }
    return btoa(text);
  }

  function fromBase64(text) {
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  }

  function bytesOf(value) {
    if (value instanceof ArrayBuffer) return new Uint8Array(value);
    if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    return null;
  }

  /** Make a binary value of a kind. */
  function binary(bytes, type) {
    switch (type) {
      case "Buffer":
        return Buffer.from(bytes);
      case "ArrayBuffer":
        return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
      case "Uint8Array":
        return bytes;
      case "Blob":
        return new Blob([bytes]);
      default:
        throw new Error(`no kind of binary value: ${type}`);
    }
  }

  function toTest(value) {
    const bytes = bytesOf(value);
    if (bytes) return { $bytes: toBase64(bytes), type: value.constructor.name };
    if (Array.isArray(value)) return value.map(toTest);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, toTest(item)]));
    }
    return value === undefined ? null : value;
  }

  function fromTest(value) {
    if (Array.isArray(value)) return value.map(fromTest);
    if (value && typeof value === "object") {
      if ("$bytes" in value) return binary(fromBase64(value.$bytes), value.type);
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fromTest(item)]));
    }
    return value;
  }

  /** Bytes or a text that repeats nowhere, always the same: xorshift. */
  function noise(kind, size) {
    const bytes = new Uint8Array(size);
    let x = 2463534242;
    for (let index = 0; index < size; index++) {
      x ^= x << 13;
      x ^= x >>> 17;
      x ^= x << 5;
      bytes[index] = x;
    }
    if (kind !== "text") return bytes;
    // Printable, with what JSON and the polling payload treat in a way of their own.
    const strange = ['"', "\\", "\u001e", "\n"];
    const parts = [];
    for (let start = 0; start < size; start += 8192) {
      const part = bytes.slice(start, start + 8192).map((byte) => 32 + (byte % 90));
      parts.push(strange[(start / 8192) % 4] + String.fromCharCode(...part.subarray(1)));
    }
    return parts.join("");
  }

  function same(one, other) {
    if (typeof one === "string") return one === other;
    const [here, there] = [bytesOf(one), bytesOf(other)];
    if (!here || !there || here.length !== there.length) return false;
    return here.every((byte, index) => byte === there[index]);
  }

  root.makeAgent = function makeAgent(io) {
    const clients = new Map();

    function watch(name, socket) {
      const client = {
        socket,
        connects: 0,
        disconnects: [],
        codes: [],
        errors: [],
        received: [],
        answers: {},
        upgrades: [],
      };
      clients.set(name, client);
      socket.on("connect", () => client.connects++);
      socket.on("disconnect", (reason, details) => {
        client.disconnects.push(reason);
        // The close event of a WebSocket, or the request of long-polling that failed.
        const context = (details && details.context) || {};
        client.codes.push(context.code || context.status || null);
      });
      socket.on("connect_error", (error) => {
        // An Error that the server sent carries its data; one of the transport has a description.
        client.errors.push({ message: error.message, data: toTest(error.data), code: error.description });
      });
      socket.onAny((event, ...args) => {
        const answer = typeof args.at(-1) === "function" ? args.pop() : null;
        client.received.push({ event, args: toTest(args), via: transport(client) });
        if (answer && event in client.answers) {
          const { values, afterMs } = client.answers[event];
          setTimeout(() => answer(...fromTest(values)), afterMs);
        }
      });
    }

    function get(name) {
      const client = clients.get(name);
      if (!client) throw new Error(`no client ${name}`);
      return client;
    }

    function transport(client) {
      const engine = client.socket.io.engine;
      return engine && engine.transport ? engine.transport.name : null;
    }

    return {
      /** Make a client and let it connect. */
      open(name, url, namespace, options) {
        const settings = { forceNew: true, reconnectionDelay: 20, reconnectionDelayMax: 100, ...options };
        const socket = io(url + (namespace === "/" ? "/" : namespace), { ...settings, autoConnect: false });
        watch(name, socket);
        const client = get(name);
        socket.io.on("open", () => {
          const engine = socket.io.engine;
          engine.on("upgrade", () => client.upgrades.push(engine.transport.name));
        });
        socket.connect();
        return null;
      },

      /** Connect to another namespace over the connection of a client. */
      also(name, other, namespace, auth) {
        watch(name, get(other).socket.io.socket(namespace, { auth }));
        get(name).socket.connect();
        return null;
      },

      /** How a client is. */
      state(name) {
        const client = get(name);
        const engine = client.socket.io.engine;
        const ws = engine && engine.transport && engine.transport.ws;
        return {
          connected: client.socket.connected,
          sid: client.socket.id || null,
          engine: (engine && engine.id) || null,
          connects: client.connects,
          disconnects: client.disconnects,
          codes: client.codes,
          errors: client.errors,
          upgrades: client.upgrades,
          received: client.received.length,
          transport: transport(client),
          extensions: (ws && ws.extensions) || "",
          // Only Node tells.
          bytes_read: (ws && ws._socket && ws._socket.bytesRead) || null,
        };
      },

      /** Everything that has come, in its order, and forget it. */
      take(name) {
        return get(name).received.splice(0);
      },

      /** Emit. Several at once: one after the other in the same turn of the loop. */
      emit(name, events, volatile) {
        const { socket } = get(name);
        for (const [event, args] of events) {
          (volatile ? socket.volatile : socket).emit(event, ...fromTest(args));
        }
        return null;
      },

      /** Emit and return what the server acknowledges with. */
      call(name, event, args, timeoutMs) {
        return new Promise((resolve, reject) => {
          get(name)
            .socket.timeout(timeoutMs)
            .emit(event, ...fromTest(args), (error, ...values) => (error ? reject(error) : resolve(toTest(values))));
        });
      },

      /** What to acknowledge an event of the server's with, and after which time. */
      answer(name, event, values, afterMs) {
        get(name).answers[event] = { values, afterMs };
        return null;
      },

      /** Send something large to a handler that sends it back, and compare. */
      big(name, kind, size, timeoutMs) {
        const content = noise(kind, size);
        const sent = kind === "text" ? content : binary(content, kind);
        return new Promise((resolve, reject) => {
          get(name)
            .socket.timeout(timeoutMs)
            .emit("message-with-ack", sent, (error, value) => {
              if (error) reject(error);
              else resolve({ same: same(content, value), type: value.constructor.name });
            });
        });
      },

      /** Emit something large, and wait for nothing. */
      throwBig(name, kind, size) {
        const content = noise(kind, size);
        get(name).socket.emit("message", kind === "text" ? content : binary(content, kind));
        return null;
      },

      /** Emit numbers, until there are so many and the connection has been upgraded; tell how each left. */
      async count(name, event, enough, most) {
        const client = get(name);
        const left = { polling: 0, websocket: 0 };
        let number = 0;
        while (number < enough || (!client.upgrades.length && number < most)) {
          left[transport(client)]++;
          client.socket.emit(event, number++);
          await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
        }
        return { sent: number, left };
      },

      /** End the connection below as a network does that fails; the client comes back by itself. */
      breakOff(name) {
        get(name).socket.io.engine.close();
        return null;
      },

      /** Connect, wait for the namespace, and leave, again and again. */
      async comeAndGo(url, options, times, atOnce) {
        const failures = [];
        let begun = 0;
        async function one() {
          while (begun < times) {
            begun++;
            const socket = io(url, { forceNew: true, reconnection: false, ...options });
            try {
              await new Promise((resolve, reject) => {
                socket.on("connect", resolve);
                socket.on("connect_error", reject);
              });
              socket.disconnect();
            } catch (error) {
              failures.push(error.message);
              socket.disconnect();
            }
          }
        }
        await Promise.all(Array.from({ length: atOnce }, one));
        return failures;
      },

      /** Let a client leave for good. */
      close(name) {
        const client = clients.get(name);
        clients.delete(name);
        if (client) client.socket.disconnect();
        return null;
      },
    };
  };
})(globalThis);
