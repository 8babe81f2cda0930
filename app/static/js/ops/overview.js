/** The top of the operations page: how it is all in all, in a sentence and four figures. */
import { setText } from '../draw.js';
import { count, listed, named, nodeName, rate } from './words.js';

const WIDTH = 60;
const HEIGHT = 20;
const byId = (id) => document.getElementById(id);

/** @param {import('./cluster.js').Ops} ops */
export function drawOverview(ops) {
  const living = ops.living;
  const sum = (figure) => living.reduce((total, { figures }) => total + figures[figure], 0);
  setText(byId('tile-clients'), count(sum('clients')));
  setText(byId('tile-transports'), `${count(sum('websocket'))} WebSocket, ${count(sum('polling'))} polling`);
  setText(byId('tile-events'), rate(sum('events_per_second')));
  setText(byId('tile-sent'), rate(sum('sent_per_second')));
  setText(byId('tile-rooms'), count(sum('rooms')));
  setText(byId('tile-emits'), `${rate(sum('emits_per_second'))} emits per second`);
  drawRates(byId('tile-events-line'), total(ops.history, 'events'));
  drawRates(byId('tile-sent-line'), total(ops.history, 'sent'));
  const [words, state] = headline(ops);
  setText(byId('ops-headline'), words);
  byId('ops-headline').dataset.state = state;
}

/** The rates of all nodes together; the newest ones belong together. */
function total(history, kind) {
  const lines = [...history.values()].map((lines) => lines[kind]);
  const length = Math.max(0, ...lines.map((line) => line.length));
  return Array.from({ length }, (_, index) => lines.reduce((sum, line) => sum + (line[line.length - length + index] ?? 0), 0));
}

/** A line of rates that stands on zero, as wide as its place. @param {Element} parent  of the sparkline @param {number[]} rates */
export function drawRates(parent, rates) {
  const most = Math.max(1, ...rates);
  const points = rates.map((value, index) => {
    const x = (WIDTH * index) / Math.max(1, rates.length - 1);
    return `${x.toFixed(1)},${(HEIGHT - 1 - (value / most) * (HEIGHT - 2)).toFixed(1)}`;
  });
  const line = points.length > 1 ? `M${points.join('L')}` : '';
  parent.querySelector('.ops-sparkline-line').setAttribute('d', line);
  parent.querySelector('.ops-sparkline-area').setAttribute('d', line && `${line}V${HEIGHT}H0Z`);
}

/** The most important thing, in a sentence. @returns {[string, 'good'|'warning'|'bad'|'waiting']} */
function headline({ nodes, living }) {
  const here = nodes.find(({ seen }) => seen === 'here');
  if (!here) return ['Waiting for the first figures.', 'waiting'];
  const { queue } = here.figures;
  if (queue.in_process) return ['One node, without a message queue: it knows of no others.', 'good'];
  if (queue.active === null) {
    return [`No broker works: you see ${nodeName(here)} alone, and it keeps for the others what they miss.`, 'bad'];
  }
  const problems = [];
  const silent = nodes.filter(({ seen }) => seen === 'silent').map(nodeName);
  if (silent.length) problems.push(`${listed(silent)} ${silent.length > 1 ? 'are' : 'is'} silent.`);
  const failures = queue.brokers.flatMap(({ name }) => failure(name, living) ?? []);
  if (failures.length) problems.push(`${listed(failures)}; messages go over ${listed(used(living))}.`);
  const away = living.filter(({ figures }) => figures.state !== 'serving').map((node) => `${nodeName(node)} is ${node.figures.state}`);
  if (away.length) problems.push(`${listed(away)}.`);
  if (problems.length) return [problems.join(' '), silent.length ? 'bad' : 'warning'];
  return [`All is well: ${living.length} ${living.length > 1 ? 'nodes' : 'node'}; messages go over ${listed(used(living))}.`, 'good'];
}

/** How a broker fails, and where. @returns {string|null} */
function failure(name, nodes) {
  const states = nodes.map(({ figures }) => figures.queue.brokers.find((broker) => broker.name === name)?.state ?? 'up');
  const worst = ['down', 'silent', 'connecting'].find((state) => states.includes(state));
  if (!worst) return null;
  const where = nodes.filter((_, index) => states[index] !== 'up').map(nodeName);
  return `${named(name)} is ${worst}${where.length < nodes.length ? ` on ${listed(where)}` : ''}`;
}

const used = (nodes) => [...new Set(nodes.map(({ figures }) => figures.queue.active).filter(Boolean))].map(named);
