/**
 * Messages on their way. Each has a client id of its own, so it may be sent any number of times and is stored once.
 * A room's messages go out one after the other, which keeps their order. The outbox survives a reload of the tab.
 */
import { Emitter } from '../emitter.js';

const PATIENCE_MS = 5_000; // a longer wait is told, and the message stays with its writer
const STORAGE_KEY = 'outbox';

/**
 * @typedef {object} Outgoing
 * @property {string} clientId
 * @property {number} room
 * @property {string} text
 * @property {number} sentAtMs
 * @property {'pending'|'failed'} state
 * @property {string} reason   why it failed, in words
 * @property {boolean} resumes whether it goes out by itself when the connection is back
 * @property {number|null} retryAtMs  the rate limit lifts at this time
 * @property {boolean} [resumed]  it waited for the connection
 */

/** Emits `change` (room id) and `sent` (the stored message). */
export class Outbox extends Emitter {
  /** @type {Outgoing[]} in the order of writing */
  #entries = [];
  #busyRooms = new Set();
  #channel;
  #storage;

  /** @param {import('../connection.js').Channel} channel @param {import('../storage.js').Storage} storage */
  constructor(channel, storage) {
    super();
    this.#channel = channel;
    this.#storage = storage;
    this.#entries = storage.get(STORAGE_KEY, []).map((entry) => ({ ...entry, state: 'pending', resumes: true }));
  }

  /** @returns {Outgoing[]} */
  inRoom(room) {
    return this.#entries.filter((entry) => entry.room === room);
  }

  find(clientId) {
    return this.#entries.find((entry) => entry.clientId === clientId);
  }

  /** Take a message and send it as soon as possible. */
  add(room, text, sentAtMs) {
    const clientId = newClientId();
    this.#entries.push({ clientId, room, text, sentAtMs, state: 'pending', reason: '', resumes: true, retryAtMs: null });
    this.#changed(room);
    this.#pump(room);
  }

  retry(clientId) {
    const entry = this.find(clientId);
    if (!entry) return;
    this.#set(entry, { state: 'pending', reason: '', resumes: true, retryAtMs: null });
    this.#pump(entry.room);
  }

  /** Remove a message: it was stored, or its author gave it up. */
  remove(clientId) {
    const entry = this.find(clientId);
    if (!entry) return;
    this.#entries = this.#entries.filter((other) => other !== entry);
    this.#changed(entry.room);
  }

  /** The connection is back: send everything that only the connection kept from going out. */
  resume() {
    for (const entry of this.#entries) {
      if (entry.resumes) Object.assign(entry, { state: 'pending', reason: '', resumed: true });
    }
    for (const room of new Set(this.#entries.map((entry) => entry.room))) {
      this.#changed(room);
      this.#pump(room);
    }
  }

  async #pump(room) {
    if (this.#busyRooms.has(room)) return;
    this.#busyRooms.add(room);
    try {
      let entry;
      while ((entry = this.#entries.find((other) => other.room === room && other.state === 'pending'))) {
        if (!this.#channel.isGreeted) return; // resume() goes on
        await this.#send(entry);
      }
    } finally {
      this.#busyRooms.delete(room);
    }
  }

  async #send(entry) {
    try {
      const { message } = await this.#channel.request('send', {
        room: entry.room, client_id: entry.clientId, text: entry.text,
      });
      this.emit('sent', message);
    } catch (error) {
      if (!this.find(entry.clientId)) return; // the `message` event came, only its acknowledgement did not
      if (error.code === 'offline') return; // stays pending; #pump sees that there is no connection
      if (error.code === 'rate_limited' && (entry.resumed || error.retryAfterMs <= PATIENCE_MS)) {
        // They wait their turn: a short wait is no failure, and those written offline go out all together.
        await new Promise((resolve) => { setTimeout(resolve, error.retryAfterMs ?? 1000); });
        return;
      }
      this.#set(entry, {
        state: 'failed',
        reason: error.code === 'rate_limited' ? 'That was too fast.' : error.message, // the row counts the wait down
        resumes: error.temporary ?? false,
        retryAtMs: error.retryAfterMs ? Date.now() + error.retryAfterMs : null,
      });
    }
  }

  #set(entry, change) {
    Object.assign(entry, change);
    this.#changed(entry.room);
  }

  #changed(room) {
    this.#storage.set(STORAGE_KEY, this.#entries.length ? this.#entries : null);
    this.emit('change', room);
  }
}

function newClientId() {
  // Not crypto.randomUUID: it is missing where the page is served without TLS.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
