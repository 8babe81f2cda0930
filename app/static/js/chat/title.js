/** The tab's title: how many messages are unread, and the open room. */
import { oncePerFrame } from '../frame.js';
import { roomName } from './room-name.js';

/** @param {import('./chat.js').Chat} chat */
export function keepTitle(chat) {
  const badge = document.getElementById('tab-unread');
  const draw = oncePerFrame(() => {
    const unread = [...chat.rooms.values()].reduce((sum, room) => sum + chat.seen.unread(room), 0);
    const room = chat.current ? `${roomName(chat.current)} · ` : '';
    document.title = `${unread ? `(${unread}) ` : ''}${room}${document.body.dataset.appName}`;
    badge.hidden = unread === 0;
    badge.textContent = unread > 99 ? '99+' : String(unread);
  });
  for (const event of ['rooms', 'current', 'ready']) chat.on(event, draw);
  chat.seen.on('change', draw);
}
