/**
 * The messages of the open room. Draws timeline-items.js into rows by key, so that a row that stays is never rebuilt;
 * place.js looks after the scroll position.
 */
import { oncePerFrame } from '../frame.js';
import { drawMessageRow } from './message.js';
import { Place } from './place.js';
import { timelineItems } from './timeline-items.js';
import { createRow, drawOther, stateContent } from './timeline-marks.js';

const LOAD_OLDER_PX = 300; // load the next older page before the reader reaches the top
const QUIET_MS = 400; // how long assistive technology is told to ignore a block of loaded history

export class Timeline {
  #chat;
  #composer;
  #scroller = document.getElementById('timeline');
  #list = document.getElementById('messages');
  #state = document.getElementById('timeline-state');
  #newButton = document.getElementById('new-messages');
  #jumpButton = document.getElementById('jump-to-latest');
  /** @type {Map<string, {element: HTMLElement, item: object}>} */
  #rows = new Map();
  #place = new Place(this.#scroller, () => this.draw());
  #shownRoom = null;
  #landed = false; // the room was opened and its first page shown
  #quiet = true;
  #quietTimer = null;
  #countdown = null;

  /** Draw at the next frame. */
  draw = oncePerFrame(() => this.#draw());

  /**
   * @param {import('./chat.js').Chat} chat
   * @param {import('./composer.js').Composer} composer
   * @param {{confirmDelete: (text: string) => Promise<boolean>, notify: (text: string) => void,
   *          retry: (clientId: string) => void}} actions
   */
  constructor(chat, composer, actions) {
    this.#chat = chat;
    this.#composer = composer;
    this.#listen(actions);
  }

  /** The reader has the newest messages on the screen. */
  get isReadingEnd() {
    return this.#place.followsEnd && this.#landed && this.#isLookedAt;
  }

  get #isLookedAt() {
    return !document.hidden && this.#place.isShown;
  }

  scrollToEnd() {
    this.#place.toEnd();
    this.draw();
  }

  #listen(actions) {
    const chat = this.#chat;
    chat.on('log', ({ room, quiet }) => {
      if (room !== chat.currentId) return;
      if (quiet) this.#quiet = true;
      if (!this.isReadingEnd && this.#landed) this.#markNew(room);
      if (!this.#isLookedAt) chat.keepFew();
      this.draw();
    });
    for (const event of ['current', 'rooms', 'ready', 'away']) chat.on(event, this.draw);
    chat.seen.on('change', this.draw);
    this.#composer.on('mode', this.draw);
    document.addEventListener('visibilitychange', this.draw);

    for (const button of [this.#newButton, this.#jumpButton]) {
      button.addEventListener('click', () => {
        this.scrollToEnd();
        this.#composer.focus(); // the button goes, and with it the focus
      });
    }
    document.getElementById('timeline-state').addEventListener('click', (event) => {
      if (event.target.closest('[data-action="reload"]')) chat.refresh();
      if (event.target.closest('[data-action="join"]')) {
        chat.join(chat.currentId).then(() => this.#composer.focus(), (error) => actions.notify(error.message));
      }
    });
    this.#list.addEventListener('click', (event) => this.#onClick(event, actions));
  }

  async #onClick(event, { confirmDelete, notify, retry }) {
    const action = event.target.closest('[data-action]')?.dataset.action;
    const row = event.target.closest('.message');
    if (action === 'older') this.#chat.loadOlder(this.#chat.currentId);
    if (action === 'fill') this.#chat.fillGap(this.#chat.currentId, Number(event.target.closest('[data-seq]').dataset.seq));
    if (!row) return;
    const item = [...this.#rows.values()].find((shown) => shown.element === row)?.item;
    if (!action) {
      // Touch screens have no hover: a tap shows the row's buttons.
      for (const other of this.#list.querySelectorAll('.is-active')) if (other !== row) other.classList.remove('is-active');
      row.classList.toggle('is-active');
    } else if (action === 'edit') {
      row.classList.remove('is-active');
      this.#composer.edit(item);
    } else if (action === 'retry') {
      retry(item.clientId);
      this.#composer.focus();
    } else if (action === 'discard') {
      this.#chat.outbox.remove(item.clientId);
      this.#composer.focus();
    } else if (action === 'delete') {
      if (await confirmDelete(item.text)) await this.#chat.delete(item.id).catch((error) => notify(error.message));
      this.#composer.focus();
    }
  }

  /** Messages arrive unread in the open room: they get the divider. */
  #markNew(roomId) {
    const log = this.#chat.log(roomId);
    const newest = log.messages.at(-1);
    const room = this.#chat.current;
    if (log.newAfterSeq !== null || !room || !newest || newest.author.id === this.#chat.me.id) return;
    if (this.#chat.seen.unread(room)) log.newAfterSeq = this.#chat.seen.upTo(room);
  }

  #draw() {
    const chat = this.#chat;
    const room = chat.current;
    const beginsAnew = this.#isLookedAt && chat.lookAgain();
    const log = room && chat.log(room.id);
    if (beginsAnew || this.#shownRoom !== (room?.id ?? null)) this.#clear(room?.id ?? null);
    this.#drawState(room, log);
    const ready = room?.joined && log.status === 'ready';
    if (ready) {
      this.#drawRows(room, log);
      this.#land(room);
    } else {
      this.#removeRows();
    }
    if (ready && this.isReadingEnd) chat.markRead();
    this.#drawButtons(room, ready);
    const isNearTop = this.#place.isShown && this.#place.fromTop < LOAD_OLDER_PX;
    if (ready && isNearTop && log.hasOlder && !log.olderFailed) chat.loadOlder(room.id);
  }

  #clear(roomId) {
    this.#removeRows();
    this.#shownRoom = roomId;
    this.#landed = false;
    this.#place.followsEnd = true;
    this.#quiet = true;
  }

  #removeRows() {
    this.#rows.clear();
    this.#list.replaceChildren();
  }

  #drawRows(room, log) {
    const outgoing = this.#chat.outbox.inRoom(room.id);
    const items = timelineItems(log, outgoing, this.#chat.me, this.#chat.now(), this.#chat.away);
    this.#tellAssistiveTechnology();
    this.#place.keep(this.#messageElements(), () => this.#patch(items, room, log));
    this.#countDown(outgoing);
  }

  * #messageElements() {
    for (const { element, item } of this.#rows.values()) if (item.kind === 'message') yield element;
  }

  /** Bring the rows in line with the items, touching only what differs. */
  #patch(items, room, log) {
    const rows = new Map();
    let place = this.#list.firstElementChild;
    const kept = new Set(items.map((item) => item.key));
    for (const [key, { element }] of this.#rows) {
      if (kept.has(key)) continue;
      if (element === place) place = place.nextElementSibling;
      // A button that has done its work does not leave the keyboard nowhere.
      if (element.contains(document.activeElement)) this.#scroller.focus({ preventScroll: true });
      element.remove();
    }
    for (const item of items) {
      const known = this.#rows.get(item.key);
      const element = known?.element ?? createRow(item);
      if (element === place) place = place.nextElementSibling;
      else this.#list.insertBefore(element, place);
      if (item.kind === 'message') {
        const editing = this.#composer.editing === item.id && item.id !== undefined;
        if (!known || known.editing !== editing || !same(known.item, item)) {
          drawMessageRow(element, item, known?.item, editing);
        }
        rows.set(item.key, { element, item, editing });
      } else {
        drawOther(element, item, room, log);
        rows.set(item.key, { element, item });
      }
    }
    this.#rows = rows;
  }

  /** A room was just opened: land at the end, or at the first unread message, when both are there. */
  #land(room) {
    if (this.#landed || !this.#place.isShown || this.#chat.lacksNewest(room)) return;
    this.#landed = true;
    const divider = this.#rows.get('new')?.element;
    if (divider) this.#place.landAt(divider);
  }

  #drawState(room, log) {
    const chat = this.#chat;
    let state = '';
    if (!room) state = chat.ready ? (chat.currentId === null ? 'no-room' : 'unknown-room') : 'loading';
    else if (!room.joined) state = 'not-joined';
    else if (log.status === 'failed') state = 'failed';
    else if (log.status !== 'ready') state = 'loading';
    const key = `${state}:${room?.id ?? ''}`;
    if (this.#state.dataset.key === key) return;
    this.#state.dataset.key = key;
    this.#state.dataset.state = state;
    this.#state.hidden = state === '';
    this.#state.replaceChildren(...stateContent(state, room));
  }

  #drawButtons(room, ready) {
    const unread = ready && !this.#place.followsEnd ? this.#chat.seen.unread(room) : 0;
    this.#newButton.hidden = unread === 0;
    this.#newButton.querySelector('span').textContent = `${unread} new`;
    this.#jumpButton.hidden = !ready || unread > 0 || this.#place.followsEnd || !this.#place.isFar;
  }

  /** Loaded history is not read aloud, a live message is. */
  #tellAssistiveTechnology() {
    if (!this.#quiet) return;
    this.#quiet = false;
    this.#scroller.setAttribute('aria-live', 'off');
    this.#scroller.setAttribute('aria-busy', 'true');
    clearTimeout(this.#quietTimer);
    this.#quietTimer = setTimeout(() => {
      this.#scroller.setAttribute('aria-live', 'polite');
      this.#scroller.removeAttribute('aria-busy');
    }, QUIET_MS);
  }

  /** Redraw every second while a failed message says how long to wait. */
  #countDown(outgoing) {
    const waits = outgoing.some((entry) => entry.state === 'failed' && entry.retryAtMs);
    clearTimeout(this.#countdown);
    if (!waits) return;
    this.#countdown = setTimeout(() => {
      for (const shown of this.#rows.values()) if (shown.item.retryAtMs) shown.editing = undefined; // draw again
      this.draw();
    }, 1000);
  }
}

/** Whether a row for `a` needs nothing to show `b`. */
function same(a, b) {
  for (const name in b) {
    if (name === 'author' ? a.author.name !== b.author.name : a[name] !== b[name]) return false;
  }
  return true;
}
