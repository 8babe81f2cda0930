/**
 * What the timeline shows, from top to bottom, as plain data: days, messages, the "New" divider, holes. Pure.
 *
 * @typedef {object} Item
 * @property {string} key  the same for the same thing, also when a pending message becomes a stored one
 * @property {'top'|'day'|'new'|'gone'|'gap'|'message'} kind
 */
import { dayName, dayOf } from '../time.js';

const NO_HOLE = { gone: 0, missing: 0 };
const GROUP_MS = 5 * 60_000; // one author's messages within this time stand under one name

/**
 * @param {import('./log.js').MessageLog} log
 * @param {import('./outbox.js').Outgoing[]} outgoing
 * @param {import('../protocol.js').Member} me
 * @param {number} nowMs
 * @param {boolean} away  the connection is: what goes out by itself waits for it
 * @returns {Item[]}
 */
export function timelineItems(log, outgoing, me, nowMs, away) {
  const items = [{ key: 'top', kind: 'top' }];
  let previous = null;
  let newShown = false;

  const add = (entry) => {
    let breaks = !previous;
    if (!previous || dayOf(entry.sentAtMs) !== dayOf(previous.sentAtMs)) {
      items.push({ key: `day:${dayOf(entry.sentAtMs)}`, kind: 'day', label: dayName(entry.sentAtMs, nowMs) });
      breaks = true;
    }
    const { gone, missing } = entry.seq && previous?.seq ? log.hole(previous.seq, entry.seq) : NO_HOLE;
    if (gone) items.push({ key: `gone:${entry.seq}`, kind: 'gone', count: gone });
    // By the message after it: the hole is filled from its older side, and stays the same hole.
    if (missing) items.push({ key: `gap:${entry.seq}`, kind: 'gap', count: missing, seq: entry.seq });
    if (gone || missing) breaks = true;
    if (!newShown && log.newAfterSeq !== null && entry.seq > log.newAfterSeq) {
      items.push({ key: 'new', kind: 'new' });
      newShown = true;
      breaks = true;
    }
    const continues = !breaks && previous.author.id === entry.author.id
      && entry.sentAtMs - previous.sentAtMs < GROUP_MS;
    items.push({ ...entry, kind: 'message', continues });
    previous = entry;
  };

  for (const message of log.messages) add(fromMessage(message, me));
  for (const entry of outgoing) add(fromOutgoing(entry, me, away));
  return items;
}

function fromMessage(message, me) {
  return {
    key: messageKey(message.author.id, message.client_id || `seq-${message.seq}`),
    state: 'sent',
    id: message.id,
    seq: message.seq,
    clientId: message.client_id,
    author: message.author,
    mine: message.author.id === me.id,
    text: message.text,
    sentAtMs: message.sent_at_ms,
    edited: message.edited_at_ms !== null,
    deleted: message.deleted,
  };
}

function fromOutgoing(entry, me, away) {
  return {
    key: messageKey(me.id, entry.clientId),
    state: entry.state,
    clientId: entry.clientId,
    author: me,
    mine: true,
    text: entry.text,
    sentAtMs: entry.sentAtMs,
    edited: false,
    deleted: false,
    waiting: away && entry.resumes,
    reason: entry.reason,
    retryAtMs: entry.retryAtMs,
  };
}

const messageKey = (author, clientId) => `message:${author}:${clientId}`;
