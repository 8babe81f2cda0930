/**
 * One room's messages as far as this tab knows them: in order of `seq`, each once. Pure data, no socket, no page.
 * @typedef {import('./protocol.js').Message} Message
 */
export class MessageLog {
  /** @type {Message[]} ascending by seq */
  messages = [];
  /** @type {'new'|'loading'|'ready'|'failed'} */
  status = 'new';
  hasOlder = false; // the server holds messages before the first one here
  loadingOlder = false;
  olderFailed = false;
  catchingUp = false;
  stale = false; // the connection was lost since: something may be missing at the end
  /** Show a "New" divider before the first message after this seq; null for none. @type {number|null} */
  newAfterSeq = null;

  get firstSeq() {
    return this.messages[0]?.seq ?? 0;
  }

  get lastSeq() {
    return this.messages.at(-1)?.seq ?? 0;
  }

  /** The seq up to which nothing is missing. */
  get unbrokenSeq() {
    const { messages } = this;
    for (let i = 1; i < messages.length; i += 1) {
      if (messages[i].seq !== messages[i - 1].seq + 1) return messages[i - 1].seq;
    }
    return this.lastSeq;
  }

  get hasGap() {
    return this.unbrokenSeq !== this.lastSeq;
  }

  /** Add messages, or newer versions of known ones. In any order, any number of times. @param {Message[]} messages */
  merge(messages) {
    for (const message of messages) this.#put(message);
  }

  /** Take over an edit or a deletion, if the message is here. @param {Message} message */
  replace(message) {
    const index = this.#indexOf(message.seq);
    if (this.messages[index]?.seq === message.seq) this.#put(message);
  }

  /** Forget the oldest messages beyond `count`; they can be loaded again. */
  keepNewest(count) {
    if (this.messages.length <= count) return;
    this.messages = this.messages.slice(-count);
    this.hasOlder = true;
  }

  #put(message) {
    const index = this.#indexOf(message.seq);
    const known = this.messages[index];
    if (known?.seq !== message.seq) this.messages.splice(index, 0, message);
    else if (isNewer(message, known)) this.messages[index] = message;
  }

  /** Where `seq` is or belongs. Counted from the end, because that is where nearly all arrive. */
  #indexOf(seq) {
    let index = this.messages.length;
    while (index > 0 && this.messages[index - 1].seq >= seq) index -= 1;
    return index;
  }
}

/** Events and history may overtake each other: a deletion is final, and of two edits the later one counts. */
function isNewer(message, known) {
  if (known.deleted) return false;
  return message.deleted || (message.edited_at_ms ?? 0) > (known.edited_at_ms ?? 0);
}
