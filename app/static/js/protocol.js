/**
 * The shapes that travel over the sockets, for editors and readers. Nothing here runs.
 * Times end in `_ms` and are milliseconds since the epoch.
 *
 * @typedef {{id: string, name: string}} Member
 * @typedef {{id: number, kind: 'public'|'direct', name: string, with: Member|null, joined: boolean, online: number,
 *            first_seq: number, last_seq: number, read_seq: number, last_change_seq: number}} Room
 *          A direct room belongs to two people and is called by the other's name. `first_seq` is the oldest message that
 *          is kept, `read_seq` the newest one that I have read.
 * @typedef {{id: number, room: number, seq: number, client_id: string, author: Member, text: string,
 *            sent_at_ms: number, edited_at_ms: number|null, deleted: boolean, change_seq: number}} Message
 *          `seq` counts 1, 2, 3… within a room, without holes; a deleted message keeps its seq and loses its text.
 *          `change_seq` counts the edits and deletions of the room in the same way; 0 for a message that never changed.
 * @typedef {{text_max_chars: number, name_max_chars: number, room_name_max_chars: number, history_page: number}} Limits
 * @typedef {{symbol: string, run: number, seq: number, price: number, change_percent: number, time_ms: number}} Tick
 *          `seq` counts 1, 2, 3… within a `run` of the feed; a later run is newer.
 * @typedef {[run: number, seq: number, time_ms: number, price: number]} Point
 * @typedef {{symbol: string, name: string, last: Tick|null, history: number[]}} Snapshot
 */
export {};
