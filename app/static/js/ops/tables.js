/** The tables below: latency of each node, the largest rooms, what was refused. */
import { keepInStep, setText } from '../draw.js';
import { count, milliseconds, nodeName } from './words.js';

const SHOWN = 8;
const SCALE_FROM_MS = 0.1;
const SCALE_DECADES = 5; // up to 10 s
const byId = (id) => document.getElementById(id);

/** @param {import('./cluster.js').Ops} ops */
export function drawTables(ops) {
  for (const kind of ['handling', 'lateness', 'delivery']) {
    keepInStep(byId(`${kind}-rows`), ops.living, ({ origin }) => origin, byId('ops-latency-template'), (row, node) => {
      setText(row.querySelector('th'), nodeName(node));
      drawLatency(row, node.figures[kind]);
    });
  }
  const rooms = new Map();
  const refused = new Map();
  for (const { figures } of ops.living) {
    for (const { namespace, name, members } of figures.largest_rooms) add(rooms, `${namespace} ${name}`, members);
    for (const [code, times] of Object.entries(figures.refused)) add(refused, code, times);
  }
  // Who is alone in a room is in it for a reason of the application's own, as to be told things in all tabs.
  for (const [room, members] of rooms) if (members < 2) rooms.delete(room);
  drawCounts('room', rooms);
  drawCounts('refused', refused);
  byId('ops-rooms-empty').hidden = rooms.size > 0;
  byId('ops-refused-empty').hidden = refused.size > 0;
}

function drawLatency(row, latency) {
  for (const share of ['p50', 'p95', 'p99']) {
    setText(row.querySelector(`[data-figure="${share}"]`), milliseconds(latency[`${share}_ms`]));
  }
  const fill = row.querySelector('.ops-range-fill');
  const [from, to] = [place(latency.p50_ms), place(latency.p99_ms)];
  fill.style.left = `${from}%`;
  fill.style.width = latency.count ? `${Math.max(3, to - from)}%` : '0';
}

/** Where a time is on the scale, in percent. */
function place(ms) {
  const share = Math.log10(Math.max(ms ?? 0, SCALE_FROM_MS) / SCALE_FROM_MS) / SCALE_DECADES;
  return Math.min(97, share * 100);
}

function add(counts, key, number) {
  counts.set(key, (counts.get(key) ?? 0) + number);
}

function drawCounts(kind, counts) {
  const largest = [...counts].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0])).slice(0, SHOWN);
  keepInStep(byId(`ops-${kind}-rows`), largest, ([key]) => key, byId('ops-count-template'), (row, [key, number]) => {
    setText(row.querySelector('th'), key);
    setText(row.querySelector('td'), count(number));
  });
}
