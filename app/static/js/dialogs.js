/** The dialogs: create a room, confirm, keyboard shortcuts. <dialog> keeps the focus inside and closes on Escape. */

const byId = (id) => document.getElementById(id);

/** A press beside the dialog closes it, like Escape; so does a button marked data-close. */
for (const dialog of document.querySelectorAll('dialog')) {
  dialog.addEventListener('pointerdown', (event) => {
    if (event.target === dialog) dialog.close('');
  });
  for (const button of dialog.querySelectorAll('[data-close]')) button.addEventListener('click', () => dialog.close(''));
}

/**
 * Ask before something that cannot be undone.
 * @param {{title: string, text: string, quote?: string, yes: string}} question
 * @returns {Promise<boolean>}
 */
export function confirm({ title, text, quote = '', yes }) {
  const dialog = byId('confirm-dialog');
  byId('confirm-title').textContent = title;
  byId('confirm-text').textContent = text;
  byId('confirm-quote').textContent = quote;
  byId('confirm-quote').hidden = quote === '';
  byId('confirm-yes').textContent = yes;
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true });
  });
}

export function showShortcuts() {
  byId('shortcuts-dialog').showModal();
}

/**
 * Wire the dialog that creates a room.
 * @param {import('./chat/chat.js').Chat} chat
 * @param {(room: import('./protocol.js').Room) => void} created
 * @returns {() => void} opens it
 */
export function createRoomDialog(chat, created) {
  const dialog = byId('create-room-dialog');
  const input = byId('create-room-name');
  const problem = byId('create-room-error');
  const submit = dialog.querySelector('[type="submit"]');

  const say = (text) => {
    problem.textContent = text;
    problem.hidden = text === '';
    input.setAttribute('aria-invalid', String(text !== ''));
  };
  input.addEventListener('input', () => say(''));
  dialog.querySelector('form').addEventListener('submit', async (event) => {
    event.preventDefault(); // it closes when the server agrees
    const name = input.value.trim();
    if (!name) {
      say('Give the room a name.');
      input.focus();
      return;
    }
    submit.disabled = true;
    try {
      const room = await chat.createRoom(name);
      dialog.close();
      created(room);
    } catch (error) {
      say(error.message);
      input.focus();
    } finally {
      submit.disabled = false;
    }
  });
  return () => {
    input.value = '';
    input.maxLength = chat.limits.room_name_max_chars;
    say('');
    dialog.showModal();
    input.focus();
  };
}
