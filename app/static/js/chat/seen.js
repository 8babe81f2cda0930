/**
 * How far the user has read each room. The server keeps it, and tells all tabs and devices, so that they show the same
 * unread counts. What is read here counts here at once, and is sent a moment later.
 * @typedef {import('../protocol.js').Room} Room
 */
import { Emitter } from '../emitter.js';

const SEND_EVERY_MS = 500; // of a room where much is said, only the latest position goes out
const RETRY_MS = 3_000;

/** Emits `change`. */
export class Seen extends Emitter {
  #channel;
  /** @type {Map<number, number>} room id -> seq of the last message read */
  #read = new Map();
  /** @type {Map<number, number>} room id -> the same, as far as the server knows */
  #told = new Map();
  #busyRooms = new Set();

  /** @param {import('../connection.js').Channel} channel */
  constructor(channel) {
    super();
    this.#channel = channel;
    channel.on('read', ({ room, seq }) => {
      this.#learn(room, seq);
      this.emit('change');
    });
    window.addEventListener('pagehide', () => {
      if (!channel.isGreeted) return;
      for (const [room, seq] of this.#read) if (this.#isAhead(room)) channel.notify('read', { room, seq });
    });
  }

  /** The seq of the last message read. @param {Room} room */
  upTo(room) {
    return Math.min(this.#read.get(room.id) ?? room.read_seq, room.last_seq);
  }

  /** How many messages there are to read. @param {Room} room @returns {number} */
  unread(room) {
    return room.joined ? Math.max(0, room.last_seq - Math.max(this.upTo(room), room.first_seq - 1)) : 0;
  }

  /** The reader has seen everything up to `seq`. @param {Room} room */
  mark(room, seq) {
    if (seq <= this.upTo(room)) return;
    this.#read.set(room.id, seq);
    this.emit('change');
    this.#send(room.id);
  }

  /** The user wrote `seq`, with everything before it read: the server draws the same conclusion. @param {Room} room */
  wrote(room, seq) {
    if ((this.#told.get(room.id) ?? 0) >= seq - 1) this.#learn(room.id, seq);
    else this.mark(room, seq);
  }

  /** Take over what the server says of a room, and send what it does not know yet. @param {Room} room */
  begin(room) {
    this.#learn(room.id, room.read_seq);
    this.#send(room.id);
  }

  /** The user left a room. */
  forget(room) {
    this.#read.delete(room);
    this.#told.delete(room);
  }

  #learn(room, seq) {
    for (const known of [this.#read, this.#told]) known.set(room, Math.max(known.get(room) ?? 0, seq));
  }

  #isAhead(room) {
    return (this.#read.get(room) ?? 0) > (this.#told.get(room) ?? 0);
  }

  /** One at a time for each room; what cannot be sent now goes out when `begin` is called after the reconnect. */
  async #send(room) {
    if (this.#busyRooms.has(room)) return;
    this.#busyRooms.add(room);
    while (this.#isAhead(room) && this.#channel.isGreeted) {
      const seq = this.#read.get(room);
      let waitMs = SEND_EVERY_MS;
      try {
        await this.#channel.request('read', { room, seq });
        this.#told.set(room, Math.max(this.#told.get(room) ?? 0, seq));
      } catch (error) {
        if (!error.temporary && error.code !== 'rate_limited') break; // no longer a member, for example
        waitMs = error.retryAfterMs ?? RETRY_MS;
      }
      await new Promise((resolve) => { setTimeout(resolve, waitMs); });
    }
    this.#busyRooms.delete(room);
  }
}
