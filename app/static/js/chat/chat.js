/**
 * What this tab knows about the chat: the rooms, their messages, who is there. It keeps that equal to the server
 * (events while connected, hello and history after every reconnect) and tells the views what changed. No page here.
 */
import { Emitter } from '../emitter.js';
import { History } from './history.js';
import { MessageLog } from './log.js';

/**
 * @typedef {import('../protocol.js').Room} Room
 * @typedef {import('../protocol.js').Member} Member
 * @typedef {import('../protocol.js').Message} Message
 */

const KEEP_MESSAGES = 400; // per room while reading its end; older ones are loaded again on demand
const RETRY_MS = 2_000;

/** Until the server says otherwise with `hello`. */
const DEFAULT_LIMITS = { text_max_chars: 4000, name_max_chars: 32, room_name_max_chars: 40, history_page: 50 };

/**
 * Emits `rooms`, `current` (the open room changed), `log` ({room, quiet}), `members` (room id), `ready` (in step with
 * the server), `away` (the connection is, or no more), `typing` ({room, member, active}), `problem` (a sentence for
 * the user) and `other_user` (the connection is somebody else's: the page is not his, and nothing of it goes out).
 */
export class Chat extends Emitter {
  /** @type {Map<number, Room>} */
  rooms = new Map();
  /** @type {number|null} */
  currentId = null;
  limits = DEFAULT_LIMITS;
  ready = false; // at least one hello was answered
  away = false; // for longer than a blip: who is online is not known
  /** @type {Map<number, MessageLog>} */
  #logs = new Map();
  /** @type {Map<number, Map<string, Member>>} */
  #members = new Map();
  #clockOffsetMs = 0;
  #syncing = null;
  /** What was told of rooms since the server was last asked for all of them. @type {Map<number, Room>} */
  #heard = new Map();

  /**
   * @param {import('../connection.js').Channel} channel
   * @param {import('./outbox.js').Outbox} outbox
   * @param {import('./seen.js').Seen} seen
   * @param {Member} me
   */
  constructor(channel, outbox, seen, me) {
    super();
    this.channel = channel;
    this.history = new History(channel);
    this.outbox = outbox;
    this.seen = seen;
    this.me = me;
    this.#listen();
  }

  /** @returns {Room|undefined} */
  get current() {
    return this.rooms.get(this.currentId);
  }

  /** @returns {MessageLog} */
  log(room) {
    if (!this.#logs.has(room)) this.#logs.set(room, new MessageLog());
    return this.#logs.get(room);
  }

  /** @returns {Member[]} by name */
  membersOf(room) {
    return [...(this.#members.get(room)?.values() ?? [])].sort((a, b) => a.name.localeCompare(b.name));
  }

  /** The server's time: what this computer's clock says may be wrong. */
  now() {
    return Date.now() + this.#clockOffsetMs;
  }

  /** @param {boolean} away  the connection is */
  setAway(away) {
    this.away = away;
    this.emit('away');
  }

  /** Get in step with the server. Called after every connect. @param {number} [timeoutMs]  for its answer */
  sync(timeoutMs) {
    this.#syncing ??= this.#sync(timeoutMs).finally(() => { this.#syncing = null; });
    return this.#syncing;
  }

  /** Show a room. Joined or not: a room that is not joined offers to join it. */
  open(room) {
    if (room === this.currentId) return;
    const before = this.current;
    if (before) this.log(before.id).newAfterSeq = null;
    this.currentId = room;
    if (this.current && this.seen.unread(this.current)) this.#beginAtUnread(this.current);
    this.emit('current');
    this.refresh();
  }

  /** Nobody looks at the open room: of very many unread messages, the newest stay. */
  keepFew() {
    if (this.current && this.seen.unread(this.current) > KEEP_MESSAGES) this.log(this.currentId).keepNewest(KEEP_MESSAGES);
  }

  /** Somebody looks at the open room again. @returns {boolean} whether it begins anew, as unread messages did not stay */
  lookAgain() {
    const room = this.current;
    if (!room || !this.channel.isGreeted || !this.#lacksUnread(room)) return false;
    this.#beginAtUnread(room);
    this.refresh();
    return true;
  }

  /** Whether messages of the room are still to be loaded, those apart that are left to the reader. */
  lacksNewest(room) {
    const log = this.log(room.id);
    return log.hasGap || log.lastSeq < room.last_seq;
  }

  /** Load what the open room lacks: messages, people. */
  refresh() {
    const room = this.current;
    if (!room?.joined || !this.channel.connected) return;
    const log = this.log(room.id);
    if (log.status === 'new' || log.status === 'failed') this.#loadNewest(room);
    else if (log.status === 'ready' && this.lacksNewest(room)) this.#catchUp(room);
    else if (log.status === 'ready') this.#loadChanges(room);
    this.#loadMembers(room.id);
  }

  loadOlder(id) {
    const room = this.rooms.get(id);
    const { status, hasOlder, loadingOlder } = this.log(id);
    if (status === 'ready' && hasOlder && !loadingOlder) this.#load(room, this.history.loadOlder(room, this.log(id)));
  }

  /** Load a page of a hole between two messages. @param {number} seq  of the message after the hole */
  fillGap(id, seq) {
    const room = this.rooms.get(id);
    if (this.log(id).filling === null) this.#load(room, this.history.fill(room, this.log(id), seq));
  }

  async join(room) {
    const answer = await this.channel.request('join', { room });
    this.#putRoom(answer.room);
    this.#setMembers(room, answer.members);
    this.refresh();
  }

  async leave(room) {
    const answer = await this.channel.request('leave', { room });
    this.#putRoom(answer.room);
    this.#forget(room);
  }

  /** The conversation with somebody, begun if there is none. @param {Member} member @returns {Promise<Room>} */
  async openDirect(member) {
    const known = [...this.rooms.values()].find((room) => room.with?.id === member.id);
    if (known) return known;
    const { room } = await this.channel.request('open_direct', { user: member.id });
    this.#putRoom(room);
    return room;
  }

  /** @returns {Promise<Room>} */
  async createRoom(name) {
    const { room } = await this.channel.request('create_room', { name });
    this.#putRoom(room);
    return room;
  }

  send(text) {
    if (!this.current) return;
    this.log(this.currentId).newAfterSeq = null; // who writes has read
    this.outbox.add(this.currentId, text, this.now());
  }

  async edit(message, text) {
    this.#replace((await this.channel.request('edit', { message, text })).message);
  }

  async delete(message) {
    this.#replace((await this.channel.request('delete', { message })).message);
  }

  /** The reader has the end of the open room on the screen. */
  markRead() {
    const room = this.current;
    if (!room?.joined || this.log(room.id).status !== 'ready') return;
    this.seen.mark(room, this.log(room.id).lastSeq);
    this.log(room.id).keepNewest(KEEP_MESSAGES);
  }

  async #sync(timeoutMs) {
    let hello;
    this.#heard.clear();
    try {
      hello = await this.channel.request('hello', {}, timeoutMs);
    } catch (error) {
      if (error.code === 'offline' || error.code === 'timeout') return; // the next connect starts again
      if (error.code === 'unauthorized') return; // the connection sends the reader to the sign-in
      await new Promise((resolve) => { setTimeout(resolve, error.retryAfterMs ?? RETRY_MS); });
      if (this.channel.connected) await this.#sync();
      return;
    }
    if (hello.me.id !== this.me.id) { // who has signed in meanwhile, in another tab or at another site
      this.emit('other_user');
      return;
    }
    this.channel.isGreeted = true;
    this.me = hello.me;
    this.limits = { ...DEFAULT_LIMITS, ...hello.limits };
    this.history.pageSize = this.limits.history_page;
    this.#clockOffsetMs = hello.server_time_ms - Date.now();
    for (const room of hello.rooms) this.#keepNumbers(room);
    this.rooms = new Map(hello.rooms.map((room) => [room.id, room]));
    for (const room of this.#heard.values()) { // perhaps after the server had made its answer
      this.#keepNumbers(room);
      this.rooms.set(room.id, room);
    }
    for (const room of this.rooms.values()) if (room.joined) this.seen.begin(room);
    for (const [room, log] of this.#logs) log.keptFrom(this.rooms.get(room)?.first_seq ?? 1);
    this.ready = true;
    const open = this.current; // what came while we were away begins under a divider
    if (open?.joined && this.seen.unread(open)) this.log(open.id).newAfterSeq ??= this.seen.upTo(open);
    this.emit('rooms');
    this.emit('ready');
    this.refresh();
    this.outbox.resume();
  }

  /** The room is opened: "New" stands before the first unread message, if need be after that was loaded again. */
  #beginAtUnread(room) {
    if (this.#lacksUnread(room) && this.channel.connected) this.#logs.delete(room.id);
    this.log(room.id).newAfterSeq = this.seen.upTo(room);
  }

  #lacksUnread(room) {
    const { status, firstSeq, firstKept } = this.log(room.id);
    return status === 'ready' && firstSeq > Math.max(this.seen.upTo(room) + 1, firstKept);
  }

  #loadNewest(room) {
    const { seen } = this;
    const log = this.log(room.id);
    log.changeSeq = room.last_change_seq; // a page has everything that happened before it was asked for
    return this.#load(room, this.history.loadNewest(room, log, seen.upTo(room), seen.unread(room)));
  }

  #catchUp(room) {
    this.#load(room, this.history.catchUp(room, this.log(room.id)));
  }

  /** Tell the views when a load begins and when it ends. */
  async #load(room, work) {
    const changeSeq = room.last_change_seq;
    this.emit('log', { room: room.id, quiet: true });
    await work;
    this.emit('log', { room: room.id, quiet: true });
    const now = this.rooms.get(room.id);
    const log = this.log(room.id);
    if (!now || log.status !== 'ready') return;
    // What was told meanwhile may have come before the page that it concerns.
    if (now.last_change_seq > changeSeq) log.changeSeq = Math.min(log.changeSeq, changeSeq);
    this.#loadChanges(now);
  }

  /** Take over edits and deletions that were not heard of, however far up they are. */
  async #loadChanges(room) {
    const log = this.log(room.id);
    if (log.changeSeq >= room.last_change_seq) return;
    await this.history.loadChanges(room, log);
    this.emit('log', { room: room.id, quiet: true });
  }

  async #loadMembers(room) {
    try {
      this.#setMembers(room, (await this.channel.request('members', { room })).members);
    } catch {
      // The list stays as it was; the next reconnect asks again.
    }
  }

  #listen() {
    const { channel } = this;
    channel.on('message', (message) => this.#receive(message));
    channel.on('message_edited', (message) => this.#replace(message));
    channel.on('message_deleted', (message) => this.#replace(message));
    channel.on('room_created', ({ room }) => {
      if (!this.rooms.has(room.id)) this.#putRoom(room);
    });
    channel.on('membership', ({ room, joined }) => {
      this.#putRoom({ ...room, joined });
      if (joined) this.refresh();
      else this.#forget(room.id);
    });
    channel.on('member_joined', (change) => this.#moved(change, true));
    channel.on('member_left', (change) => this.#moved(change, false));
    channel.on('typing', (typing) => {
      if (typing.member.id !== this.me.id) this.emit('typing', typing);
    });
    channel.on('error', ({ message }) => this.emit('problem', message));
    this.outbox.on('sent', (message) => this.#receive(message));
    this.outbox.on('change', (room) => this.emit('log', { room, quiet: false }));
  }

  /** A message, from the `message` event or from the acknowledgement of `send`: whichever comes first. */
  #receive(message) {
    const room = this.rooms.get(message.room);
    if (!room) return;
    const log = this.log(room.id);
    const mine = message.author.id === this.me.id;
    const wasRead = this.seen.unread(room) === 0;
    room.last_seq = Math.max(room.last_seq, message.seq);
    if (mine && wasRead) this.seen.wrote(room, message.seq);
    if (log.status === 'ready' || log.status === 'loading') log.merge([message]);
    if (mine) this.outbox.remove(message.client_id);
    if (room.id !== this.currentId) log.keepNewest(KEEP_MESSAGES);
    if (room.id === this.currentId && log.status === 'ready' && log.hasGap) this.#catchUp(room);
    this.emit('typing', { room: room.id, member: message.author, active: false });
    this.emit('log', { room: room.id, quiet: false });
    this.emit('rooms');
  }

  /** An edit or a deletion, from an event or from an acknowledgement. */
  #replace(message) {
    const room = this.rooms.get(message.room);
    if (!room) return;
    const log = this.log(room.id);
    room.last_change_seq = Math.max(room.last_change_seq, message.change_seq);
    log.replace(message);
    if (message.change_seq === log.changeSeq + 1) log.changeSeq = message.change_seq;
    this.emit('log', { room: room.id, quiet: false });
    if (room.id === this.currentId && log.status === 'ready') this.#loadChanges(room);
  }

  #moved({ room, member, online }, here) {
    const known = this.rooms.get(room);
    if (!known) return;
    known.online = online;
    const members = this.#members.get(room);
    if (here) members?.set(member.id, member);
    else members?.delete(member.id);
    this.emit('members', room);
    if (!here) this.emit('typing', { room, member, active: false });
  }

  #putRoom(room) {
    this.#keepNumbers(room);
    this.rooms.set(room.id, room);
    this.#heard.set(room.id, room);
    if (room.joined) this.seen.begin(room);
    this.emit('rooms');
  }

  /** An answer may be older than what came by events while it was on its way. */
  #keepNumbers(room) {
    const known = this.rooms.get(room.id);
    for (const number of ['first_seq', 'last_seq', 'last_change_seq']) {
      room[number] = Math.max(room[number], known?.[number] ?? 0);
    }
  }

  /** The user left a room, here or in another tab. */
  #forget(room) {
    this.#logs.delete(room);
    this.#members.delete(room);
    this.seen.forget(room);
    this.emit('log', { room, quiet: true });
    this.emit('members', room);
  }

  #setMembers(room, members) {
    this.#members.set(room, new Map(members.map((member) => [member.id, member])));
    const known = this.rooms.get(room);
    if (known) known.online = members.length;
    this.emit('members', room);
  }
}
