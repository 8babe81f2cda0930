/**
 * Remembers things in the browser for one user: two people who share a browser do not see each other's drafts.
 * Storage can be full or forbidden; then it remembers until the page is left, and nothing else breaks.
 */
export class Storage {
  #prefix;
  #area;
  #memory = new Map();

  /** @param {string} userId @param {'localStorage'|'sessionStorage'} [area] sessionStorage belongs to one tab */
  constructor(userId, area = 'localStorage') {
    this.#prefix = `chat:${userId}:`;
    try {
      this.#area = window[area];
    } catch {
      this.#area = null;
    }
  }

  /** The stored value, or `fallback` when there is none. */
  get(key, fallback = null) {
    if (this.#memory.has(key)) return this.#memory.get(key);
    try {
      const json = this.#area?.getItem(this.#prefix + key);
      return json == null ? fallback : JSON.parse(json);
    } catch {
      return fallback;
    }
  }

  /** Store a value that JSON can express; `null` removes it. */
  set(key, value) {
    this.#memory.delete(key);
    try {
      if (!this.#area) throw new Error('no storage');
      if (value === null) this.#area.removeItem(this.#prefix + key);
      else this.#area.setItem(this.#prefix + key, JSON.stringify(value));
    } catch {
      this.#memory.set(key, value);
    }
  }
}
