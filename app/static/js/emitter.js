/** The smallest event emitter: what a model uses to tell its views that something changed. */
export class Emitter {
  #listeners = new Map();

  /** @param {string} event @param {(detail: any) => void} listener */
  on(event, listener) {
    if (!this.#listeners.has(event)) this.#listeners.set(event, new Set());
    this.#listeners.get(event).add(listener);
  }

  /** @param {string} event @param {any} [detail] */
  emit(event, detail) {
    for (const listener of this.#listeners.get(event) ?? []) listener(detail);
  }
}
