/** The list of rooms: those I am in, with unread counts, and those to join. Also the open room's header. */
import { oncePerFrame } from './frame.js';

const LAST_ROOM_KEY = 'last-room';
const UNREAD_SHOWN_MAX = 99;

export class Rooms {
  #chat;
  #storage;
  #actions;
  #mine = document.getElementById('my-rooms');
  #others = document.getElementById('other-rooms');
  #drawn = '';

  draw = oncePerFrame(() => this.#draw());

  /**
   * @param {import('./chat.js').Chat} chat
   * @param {import('./storage.js').Storage} storage
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
    for (const event of ['rooms', 'current']) chat.on(event, this.draw);
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
      this.#actions.notify(`You left #${room.name}.`);
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

  #joined() {
    return this.#sorted().filter((room) => room.joined);
  }

  #sorted() {
    return [...this.#chat.rooms.values()].sort((a, b) => a.name.localeCompare(b.name));
  }

  #draw() {
    const chat = this.#chat;
    const rooms = this.#sorted();
    const joined = rooms.filter((room) => room.joined);
    const others = rooms.filter((room) => !room.joined);
    // Rebuild only when something visible changed: the focus and a click under way survive.
    const drawn = JSON.stringify([rooms.map((room) => [room.id, room.name, room.joined, chat.seen.unread(room),
      room.joined || room.online]), chat.currentId, chat.ready]);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    keepFocus(document.getElementById('rooms'), () => {
      this.#mine.replaceChildren(...joined.map((room) => this.#myRoom(room)));
      this.#others.replaceChildren(...others.map(otherRoom));
    });
    document.getElementById('my-rooms-empty').hidden = joined.length > 0 || !chat.ready;
    document.getElementById('other-rooms-section').hidden = others.length === 0;
    this.#drawHeader();
  }

  #drawHeader() {
    const room = this.#chat.current;
    document.getElementById('room-title').textContent = room ? room.name : '';
    document.getElementById('leave-room').hidden = !room?.joined;
  }

  #myRoom(room) {
    const unread = this.#chat.seen.unread(room);
    const open = room.id === this.#chat.currentId;
    const button = roomButton(room);
    button.dataset.open = room.id;
    button.dataset.testid = `room-${room.name}`;
    if (open) button.setAttribute('aria-current', 'true');
    if (unread > 0) {
      button.classList.add('is-unread');
      const badge = document.createElement('span');
      badge.className = 'badge';
      badge.dataset.testid = 'unread';
      badge.textContent = unread > UNREAD_SHOWN_MAX ? `${UNREAD_SHOWN_MAX}+` : String(unread);
      badge.setAttribute('aria-label', `${unread} unread`);
      button.append(badge);
    }
    return item(button);
  }
}

function otherRoom(room) {
  const button = roomButton(room);
  button.dataset.join = room.id;
  button.dataset.testid = `join-${room.name}`;
  button.setAttribute('aria-label', `Join ${room.name}`);
  const label = document.createElement('span');
  label.className = 'room-join';
  label.textContent = 'Join';
  button.append(label);
  return item(button);
}

function roomButton(room) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'room';
  const name = document.createElement('span');
  name.className = 'room-name';
  name.textContent = room.name;
  button.title = room.name;
  button.append(name);
  return button;
}

function item(button) {
  const element = document.createElement('li');
  element.append(button);
  return element;
}

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
