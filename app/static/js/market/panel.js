/** The market panel beside the chat. Ticks change the data at once and the page once per animation frame. */
import { oncePerFrame } from '../frame.js';
import { MarketRow } from './row.js';
import { Quotes } from './quotes.js';

const STATUS = {
  connecting: ['waiting', 'Connecting'], live: ['live', 'Live'], closed: ['waiting', 'Closed'], cut: ['paused', 'Paused'], failed: ['paused', 'Paused'],
};

export class Market {
  #quotes;
  #rows = new Map();
  #status = document.getElementById('market-status');
  #note = document.getElementById('market-note');
  #body = document.getElementById('market-rows');
  #draw = oncePerFrame(() => { for (const row of this.#rows.values()) row.draw(); });

  /** @param {import('../connection.js').Channel} channel */
  constructor(channel) {
    this.#quotes = new Quotes(channel);
    this.#quotes.on('lines', () => this.#list());
    this.#quotes.on('tick', () => this.#draw());
    this.#quotes.on('state', () => this.#say());
    this.#say();
  }

  #list() {
    const before = this.#rows;
    this.#rows = new Map();
    for (const line of this.#quotes.lines.values()) this.#rows.set(line.symbol, before.get(line.symbol) ?? new MarketRow(line));
    this.#body.replaceChildren(...[...this.#rows.values()].map((row) => row.element));
    this.#draw();
  }

  #say() {
    const { phase, message } = this.#quotes.state;
    const [state, text] = STATUS[phase];
    this.#status.dataset.state = state;
    this.#status.textContent = text;
    if (phase === 'live') this.#note.hidden = true;
    else if (phase === 'closed') this.#explain('No symbols are traded right now.');
    else if (phase === 'failed') this.#explain(`No prices right now. ${message}`);
  }

  #explain(text) {
    this.#note.hidden = false;
    this.#note.textContent = text;
  }
}
