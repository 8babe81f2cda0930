/**
 * Loads a room's messages into its log: the newest page, older ones, and what was missed. A load that fails leaves a
 * mark in the log that the timeline shows; it never throws.
 * @typedef {import('./log.js').MessageLog} MessageLog
 */
const PAGE_MAX = 100; // the server's limit
const REREAD_MESSAGES = 50; // after a reconnect, so that edits made meanwhile are seen too
const TOO_MANY_MISSED = 500; // fetching all of this would keep the reader waiting
const UNREAD_PAGES_MAX = 3; // pages to go back for the first unread message

export class History {
  #channel;
  pageSize = 50; // until the server says otherwise

  /** @param {import('./connection.js').Channel} channel */
  constructor(channel) {
    this.#channel = channel;
  }

  /** Load the end of a room, back to the first unread message if that is not far. */
  async loadNewest(room, log, seenSeq, lastSeq) {
    log.status = 'loading';
    try {
      const unread = lastSeq - seenSeq;
      const limit = Math.min(PAGE_MAX, Math.max(this.pageSize, unread + 10)); // 10: something to read it in context
      let page = await this.#page(room, log, { limit });
      for (let i = 0; i < UNREAD_PAGES_MAX && unread && page.has_more && log.firstSeq > seenSeq; i += 1) {
        page = await this.#page(room, log, { limit: PAGE_MAX, before_seq: log.firstSeq });
      }
      log.hasOlder = page.has_more;
      log.stale = false;
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
      const page = await this.#page(room, log, { limit: this.pageSize, before_seq: log.firstSeq });
      log.hasOlder = page.has_more;
    } catch {
      log.olderFailed = true;
    }
    log.loadingOlder = false;
  }

  isTooFarBehind(log, lastSeq) {
    return lastSeq - log.unbrokenSeq > TOO_MANY_MISSED;
  }

  /** Load what is missing at the end or in a hole. After a reconnect also the last known messages again. */
  async catchUp(room, log) {
    if (log.catchingUp) return;
    log.catchingUp = true;
    try {
      let after = log.stale ? Math.max(log.firstSeq - 1, log.unbrokenSeq - REREAD_MESSAGES) : log.unbrokenSeq;
      let page;
      do {
        page = await this.#page(room, log, { limit: PAGE_MAX, after_seq: Math.max(0, after) });
        after = page.messages.at(-1)?.seq ?? after;
      } while (page.has_more && page.messages.length);
      log.stale = false;
    } catch {
      // The hole stays visible and can be filled by hand; the next reconnect tries again, too.
    }
    log.catchingUp = false;
  }

  async #page(room, log, range) {
    const page = await this.#channel.request('history', { room, ...range });
    log.merge(page.messages);
    return page;
  }
}
