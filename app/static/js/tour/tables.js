/** The tables of the tour: every part with a button that breaks it, and who heard what from whom. */
import { delayName, partName } from './words.js';

const number = new Intl.NumberFormat();
const parts = document.getElementById('tour-parts');
const pairs = document.getElementById('tour-pairs');

/**
 * @param {{name: string, is_broker: boolean, state: string, pid: number, uptime_seconds: number}[]} found
 * @param {string} here  the node that serves the page
 * @param {boolean} free  whether anything can be broken now
 */
export function drawParts(found, here, free) {
  rows(parts, found.length, 5).forEach((row, index) => {
    const { name, is_broker: isBroker, state, pid, uptime_seconds: uptime } = found[index];
    fill(row, [name === here ? `${name} (serves you)` : name, state.toLowerCase(), pid || '–', pid ? `${number.format(uptime)} s` : '–']);
    row.children[1].dataset.state = state === 'RUNNING' ? 'good' : 'bad';
    const button = row.lastElementChild.querySelector('button') ?? row.lastElementChild.appendChild(createButton());
    button.dataset.what = isBroker ? `kill-${name}` : 'kill-node';
    if (isBroker) delete button.dataset.node;
    else button.dataset.node = name;
    button.ariaDisabled = String(!free || !pid);
    button.ariaLabel = `Kill ${partName(name)}`;
    button.dataset.testid = `tour-kill-${name}`;
  });
}

/** @param {{receiver: string, sender: string, received: number, lost: number, doubled: number, late: number, worst_ms: number}[]} found */
export function drawPairs(found) {
  rows(pairs, found.length, 7).forEach((row, index) => {
    const { receiver, sender, received, lost, doubled, late, worst_ms: worstMs } = found[index];
    fill(row, [receiver, sender, ...[received, lost, doubled, late].map((count) => number.format(count)), delayName(worstMs)]);
    row.children[3].dataset.state = lost ? 'bad' : '';
    row.children[4].dataset.state = doubled ? 'bad' : '';
  });
}

/** The rows of a table, as many as there should be. */
function rows(body, count, columns) {
  while (body.children.length > count) body.lastElementChild.remove();
  while (body.children.length < count) {
    const row = body.insertRow();
    const head = document.createElement('th');
    head.scope = 'row';
    row.append(head);
    for (let i = 1; i < columns; i += 1) row.insertCell();
  }
  return [...body.children];
}

function fill(row, texts) {
  texts.forEach((text, index) => {
    const cell = row.children[index];
    if (cell.textContent !== String(text)) cell.textContent = text;
  });
}

function createButton() {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'button button-small';
  button.textContent = 'Kill';
  return button;
}
