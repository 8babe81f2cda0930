/**
 * The message box: writes new messages and edits old ones. Enter sends, Shift+Enter breaks the line, Up in the empty
 * box edits the last message of one's own, Escape stops editing.
 */
import { Emitter } from '../emitter.js';
import { roomName } from './room-name.js';

const COUNT_FROM = 0.9; // the counter shows when this share of the allowed length is used
const HAS_KEYBOARD = window.matchMedia('(hover: hover) and (pointer: fine)');

/** Emits `mode` when editing starts or ends, `input` (text) when somebody types, and `sent`. */
export class Composer extends Emitter {
  #chat;
  #drafts;
  #area = document.getElementById('composer-area');
  #input = document.getElementById('composer');
  #mode = document.getElementById('composer-mode');
  #count = document.getElementById('composer-count');
  #notice = document.getElementById('composer-notice');
  #sendButton = document.getElementById('send');
  #room = null;
  #saving = new Set(); // ids of messages
  /** Edits that were left for another message or room. @type {Map<number, {room: number, text: string, original: string}>} */
  #left = new Map();
  #early = true;
  /** The id of the message that is being edited. @type {number|null} */
  editing = null;
  #original = '';

  /** @param {import('./chat.js').Chat} chat @param {import('./drafts.js').Drafts} drafts */
  constructor(chat, drafts) {
    super();
    this.#chat = chat;
    this.#drafts = drafts;
    this.#listen();
    this.#show();
  }

  /** Put the cursor into the box, except where that would open an on-screen keyboard. */
  focus() {
    if (HAS_KEYBOARD.matches && !this.#area.hidden && !document.querySelector('dialog[open]')) this.#input.focus();
  }

  /** @param {{id: number, text: string}} message  one's own */
  edit(message) {
    this.#leaveEdit();
    this.#beginEdit(message.id, this.#left.get(message.id) ?? { text: message.text, original: message.text });
    this.#input.focus();
  }

  cancelEdit() {
    if (this.editing === null) return;
    this.#left.delete(this.editing);
    this.editing = null;
    this.#say('');
    this.#setText(this.#drafts.get(this.#room));
    this.#modeChanged();
    this.focus();
  }

  #listen() {
    const input = this.#input;
    this.#chat.on('current', () => this.#show());
    this.#chat.on('rooms', () => this.#show());
    this.#chat.on('log', () => this.#cancelEditOfDeleted());
    document.getElementById('composer-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit();
    });
    document.getElementById('composer-cancel').addEventListener('click', () => this.cancelEdit());
    // The send button must not take the focus: on a phone that would close the keyboard.
    this.#sendButton.addEventListener('pointerdown', (event) => event.preventDefault());
    input.addEventListener('keydown', (event) => this.#onKey(event));
    input.addEventListener('input', () => {
      if (this.editing === null) this.#drafts.set(this.#room, input.value);
      this.#fit();
      this.#say('');
      this.emit('input', this.editing === null ? input.value : '');
    });
    input.addEventListener('blur', () => this.emit('input', ''));
  }

  #onKey(event) {
    // While an input method composes (Japanese, Chinese…), Enter accepts its suggestion. 229: Safari says it this way.
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === 'Enter' && !event.shiftKey && !event.ctrlKey && !event.altKey && !event.metaKey) {
      event.preventDefault();
      this.#submit();
    } else if (event.key === 'Escape' && this.editing !== null) {
      event.preventDefault();
      this.cancelEdit();
    } else if (event.key === 'ArrowUp' && !event.altKey && this.#input.value === '' && this.editing === null) {
      const last = this.#lastOwnMessage();
      if (!last) return;
      event.preventDefault();
      this.edit(last);
    }
  }

  #lastOwnMessage() {
    if (this.#room === null) return undefined;
    const { messages } = this.#chat.log(this.#room);
    return messages.findLast((message) => message.author.id === this.#chat.me.id && !message.deleted);
  }

  #submit() {
    const text = this.#input.value.trim();
    if (!text || this.#room === null || this.#tooLong(text)) return;
    if (this.editing !== null) {
      if (!this.#saving.has(this.editing)) this.#saveEdit(text);
      return;
    }
    this.#chat.send(text);
    this.#drafts.set(this.#room, '');
    this.#setText('');
    this.#say('');
    this.emit('input', '');
    this.emit('sent');
    this.focus();
  }

  async #saveEdit(text) {
    const message = this.editing;
    if (text === this.#original) {
      this.cancelEdit();
      return;
    }
    this.#saving.add(message);
    try {
      await this.#chat.edit(message, text);
      this.#left.delete(message);
      if (this.editing === message) this.cancelEdit();
    } catch (error) {
      if (this.editing === message) this.#say(`The change is not saved. ${error.message}`);
    } finally {
      this.#saving.delete(message);
    }
  }

  #beginEdit(id, { text, original }) {
    this.editing = id;
    this.#original = original;
    this.#setText(text);
    this.#input.setSelectionRange(text.length, text.length);
    this.#modeChanged();
  }

  /** Keep an edit that is not saved. */
  #leaveEdit() {
    const [room, text, original] = [this.#room, this.#input.value, this.#original];
    this.#left.delete(this.editing);
    if (this.editing !== null && text !== original) this.#left.set(this.editing, { room, text, original });
    this.editing = null;
  }

  /** Follow the open room: its draft, or nothing to write in. */
  #show() {
    const room = this.#chat.current;
    this.#area.hidden = !room?.joined;
    const id = room?.joined ? room.id : null;
    if (id === this.#room) return;
    this.#leaveEdit();
    this.#room = id;
    this.#modeChanged();
    this.#say('');
    if (!room) return;
    this.#input.placeholder = `Message ${roomName(room)}`;
    // Somebody may have begun to type before the first room was there.
    const early = this.#early ? this.#input.value : '';
    this.#early = false;
    this.#setText(this.#drafts.get(room.id) || early);
    this.#resumeEdit();
    this.focus();
  }

  /** Go on with the edit that was left in the open room. */
  #resumeEdit() {
    const [id, left] = [...this.#left].findLast(([, { room }]) => room === this.#room) ?? [];
    if (left) this.#beginEdit(id, left);
    this.#cancelEditOfDeleted();
  }

  #cancelEditOfDeleted() {
    if (this.editing === null || this.#room === null) return;
    const message = this.#chat.log(this.#room).messages.find((other) => other.id === this.editing);
    if (message?.deleted) this.cancelEdit();
  }

  #modeChanged() {
    this.#mode.hidden = this.editing === null;
    this.#sendButton.setAttribute('aria-label', this.editing === null ? 'Send' : 'Save');
    this.#sendButton.title = this.editing === null ? 'Send' : 'Save';
    this.emit('mode');
  }

  #setText(text) {
    this.#input.value = text;
    this.#fit();
  }

  /** Adapt the box's height, the counter and the button to the text. */
  #fit() {
    const input = this.#input;
    if (!CSS.supports('field-sizing', 'content')) {
      input.style.height = 'auto';
      input.style.height = `${input.scrollHeight}px`;
    }
    const max = this.#chat.limits.text_max_chars;
    const length = lengthOf(input.value.trim());
    this.#count.hidden = length < max * COUNT_FROM;
    this.#count.textContent = length > max ? `${length - max} too many` : `${max - length} left`;
    this.#count.classList.toggle('is-over', length > max);
    input.setAttribute('aria-invalid', String(length > max));
    this.#sendButton.disabled = length === 0 || length > max;
  }

  #tooLong(text) {
    const max = this.#chat.limits.text_max_chars;
    if (lengthOf(text) <= max) return false;
    this.#say(`A message may have ${max} characters. This one has ${lengthOf(text)}.`);
    return true;
  }

  #say(notice) {
    this.#notice.textContent = notice;
    this.#notice.hidden = notice === '';
  }
}

/** Characters as the server counts them: an emoji outside the basic plane is one. */
function lengthOf(text) {
  let length = 0;
  for (const _ of text) length += 1;
  return length;
}
