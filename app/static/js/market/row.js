/** One row of a table of prices. Its markup is the page's <template id="market-row-template">. */
import { changeName, priceName } from './prices.js';
import { drawSparkline } from '../sparkline.js';

const FLASH_MS = 700;
const REDUCED_MOTION = window.matchMedia('(prefers-reduced-motion: reduce)');

export class MarketRow {
  #price;
  #change;
  #sparkline;
  #flash = null;
  /** The tick that the row shows. @type {import('../protocol.js').Tick|null} */
  shown = null;

  /** @param {import('./quotes.js').Line} line */
  constructor(line) {
    this.line = line;
    const template = document.getElementById('market-row-template');
    this.element = template.content.firstElementChild.cloneNode(true);
    this.element.dataset.symbol = line.symbol;
    this.element.dataset.testid = `market-row-${line.symbol}`;
    this.element.querySelector('.market-symbol').textContent = line.symbol;
    const name = this.element.querySelector('.market-name');
    name.textContent = line.name;
    name.title = line.name;
    this.#price = this.element.querySelector('.market-price span');
    this.#change = this.element.querySelector('.market-change');
    this.#sparkline = this.element.querySelector('.sparkline');
    this.#price.textContent = '–';
  }

  /** Show the line's newest tick. Only writes to the page, so that many rows cost one layout. */
  draw() {
    const { last, prices } = this.line;
    if (last === this.shown) return;
    const direction = Math.sign(last.price - (this.shown?.price ?? last.price));
    this.shown = last;
    this.element.dataset.seq = last.seq;
    this.#price.textContent = priceName(last.price);
    this.#change.textContent = changeName(last.change_percent);
    this.element.classList.toggle('is-up', last.change_percent > 0);
    this.element.classList.toggle('is-down', last.change_percent < 0);
    drawSparkline(this.#sparkline, prices);
    if (direction !== 0) this.#tint(direction > 0 ? 'var(--up-soft)' : 'var(--down-soft)');
  }

  /** Tint the price for a moment. */
  #tint(colour) {
    if (REDUCED_MOTION.matches) return;
    this.#flash?.cancel();
    this.#flash = this.#price.animate([{ backgroundColor: colour }, { backgroundColor: 'transparent' }], FLASH_MS);
  }
}
