/** Who is typing: tells the others about me, sparingly, and shows the others. Nothing here is stored. */
const TELL_EVERY_MS = 3_000;
const EXPIRES_MS = 6_000; // a typist who says nothing more has stopped, or is gone
const NAMES_MAX = 3;

export class Typing {
  #chat;
  #line = document.getElementById('typing');
  /** room id -> member id -> {name, timer} */
  #typists = new Map();
  #told = null; // {room, atMs} while the others believe that I am typing

  /** @param {import('./chat.js').Chat} chat @param {import('./composer.js').Composer} composer */
  constructor(chat, composer) {
    this.#chat = chat;
    chat.on('typing', (typing) => this.#heard(typing));
    chat.on('current', () => {
      this.#tell(false);
      this.#draw();
    });
    composer.on('input', (text) => this.#tell(text.trim() !== ''));
    chat.channel.on('disconnect', () => {
      this.#told = null;
      for (const room of this.#typists.values()) for (const { timer } of room.values()) clearTimeout(timer);
      this.#typists.clear();
      this.#draw();
    });
  }

  /** Tell the room that I am typing, at most every 3 s, or that I have stopped, once. */
  #tell(active) {
    const told = this.#told;
    if (active) {
      const room = this.#chat.currentId;
      if (told?.room === room && Date.now() - told.atMs < TELL_EVERY_MS) return;
      this.#told = { room, atMs: Date.now() };
      this.#chat.channel.notify('typing', { room, active: true });
    } else if (told) {
      this.#told = null;
      this.#chat.channel.notify('typing', { room: told.room, active: false });
    }
  }

  #heard({ room, member, active }) {
    if (!this.#typists.has(room)) this.#typists.set(room, new Map());
    const typists = this.#typists.get(room);
    clearTimeout(typists.get(member.id)?.timer);
    typists.delete(member.id);
    if (active) {
      const timer = setTimeout(() => this.#heard({ room, member, active: false }), EXPIRES_MS);
      typists.set(member.id, { name: member.name, timer });
    }
    if (room === this.#chat.currentId) this.#draw();
  }

  #draw() {
    const typists = this.#typists.get(this.#chat.currentId);
    const names = [...(typists?.values() ?? [])].map((typist) => typist.name);
    const sentence = typingSentence(names);
    if (this.#line.textContent === sentence) return;
    this.#line.textContent = sentence;
    this.#line.classList.toggle('is-active', sentence !== '');
  }
}

function typingSentence(names) {
  if (names.length === 0) return '';
  if (names.length > NAMES_MAX) return 'Several people are typing…';
  const list = new Intl.ListFormat('en', { type: 'conjunction' }).format(names);
  return `${list} ${names.length === 1 ? 'is' : 'are'} typing…`;
}
