/** The figures of the operations page in words. */
const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat(undefined, { minimumFractionDigits: 1, maximumFractionDigits: 1 });

export const NAMES = { redis: 'Redis', rabbitmq: 'RabbitMQ' };
const BROKER = /(?<!\S)(redis|rabbitmq)(?=[,.:;]?(?:\s|$))/g; // as a word, not in an address

/** Brokers by the names that they are known by, alone or in a sentence. */
export const named = (text) => text.replace(BROKER, (name) => NAMES[name]);

/** With a capital at its beginning */
export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** 1,234 */
export const count = (number) => whole.format(number);

/** 12.3 per second; large ones without the tenth */
export const rate = (number) => (number < 100 ? tenth : whole).format(number);

/** 0.42 ms, 13 ms, 1.3 s; a dash for nothing */
export function milliseconds(ms) {
  if (ms === null) return '–';
  if (ms >= 1000) return `${tenth.format(ms / 1000)} s`;
  if (ms >= 10) return `${whole.format(ms)} ms`;
  return `${ms.toFixed(ms < 1 ? 2 : 1)} ms`;
}

/** 12 s, 3 min, 5 h, 2 days */
export function duration(seconds) {
  const units = [[60, 1, 's'], [3600, 60, 'min'], [172_800, 3600, 'h'], [Infinity, 86_400, 'days']];
  const [, size, unit] = units.find(([below]) => seconds < below);
  return `${Math.floor(seconds / size)} ${unit}`;
}

/** n1; the beginning of its origin, if it has no name */
export const nodeName = ({ origin, figures }) => figures.node ?? (origin.slice(0, 8) || 'this node');

/** n1, n2 and n3 */
export const listed = (names) => new Intl.ListFormat('en', { type: 'conjunction' }).format(names);

/** How a node is: a word, and whether that is good. @returns {[string, 'good'|'warning'|'bad'|'over']} */
export function nodeState({ seen, silent_seconds: silent, figures }) {
  if (seen === 'silent') return [`silent for ${duration(silent)}`, 'bad'];
  if (seen === 'gone') return ['gone', 'over'];
  return [figures.state, figures.state === 'serving' ? 'good' : 'warning'];
}

/** How a broker is, as one node sees it. */
export function brokerState(broker, queue) {
  if (broker.state === 'up') return queue.active === broker.name ? 'in use' : 'healthy';
  return `${broker.state} for ${duration(broker.since_seconds)}`;
}
