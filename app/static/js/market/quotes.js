/**
 * The prices of all symbols, as the server tells them. Knows nothing of the page: what shows them listens.
 *
 * Emits `state` when the state changes, `lines` when there are symbols that were not there or others are gone, and
 * `tick` ({line, tick}) for each new price, in order.
 *
 * @typedef {{symbol: string, name: string, last: import('../protocol.js').Tick|null, prices: number[]}} Line
 */
import { Emitter } from '../emitter.js';
import { isNewer } from './prices.js';

const SPARKLINE_PRICES = 60; // what the server keeps for it, too
const RETRY_MS = 3_000;
const SUBSCRIBE_AT_ONCE = 50; // what one event may ask for

export class Quotes extends Emitter {
  #channel;
  #early = null; // ticks that come while the snapshots are on their way; null at other times
  /** @type {Map<string, Line>} in the server's order */
  lines = new Map();
  /** How many ticks there were, also those that this page missed while it was away. Only differences mean something. */
  passed = 0;
  /** @type {{phase: 'connecting'|'live'|'closed'|'cut'|'failed', message: string}} closed: there are no symbols */
  state = { phase: 'connecting', message: '' };

  /** @param {import('../connection.js').Channel} channel */
  constructor(channel) {
    super();
    this.#channel = channel;
    channel.on('connect', () => this.sync());
    channel.on('disconnect', () => this.#become('cut'));
    channel.on('tick', (tick) => this.#receive(tick));
  }

  /** Subscribe to everything, and take in what happened meanwhile. @param {number} [timeoutMs]  for the first answer */
  async sync(timeoutMs) {
    if (this.#early) return; // under way
    this.#early = [];
    try {
      const { symbols } = await this.#channel.request('symbols', {}, timeoutMs);
      const wanted = symbols.map(({ symbol }) => symbol);
      // The rooms come before the snapshots: what is sent between the two is in both, and nothing in neither.
      const snapshots = [];
      for (let at = 0; at < wanted.length; at += SUBSCRIBE_AT_ONCE) {
        const answer = await this.#channel.request('subscribe', { symbols: wanted.slice(at, at + SUBSCRIBE_AT_ONCE) });
        snapshots.push(...answer.snapshots);
      }
      this.#begin(snapshots);
      this.#become(symbols.length ? 'live' : 'closed');
    } catch (error) {
      this.#early = null;
      if (error.code === 'offline') return; // the next connect starts again
      this.#become('failed', error.message);
      setTimeout(() => { if (this.#channel.connected) this.sync(); }, error.retryAfterMs ?? RETRY_MS);
    }
  }

  /** @param {import('../protocol.js').Snapshot[]} snapshots */
  #begin(snapshots) {
    const known = this.lines;
    this.lines = new Map();
    for (const { symbol, name, last, history } of snapshots) {
      const line = known.get(symbol) ?? { symbol, name, last: null, prices: [] };
      // A node that has just started may know less than this page.
      if (last && isNewer(last, line.last)) {
        this.passed += line.last?.run === last.run ? last.seq - line.last.seq : last.seq;
        line.last = last;
        line.prices = history.slice(-SPARKLINE_PRICES);
      }
      this.lines.set(symbol, line);
    }
    const early = this.#early ?? [];
    this.#early = null;
    this.emit('lines');
    for (const tick of early) this.#receive(tick);
  }

  /** @param {import('../protocol.js').Tick} tick */
  #receive(tick) {
    if (this.#early) {
      this.#early.push(tick);
      return;
    }
    const line = this.lines.get(tick.symbol);
    if (!line || !isNewer(tick, line.last)) return; // the snapshot held it already
    line.last = tick;
    line.prices.push(tick.price);
    if (line.prices.length > SPARKLINE_PRICES) line.prices.shift();
    this.passed += 1;
    this.emit('tick', { line, tick });
  }

  #become(phase, message = '') {
    this.state = { phase, message };
    this.emit('state', this.state);
  }
}
