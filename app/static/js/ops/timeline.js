/** What happened, newest first. It is read aloud as it comes, but for what was there at the connect. */
import { keepInStep, setText } from '../draw.js';
import { clockSeconds } from './words.js';
import { fullTime } from '../time.js';

const list = document.getElementById('ops-timeline');
const template = document.getElementById('ops-happening-template');
const BAD = ['down', 'silent'];
const GOOD = ['up', 'started', 'serving', 'heard'];
const LOSSES = ['lost', 'dropped', 'failed', 'rejected'];

/** @param {import('./cluster.js').Ops} ops */
export function drawTimeline({ timeline }) {
  keepInStep(list, timeline, ({ key }) => key, template, (row, entry) => {
    const time = row.querySelector('time');
    setText(time, clockSeconds(entry.at_ms));
    time.dateTime = new Date(entry.at_ms).toISOString();
    time.title = fullTime(entry.at_ms);
    setText(row.querySelector('.ops-happening-node'), `${entry.node}:`);
    setText(row.querySelector('.ops-happening-words'), entry.words);
    row.dataset.tone = tone(entry);
    row.dataset.kind = entry.kind;
  });
  document.getElementById('ops-timeline-empty').hidden = timeline.length > 0;
}

/** From now on the page speaks, or not. */
export function announceTimeline(aloud) {
  list.setAttribute('aria-live', aloud ? 'polite' : 'off');
}

function tone({ kind, state }) {
  if (LOSSES.includes(kind) || BAD.includes(state)) return 'bad';
  if (kind === 'active' || kind === 'operator') return 'used';
  return GOOD.includes(state) ? 'good' : '';
}
