/** The last numbers of each sender as bars: the longer it took, the higher. */
const LOST = -1;
const LATE_MS = 1_000; // as app/tour/ledger.py
const NUMBERS = 50;
const number = new Intl.NumberFormat();
const list = document.getElementById('tour-strips');

/** @param {{sender: string, receiver: string, sent: number, delays_ms: number[]}[]} strips */
export function drawStrips(strips) {
  while (list.children.length > strips.length) list.lastElementChild.remove();
  while (list.children.length < strips.length) list.append(createStrip());
  strips.forEach((strip, index) => drawStrip(list.children[index], strip));
}

function createStrip() {
  const item = document.createElement('li');
  item.className = 'tour-strip';
  for (const name of ['tour-strip-name', 'tour-bars', 'tour-strip-note']) {
    const part = document.createElement('span');
    part.className = name;
    item.append(part);
  }
  const bars = item.querySelector('.tour-bars');
  bars.role = 'img';
  for (let i = 0; i < NUMBERS; i += 1) bars.append(document.createElement('i'));
  return item;
}

function drawStrip(item, { sender, receiver, sent, delays_ms: delays }) {
  item.querySelector('.tour-strip-name').textContent = sender;
  item.querySelector('.tour-strip-note').textContent = receiver ? `${number.format(sent)} sent, heard by ${receiver}` : '';
  const bars = item.querySelector('.tour-bars');
  const came = delays.filter((ms) => ms >= 0);
  const lost = delays.filter((ms) => ms === LOST).length;
  bars.ariaLabel = came.length
    ? `The last ${came.length} numbers of ${sender}: ${lost || 'none'} lost, the slowest took ${Math.max(...came)} ms`
    : `No numbers of ${sender} yet`;
  const padded = [...Array(NUMBERS - delays.length).fill(-2), ...delays];
  padded.forEach((ms, index) => {
    const bar = bars.children[index];
    bar.dataset.state = ms === LOST ? 'lost' : ms < 0 ? 'none' : ms > LATE_MS ? 'late' : 'came';
    bar.style.transform = `scaleY(${height(ms)})`; // which moves nothing else
  });
}

/** 1 ms is low, a second and more is full; a lost one is full, too. */
function height(ms) {
  if (ms === LOST) return 1;
  if (ms < 0) return 0;
  return Math.min(1, 0.16 + 0.28 * Math.log10(Math.max(1, ms)));
}
