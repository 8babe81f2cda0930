/**
 * The shapes that travel over the sockets, for editors and readers. Nothing here runs.
 * Times end in `_ms` and are milliseconds since the epoch.
 *
 * @typedef {{id: string, name: string}} Member
 * @typedef {{id: number, name: string, joined: boolean, online: number, last_seq: number}} Room
 * @typedef {{id: number, room: number, seq: number, client_id: string, author: Member, text: string,
 *            sent_at_ms: number, edited_at_ms: number|null, deleted: boolean}} Message
 *          `seq` counts 1, 2, 3… within a room, without holes; a deleted message keeps its seq and loses its text.
 * @typedef {{text_max_chars: number, name_max_chars: number, room_name_max_chars: number, history_page: number}} Limits
 * @typedef {{symbol: string, seq: number, price: number, change_percent: number, time_ms: number}} Tick
 * @typedef {{symbol: string, name: string, last: Tick|null, history: number[]}} Snapshot
 */
export {};
