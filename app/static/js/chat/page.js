/** The chat page, put together. Each noun has a file of its own; this one says how they are connected. */
import { drawAvatar } from './avatar.js';
import { Banner } from '../banner.js';
import { Chat } from './chat.js';
import { Composer } from './composer.js';
import { Connection } from '../connection.js';
import { confirm, createRoomDialog, showShortcuts } from '../dialogs.js';
import { Drafts } from './drafts.js';
import { watchKeyboard } from './keyboard.js';
import { Market } from '../market/panel.js';
import { notify } from '../notices.js';
import { Outbox } from './outbox.js';
import { People } from './people.js';
import { Rooms } from './rooms.js';
import { Seen } from './seen.js';
import { listenToShortcuts } from './shortcuts.js';
import { Storage } from '../storage.js';
import { Timeline } from './timeline.js';
import { keepTitle } from './title.js';
import { Typing } from './typing.js';
import { listenToTabs, showView } from './views.js';

const { userId, userName } = document.body.dataset;
const me = { id: userId, name: userName };
const storage = new Storage(me.id);

// What the page knows.
const connection = new Connection(['/chat', '/market']);
const channel = connection.channel('/chat');
const outbox = new Outbox(channel, new Storage(me.id, 'sessionStorage'));
const chat = new Chat(channel, outbox, new Seen(channel), me);

// What it shows.
const composer = new Composer(chat, new Drafts(storage));
const openCreateRoom = createRoomDialog(chat, (room) => rooms.open(room.id));
const rooms = new Rooms(chat, storage, {
  createRoom: openCreateRoom,
  notify,
  opened: () => { showView('chat'); composer.focus(); },
});
const timeline = new Timeline(chat, composer, {
  confirmDelete: (text) => confirm({
    title: 'Delete this message?', text: 'It is deleted for everybody.', quote: text, yes: 'Delete',
  }),
  notify,
  retry: (clientId) => { connection.reconnectNow(); outbox.retry(clientId); },
});
const banner = new Banner(connection);
new Market(connection.channel('/market'));
new People(chat, {
  show: () => showView('market'),
  write: (member) => chat.openDirect(member).then((room) => rooms.open(room.id), (error) => notify(error.message)),
});
new Typing(chat, composer);
drawAvatar(document.getElementById('me-avatar'), me);
document.getElementById('show-shortcuts').addEventListener('click', showShortcuts);
document.querySelector('[data-skip="composer"]').addEventListener('click', (event) => {
  event.preventDefault(); // the address belongs to the room
  showView('chat');
  document.getElementById('composer').focus();
});
listenToTabs();
listenToShortcuts({
  showShortcuts,
  openNeighbour: (step) => rooms.openNeighbour(step),
  focusComposer: () => composer.focus(),
});
keepTitle(chat);
watchKeyboard();

// How they hear of each other.
composer.on('sent', () => timeline.scrollToEnd());
banner.on('away', (away) => chat.setAway(away));
banner.on('left', () => composer.focus());
channel.on('connect', () => chat.sync());
connection.on('wake', (timeoutMs) => chat.sync(timeoutMs));
document.querySelector('form[action="/sign-out"]').addEventListener('submit', () => connection.stop());
connection.on('session_ended', (reason) => connection.refuse(reason));
connection.on('refused', (code) => window.location.assign(`/sign-in?reason=${encodeURIComponent(code)}`));
chat.on('problem', notify);
chat.on('other_user', () => { connection.stop(); window.location.reload(); });

connection.reconnectNow();
