/** The nodes, a card each. */
import { keepInStep, setText } from '../draw.js';
import { lives } from './cluster.js';
import { drawRates } from './overview.js';
import { count, duration, nodeName, nodeState, rate } from './words.js';

const list = document.getElementById('ops-nodes');
const template = document.getElementById('ops-node-template');

/**
 * @param {import('./cluster.js').Ops} ops
 * @param {import('./actions.js').Actions} actions
 */
export function drawNodes(ops, actions) {
  keepInStep(list, ops.nodes, ({ origin }) => origin, template, (card, node) => drawNode(card, node, ops, actions));
}

function drawNode(card, node, ops, actions) {
  const { figures, origin } = node;
  const [word, tone] = nodeState(node);
  const badge = card.querySelector('.ops-badge');
  const figure = (name, text) => setText(card.querySelector(`[data-figure="${name}"]`), text);
  card.dataset.node = nodeName(node);
  card.dataset.tone = tone;
  setText(card.querySelector('.ops-node-name'), nodeName(node));
  setText(badge, word);
  badge.dataset.tone = tone;
  card.querySelector('.ops-you').hidden = node.seen !== 'here';
  drawRates(card, ops.history.get(origin)?.events ?? []);
  figure('clients', count(figures.clients));
  figure('rooms', count(figures.rooms));
  figure('events', `${rate(figures.events_per_second)}/s`);
  figure('uptime', duration(figures.uptime_seconds));
  figure('identity', `code ${figures.version}`);
  card.querySelector('[data-figure="identity"]').title = `Start ${origin.slice(0, 8) || '–'}`;
  const button = card.querySelector('button');
  const drained = figures.state !== 'serving';
  button.disabled = !lives(node);
  setText(button, drained ? 'Resume' : 'Drain');
  button.setAttribute('aria-label', `${drained ? 'Resume' : 'Drain'} ${nodeName(node)}`);
  button.onclick = () => (drained ? actions.resume(node) : actions.drain(node));
}
