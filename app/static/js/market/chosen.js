/** The chosen symbol, large: its name, price and chart. */
import { Chart } from './chart.js';
import { PriceHistory } from './price-history.js';
import { changeName, isNewer, priceName } from './prices.js';
import { exactTime } from '../time.js';

// Longer than it takes until the server's other nodes know a tick (half a second).
const ASK_AGAIN_MS = 1_000;
const ASKS_MAX = 3; // what is missing then has been lost on the server
const DESCRIBE_MS = 10_000; // a description that changes with each tick could not be listened to

export class MarketChart {
  #channel;
  #line = null;
  held = false; // true: ticks are taken in, and not drawn
  #history = new PriceHistory();
  #phase = 'loading'; // 'ready' or 'failed' later
  #asks = 0;
  #drawn = []; // the points that are shown
  #changed = false;
  #describedMs = -Infinity;
  #section = document.getElementById('market-chart');
  #box = this.#section.querySelector('.chart-box');
  #note = this.#section.querySelector('.chart-note');
  #symbol = this.#section.querySelector('.chart-symbol');
  #name = this.#section.querySelector('.chart-name');
  #price = this.#section.querySelector('.chart-price');
  #change = this.#section.querySelector('.chart-change');
  #readout = this.#section.querySelector('.chart-readout');
  #chart = new Chart(this.#box, { priceName, onPoint: (index) => this.#read(index) });

  /** @param {import('../connection.js').Channel} channel @param {() => void} changed  called when there is something to draw */
  constructor(channel, changed) {
    this.#channel = channel;
    this.changed = () => { this.#changed = true; changed(); };
  }

  /** Show a symbol. @param {import('./quotes.js').Line} line */
  choose(line) {
    if (this.#line?.symbol === line.symbol) return;
    this.#line = line;
    this.#history = new PriceHistory();
    this.#drawn = [];
    this.#describedMs = -Infinity;
    this.#symbol.textContent = line.symbol;
    this.#name.textContent = line.name;
    this.#price.textContent = '';
    this.#change.textContent = '';
    this.#chart.draw([]);
    this.load();
  }

  /** Ask for the history: of a symbol that was just chosen, or after a time without a connection. */
  load() {
    if (!this.#line) return;
    this.#asks = 0;
    this.#ask();
  }

  /** @param {import('../protocol.js').Tick} tick */
  add(tick) {
    if (tick.symbol !== this.#line?.symbol) return;
    const joined = this.#history.add(tick);
    if (!joined && this.#phase === 'ready') this.load();
    if (!this.held) this.changed();
  }

  /**
   * Draw what has changed.
   * @param {import('../protocol.js').Tick|null} upTo  the newest tick to show, of a page that is paused; null: all
   */
  draw(upTo = null) {
    if (!this.#changed || !this.#line) return;
    this.#changed = false;
    this.#drawn = this.#history.points.filter((point) => !upTo || !isNewer(point, upTo));
    this.#chart.draw(this.#drawn);
    const last = upTo ?? this.#line.last;
    if (last) {
      this.#box.dataset.seq = this.#drawn.at(-1)?.seq ?? '';
      this.#box.dataset.points = this.#drawn.length;
      this.#price.textContent = priceName(last.price);
      this.#change.textContent = changeName(last.change_percent);
      this.#section.classList.toggle('is-up', last.change_percent > 0);
      this.#section.classList.toggle('is-down', last.change_percent < 0);
    }
    this.#explain();
    this.#describe(last);
  }

  async #ask() {
    const { symbol } = this.#line;
    this.#asks += 1;
    if (this.#history.points.length === 0) this.#phase = 'loading';
    this.#explain();
    try {
      const { points, max_points: maxPoints } = await this.#channel.request('history', { symbol });
      if (symbol !== this.#line.symbol) return; // another one was chosen meanwhile
      this.#history.merge(points, maxPoints);
      // A node without the feed knows a tick a little later than the page.
      if (this.#line.last && isNewer(this.#line.last, this.#history.last)) this.#history.add(this.#line.last);
      this.#phase = 'ready';
      if (this.#history.hasHole) this.#askAgain(symbol);
    } catch (error) {
      if (symbol !== this.#line.symbol || error.code === 'offline') return; // the next connect loads it
      this.#phase = 'failed';
      this.#askAgain(symbol, error.retryAfterMs);
    }
    this.changed();
  }

  #askAgain(symbol, afterMs = ASK_AGAIN_MS) {
    if (this.#asks >= ASKS_MAX) {
      console.info(`The history of ${symbol} stays incomplete.`);
      return;
    }
    setTimeout(() => { if (symbol === this.#line.symbol && this.#channel.connected) this.#ask(); }, afterMs);
  }

  #explain() {
    let text = '';
    if (this.#drawn.length < 2) {
      text = { loading: 'Loading the history…', failed: 'The history could not be loaded.', ready: 'Waiting for prices…' }[this.#phase];
    }
    if (this.#note.textContent !== text) this.#note.textContent = text;
  }

  /** Tell in words what the chart shows, from time to time. */
  #describe(last) {
    const nowMs = performance.now();
    if (!last || this.#drawn.length < 2 || nowMs - this.#describedMs < DESCRIBE_MS) return;
    this.#describedMs = nowMs;
    const prices = this.#drawn.map((point) => point.price);
    this.#box.setAttribute('aria-label',
      `Chart of ${this.#line.symbol}, ${this.#line.name}: ${priceName(last.price)}, ${changeName(last.change_percent)} since the opening. `
      + `Between ${priceName(Math.min(...prices))} and ${priceName(Math.max(...prices))} since ${exactTime(this.#drawn[0].time_ms)}.`);
  }

  #read(index) {
    const point = index === null ? undefined : this.#drawn[index];
    this.#readout.textContent = point ? `${exactTime(point.time_ms)} · ${priceName(point.price)}` : '';
  }
}
