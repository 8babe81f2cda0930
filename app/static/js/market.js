/**
 * The live market table. Ticks change the data at once and the page once per animation frame, however many come.
 * The markup of a row is <template id="market-row-template"> in chat.html.
 */
import { oncePerFrame } from './frame.js';
import { drawSparkline } from './sparkline.js';

const HISTORY_PRICES = 60; // what the server keeps, too
const RETRY_MS = 3_000;
const FLASH_MS = 700;
const REDUCED_MOTION = window.matchMedia('(prefers-reduced-motion: reduce)');

export class Market {
  #channel;
  /** symbol -> {last, prices, row, direction, changed} */
  #lines = new Map();
  #status = document.getElementById('market-status');
  #note = document.getElementById('market-note');
  #body = document.getElementById('market-rows');
  #early = []; // ticks that came before the snapshot

  #draw = oncePerFrame(() => {
    for (const line of this.#lines.values()) if (line.changed) drawLine(line);
  });

  /** @param {import('./connection.js').Channel} channel */
  constructor(channel) {
    this.#channel = channel;
    channel.on('connect', () => this.#subscribe());
    channel.on('disconnect', () => this.#say('paused', 'Paused'));
    channel.on('tick', (tick) => this.#receive(tick));
    this.#say('waiting', 'Connecting');
  }

  async #subscribe() {
    this.#lines.clear(); // the feed may have started over, with other numbers
    this.#early = [];
    try {
      const { symbols } = await this.#channel.request('symbols');
      if (symbols.length) {
        const wanted = symbols.map(({ symbol }) => symbol);
        const { snapshots } = await this.#channel.request('subscribe', { symbols: wanted });
        this.#begin(snapshots);
      }
      this.#note.hidden = symbols.length > 0;
      this.#note.textContent = 'No symbols are traded right now.';
      this.#say('live', 'Live');
    } catch (error) {
      if (error.code === 'offline') return; // the next connect starts again
      this.#say('paused', 'Paused');
      this.#note.textContent = `No prices right now. ${error.message}`;
      setTimeout(() => { if (this.#channel.connected) this.#subscribe(); }, error.retryAfterMs ?? RETRY_MS);
    }
  }

  /** @param {import('./protocol.js').Snapshot[]} snapshots */
  #begin(snapshots) {
    const rows = new Map([...this.#body.children].map((row) => [row.dataset.symbol, row]));
    for (const { symbol, name, last, history } of snapshots) {
      const row = rows.get(symbol) ?? createRow(symbol, name);
      const prices = history.slice(-HISTORY_PRICES);
      this.#lines.set(symbol, { last, prices, row, direction: 0, changed: true });
    }
    this.#body.replaceChildren(...[...this.#lines.values()].map((line) => line.row));
    for (const tick of this.#early.splice(0)) this.#receive(tick);
    this.#draw();
  }

  /** @param {import('./protocol.js').Tick} tick */
  #receive(tick) {
    const line = this.#lines.get(tick.symbol);
    if (!line) {
      this.#early.push(tick);
      return;
    }
    // The snapshot held it already. (A feed that has begun anew on another node counts from 1 again, later.)
    if (line.last && tick.seq <= line.last.seq && tick.time_ms <= line.last.time_ms) return;
    line.direction = Math.sign(tick.price - (line.last?.price ?? tick.price));
    line.last = tick;
    line.prices.push(tick.price);
    if (line.prices.length > HISTORY_PRICES) line.prices.shift();
    line.changed = true;
    this.#draw();
  }

  #say(state, text) {
    this.#status.dataset.state = state;
    this.#status.textContent = text;
  }
}

function createRow(symbol, name) {
  const row = document.getElementById('market-row-template').content.firstElementChild.cloneNode(true);
  row.dataset.symbol = symbol;
  row.dataset.testid = `market-row-${symbol}`;
  row.querySelector('.market-symbol').textContent = symbol;
  row.querySelector('.market-name').textContent = name;
  row.querySelector('.market-name').title = name;
  return row;
}

function drawLine(line) {
  const { last, prices, row, direction } = line;
  line.changed = false;
  line.direction = 0;
  const change = row.querySelector('.market-change');
  const price = row.querySelector('.market-price span');
  price.textContent = last ? priceName(last.price) : '–';
  change.textContent = last ? changeName(last.change_percent) : '';
  row.classList.toggle('is-up', last?.change_percent > 0);
  row.classList.toggle('is-down', last?.change_percent < 0);
  drawSparkline(row.querySelector('.sparkline'), prices);
  if (direction !== 0) flash(price, direction > 0 ? 'var(--up-soft)' : 'var(--down-soft)');
}

/** Tint the price for a moment. */
function flash(element, colour) {
  if (REDUCED_MOTION.matches) return;
  for (const animation of element.getAnimations()) animation.cancel();
  element.animate([{ backgroundColor: colour }, { backgroundColor: 'transparent' }], FLASH_MS);
}

const formats = [[1000, 2], [1, 2], [0.01, 4], [0, 8]].map(([from, digits]) => [
  from,
  new Intl.NumberFormat(undefined, { minimumFractionDigits: Math.min(digits, 4), maximumFractionDigits: digits }),
]);

function priceName(price) {
  return formats.find(([from]) => price >= from)[1].format(price);
}

const percent = new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2, signDisplay: 'exceptZero' });

const changeName = (change) => `${percent.format(change).replace('-', '−')}%`;
