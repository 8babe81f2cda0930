"""What comes over a WebSocket: from bytes to whole messages (RFC 6455, sections 5 and 7), within bounds.

Sans-IO. Frames are parsed by the websockets library, whose parser checks lengths before it takes anything in;
here they become messages, and the other side's pings and goodbye get their answers.

    bytes --feed()--> messages
                  '-> replies, to be written
                  '-> closed: after a goodbye, or what breaks the rules; nothing is taken in any more then
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.extensions import Extension
from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.streams import StreamReader

Message = str | bytes


class Incoming:
    """The receiving half of a server's WebSocket.

    :param max_bytes: of a message.
    :param max_fragments: of how many frames a message may consist.
    :param extensions: what was agreed on in the handshake.
    """

    __slots__ = (
        "_extensions",
        "_max_bytes",
        "_max_fragments",
        "_messages",
        "_parser",
        "_reader",
        "closed",
        "idle",
        "replies",
    )

    def __init__(self, max_bytes: int, max_fragments: int, extensions: Sequence[Extension] = ()) -> None:
        self.replies: list[bytes] = []
        self.closed = False
        # Between two messages: a new one would do as well.
        self.idle = False
        self._max_bytes = max_bytes
        self._max_fragments = max_fragments
        self._extensions = extensions
        self._messages: list[Message] = []
        self._reader = StreamReader()
        self._parser = self._parse()
        next(self._parser)

    @property
    def waiting_bytes(self) -> int:
        """How much there is of a frame that is not complete."""
        return len(self._reader.buffer)

    def feed(self, data: bytes) -> list[Message]:
        """Take in what has arrived.

        :returns: the messages that are complete now.
        """
        if self.closed:
            return []
        self._reader.feed_data(data)
        next(self._parser)
        messages, self._messages = self._messages, []
        return messages

    def close(self) -> None:
        """Take in no more; nothing refers to it then but whoever made it."""
        self.closed = True
        self._parser.close()

    def _parse(self) -> Generator[None]:
        try:
            yield from self._messages_of_frames()
        except ProtocolError as error:
            self._close(CloseCode.PROTOCOL_ERROR, str(error))
        except PayloadTooBig:
            self._close(CloseCode.MESSAGE_TOO_BIG, f"a message of more than {self._max_bytes} bytes")
        except UnicodeDecodeError as error:
            self._close(CloseCode.INVALID_DATA, f"{error.reason} at position {error.start}")
        self._reader.discard()
        yield

    def _messages_of_frames(self) -> Generator[None]:
        parts: list[bytes] = []
        size = 0
        kind = Opcode.TEXT
        while not self.closed:
            if not self._reader.buffer:
                self.idle = not parts
                yield
                self.idle = False
            frame = yield from Frame.parse(
                self._reader.read_exact,
                mask=True,
                max_size=self._max_bytes - size,
                extensions=self._extensions,
            )
            opcode = frame.opcode
            if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
                if parts:
                    raise ProtocolError("expected a continuation frame")
                kind = opcode
            elif opcode is Opcode.CONT:
                if not parts:
                    raise ProtocolError("unexpected continuation frame")
            else:
                self._control(frame)
                continue
            if frame.fin and not parts:
                self._take(frame.data, kind)
                continue
            parts.append(bytes(frame.data))
            size += len(frame.data)
            if frame.fin:
                self._take(b"".join(parts), kind)
                parts, size = [], 0
            elif len(parts) >= self._max_fragments:
                self._close(CloseCode.MESSAGE_TOO_BIG, f"more than {self._max_fragments} fragments")

    def _take(self, data: bytes | bytearray | memoryview, kind: Opcode) -> None:
        self._messages.append(str(data, "utf-8") if kind is Opcode.TEXT else bytes(data))

    def _control(self, frame: Frame) -> None:
        if frame.opcode is Opcode.PING:
            self.replies.append(Frame(Opcode.PONG, frame.data).serialize(mask=False))
        elif frame.opcode is Opcode.CLOSE:
            Close.parse(frame.data)
            # "typically echos the status code it received" (5.5.1)
            self.replies.append(Frame(Opcode.CLOSE, frame.data).serialize(mask=False))
            self.closed = True

    def _close(self, code: CloseCode, reason: str) -> None:
        self.replies.append(goodbye(code, reason))
        self.closed = True


def goodbye(code: CloseCode, reason: str = "") -> bytes:
    """A frame that closes a WebSocket.

    :param reason: at most 123 bytes; more is cut off.
    """
    cut = reason.encode()[:123].decode(errors="ignore")
    return Frame(Opcode.CLOSE, Close(code, cut).serialize()).serialize(mask=False)
