/** The prices of one symbol over time: a history that the server sent, and the ticks since. Pure data. */
import { isNewer, isNext } from './prices.js';

/** @typedef {{run: number, seq: number, time_ms: number, price: number}} Price */

export class PriceHistory {
  /** @type {Price[]} oldest first */
  points = [];
  #maxPoints = 600; // until the server says what it keeps

  get last() {
    return this.points.at(-1);
  }

  /** True when something is missing between two prices. */
  get hasHole() {
    return this.points.some((point, index) => index > 0 && !isNext(this.points[index - 1], point));
  }

  /**
   * Take in the server's history. What this page knows beyond it stays: newer prices, and older ones that it joins
   * without a hole. (What lies in a hole before the history is forgotten everywhere, and a line across would lie.)
   * @param {import('../protocol.js').Point[]} history @param {number} maxPoints  how many to keep
   */
  merge(history, maxPoints) {
    this.#maxPoints = maxPoints;
    const told = history.map(([run, seq, timeMs, price]) => ({ run, seq, time_ms: timeMs, price }));
    if (told.length) {
      const older = this.points.filter((point) => isNewer(told[0], point));
      const joined = older.length === 0 || isNext(older.at(-1), told[0]);
      this.points = [...(joined ? older : []), ...told, ...this.points.filter((point) => isNewer(point, told.at(-1)))];
    }
    this.#trim();
  }

  /** @param {Price} tick @returns {boolean} whether it follows the last price without a hole */
  add(tick) {
    if (!isNewer(tick, this.last)) return true; // the history held it already
    const joined = !this.last || isNext(this.last, tick);
    this.points.push(tick);
    this.#trim();
    return joined;
  }

  #trim() {
    if (this.points.length > this.#maxPoints) this.points.splice(0, this.points.length - this.#maxPoints);
  }
}
