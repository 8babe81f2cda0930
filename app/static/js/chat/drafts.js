/** What was typed in each room and not sent yet. It survives a reload. */
const STORAGE_KEY = 'drafts';

export class Drafts {
  #storage;

  /** @param {import('../storage.js').Storage} storage */
  constructor(storage) {
    this.#storage = storage;
  }

  get(room) {
    return this.#storage.get(STORAGE_KEY, {})[room] ?? '';
  }

  set(room, text) {
    const drafts = { ...this.#storage.get(STORAGE_KEY, {}) };
    if (text.trim()) drafts[room] = text;
    else delete drafts[room];
    this.#storage.set(STORAGE_KEY, drafts);
  }
}
