/**
 * What this tab knows about the chat: the rooms, their messages, who is there. It keeps that equal to the server
 * (events while connected, hello and history after every reconnect) and tells the views what changed. No page here.
 */
import { Emitter } from './emitter.js';
import { History } from './history.js';
import { MessageLog } from './log.js';

/**
 * @typedef {import('./protocol.js').Room} Room
 * @typedef {import('./protocol.js').Member} Member
 * @typedef {import('./protocol.js').Message} Message
 */

const KEEP_MESSAGES = 400; // per room while reading its end; older ones are loaded again on demand
const RETRY_MS = 2_000;

/** Until the server says otherwise with `hello`. */
const DEFAULT_LIMITS = { text_max_chars: 4000, name_max_chars: 32, room_name_max_chars: 40, history_page: 50 };

/**
 * Emits `rooms`, `current` (the open room changed), `log` ({room, quiet}), `members` (room id), `ready` (in step with
 * the server), `typing` ({room, member, active}), `problem` (a sentence for the user) and `unresponsive` (connected,
 * and hello got no answer).
 */
export class Chat extends Emitter {
  /** @type {Map<number, Room>} */
  rooms = new Map();
  /** @type {number|null} */
  currentId = null;
  limits = DEFAULT_LIMITS;
  ready = false; // at least one hello was answered
  /** @type {Map<number, MessageLog>} */
  #logs = new Map();
  /** @type {Map<number, Map<string, Member>>} */
  #members = new Map();
  #clockOffsetMs = 0;
  #syncing = null;

  /**
   * @param {import('./connection.js').Channel} channel
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

  /** Get in step with the server. Called after every connect. */
  sync() {
    this.#syncing ??= this.#sync().finally(() => { this.#syncing = null; });
    return this.#syncing;
  }

  /** Show a room. Joined or not: a room that is not joined offers to join it. */
  open(room) {
    if (room === this.currentId) return;
    const before = this.current;
    if (before) this.log(before.id).newAfterSeq = null;
    this.currentId = room;
    const log = room === null ? null : this.log(room);
    if (log && this.current && this.seen.unread(this.current)) log.newAfterSeq = this.seen.upTo(this.current);
    this.emit('current');
    this.refresh();
  }

  /** Load what the open room lacks: messages, people. */
  refresh() {
    const room = this.current;
    if (!room?.joined || !this.channel.connected) return;
    const log = this.log(room.id);
    if (log.status === 'new' || log.status === 'failed') this.#loadNewest(room);
    else if (log.status === 'ready' && (log.stale || log.hasGap || log.lastSeq < room.last_seq)) this.#catchUp(room);
    this.#loadMembers(room.id);
  }

  loadOlder(room) {
    const { status, hasOlder, loadingOlder } = this.log(room);
    if (status === 'ready' && hasOlder && !loadingOlder) this.#load(room, this.history.loadOlder(room, this.log(room)));
  }

  /** Fill a hole between two messages. */
  fillGap(room) {
    this.#catchUp(this.rooms.get(room));
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

  async #sync() {
    let hello;
    try {
      hello = await this.channel.request('hello');
    } catch (error) {
      if (error.code === 'offline') return; // the next connect starts again
      if (error.code === 'unauthorized') return; // the connection sends the reader to the sign-in
      if (error.code === 'timeout') {
        this.emit('unresponsive');
        return;
      }
      await new Promise((resolve) => { setTimeout(resolve, error.retryAfterMs ?? RETRY_MS); });
      if (this.channel.connected) await this.#sync();
      return;
    }
    this.me = hello.me;
    this.limits = { ...DEFAULT_LIMITS, ...hello.limits };
    this.history.pageSize = this.limits.history_page;
    this.#clockOffsetMs = hello.server_time_ms - Date.now();
    this.rooms = new Map(hello.rooms.map((room) => [room.id, room]));
    for (const room of this.rooms.values()) if (room.joined) this.seen.begin(room);
    for (const log of this.#logs.values()) log.stale = true;
    this.ready = true;
    const open = this.current; // what came while we were away begins under a divider
    if (open?.joined && this.seen.unread(open)) this.log(open.id).newAfterSeq ??= this.seen.upTo(open);
    this.emit('rooms');
    this.emit('ready');
    this.refresh();
    this.outbox.resume();
  }

  #loadNewest(room) {
    return this.#load(room.id, this.history.loadNewest(room.id, this.log(room.id), this.seen.upTo(room), room.last_seq));
  }

  #catchUp(room) {
    if (this.history.isTooFarBehind(this.log(room.id), room.last_seq)) {
      const { newAfterSeq } = this.log(room.id);
      this.#logs.delete(room.id); // start again from the newest page; the rest is loaded when it is wanted
      this.log(room.id).newAfterSeq = newAfterSeq;
      this.#loadNewest(room);
    } else {
      this.#load(room.id, this.history.catchUp(room.id, this.log(room.id)));
    }
  }

  /** Tell the views when a load begins and when it ends. */
  async #load(room, work) {
    this.emit('log', { room, quiet: true });
    await work;
    this.emit('log', { room, quiet: true });
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
      if (!this.rooms.has(room.id)) this.#putRoom({ joined: false, online: 0, last_seq: 0, ...room });
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
    if (mine && wasRead) this.seen.mark(room, message.seq);
    if (log.status === 'ready' || log.status === 'loading') log.merge([message]);
    if (mine) this.outbox.remove(message.client_id);
    if (room.id !== this.currentId) log.keepNewest(KEEP_MESSAGES);
    if (room.id === this.currentId && log.status === 'ready' && log.hasGap) this.#catchUp(room);
    this.emit('typing', { room: room.id, member: message.author, active: false });
    this.emit('log', { room: room.id, quiet: false });
    this.emit('rooms');
  }

  #replace(message) {
    this.log(message.room).replace(message);
    this.emit('log', { room: message.room, quiet: false });
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
    if (room.joined && !this.rooms.get(room.id)?.joined) this.seen.mark(room, room.last_seq);
    this.rooms.set(room.id, room);
    this.emit('rooms');
  }

  /** The user left a room, here or in another tab. */
  #forget(room) {
    this.#logs.delete(room);
    this.#members.delete(room);
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
