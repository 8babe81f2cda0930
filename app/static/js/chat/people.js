/** Who is in the open room right now: the list on the right, and the faces in the header. */
import { avatar } from './avatar.js';
import { oncePerFrame } from '../frame.js';

const FACES_MAX = 4;

export class People {
  #chat;
  #write;
  #list = document.getElementById('people-list');
  #header = document.getElementById('here');

  draw = oncePerFrame(() => this.#draw());

  /**
   * @param {import('./chat.js').Chat} chat
   * @param {{show: () => void, write: (member: import('../protocol.js').Member) => void}} actions  bring the list into
   *        view; open the conversation with somebody
   */
  constructor(chat, { show, write }) {
    this.#chat = chat;
    this.#write = write;
    for (const event of ['members', 'current', 'ready', 'away']) chat.on(event, this.draw);
    this.#header.addEventListener('click', () => {
      show();
      document.getElementById('people').focus();
    });
  }

  #draw() {
    const chat = this.#chat;
    const room = chat.current;
    const members = room?.joined ? chat.membersOf(room.id) : [];
    const isDirect = room?.kind === 'direct'; // its header tells all
    keepFocus(this.#list, () => {
      this.#list.replaceChildren(...members.map((member) => this.#person(member)));
    });
    document.getElementById('people').hidden = isDirect;
    const title = chat.away ? 'Last seen here' : 'People here';
    document.getElementById('people-title').textContent = members.length ? `${title} — ${members.length}` : title;

    this.#header.hidden = isDirect || members.length === 0;
    this.#header.querySelector('.here-count').textContent = `${members.length} here`;
    this.#header.title = members.map((member) => member.name).join(', ');
    this.#header.querySelector('.here-avatars').replaceChildren(...members.slice(0, FACES_MAX).map(avatar));
  }

  #person(member) {
    const row = document.createElement('li');
    row.className = 'person';
    row.dataset.testid = 'person';
    const name = document.createElement('span');
    name.className = 'person-name';
    name.textContent = member.name;
    name.title = member.name;
    if (member.id !== this.#chat.me.id) {
      const button = document.createElement('button');
      button.type = 'button';
      button.className = 'person-write';
      button.dataset.member = member.id;
      button.setAttribute('aria-label', `Write to ${member.name}`);
      button.title = `Write to ${member.name}`;
      button.append(avatar(member), name);
      button.addEventListener('click', () => this.#write(member));
      row.append(button);
    } else {
      row.append(avatar(member), name);
      const you = document.createElement('span');
      you.className = 'person-you';
      you.textContent = 'you';
      row.append(you);
    }
    return row;
  }
}

/** Somebody who comes or goes does not take the focus from a name. */
function keepFocus(list, rebuild) {
  const id = list.contains(document.activeElement) ? document.activeElement.dataset.member : undefined;
  rebuild();
  if (id) [...list.querySelectorAll('button')].find((button) => button.dataset.member === id)?.focus();
}
