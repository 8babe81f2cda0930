/** The buttons in the list of rooms: a room of mine, a conversation, a room to join. */
import { avatar } from './avatar.js';

const UNREAD_SHOWN_MAX = 99;

/** @param {import('../protocol.js').Room} room @param {number} unread @param {boolean} open  it is on the screen */
export function roomItem(room, unread, open) {
  const button = createButton(room);
  button.dataset.open = room.id;
  button.dataset.testid = `${room.kind === 'direct' ? 'direct' : 'room'}-${room.name}`;
  if (room.kind === 'direct') drawPerson(button, room);
  if (open) button.setAttribute('aria-current', 'true');
  if (unread > 0) {
    button.classList.add('is-unread');
    const badge = document.createElement('span');
    badge.className = 'badge';
    badge.dataset.testid = 'unread';
    badge.textContent = unread > UNREAD_SHOWN_MAX ? `${UNREAD_SHOWN_MAX}+` : String(unread);
    button.append(badge, hidden(' unread'));
  }
  return item(button);
}

/** @param {import('../protocol.js').Room} room  one that can be joined */
export function joinItem(room) {
  const button = createButton(room);
  button.dataset.join = room.id;
  button.dataset.testid = `join-${room.name}`;
  const label = document.createElement('span');
  label.className = 'room-join';
  label.textContent = 'Join';
  button.prepend(label, ' '); // heard as it is said, "Join garden"; the style puts it at the end
  return item(button);
}

/** Whether the other one of a direct conversation is online: I am, so there are two. */
export const isOtherHere = (room) => room.online > 1;

function drawPerson(button, room) {
  const here = isOtherHere(room);
  button.classList.add('is-direct');
  button.classList.toggle('is-online', here);
  const face = document.createElement('span');
  face.className = 'room-face';
  face.append(avatar(room.with));
  button.prepend(face);
  const presence = hidden(here ? ' (online)' : ' (offline)');
  presence.classList.add('presence');
  button.append(presence);
}

function createButton(room) {
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

/** For ears only. */
function hidden(text) {
  const element = document.createElement('span');
  element.className = 'visually-hidden';
  element.textContent = text;
  return element;
}

function item(button) {
  const element = document.createElement('li');
  element.append(button);
  return element;
}
