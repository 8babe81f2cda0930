/**
 * How far the user has read each room. Kept in this browser, shared by its tabs, so that all of them show the same
 * unread counts.
 */
import { Emitter } from './emitter.js';

const STORAGE_KEY = 'seen';

/** Emits `change`. */
export class Seen extends Emitter {
  #storage;

  /** @param {import('./storage.js').Storage} storage */
  constructor(storage) {
    super();
    this.#storage = storage;
    storage.onChange(STORAGE_KEY, () => this.emit('change'));
  }

  /** The seq of the last message read in `room`; a room never seen before counts as read. */
  upTo(room) {
    const seq = this.#storage.get(STORAGE_KEY, {})[room.id] ?? room.last_seq;
    return Math.min(seq, room.last_seq); // the server may have started over
  }

  /** @returns {number} */
  unread(room) {
    return room.joined ? room.last_seq - this.upTo(room) : 0;
  }

  mark(room, seq) {
    const all = this.#storage.get(STORAGE_KEY, {});
    if (all[room.id] !== undefined && all[room.id] >= seq && all[room.id] <= room.last_seq) return;
    this.#storage.set(STORAGE_KEY, { ...all, [room.id]: seq });
    this.emit('change');
  }

  /** Note where a room stands that was never looked at, so that what comes later counts as unread. */
  begin(room) {
    if (this.#storage.get(STORAGE_KEY, {})[room.id] === undefined) this.mark(room, room.last_seq);
  }
}
