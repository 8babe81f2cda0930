/** The buttons: each asks first, and says afterwards what came of it, as the figures of the nodes show it. */
import { setText } from '../draw.js';
import { lives } from './cluster.js';
import { confirm } from '../dialogs.js';
import { count, listed, named, nodeName } from './words.js';

const SWITCH_MS = 15_000; // a broker that works carries it in milliseconds
const DRAIN_MS = 180_000; // more than DRAIN_SECONDS
const DONE_SHOWN_MS = 12_000;

export class Actions {
  #ops;
  #outcome = document.getElementById('ops-outcome');
  #pending = null; // {progress, deadline}: what is waited for
  #timer = null;

  /** @param {import('./cluster.js').Ops} ops */
  constructor(ops) {
    this.#ops = ops;
    ops.on('figures', () => this.#look());
  }

  /** @param {string|null} broker  null: the configured order */
  async prefer(broker) {
    const first = this.#ops.living[0].figures.queue.brokers[0].name;
    const wanted = broker ?? first;
    const sure = await confirm({
      title: broker ? `Prefer ${named(broker)} on all nodes?` : 'Back to the configured order?',
      text: `New messages go over ${named(wanted)}${broker ? '' : ', the first one,'} as soon as it is healthy. Nothing is lost or doubled by it.`,
      yes: broker ? `Prefer ${named(broker)}` : 'Automatic order',
    });
    if (sure) await this.#ask('switch', { broker }, SWITCH_MS, () => switched(this.#ops.living, wanted));
  }

  /** @param {import('./cluster.js').Node} node */
  async drain(node) {
    const here = node.seen === 'here' ? ' This page is one of them: it comes back by another node.' : '';
    const sure = await confirm({
      title: `Drain ${nodeName(node)}?`,
      text: `Its ${count(node.figures.clients)} clients are sent to the other nodes, and it takes no new ones until you resume it.${here}`,
      yes: 'Drain',
    });
    if (sure) await this.#ask('drain', { origin: node.origin }, DRAIN_MS, () => drained(this.#ops.nodes, node));
  }

  /** @param {import('./cluster.js').Node} node */
  async resume(node) {
    const sure = await confirm({ title: `Resume ${nodeName(node)}?`, text: 'It takes clients again.', yes: 'Resume' });
    if (sure) await this.#ask('resume', { origin: node.origin }, SWITCH_MS, () => resumed(this.#ops.nodes, node));
  }

  /**
   * @param {() => [string, boolean]} progress  how far it is, in words, and whether that is all
   */
  async #ask(event, payload, patienceMs, progress) {
    this.#say('Asking…');
    this.#pending = { progress, deadlineMs: Date.now() + patienceMs };
    try {
      await this.#ops.ask(event, payload);
      this.#look();
    } catch (error) {
      // A node that drains may cut the connection before it answers: the figures will tell.
      if (['offline', 'timeout'].includes(error.code) && event === 'drain') return;
      this.#pending = null;
      this.#say(`Not done. ${error.message}`, 'bad');
    }
  }

  #look() {
    if (!this.#pending) return;
    const { progress, deadlineMs } = this.#pending;
    const [words, done] = progress();
    if (!done && Date.now() > deadlineMs) {
      this.#pending = null;
      this.#say(`Not confirmed in time. ${words}`, 'bad');
      return;
    }
    if (done) this.#pending = null;
    this.#say(words, done ? 'good' : '');
  }

  #say(words, tone = '') {
    clearTimeout(this.#timer);
    setText(this.#outcome, words);
    this.#outcome.dataset.tone = tone;
    if (tone) this.#timer = setTimeout(() => setText(this.#outcome, ''), DONE_SHOWN_MS);
  }
}

function switched(nodes, wanted) {
  const name = named(wanted);
  const behind = nodes.filter(({ figures: { queue } }) => queue.preferred !== wanted);
  if (behind.length) return [`Waiting for ${listed(behind.map(nodeName))} to prefer ${name}.`, false];
  const others = nodes.filter(({ figures: { queue } }) => queue.active !== wanted);
  if (others.length) return [`All nodes prefer ${name}; ${listed(others.map(nodeName))} will use it as soon as it is healthy.`, true];
  return [`Done: all nodes prefer ${name}, and use it.`, true];
}

/** The node as it is now; it may have started anew. */
function now(nodes, before) {
  return nodes.find(({ origin }) => origin === before.origin);
}

function drained(nodes, before) {
  const node = now(nodes, before);
  const name = nodeName(before);
  if (!node || !lives(node)) return [`${name} is not heard any more.`, false];
  if (node.figures.state === 'drained') return [`Done: ${name} is drained, its clients are on the other nodes.`, true];
  return [`${name} is ${node.figures.state}: ${count(node.figures.clients)} clients are left.`, false];
}

function resumed(nodes, before) {
  const node = now(nodes, before);
  const serves = node && lives(node) && node.figures.state === 'serving';
  return serves ? [`Done: ${nodeName(before)} serves again.`, true] : [`Waiting for ${nodeName(before)} to serve.`, false];
}
