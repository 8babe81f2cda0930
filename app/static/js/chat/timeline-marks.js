/** What the timeline shows besides messages: days, the "New" divider, holes, the beginning, and the empty states. */
import { createMessageRow } from './message.js';
import { roomName } from './room-name.js';

/** An empty row for `item`. */
export function createRow(item) {
  if (item.kind === 'message') return createMessageRow();
  const row = document.createElement('div');
  row.className = `timeline-${item.kind}`;
  if (item.kind === 'new') row.dataset.testid = 'new-divider';
  if (item.kind === 'day' || item.kind === 'new') row.setAttribute('role', 'separator');
  return row;
}

/** Make `row` show an item that is no message. */
export function drawOther(row, item, room, log) {
  if (item.kind === 'top') drawTop(row, room, log);
  else if (item.kind === 'gap') drawGap(row, item, log);
  else if (item.kind === 'gone') {
    draw(row, `gone ${item.count}`, () => [text('span', `${messages(item.count)} no longer available.`)]);
  } else {
    const label = item.kind === 'new' ? 'New' : item.label;
    row.setAttribute('aria-label', item.kind === 'new' ? 'New messages' : label);
    draw(row, label, () => [text('span', label)]);
  }
}

/** A hole that can be filled. Its button stays while the hole shrinks, and with it the focus. */
function drawGap(row, item, log) {
  row.dataset.seq = item.seq;
  row.dataset.testid = 'gap';
  draw(row, 'gap', () => [text('span', ''), button('Load', 'fill')]);
  const [sentence, load] = row.children;
  const isLoading = log.filling === item.seq;
  const failed = log.fillFailed === item.seq ? ' They could not be loaded.' : '';
  sentence.textContent = `${messages(item.count)} missing here.${failed}`;
  load.textContent = isLoading ? 'Loading…' : failed ? 'Try again' : 'Load';
  load.setAttribute('aria-disabled', String(isLoading));
}

const messages = (count) => `${count} ${count === 1 ? 'message is' : 'messages are'}`;

/** Above the first message: where the room begins, or that there is more. */
function drawTop(row, room, log) {
  if (log.status !== 'ready') draw(row, 'nothing', () => []);
  else if (!log.hasOlder) {
    const trimmed = (log.firstSeq || log.firstKept) > 1;
    draw(row, `beginning ${room.name} ${trimmed}`, () => {
      const box = document.createElement('div');
      box.className = 'beginning';
      box.dataset.testid = 'beginning';
      // The header says the other one's name already, and the sentence once more.
      if (room.kind !== 'direct') box.append(text('p', roomName(room), 'beginning-title'));
      box.append(text('p', beginning(room, trimmed)));
      return [box];
    });
  } else if (log.olderFailed) {
    draw(row, 'failed', () => [text('span', 'Older messages could not be loaded.'), button('Try again', 'older')]);
  } else {
    draw(row, 'loading', () => {
      const loading = text('span', 'Loading older messages…', 'older-loading');
      loading.dataset.testid = 'older-loading';
      return [loading];
    });
  }
}

function beginning(room, trimmed) {
  if (trimmed) return 'Older messages are not kept.';
  if (room.kind === 'direct') return `This is the beginning of your conversation with ${room.name}. Only you two see it.`;
  return 'This is the beginning of the room. Say hello!';
}

/** Fill `row` unless it shows this already. */
function draw(row, version, content) {
  if (row.dataset.version === version) return;
  row.dataset.version = version;
  row.replaceChildren(...content());
}

/**
 * What stands in place of the messages.
 * @param {'loading'|'failed'|'not-joined'|'no-room'|'unknown-room'|''} state
 */
export function stateContent(state, room) {
  switch (state) {
    case 'loading': {
      const rows = Array.from({ length: 5 }, () => text('div', '', 'skeleton'));
      return [text('p', 'Loading messages…', 'visually-hidden'), ...rows];
    }
    case 'failed':
      return [text('h2', 'The messages could not be loaded'), text('p', 'The connection may be slow or gone.'), button('Try again', 'reload', true)];
    case 'not-joined':
      return [text('h2', `#${room.name}`), text('p', 'You are not in this room. Join it to read and write.'), button('Join the room', 'join', true)];
    case 'no-room':
      return [text('h2', 'No room is open'), text('p', 'Join a room from the list, or create your own.')];
    case 'unknown-room':
      return [text('h2', 'There is no such room'), text('p', 'The link may be old. Choose a room from the list.')];
    default:
      return [];
  }
}

function text(tag, content, className = '') {
  const element = document.createElement(tag);
  element.textContent = content;
  element.className = className;
  return element;
}

function button(label, action, primary = false) {
  const element = text('button', label, primary ? 'button button-primary' : 'button button-small');
  element.type = 'button';
  element.dataset.action = action;
  return element;
}
