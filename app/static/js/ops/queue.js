/** The message queue: the brokers as all nodes see them, and what goes between the nodes. */
import { keepInStep, setText } from '../draw.js';
import { brokerState, count, duration, listed, milliseconds, named, nodeName, sentence } from './words.js';

const byId = (id) => document.getElementById(id);
const auto = byId('switch-auto');

/**
 * @param {import('./cluster.js').Ops} ops
 * @param {import('./actions.js').Actions} actions
 */
export function drawQueue(ops, actions) {
  const nodes = ops.living;
  const here = ops.nodes.find(({ seen }) => seen === 'here');
  const brokers = here?.figures.queue.brokers ?? [];
  const alone = here?.figures.queue.in_process ?? true;
  keepInStep(byId('ops-broker-rows'), brokers, ({ name }) => name, byId('ops-broker-template'), (row, { name }) => {
    drawBroker(row, name, nodes, alone ? null : actions);
  });
  auto.hidden = alone || nodes.every(({ figures }) => figures.queue.preferred === brokers[0].name);
  auto.onclick = () => actions.prefer(null);
  setText(byId('ops-queue-note'), note(nodes, brokers, alone));
  const queues = ops.nodes.filter(({ seen }) => seen !== 'gone');
  keepInStep(byId('ops-message-rows'), queues, ({ origin }) => origin, byId('ops-message-template'), drawMessages);
}

function drawBroker(row, name, nodes, actions) {
  const seen = nodes.flatMap((node) => {
    const broker = node.figures.queue.brokers.find((each) => each.name === name);
    return broker ? [{ node, broker, words: brokerState(broker, node.figures.queue) }] : [];
  });
  const sum = (figure) => seen.reduce((total, { broker }) => total + broker[figure], 0);
  const figure = (key, text) => setText(row.querySelector(`[data-figure="${key}"]`), text);
  const bad = seen.filter(({ broker }) => broker.state !== 'up');
  const users = seen.filter(({ words }) => words === 'in use');
  const state = row.querySelector('.ops-state');
  setText(row.querySelector('.ops-broker-name'), named(name));
  row.dataset.broker = name;
  setText(state, summary(seen, bad, users));
  state.dataset.tone = bad.length ? 'bad' : users.length ? 'used' : 'good';
  setText(row.querySelector('.ops-broker-nodes'), details(seen, bad, users));
  const trips = seen.filter(({ broker }) => broker.state === 'up' && broker.rtt_ms !== null).map(({ broker }) => broker.rtt_ms);
  figure('rtt', milliseconds(trips.length ? Math.max(...trips) : null));
  figure('published', count(sum('published')));
  figure('received', count(sum('received')));
  const button = row.querySelector('button');
  button.hidden = actions === null;
  button.disabled = nodes.every(({ figures }) => figures.queue.preferred === name);
  setText(button, button.disabled ? 'Preferred' : 'Prefer');
  button.setAttribute('aria-label', button.disabled ? `${named(name)} is preferred` : `Prefer ${named(name)}`);
  button.onclick = () => actions?.prefer(name);
}

function summary(seen, bad, users) {
  const worst = bad.toSorted((a, b) => b.broker.since_seconds - a.broker.since_seconds)[0];
  if (bad.length) return bad.length === seen.length ? worst.words : `${worst.words}, on ${bad.length} of ${seen.length} nodes`;
  if (users.length) return users.length === seen.length ? 'in use' : `in use by ${users.length} of ${seen.length} nodes`;
  return 'healthy, in reserve';
}

/** Which nodes see it otherwise than the others, and why it is down. */
function details(seen, bad, users) {
  if (bad.length && bad.length < seen.length) return bad.map(({ node, words }) => `${nodeName(node)}: ${words}`).join(', ');
  if (bad.length) return bad[0].broker.error ?? '';
  if (users.length && users.length < seen.length) return `by ${listed(users.map(({ node }) => nodeName(node)))}`;
  return '';
}

function note(nodes, brokers, alone) {
  if (alone) return 'None: MESSAGE_QUEUE is not set.';
  const preferred = [...new Set(nodes.map(({ figures }) => figures.queue.preferred))];
  if (preferred.length > 1) return `Some nodes prefer ${listed(preferred.map(named))}.`;
  const strategy = sentence(nodes[0].figures.queue.strategy);
  return preferred[0] === brokers[0]?.name ? `${strategy}, in the configured order.` : `${strategy}; ${named(preferred[0])} is preferred by hand.`;
}

function drawMessages(row, node) {
  const { queue } = node.figures;
  const figure = (key, text, bad = false) => {
    const cell = row.querySelector(`[data-figure="${key}"]`);
    setText(cell, text);
    cell.dataset.tone = bad ? 'bad' : '';
  };
  setText(row.querySelector('th'), nodeName(node));
  figure('waiting', count(queue.outbox_depth));
  figure('oldest', queue.outbox_depth ? duration(queue.outbox_oldest_seconds) : '–', queue.outbox_oldest_seconds > 5);
  figure('duplicates', count(queue.duplicates));
  figure('repaired', count(queue.repaired));
  figure('lost', count(queue.lost), queue.lost > 0);
  figure('dropped', count(queue.dropped), queue.dropped > 0);
}
