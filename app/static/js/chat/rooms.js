/** The list of rooms: mine, my conversations, and those to join. Also the open room's header. */
import { drawAvatar } from './avatar.js';
import { oncePerFrame } from '../frame.js';
import { isOtherHere, joinItem, roomItem } from './room-buttons.js';
import { roomName } from './room-name.js';

const LAST_ROOM_KEY = 'last-room';

export class Rooms {
  #chat;
  #storage;
  #actions;
  #mine = document.getElementById('my-rooms');
  #directs = document.getElementById('directs');
  #others = document.getElementById('other-rooms');
  #drawn = '';

  draw = oncePerFrame(() => this.#draw());

  /**
   * @param {import('./chat.js').Chat} chat
   * @param {import('../storage.js').Storage} storage
   * @param {{createRoom: () => void, notify: (text: string) => void, opened: () => void}} actions
   */
  constructor(chat, storage, actions) {
    this.#chat = chat;
    this.#storage = storage;
    this.#actions = actions;
    this.#listen();
  }

  /** Open the previous or the next of my rooms. @param {-1|1} step */
  openNeighbour(step) {
    const ids = this.#joined().map((room) => room.id);
    if (!ids.length) return;
    const index = ids.indexOf(this.#chat.currentId);
    this.open(ids[(index + step + ids.length) % ids.length]);
  }

  /** Open a room through the address, so that Back and a copied link work. */
  open(id) {
    if (location.hash === `#room-${id}`) this.#openFromAddress();
    else location.hash = `room-${id}`;
    this.#actions.opened();
  }

  #listen() {
    const chat = this.#chat;
    for (const event of ['rooms', 'current', 'members']) chat.on(event, this.draw);
    chat.seen.on('change', this.draw);
    chat.on('ready', () => { if (!chat.current) this.#openFirst(); });
    chat.on('current', () => {
      if (chat.current?.joined) this.#storage.set(LAST_ROOM_KEY, chat.currentId);
    });
    window.addEventListener('hashchange', () => this.#openFromAddress());
    document.getElementById('rooms').addEventListener('click', (event) => {
      const button = event.target.closest('button');
      if (button?.dataset.open) this.open(Number(button.dataset.open));
      if (button?.dataset.join) this.#join(Number(button.dataset.join), button);
    });
    document.getElementById('create-room').addEventListener('click', () => this.#actions.createRoom());
    document.getElementById('leave-room').addEventListener('click', () => this.#leave());
  }

  /** The room of the address, or the last one, or the first one. */
  #openFirst() {
    const chat = this.#chat;
    const wanted = roomOfAddress();
    if (wanted !== null) {
      chat.open(wanted);
      return;
    }
    const joined = this.#joined();
    const last = joined.find((room) => room.id === this.#storage.get(LAST_ROOM_KEY));
    const first = last ?? joined[0];
    if (first) {
      history.replaceState(null, '', `#room-${first.id}`);
      chat.open(first.id);
    } else {
      chat.emit('current'); // nothing to open: the views show that
    }
  }

  #openFromAddress() {
    const id = roomOfAddress();
    if (id !== null && this.#chat.ready) this.#chat.open(id);
  }

  async #join(id, button) {
    button.disabled = true;
    try {
      await this.#chat.join(id);
      this.open(id);
    } catch (error) {
      button.disabled = false;
      this.#actions.notify(error.message);
    }
  }

  async #leave() {
    const room = this.#chat.current;
    if (!room) return;
    try {
      await this.#chat.leave(room.id);
      this.#actions.notify(`You left ${roomName(room)}.`);
      const next = this.#joined()[0];
      if (next) {
        this.open(next.id);
      } else {
        history.replaceState(null, '', location.pathname);
        this.#chat.open(null);
      }
    } catch (error) {
      this.#actions.notify(error.message);
    }
  }

  /** My rooms as they are listed: public ones, then conversations. */
  #joined() {
    const joined = this.#sorted().filter((room) => room.joined);
    return [...joined.filter(isPublic), ...joined.filter((room) => !isPublic(room))];
  }

  #sorted() {
    return [...this.#chat.rooms.values()].sort((a, b) => a.name.localeCompare(b.name));
  }

  #draw() {
    const chat = this.#chat;
    const joined = this.#joined();
    const others = this.#sorted().filter((room) => !room.joined);
    // Rebuild only when something visible changed: the focus and a click under way survive.
    const drawn = JSON.stringify([joined.map((room) => [room.id, room.name, chat.seen.unread(room), isPublic(room)
      || isOtherHere(room)]), others.map((room) => [room.id, room.name]), chat.currentId, chat.ready]);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    const draw = (room) => roomItem(room, chat.seen.unread(room), room.id === chat.currentId);
    const directs = joined.filter((room) => !isPublic(room));
    keepFocus(document.getElementById('rooms'), () => {
      this.#mine.replaceChildren(...joined.filter(isPublic).map(draw));
      this.#directs.replaceChildren(...directs.map(draw));
      this.#others.replaceChildren(...others.map(joinItem));
    });
    document.getElementById('my-rooms-empty').hidden = joined.length > directs.length || !chat.ready;
    document.getElementById('directs-section').hidden = directs.length === 0;
    document.getElementById('other-rooms-section').hidden = others.length === 0;
    this.#drawHeader();
  }

  #drawHeader() {
    const room = this.#chat.current;
    const title = document.getElementById('room-title');
    title.textContent = room ? room.name : '';
    title.dataset.kind = room?.kind ?? '';
    const face = document.getElementById('room-face');
    const presence = document.getElementById('room-presence');
    face.hidden = presence.hidden = room?.kind !== 'direct';
    if (!face.hidden) {
      drawAvatar(face, room.with);
      presence.textContent = isOtherHere(room) ? 'online' : 'offline';
      presence.classList.toggle('is-online', isOtherHere(room));
    }
    document.getElementById('leave-room').hidden = !room?.joined || !isPublic(room);
  }
}

const isPublic = (room) => room.kind === 'public';

/** Rebuild part of the page without throwing a keyboard user out of it. */
function keepFocus(container, rebuild) {
  const { open, join } = container.contains(document.activeElement) ? document.activeElement.dataset : {};
  rebuild();
  const id = open ?? join;
  if (id) container.querySelector(`[data-open="${id}"], [data-join="${id}"]`)?.focus();
}

function roomOfAddress() {
  const match = /^#room-(\d+)$/.exec(location.hash);
  return match ? Number(match[1]) : null;
}
