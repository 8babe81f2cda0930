/** The table of the market page: rows that can be sorted and chosen, by pointer and by keyboard. */
import { MarketRow } from './row.js';

const SORT_EVERY_MS = 2_000; // rows that change places with each tick could not be read
const NAMES = new Intl.Collator();

/** What each column sorts by; what is not known yet comes last. */
const KEYS = {
  symbol: (row) => row.line.symbol,
  name: (row) => row.line.name,
  price: (row) => row.shown?.price ?? -Infinity,
  change: (row) => row.shown?.change_percent ?? -Infinity,
};

export class MarketTable {
  #rows = new Map();
  #sort = { column: 'symbol', descending: false };
  #chosen = null;
  #sortedMs = -Infinity;
  #table = document.getElementById('market-table');
  #body = document.getElementById('market-rows');

  constructor() {
    this.#table.tHead.addEventListener('click', (event) => {
      const column = event.target.closest('[data-sort]')?.dataset.sort;
      if (column) this.#sortBy(column);
    });
    // The symbol is a link, which is all that the keyboard needs; a pointer may use the whole row.
    this.#body.addEventListener('click', (event) => {
      if (!event.target.closest('a')) event.target.closest('tr')?.querySelector('a').click();
    });
    this.#body.addEventListener('keydown', (event) => this.#walk(event));
    this.#table.querySelector('[data-sort="change"]').title = 'Since the opening';
    this.#markSort();
  }

  /** @param {Iterable<import('./quotes.js').Line>} lines */
  list(lines) {
    const before = this.#rows;
    this.#rows = new Map();
    for (const line of lines) this.#rows.set(line.symbol, before.get(line.symbol) ?? this.#newRow(line));
    for (const [symbol, row] of before) if (!this.#rows.has(symbol)) row.element.remove();
    this.#place();
  }

  /** The first symbol of the table. */
  get first() {
    return this.#body.firstElementChild?.dataset.symbol;
  }

  /** The tick that the row of a symbol shows. @param {string} symbol */
  shown(symbol) {
    return this.#rows.get(symbol)?.shown ?? null;
  }

  /** Show the newest ticks. */
  draw() {
    for (const row of this.#rows.values()) row.draw();
    if (this.#sort.column === 'symbol' || this.#sort.column === 'name') return;
    // Nor do rows move away from under a pointer or the keyboard.
    if (performance.now() - this.#sortedMs > SORT_EVERY_MS && !this.#body.matches(':hover, :focus-within')) this.#place();
  }

  /** @param {string} symbol */
  choose(symbol) {
    this.#mark(this.#chosen, false);
    this.#chosen = symbol;
    this.#mark(symbol, true);
  }

  #newRow(line) {
    const row = new MarketRow(line);
    row.element.querySelector('a').href = `#${line.symbol}`;
    return row;
  }

  #mark(symbol, chosen) {
    const element = this.#rows.get(symbol)?.element;
    element?.classList.toggle('is-chosen', chosen);
    if (chosen) element?.querySelector('a').setAttribute('aria-current', 'true');
    else element?.querySelector('a').removeAttribute('aria-current');
  }

  #sortBy(column) {
    const numbers = column === 'price' || column === 'change';
    const again = column === this.#sort.column;
    this.#sort = { column, descending: again ? !this.#sort.descending : numbers };
    this.#markSort();
    this.#place();
  }

  #markSort() {
    for (const button of this.#table.tHead.querySelectorAll('[data-sort]')) {
      const sorted = button.dataset.sort === this.#sort.column;
      button.closest('th').ariaSort = sorted ? (this.#sort.descending ? 'descending' : 'ascending') : 'none';
    }
  }

  /** Put the rows in order; those that stand right are not touched, so that they keep the focus. */
  #place() {
    this.#sortedMs = performance.now();
    const key = KEYS[this.#sort.column];
    const compare = (a, b) => (typeof key(a) === 'string' ? NAMES.compare(key(a), key(b)) : key(a) - key(b) || 0);
    const rows = [...this.#rows.values()].sort((a, b) => (this.#sort.descending ? compare(b, a) : compare(a, b)));
    rows.forEach(({ element }, index) => {
      const there = this.#body.children[index];
      if (there !== element) this.#body.insertBefore(element, there ?? null);
    });
  }

  #walk(event) {
    const row = event.target.closest('tr');
    const target = {
      ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling, Home: this.#body.firstElementChild, End: this.#body.lastElementChild,
    }[event.key];
    if (!target || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    target.querySelector('a').focus();
  }
}
