/**
 * What the page knows of the cluster. Emits `figures` when they have come, `happened` with what is new in the
 * timeline, and `synced` when the page is in step after a connect; over an open connection also `silent` when the
 * figures do not come, and `dead` when they do not for longer. docs/events.md has the shapes.
 *
 * @typedef {{origin: string, seen: 'here'|'heard'|'silent'|'gone', silent_seconds: number, figures: object}} Node
 */
import { Emitter } from '../emitter.js';

const HISTORY_SECONDS = 60; // what the server keeps, too
const TIMELINE_MAX = 200; // so is this
const RETRY_MS = 2_000;
const SILENT_MS = 3_000; // figures come each second
const DEAD_MS = 7_000; // long before the heartbeat finds a node that is frozen

export class Ops extends Emitter {
  /** @type {Node[]} by name */
  nodes = [];
  /** @type {Map<string, {events: number[], sent: number[]}>} by origin: rates per second, oldest first */
  history = new Map();
  /** @type {object[]} newest first */
  timeline = [];
  #channel;
  #timers = [];

  /** @param {import('../connection.js').Channel} channel */
  constructor(channel) {
    super();
    this.#channel = channel;
    channel.on('connect', () => { this.#expectFigures(); this.#sync(); });
    channel.on('disconnect', () => this.#timers.forEach(clearTimeout));
    channel.on('figures', ({ nodes }) => { this.#expectFigures(); this.#take(nodes); });
    channel.on('happened', (entry) => this.#happened([entry]));
  }

  /** Nodes that are heard now, this one among them. */
  get living() {
    return this.nodes.filter(lives);
  }

  /** Ask for something that changes the cluster. @throws {import('../connection.js').RequestError} */
  ask(event, payload) {
    return this.#channel.request(event, payload);
  }

  #expectFigures() {
    this.#timers.forEach(clearTimeout);
    this.#timers = [['silent', SILENT_MS], ['dead', DEAD_MS]].map(([event, ms]) => setTimeout(() => this.emit(event), ms));
  }

  async #sync() {
    try {
      const { nodes, history, timeline } = await this.#channel.request('overview');
      this.history = new Map(history.map(({ origin, events_per_second: events, sent_per_second: sent }) => [origin, { events, sent }]));
      this.nodes = nodes;
      this.emit('figures');
      this.#happened(timeline);
      this.emit('synced');
    } catch (error) {
      if (error.code === 'offline' || error.code === 'unauthorized') return; // a connect starts again, or a sign-in
      setTimeout(() => { if (this.#channel.connected) this.#sync(); }, error.retryAfterMs ?? RETRY_MS);
    }
  }

  #take(nodes) {
    this.nodes = nodes;
    for (const { origin, seen, figures } of nodes) {
      if (seen !== 'here' && seen !== 'heard') continue;
      const lines = this.history.get(origin) ?? { events: [], sent: [] };
      this.history.set(origin, lines);
      lines.events.push(figures.events_per_second);
      lines.sent.push(figures.sent_per_second);
      for (const line of [lines.events, lines.sent]) if (line.length > HISTORY_SECONDS) line.shift();
    }
    const known = new Set(nodes.map(({ origin }) => origin));
    for (const origin of this.history.keys()) if (!known.has(origin)) this.history.delete(origin);
    this.emit('figures');
  }

  #happened(entries) {
    const known = new Set(this.timeline.map(({ key }) => key));
    const fresh = entries.filter(({ key }) => !known.has(key));
    if (!fresh.length) return;
    this.timeline = [...fresh, ...this.timeline]
      .sort((a, b) => b.at_ms - a.at_ms || (a.key < b.key ? 1 : -1)).slice(0, TIMELINE_MAX);
    this.emit('happened', fresh);
  }
}

/** @param {Node} node */
export const lives = ({ seen }) => seen === 'here' || seen === 'heard';
