/** How a room is called in a sentence: "#general", or the name of the other one in a direct conversation. */

/** @param {import('../protocol.js').Room} room */
export const roomName = (room) => (room.kind === 'direct' ? room.name : `#${room.name}`);
