/**
 * The connection to the server: one WebSocket that carries the namespaces of a page, /chat and /market for example.
 *
 * Socket.IO's own reconnection is off. Ours does the same (exponential backoff with jitter) and can also say when
 * the next attempt comes, attempt at once, and wake up with the computer.
 */
import { Manager } from '../vendor/socket.io/socket.io.esm.min.js';
import { Emitter } from './emitter.js';

const REQUEST_TIMEOUT_MS = 8_000; // longer than a server under load needs, shorter than a person's patience
const PROBE_TIMEOUT_MS = 3_000; // for a request that asks whether an open connection is alive
const ATTEMPT_TIMEOUT_MS = 10_000; // an attempt that hangs longer is given up
const HANGS_MS = 1_500; // one that takes this long is given up for a new one when somebody wants to be there now
const BACKOFF_FIRST_MS = 700;
const BACKOFF_MAX_MS = 5_000; // a server that is back is noticed within this time; jitter spreads the rush
const SLEEP_MS = 30_000; // a page hidden longer than this may hold a dead socket without knowing

/** A request that was refused or got no answer. `code` is the server's, or `offline` or `timeout`. */
export class RequestError extends Error {
  constructor({ code, message, field, retry_after_ms: retryAfterMs, limit }) {
    super(message);
    this.code = code;
    this.field = field;
    this.retryAfterMs = retryAfterMs;
    this.limit = limit;
  }

  /** True when trying again later can help, because the server never decided. */
  get temporary() {
    return ['offline', 'timeout', 'unavailable', 'internal'].includes(this.code);
  }
}

/** One namespace of the connection. */
export class Channel {
  #socket;
  waiting = false; // an attempt to connect is under way
  isGreeted = false; // what the user wrote and read may go out: this connection is known to be his
  onUnauthorized = null; // what to do when the session has ended on an open connection
  onTimeout = null; // what to do when no answer comes on an open connection

  constructor(socket) {
    this.#socket = socket;
    for (const event of ['connect', 'connect_error', 'disconnect']) {
      socket.on(event, () => { this.waiting = false; });
    }
    socket.on('disconnect', () => { this.isGreeted = false; });
  }

  get connected() {
    return this.#socket.connected;
  }

  /** Listen to an event from the server, or to `connect` and `disconnect`. */
  on(event, listener) {
    this.#socket.on(event, listener);
  }

  connect() {
    if (this.connected || this.waiting) return;
    this.waiting = true;
    this.#socket.connect();
  }

  /** Send an event that needs no answer. It is dropped while there is no connection. */
  notify(event, payload) {
    if (this.connected) this.#socket.emit(event, payload, () => {});
  }

  /**
   * Send an event and wait for its acknowledgement.
   * @returns {Promise<object>} the acknowledgement's fields
   * @throws {RequestError}
   */
  request(event, payload = {}, timeoutMs = REQUEST_TIMEOUT_MS) {
    if (!this.connected) return Promise.reject(new RequestError({ code: 'offline', message: 'You are offline.' }));
    return new Promise((resolve, reject) => {
      this.#socket.timeout(timeoutMs).emit(event, payload, (failure, ack) => {
        if (ack?.ok) resolve(ack);
        else if (ack?.error) {
          if (ack.error.code === 'unauthorized') this.onUnauthorized?.();
          reject(new RequestError(ack.error));
        }
        else if (failure && !this.connected) reject(new RequestError({ code: 'offline', message: 'The connection was lost.' }));
        else {
          this.onTimeout?.();
          reject(new RequestError({ code: 'timeout', message: 'The server did not answer in time.' }));
        }
      });
    });
  }
}

/**
 * Emits `state` ({phase, retryAtMs}) of the main namespace, the first one; `refused` (code) when the server does not
 * want this user; `session_ended` (reason) before it disconnects the user from any of the namespaces; and `wake` when
 * the connection is open and may be dead: the page is looked at again after a long time, or the network is another one.
 * Whoever listens asks the server for something, within the milliseconds that come with it: no answer is a restart.
 */
export class Connection extends Emitter {
  #manager = new Manager(window.location.origin, {
    autoConnect: false,
    reconnection: false,
    timeout: ATTEMPT_TIMEOUT_MS,
    // WebSocket first: no upgrade round trip. Polling remains for networks that block WebSocket; see also #crossByPolling.
    transports: ['websocket', 'polling'],
    tryAllTransports: true,
  });
  #channels = new Map();
  #main;
  #failures = 0;
  #timer = null;
  #triedAtMs = 0;
  #watchdog = null;
  #stopped = false;
  #wasOnline = false;
  #hiddenSinceMs = null;
  /** @type {{phase: 'connecting'|'online'|'waiting', retryAtMs: number|null}} */
  state = { phase: 'connecting', retryAtMs: null };

  /** @param {string[]} namespaces  the main one first: it is the one whose loss the page speaks of */
  constructor(namespaces) {
    super();
    for (const namespace of namespaces) this.#channels.set(namespace, this.#open(namespace));
    this.#main = this.channel(namespaces[0]);
    this.#main.onUnauthorized = () => this.refuse('unauthorized');
    for (const channel of this.#channels.values()) channel.onTimeout = () => this.restart();
    this.#main.on('connect', () => {
      this.#failures = 0;
      this.#wasOnline = true;
      clearTimeout(this.#watchdog);
      this.#setState('online');
    });
    this.#watchForWaking();
  }

  /** @param {string} namespace  one of the constructor's @returns {Channel} */
  channel(namespace) {
    const channel = this.#channels.get(namespace);
    if (!channel) throw new Error(`No channel ${namespace}: name it to new Connection([...]).`);
    return channel;
  }

  /** Connect whatever is not connected. An attempt that hangs is given up for a new one. */
  reconnectNow() {
    if (this.#stopped) return;
    if (this.#main.waiting && Date.now() - this.#triedAtMs > HANGS_MS) {
      this.#crossByPolling();
      this.#manager.disconnect();
    }
    if (!this.#main.waiting) this.#triedAtMs = Date.now();
    clearTimeout(this.#timer);
    this.#timer = null;
    for (const channel of this.#channels.values()) channel.connect();
    if (this.#main.connected) return;
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.restart(), ATTEMPT_TIMEOUT_MS + 2_000);
    this.#setState('connecting');
  }

  /** Drop the transport and connect again: for a connection that is open and dead. */
  restart() {
    this.#manager.disconnect(); // engine.close() would wait until what is on its way has gone out
    this.#retryLater();
  }

  /** Disconnect at once and stay so: the user signs out. */
  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#watchdog);
    this.#manager.disconnect();
  }

  /** The node that serves this page, by the name that its sids begin with; empty when it has none. */
  get node() {
    const [name, rest] = (this.#manager.engine?.id ?? '').split('.');
    return rest ? name : '';
  }

  #open(namespace) {
    const socket = this.#manager.socket(namespace);
    const channel = new Channel(socket);
    socket.on('session_ended', ({ reason }) => this.emit('session_ended', reason));
    socket.on('disconnect', (reason) => {
      // Sent away by the server, perhaps because of a sign-out in another tab: the next attempt needs a new
      // handshake, which carries the cookies of now.
      if (reason === 'io server disconnect') this.#manager.engine?.close();
      this.#retryLater();
    });
    socket.on('connect_error', (error) => {
      if (error.message === 'timeout') this.#crossByPolling();
      const code = error.data?.code;
      if (code === 'unauthorized' || code === 'name_taken') {
        this.refuse(error.data.reason ?? code);
      } else {
        this.#retryLater();
      }
    });
    return channel;
  }

  /** Give up: the server does not want this user any more. @param {string} code  why */
  refuse(code) {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.emit('refused', code);
  }

  /** An attempt hangs: some networks swallow the handshake of a WebSocket, which then never fails. */
  #crossByPolling() {
    if (!this.#wasOnline) this.#manager.opts.transports = ['polling', 'websocket'];
  }

  #retryLater() {
    if (this.#stopped || this.#timer !== null) return;
    clearTimeout(this.#watchdog);
    const ceilingMs = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** this.#failures);
    const delayMs = ceilingMs * (0.5 + Math.random() / 2); // jitter: not everybody at the same moment
    this.#failures += 1;
    this.#timer = setTimeout(() => this.reconnectNow(), delayMs);
    if (!this.#main.connected) this.#setState('waiting', Date.now() + delayMs);
  }

  #setState(phase, retryAtMs = null) {
    this.state = { phase, retryAtMs };
    this.emit('state', this.state);
  }

  #watchForWaking() {
    const wake = (mayBeDead) => {
      this.#failures = 0;
      this.reconnectNow();
      if (mayBeDead && this.#main.connected) this.emit('wake', PROBE_TIMEOUT_MS);
    };
    window.addEventListener('online', () => wake(true));
    window.addEventListener('pageshow', (event) => { if (event.persisted) window.location.reload(); });
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) {
        this.#hiddenSinceMs = Date.now();
        return;
      }
      wake(this.#hiddenSinceMs !== null && Date.now() - this.#hiddenSinceMs > SLEEP_MS);
    });
  }
}
