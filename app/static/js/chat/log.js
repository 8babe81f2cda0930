/**
 * One room's messages as far as this tab knows them: in order of `seq`, each once. Pure data, no socket, no page.
 *
 * Between two of them others may be missing. Such a hole is filled at once, except one that was left on purpose after a
 * long absence: that waits for the reader. What the server does not keep any more is gone, and missed by nobody.
 * @typedef {import('../protocol.js').Message} Message
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
  filling = null; // the seq after the hole that is being filled
  fillFailed = null; // the seq after the hole that could not be filled
  firstKept = 1; // the server keeps nothing older
  changeSeq = 0; // all edits and deletions up to this one are in here
  loadingChanges = false;
  /** Show a "New" divider before the first message after this seq; null for none. @type {number|null} */
  newAfterSeq = null;
  #leftBefore = 0; // holes before this seq were left on purpose

  get firstSeq() {
    return this.messages[0]?.seq ?? 0;
  }

  get lastSeq() {
    return this.messages.at(-1)?.seq ?? 0;
  }

  /** The seq up to which nothing is missing, apart from what was left on purpose. */
  get unbrokenSeq() {
    const { messages } = this;
    for (let i = 1; i < messages.length; i += 1) {
      if (messages[i].seq <= this.#leftBefore) continue;
      if (this.hole(messages[i - 1].seq, messages[i].seq).missing) return messages[i - 1].seq;
    }
    return this.lastSeq;
  }

  get hasGap() {
    return this.unbrokenSeq !== this.lastSeq;
  }

  /**
   * What is not there between two neighbours.
   * @returns {{gone: number, missing: number}} how many the server does not keep any more, and how many it has
   */
  hole(olderSeq, newerSeq) {
    const gone = Math.max(0, Math.min(newerSeq, this.firstKept) - olderSeq - 1);
    return { gone, missing: newerSeq - olderSeq - 1 - gone };
  }

  /** The server keeps nothing before `seq`. */
  keptFrom(seq) {
    this.firstKept = Math.max(this.firstKept, seq);
  }

  /** Leave the hole before this message for the reader to fill. */
  leaveHoleBefore(seq) {
    this.#leftBefore = Math.max(this.#leftBefore, seq);
  }

  /** The seq of the message before `seq`; 0 when there is none. */
  seqBefore(seq) {
    return this.messages[this.#indexOf(seq) - 1]?.seq ?? 0;
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
    // Events and history may overtake each other; changes are numbered.
    else if (message.change_seq > known.change_seq) this.messages[index] = message;
  }

  /** Where `seq` is or belongs. Counted from the end, because that is where nearly all arrive. */
  #indexOf(seq) {
    let index = this.messages.length;
    while (index > 0 && this.messages[index - 1].seq >= seq) index -= 1;
    return index;
  }
}
