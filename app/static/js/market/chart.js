/** A line of prices over time, drawn by uPlot. Follows its box's size and the theme. */
import uPlot from '../../vendor/uplot/uPlot.esm.min.js';

const CHAR_PX = 7.5; // of an axis label
const LABEL_PX = 80; // the least room for a time and the space around it
const SECONDS = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const MINUTES = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const MINUTE_MS = 60_000;

export class Chart {
  #box;
  #options;
  #plot = null; // made with the first points: an empty one would move when its axes get labels
  #colours = {};

  /**
   * @param {HTMLElement} box  whose size is the chart's
   * @param {{priceName: (price: number) => string, onPoint: (index: number|null) => void}} options  onPoint hears
   *     which of the points is under the pointer
   */
  constructor(box, options) {
    this.#box = box;
    this.#options = options;
    this.#readColours();
    new ResizeObserver(() => this.#plot?.setSize(this.#size())).observe(box);
    new MutationObserver(() => this.#recolour()).observe(document.documentElement, { attributeFilter: ['data-theme'] });
  }

  /** @param {{time_ms: number, price: number}[]} points  oldest first */
  draw(points) {
    if (!this.#plot && points.length === 0) return;
    let latest = -Infinity; // a clock that was set back does not bend the line
    const times = points.map((point) => (latest = Math.max(latest, point.time_ms)));
    const data = [times, points.map((point) => point.price)];
    if (this.#plot) this.#plot.setData(data);
    else this.#plot = this.#make(data);
  }

  #make(data) {
    const { priceName, onPoint } = this.#options;
    const colour = (name) => () => this.#colours[name];
    const axis = { stroke: colour('text'), font: `12px ${getComputedStyle(this.#box).fontFamily}`, ticks: { show: false } };
    const timeNames = (_plot, times, _axis, _space, stepMs) => times.map((time) => (stepMs < MINUTE_MS ? SECONDS : MINUTES).format(time));
    const room = (_plot, labels) => 14 + CHAR_PX * Math.max(4, ...(labels ?? []).map((label) => label.length));
    return new uPlot({
      ...this.#size(),
      ms: 1, // times are milliseconds
      padding: [12, 12, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 9, width: 2 } },
      axes: [
        { ...axis, grid: { show: false }, size: 30, space: LABEL_PX, values: timeNames },
        { ...axis, grid: { stroke: colour('line'), width: 1 }, size: room, space: 44, values: (_plot, prices) => prices.map(priceName) },
      ],
      series: [{}, { stroke: colour('stroke'), fill: colour('fill'), width: 1.75, points: { show: false } }],
      hooks: { setCursor: [(plot) => onPoint(plot.cursor.idx ?? null)] },
    }, data, this.#box);
  }

  #size() {
    return { width: this.#box.clientWidth, height: this.#box.clientHeight };
  }

  #recolour() {
    this.#readColours();
    this.#plot?.redraw(false);
  }

  /** A canvas knows no light-dark() and no var(): an element resolves them. */
  #readColours() {
    const probe = this.#box.appendChild(document.createElement('span'));
    for (const [name, variable] of [['stroke', '--accent'], ['fill', '--accent-soft'], ['text', '--text-muted'], ['line', '--line']]) {
      probe.style.color = `var(${variable})`;
      this.#colours[name] = getComputedStyle(probe).color;
    }
    probe.remove();
  }
}
