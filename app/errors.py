"""The one table of error codes: events, REST problems and docs/events.md all read it."""

from __future__ import annotations

from app.realtime.errors import DISPATCH_CODES, Code, EventError

__all__ = ["CODES", "Code", "EventError"]

CODES: dict[str, Code] = {
    **DISPATCH_CODES,
    "name_taken": Code("Somebody who is online has this display name.", True, 409),
    "room_not_found": Code("There is no room with this id.", False, 404),
    "room_exists": Code("A room of this name exists; `room` is its id.", False, 409),
    "too_many_rooms": Code("The number of rooms, or of rooms joined, is at its `limit`.", False, 409),
    "person_not_found": Code("Nobody of this id was ever here.", False, 404),
    "not_a_member": Code("Join the room first.", False, 403),
    "message_not_found": Code("There is no message with this id, or it was deleted.", False, 404),
    "forbidden": Code("This is for somebody else to do: the author, or a page of this site.", False, 403),
    "id_reused": Code("This `client_id` belongs to another message of yours.", False, 409),
    "broker_not_found": Code("No broker has this name, or there is no message queue.", False, 404),
    "node_not_found": Code("No such node is heard now, or it has no name to reach it by.", False, 404),
    "last_node": Code("No other node serves: nobody could come back to resume this one.", False, 409),
    "not_now": Code("Something else must be done, or be over, first; the message says what.", True, 409),
    "symbol_not_found": Code("There is no such symbol; `symbol` says which.", False, 404),
}
