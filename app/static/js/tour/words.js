/** What the tour says: a step and its figures in sentences. */
import { NAMES, named, sentence } from '../ops/words.js';
import { exactTime, waitName } from '../time.js';

const number = new Intl.NumberFormat();
const BACK_SECONDS = 10; // QUEUE_FAILBACK_SECONDS, if nobody has set it

/** Redis, RabbitMQ, or node n1 */
export const partName = (program) => NAMES[program] ?? `node ${program}`;

/** 420 ms, or 6.2 s */
export function delayName(ms) {
  return ms < 1_000 ? `${number.format(ms)} ms` : `${number.format(Math.round(ms / 100) / 10)} s`;
}

/** In this step 75 numbers arrived: none lost, none doubled, 3 late; the slowest took 420 ms. */
function counted({ received, lost, doubled, late, worst_ms: worstMs }) {
  const many = (count, word) => `${count ? number.format(count) : 'none'} ${word}`;
  if (!received) return 'No numbers have arrived in this step yet.';
  return `In this step ${number.format(received)} numbers arrived: ${many(lost, 'lost')}, ${many(doubled, 'doubled')}, ${many(late, 'late')}; the slowest took ${delayName(worstMs)}.`;
}

/** What was done, and when it is over. */
function done({ what, program, state, at_ms: atMs, back_ms: backMs, error }, nowMs) {
  if (what === 'start') return `Started at ${exactTime(atMs)}.`;
  const name = partName(program);
  const frozen = what.startsWith('freeze-');
  const verb = frozen ? 'frozen' : 'killed';
  switch (state) {
    case 'announced': return sentence(`${name} will be ${verb} in a moment.`);
    case 'failed': return sentence(`${name} could not be ${verb}: ${error}`);
    case 'under_way': return sentence(`${name} was ${verb} ${waitName(nowMs - atMs)} ago, and is not back yet.`);
    case 'missing': return sentence(`${name} was ${verb} at ${exactTime(atMs)}, and has not come back.`);
    default: {
      const took = delayName(Math.max(0, backMs - atMs));
      const back = what === 'kill-node' ? `counting again after ${took}` : frozen ? `went on after ${took}` : `back after ${took}`;
      return sentence(`${name} was ${verb} at ${exactTime(atMs)}, and ${frozen ? '' : 'was '}${back}.`);
    }
  }
}

/** A step in words, with what was counted since; without figures, what has just happened. */
export function seen(step, figures, nowMs) {
  const words = done(step, nowMs);
  return figures && step.state !== 'announced' && step.state !== 'failed' ? `${words} ${counted(figures)}` : words;
}

/** The line below the counters. */
export function soFar({ node, running, ends_ms: endsMs, queue, trouble, sent, figures }, nowMs, online) {
  if (trouble) return `Nothing can be broken now. ${trouble}`;
  if (!online) return 'Connecting again. The nodes go on counting.';
  if (!running) return sent ? 'The numbers have stopped.' : 'No numbers have been sent yet.';
  const speed = figures.received
    ? `Half arrived within ${delayName(figures.half_within_ms)}, 99% within ${delayName(figures.most_within_ms)}. `
    : '';
  const over = queue ? `sends over ${named(queue)}` : 'has no broker to send over now';
  return `${speed}As seen by ${node}, which ${over}. Ends in ${waitName(endsMs - nowMs)}.`;
}

/** Why a step has to wait, or had better: {reason, blocked}. */
export function wait(what, { running, busy, steps, parts, queue }, refusal) {
  if (what === 'start') return running ? { reason: 'Running.', blocked: true } : { reason: '', blocked: false };
  if (!running) return { reason: 'Start the numbers first.', blocked: true };
  const under = steps.find(({ step }) => step.id === busy)?.step;
  if (under) return { reason: `Wait until ${partName(under.program)} is back.`, blocked: true };
  const program = what.split('-')[1];
  if (program !== 'node' && !parts.some(({ name }) => name === program)) {
    return { reason: `This cluster has no ${partName(program)} of its own.`, blocked: true };
  }
  if (refusal?.what === what) return { reason: refusal.message, blocked: false };
  if (program === 'redis' && queue && queue !== 'redis') {
    return { reason: `${named(queue)} carries messages now; Redis takes over in about ${BACK_SECONDS} s. Wait for it.`, blocked: false };
  }
  return { reason: '', blocked: false };
}
