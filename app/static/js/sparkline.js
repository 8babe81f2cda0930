/** A small line of recent prices, drawn as an SVG path. Colours come from the stylesheet. */
const WIDTH = 72;
const HEIGHT = 24;
const MARGIN = 2; // room for the stroke at the highest and lowest price

/** @param {SVGElement} svg  of class "sparkline" @param {number[]} prices  oldest first */
export function drawSparkline(svg, prices) {
  const line = path(prices);
  svg.querySelector('.sparkline-line').setAttribute('d', line);
  svg.querySelector('.sparkline-area').setAttribute('d', line && `${line}V${HEIGHT}H0Z`);
}

function path(prices) {
  if (prices.length < 2) return '';
  const low = Math.min(...prices);
  const range = Math.max(...prices) - low;
  const step = WIDTH / (prices.length - 1);
  const points = prices.map((price, index) => {
    const share = range ? (price - low) / range : 0.5;
    return `${(index * step).toFixed(1)},${(HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN)).toFixed(1)}`;
  });
  return `M${points.join('L')}`;
}
