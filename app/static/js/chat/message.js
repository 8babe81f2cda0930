/** One row of the timeline that is a message. The markup is <template id="message-template"> in chat.html. */
import { drawAvatar } from './avatar.js';
import { linked } from './links.js';
import { clockTime, fullTime, shortClockTime, waitName } from '../time.js';

const clone = (id) => document.getElementById(id).content.firstElementChild.cloneNode(true);

/** @returns {HTMLElement} an empty row */
export function createMessageRow() {
  return clone('message-template');
}

/**
 * Make `row` show `item`, changing only what differs: a pending message turns into a sent one in place.
 * @param {HTMLElement} row
 * @param {object} item  of kind "message", see timeline-items.js
 * @param {object} [before]  what the row showed until now
 * @param {boolean} editing  the composer holds this message
 */
export function drawMessageRow(row, item, before, editing) {
  const part = (name) => row.querySelector(`.message-${name}`);

  row.dataset.state = item.state;
  row.dataset.clientId = item.clientId;
  if (item.seq) row.dataset.seq = item.seq;
  if (item.id) row.dataset.messageId = item.id;
  row.classList.toggle('is-continued', item.continues);
  row.classList.toggle('is-mine', item.mine);
  row.classList.toggle('is-deleted', item.deleted);
  row.classList.toggle('is-editing', editing);

  if (!before || before.author.name !== item.author.name) {
    drawAvatar(row.querySelector('.avatar'), item.author);
    part('author').textContent = item.author.name;
  }
  if (!before || before.sentAtMs !== item.sentAtMs) {
    const time = part('time');
    time.dateTime = new Date(item.sentAtMs).toISOString();
    time.textContent = clockTime(item.sentAtMs);
    time.title = fullTime(item.sentAtMs);
    part('clock').textContent = shortClockTime(item.sentAtMs);
    part('clock').title = fullTime(item.sentAtMs);
  }
  if (!before || before.text !== item.text || before.edited !== item.edited || before.deleted !== item.deleted) {
    drawText(part('text'), item);
  }
  drawActions(row, item);
  drawSending(row, item);
  drawUnsent(row, item);
}

function drawText(element, item) {
  if (item.deleted) {
    element.replaceChildren('This message was deleted');
    return;
  }
  element.replaceChildren(linked(item.text));
  if (item.edited) {
    const mark = document.createElement('span');
    mark.className = 'message-edited';
    mark.textContent = ' (edited)';
    element.append(mark);
  }
}

/** Edit and delete, for one's own messages that the server has. */
function drawActions(row, item) {
  const present = row.querySelector('.message-actions');
  const wanted = item.mine && item.state === 'sent' && !item.deleted;
  if (wanted && !present) row.append(clone('message-actions-template'));
  else if (!wanted) present?.remove();
}

/** That it is on its way; the style keeps that to itself for a moment, for most are quick. */
function drawSending(row, item) {
  const present = row.querySelector('.message-sending');
  if (item.state !== 'pending' || item.waiting) present?.remove();
  else row.querySelector(item.continues ? '.message-gutter' : '.message-head').append(present ?? clone('message-sending-template'));
}

/** Why it was not sent, and what can be done. What waits for the connection needs no retry. */
function drawUnsent(row, item) {
  let unsent = row.querySelector('.message-unsent');
  row.classList.toggle('is-waiting', Boolean(item.waiting));
  if (item.state !== 'failed' && !item.waiting) {
    unsent?.remove();
    return;
  }
  if (!unsent) {
    unsent = clone('message-unsent-template');
    row.querySelector('.message-body').append(unsent);
  }
  unsent.querySelector('use').setAttribute('href', item.waiting ? '#icon-clock' : '#icon-alert');
  unsent.querySelector('[data-action="retry"]').hidden = item.waiting;
  unsent.querySelector('.message-reason').textContent = item.waiting ? 'Waiting for the connection' : failure(item);
}

function failure(item) {
  const waitMs = item.retryAtMs ? item.retryAtMs - Date.now() : 0;
  const reason = `Not sent. ${item.reason}`;
  return waitMs > 0 ? `${reason} Try again in ${waitName(waitMs)}.` : reason;
}
