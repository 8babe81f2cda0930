/** What the timeline shows besides messages: days, the "New" divider, holes, the beginning, and the empty states. */
import { createMessageRow } from './message.js';

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
  else if (item.kind === 'gap') {
    draw(row, `gap ${item.missing}`, () => [
      text('span', `${item.missing} ${item.missing === 1 ? 'message is' : 'messages are'} missing here.`),
      button('Load', 'fill'),
    ]);
  } else {
    const label = item.kind === 'new' ? 'New' : item.label;
    row.setAttribute('aria-label', item.kind === 'new' ? 'New messages' : label);
    draw(row, label, () => [text('span', label)]);
  }
}

/** Above the first message: where the room begins, or that there is more. */
function drawTop(row, room, log) {
  if (log.status !== 'ready') draw(row, 'nothing', () => []);
  else if (!log.hasOlder) {
    draw(row, `beginning ${room.name}`, () => {
      const box = document.createElement('div');
      box.className = 'beginning';
      box.dataset.testid = 'beginning';
      box.append(text('p', `#${room.name}`, 'beginning-title'), text('p', 'This is the beginning of the room. Say hello!'));
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
