/** A line of prices over time, drawn by uPlot. Follows its box's size and the theme. */
import uPlot from '../../vendor/uplot/uPlot.esm.min.js';
import { exactTime } from '../time.js';

const CHAR_PX = 7.5; // of an axis label
const LABEL_PX = 80; // the least room for a time and the space around it
const LAST_PX = 30; // half of a time: that of the last one fits
const TAG_PX = { height: 20, gap: 6 }; // of the last price
const minutes = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
const MINUTE_MS = 60_000;

export class Chart {
  #box;
  #options;
  #plot = null; // made with the first points: an empty one would move when its axes get labels
  #colours = {};
  #last = 0; // price

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
    this.#last = points.at(-1)?.price ?? this.#last;
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
    const timeNames = (_plot, times, _axis, _space, stepMs) => times.map((time) => (stepMs < MINUTE_MS ? exactTime(time) : minutes.format(time)));
    const room = (_plot, labels) => 14 + CHAR_PX * Math.max(...[priceName(this.#last), ...(labels ?? [])].map((label) => label.length));
    // The tag of the last price stands in front of what is near to it.
    const hidden = (plot, price) => Math.abs(price - this.#last) * this.#box.clientHeight < TAG_PX.height * (plot.scales.y.max - plot.scales.y.min);
    const priceNames = (plot, prices) => prices.map((price) => (hidden(plot, price) ? '' : priceName(price)));
    return new uPlot({
      ...this.#size(),
      ms: 1, // times are milliseconds
      padding: [12, LAST_PX, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 9, width: 2 } },
      axes: [
        { ...axis, grid: { show: false }, size: 30, space: LABEL_PX, values: timeNames },
        { ...axis, grid: { stroke: colour('line'), width: 1 }, size: room, space: 44, values: priceNames },
      ],
      series: [{}, { stroke: colour('stroke'), fill: colour('fill'), width: 1.75, points: { show: false } }],
      hooks: { setCursor: [(plot) => onPoint(plot.cursor.idx ?? null)], draw: [(plot) => this.#drawLast(plot)] },
    }, data, this.#box);
  }

  /** The last price: a dotted line, and a tag on the axis. */
  #drawLast(plot) {
    if (!plot.data[0].length) return; // another symbol was just chosen
    const { ctx, bbox: { left, width } } = plot;
    const y = plot.valToPos(this.#last, 'y', true);
    const [height, gap] = [TAG_PX.height * uPlot.pxRatio, TAG_PX.gap * uPlot.pxRatio];
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = this.#colours.stroke;
    ctx.setLineDash([uPlot.pxRatio, gap / 2]);
    ctx.beginPath();
    ctx.moveTo(left, y);
    ctx.lineTo(left + width, y);
    ctx.stroke();
    ctx.fillRect(0, y - height / 2, left, height);
    ctx.fillStyle = this.#colours.tag;
    ctx.textAlign = 'right';
    ctx.textBaseline = 'middle';
    ctx.font = plot.axes[1].font[0];
    ctx.fillText(this.#options.priceName(this.#last), left - gap, y);
    ctx.restore();
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
    for (const [name, variable] of [['stroke', '--accent'], ['fill', '--accent-soft'], ['text', '--text-muted'], ['line', '--line'], ['tag', '--accent-text']]) {
      probe.style.color = `var(${variable})`;
      this.#colours[name] = getComputedStyle(probe).color;
    }
    probe.remove();
  }
}
