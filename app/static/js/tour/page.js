/**
 * The tour on the operations page: starts the numbers, breaks things, and says what came of it. The server tells
 * everything once a second, whichever node serves the page; nothing is counted here.
 */
import { oncePerFrame } from '../frame.js';
import { drawPairs, drawParts } from './tables.js';
import { drawStrips } from './strips.js';
import { delayName, seen, soFar, wait } from './words.js';

const OPEN = '?tour';

class Tour {
  #channel;
  #state = null;
  #asked = null; // what was asked for and is not announced yet
  #refusal = null; // {what, message}
  #clockAheadMs = 0; // of the server's clock, before the page's
  #counters = new Map([...document.querySelectorAll('[data-counter]')].map((box) => [box.dataset.counter, box]));
  #line = document.getElementById('tour-line');
  #said = document.getElementById('tour-said');
  #stop = document.getElementById('tour-stop');
  #steps = [...document.querySelectorAll('.tour-step')].map((element) => ({
    element,
    what: element.dataset.what,
    button: element.querySelector('button'),
    wait: element.querySelector('.tour-wait'),
    verdict: element.querySelector('.tour-verdict'),
    words: element.querySelector('.tour-seen'),
  }));

  #draw = oncePerFrame(() => this.#drawNow());

  /** @param {import('../connection.js').Channel} channel */
  constructor(channel) {
    this.#channel = channel;
    document.getElementById('tour').addEventListener('click', ({ target }) => {
      // Disabled for people only: a button that is so for the browser loses the focus of who has just pressed it.
      const button = target.closest('button:not([aria-disabled="true"])');
      if (button) this.#press(button);
    });
    channel.on('tour', (state) => {
      this.#state = state;
      this.#clockAheadMs = state.now_ms - Date.now();
      this.#draw();
    });
    channel.on('step', (step) => {
      this.#said.textContent = seen(step, null, step.at_ms);
    });
    this.#keepOpen(document.getElementById('tour-frame'));
    for (const event of ['connect', 'disconnect']) channel.on(event, this.#draw);
    setInterval(this.#draw, 1_000); // for what says how long something takes
  }

  /** The address keeps whether it is open. */
  #keepOpen(frame) {
    frame.addEventListener('toggle', () => {
      window.history.replaceState(null, '', frame.open ? OPEN : window.location.pathname);
    });
  }

  #press(button) {
    const { node, what = button.closest('.tour-step')?.dataset.what } = button.dataset;
    if (button === this.#stop) this.#ask('stop');
    else if (what === 'start') this.#ask('start');
    else this.#ask('break', node ? { what, node } : { what });
  }

  async #ask(event, payload = {}) {
    const what = payload.what ?? event;
    this.#asked = what;
    this.#refusal = null;
    this.#draw();
    try {
      await this.#channel.request(event, payload);
    } catch (error) {
      this.#refusal = { what, message: error.message };
      this.#said.textContent = error.message;
    }
    this.#asked = null;
    this.#draw();
  }

  #drawNow() {
    const state = this.#state;
    if (!state) return;
    const nowMs = Date.now() + this.#clockAheadMs;
    const online = this.#channel.connected;
    this.#drawCounters(state);
    set(this.#line, soFar(state, nowMs, online));
    drawStrips(state.strips.length ? state.strips : nobody(state.parts));
    const free = online && !this.#asked && !state.trouble;
    for (const step of this.#steps) this.#drawStep(step, state, nowMs, free);
    drawParts(state.parts, state.node, free && state.running && !state.busy);
    drawPairs(state.pairs);
    this.#stop.ariaDisabled = String(!free || !state.running);
  }

  #drawCounters({ sent, figures }) {
    const values = { sent, ...figures };
    for (const [name, box] of this.#counters) {
      const value = name === 'worst' ? delayName(figures.worst_ms) : number.format(values[name]);
      set(box.querySelector('dd'), sent ? value : '–');
    }
    for (const name of ['lost', 'doubled']) this.#counters.get(name).dataset.state = figures[name] ? 'bad' : sent ? 'good' : '';
  }

  #drawStep({ element, what, button, wait: waitLine, verdict, words }, state, nowMs, free) {
    const last = state.steps.findLast(({ step }) => step.what === what);
    const { reason, blocked } = wait(what, state, this.#refusal);
    button.ariaDisabled = String(!free || blocked);
    set(waitLine, this.#asked === what ? 'Asking…' : reason);
    element.dataset.state = last?.step.state ?? 'new';
    set(words, last ? seen(last.step, last.figures, nowMs) : 'Not tried yet.');
    const good = last && !last.figures.lost && !last.figures.doubled;
    verdict.dataset.state = !last || last.step.state === 'announced' ? '' : good ? 'good' : 'bad';
    set(verdict, !verdict.dataset.state ? '' : good ? 'Nothing lost, nothing doubled' : 'Not as expected');
  }
}

const number = new Intl.NumberFormat();

/** Strips without numbers, before anybody sends. */
function nobody(parts) {
  return parts.filter(({ is_broker: isBroker }) => !isBroker).map(({ name }) => ({ sender: name, receiver: '', sent: 0, delays_ms: [] }));
}

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {import('../connection.js').Channel} channel  that of the namespace /tour */
export const startTour = (channel) => new Tour(channel);
