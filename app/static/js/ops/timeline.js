/** What happened, newest first. It is read aloud as it comes, but for what was there at the connect. */
import { keepInStep, setText } from '../draw.js';
import { named } from './words.js';
import { exactTime, fullTime } from '../time.js';

const list = document.getElementById('ops-timeline');
const template = document.getElementById('ops-happening-template');
const BAD = ['down', 'silent'];
const GOOD = ['up', 'started', 'serving', 'heard'];
const SAME_MS = 2_000; // nodes see the same thing within so long
const LOSSES = ['lost', 'dropped', 'failed', 'rejected'];

/** @param {import('./cluster.js').Ops} ops */
export function drawTimeline({ timeline }) {
  keepInStep(list, folded(timeline), ({ key }) => key, template, (row, entry) => {
    const time = row.querySelector('time');
    setText(time, exactTime(entry.at_ms));
    time.dateTime = new Date(entry.at_ms).toISOString();
    time.title = fullTime(entry.at_ms);
    setText(row.querySelector('.ops-happening-node'), `${entry.nodes.join(', ')}:`);
    setText(row.querySelector('.ops-happening-words'), named(entry.words));
    row.dataset.tone = tone(entry);
    row.dataset.kind = entry.kind;
  });
  document.getElementById('ops-timeline-empty').hidden = timeline.length > 0;
}

/**
 * What several nodes saw at once, in one row: that of the first one, which stays where it is as others join it.
 * @param {object[]} timeline  newest first
 */
function folded(timeline) {
  const rows = [];
  for (const entry of timeline.toReversed()) {
    const row = rows.findLast((each) => what(each) === what(entry));
    if (row && entry.at_ms - row.at_ms < SAME_MS && !row.nodes.includes(entry.node)) row.nodes = [...row.nodes, entry.node].sort();
    else rows.push({ ...entry, nodes: [entry.node] });
  }
  return rows.reverse();
}

/** Each node may have a reason of its own. */
const what = ({ kind, broker, state, words }) => (kind === 'state' ? `${broker} ${state}` : words);

/** From now on the page speaks, or not. */
export function announceTimeline(aloud) {
  list.setAttribute('aria-live', aloud ? 'polite' : 'off');
}

function tone({ kind, state }) {
  if (kind === 'state' && state === 'silent') return 'warning'; // a broker, mostly for a moment
  if (LOSSES.includes(kind) || BAD.includes(state)) return 'bad';
  if (kind === 'active' || kind === 'operator') return 'used';
  return GOOD.includes(state) ? 'good' : '';
}
