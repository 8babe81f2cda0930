/**
 * Loads a room's messages into its log: the newest page, older ones, what was missed, and what was changed. A load that
 * fails leaves a mark in the log that the timeline shows; it never throws.
 * @typedef {import('./log.js').MessageLog} MessageLog
 * @typedef {import('../protocol.js').Room} Room
 */
const PAGE_MAX = 100; // the server's limit
const TOO_MANY_MISSED = 200; // fetching more than this would keep the reader waiting
const CONTEXT = 10; // messages before the first unread one, to read it in context

export class History {
  #channel;
  pageSize = 50; // until the server says otherwise

  /** @param {import('../connection.js').Channel} channel */
  constructor(channel) {
    this.#channel = channel;
  }

  /** Load the end of a room, and the first unread messages; of very many, those between are left to the reader. */
  async loadNewest(room, log, seenSeq, unread) {
    log.status = 'loading';
    try {
      let page = await this.#page(room.id, log, { limit: Math.min(PAGE_MAX, Math.max(this.pageSize, unread + CONTEXT)) });
      if (unread > TOO_MANY_MISSED) {
        log.leaveHoleBefore(log.firstSeq);
        await this.#page(room.id, log, { limit: this.pageSize, after_seq: seenSeq });
        page = await this.#page(room.id, log, { limit: CONTEXT, before_seq: seenSeq + 1 });
      }
      while (unread && page.has_more && log.firstSeq > seenSeq) {
        page = await this.#page(room.id, log, { limit: PAGE_MAX, before_seq: log.firstSeq });
      }
      log.hasOlder = page.has_more;
      log.status = 'ready';
    } catch {
      log.status = 'failed';
    }
  }

  /** Load the page before the first message in the log. */
  async loadOlder(room, log) {
    log.loadingOlder = true;
    log.olderFailed = false;
    try {
      const page = await this.#page(room.id, log, { limit: this.pageSize, before_seq: log.firstSeq });
      log.hasOlder = page.has_more;
    } catch {
      log.olderFailed = true;
    }
    log.loadingOlder = false;
  }

  /** Load what is missing at the end or in a hole; of very much, only the newest, and the hole before it stays. */
  async catchUp(room, log) {
    if (log.catchingUp) return;
    log.catchingUp = true;
    try {
      if (room.last_seq - log.unbrokenSeq > TOO_MANY_MISSED) await this.#skipToNewest(room, log);
      else await this.#loadMissed(room, log);
    } catch {
      // The hole stays visible and can be filled by hand; the next reconnect tries again, too.
    }
    log.catchingUp = false;
  }

  /** Load one page of a hole, from its older side. @param {number} seq  of the message after the hole */
  async fill(room, log, seq) {
    log.filling = seq;
    log.fillFailed = null;
    const before = log.seqBefore(seq);
    try {
      const limit = Math.min(PAGE_MAX, log.hole(before, seq).missing);
      await this.#page(room.id, log, { limit, after_seq: Math.max(before, log.firstKept - 1) });
    } catch {
      log.fillFailed = seq;
    }
    log.filling = null;
  }

  /** Load the edits and deletions that came after those in the log. */
  async loadChanges(room, log) {
    if (log.loadingChanges) return;
    log.loadingChanges = true;
    const known = room.last_change_seq;
    try {
      let page;
      do {
        page = await this.#channel.request('changes', { room: room.id, after_change_seq: log.changeSeq });
        for (const message of page.messages) log.replace(message);
        log.changeSeq = Math.max(log.changeSeq, page.messages.at(-1)?.change_seq ?? 0);
      } while (page.has_more);
      log.changeSeq = Math.max(log.changeSeq, known); // also of messages that are not kept any more
    } catch {
      // They are still numbered higher than the log: the next change or reconnect asks again.
    }
    log.loadingChanges = false;
  }

  async #loadMissed(room, log) {
    let after = log.unbrokenSeq;
    let page;
    do {
      page = await this.#page(room.id, log, { limit: PAGE_MAX, after_seq: after });
      after = page.messages.at(-1)?.seq ?? after;
    } while (page.has_more);
  }

  async #skipToNewest(room, log) {
    const wasEmpty = log.messages.length === 0;
    const page = await this.#page(room.id, log, { limit: this.pageSize });
    log.leaveHoleBefore(page.messages[0]?.seq ?? 0);
    if (wasEmpty) log.hasOlder = page.has_more;
  }

  async #page(room, log, range) {
    const page = await this.#channel.request('history', { room, ...range });
    log.keptFrom(page.first_seq);
    log.merge(page.messages);
    return page;
  }
}
