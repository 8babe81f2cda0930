/**
 * Says when the connection is lost, counts down to the next attempt, and offers to try now; and, in a cluster, to
 * which node it is. While it is lost, the body has data-away, by which stylesheets grey what may be so no more.
 */
import { Emitter } from './emitter.js';

const SHOW_AFTER_MS = 1_000; // a blip shorter than this is nobody's business

/** Emits `away` (boolean), and `left` when it goes with the focus in it. */
export class Banner extends Emitter {
  #connection;
  #element = document.getElementById('banner');
  #text = this.#element.querySelector('.banner-text');
  #countdown = this.#element.querySelector('.banner-countdown');
  #button = this.#element.querySelector('.banner-button');
  #node = document.getElementById('me-node');
  #wasOnline = false;
  #showTimer = null;
  #tickTimer = null;

  /** @param {import('./connection.js').Connection} connection */
  constructor(connection) {
    super();
    this.#connection = connection;
    connection.on('state', () => this.#update());
    this.#button.addEventListener('click', () => connection.reconnectNow());
    this.#update();
  }

  #update() {
    if (this.#connection.state.phase === 'online') {
      this.#wasOnline = true;
      clearTimeout(this.#showTimer);
      clearInterval(this.#tickTimer);
      this.#showTimer = null;
      this.#setAway(false);
      set(this.#node, this.#connection.node);
      this.#node.hidden = !this.#connection.node;
      return;
    }
    this.#showTimer ??= setTimeout(() => {
      this.#setAway(true);
      this.#draw();
      this.#tickTimer = setInterval(() => this.#draw(), 250);
    }, SHOW_AFTER_MS);
    if (!this.#element.hidden) this.#draw();
  }

  #setAway(away) {
    const hadFocus = this.#element.contains(document.activeElement);
    this.#element.hidden = !away;
    if (hadFocus && !away) this.emit('left');
    document.body.toggleAttribute('data-away', away);
    this.emit('away', away);
  }

  #draw() {
    const { phase, retryAtMs } = this.#connection.state;
    const seconds = retryAtMs === null ? 0 : Math.max(0, Math.ceil((retryAtMs - Date.now()) / 1000));
    // The sentence stays the same through all attempts: an alert is read aloud whenever its text changes.
    set(this.#text, this.#wasOnline ? this.#element.dataset.lost : 'Cannot reach the server yet.');
    set(this.#countdown, phase === 'waiting' && seconds > 0 ? `Next try in ${seconds} s` : 'Connecting…');
  }
}

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
