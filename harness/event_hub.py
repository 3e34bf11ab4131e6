"""
An Azure Event Hub of our own, on loopback: the clients of azure-eventhub read and write it.

It speaks AMQP without TLS, with the client's own private codec, as far as these clients need it. That is why the
constraints pin azure-eventhub. It doesn't check signatures, only the name of the key.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from azure.eventhub._pyamqp._decode import decode_frame, decode_payload
from azure.eventhub._pyamqp._encode import encode_frame, encode_payload
from azure.eventhub._pyamqp.endpoints import Source, Target
from azure.eventhub._pyamqp.error import AMQPError
from azure.eventhub._pyamqp.message import Message, Properties
from azure.eventhub._pyamqp.outcomes import Accepted
from azure.eventhub._pyamqp.performatives import (
    AttachFrame,
    BeginFrame,
    CloseFrame,
    DetachFrame,
    DispositionFrame,
    EndFrame,
    FlowFrame,
    OpenFrame,
    SASLMechanism,
    SASLOutcome,
    TransferFrame,
)
from azure.eventhub._pyamqp.types import AMQPTypes

KEY_NAME = "reader"
MOST_READERS = 5
"""Readers of a partition and consumer group, as the service allows."""

_BATCH = 0x80013700
"""The format of a message that consists of messages."""

_OPEN, _BEGIN, _ATTACH, _FLOW, _TRANSFER, _DISPOSITION, _DETACH, _END, _CLOSE, _SASL_INIT = (*range(16, 25), 65)
_WINDOW = 2**31 - 1
_FRAME = 60_000
"""Bytes of a message in one frame."""


@dataclass
class Event:
    """An event in a partition."""

    number: int
    enqueued: float
    """Seconds since 1970."""
    key: str
    data: bytes


@dataclass
class Partition:
    """The events of a partition."""

    events: list[Event] = field(default_factory=list)
    next: int = 0
    readers: int = 0
    most_readers: int = 0
    """How many there were at once."""


@dataclass
class Link:
    """A link to a client, which sends or receives on it."""

    channel: int
    handle: int
    address: str
    is_to_client: bool
    credit: int = 0
    sent: int = 0
    after: int = -1
    partition: Partition | None = None
    payload: bytearray = field(default_factory=bytearray)


class EventHub:
    """
    An Event Hub.

    :param partitions: how many it has
    """

    def __init__(self, partitions: int = 2, name: str = "hub") -> None:
        self.name = name
        self.partitions = [Partition() for _ in range(partitions)]
        self.created_at = time.time() - 3600
        self.groups = {"$Default"}
        self.drops: list[int] = []
        """After how many events each of the next connections breaks."""
        self.is_silent = False
        """Whether readers get no events, although there are some."""
        self.connections = 0
        """How many are open."""
        self.sent = 0
        """How many events were sent, each as often as it was."""
        self.lock = threading.RLock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def connection_string(self, key: str = "example", name: str = KEY_NAME) -> str:
        """Return what a client needs to know."""
        keys = f"SharedAccessKeyName={name};SharedAccessKey={key}"
        return f"Endpoint=sb://{self.host};{keys};UseDevelopmentEmulator=true"

    def put(self, partition: int, *contents: bytes, key: str = "", at: float | None = None) -> list[int]:
        """Add events, and return their numbers."""
        with self.lock:
            into = self.partitions[partition]
            for data in contents:
                into.events.append(Event(into.next, at or time.time(), key, data))
                into.next += 1
            return [event.number for event in into.events[len(into.events) - len(contents) :]]

    def expire(self, partition: int, before: int) -> None:
        """Remove the events with smaller numbers."""
        with self.lock:
            kept = self.partitions[partition]
            kept.events = [event for event in kept.events if event.number >= before]

    def close(self) -> None:
        """Accept no more connections."""
        with contextlib.suppress(OSError):
            # This also ends the thread that waits for one.
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                threading.Thread(target=_Connection(self, connection).serve, daemon=True).start()


class _Connection:
    """A client's connection."""

    def __init__(self, hub: EventHub, connection: socket.socket) -> None:
        self._hub = hub
        self._socket = connection
        self._socket.settimeout(0.02)
        self._received = b""
        self._links: dict[tuple[int, int], Link] = {}
        self._deliveries = itertools.count()
        self._rotation = itertools.count()
        self._is_trusted = False
        self._until_drop: int | None = None

    def serve(self) -> None:
        """Answer the client until one of both ends the connection."""
        with self._hub.lock:
            self._hub.connections += 1
        try:
            self._handshake()
            for channel, code, fields in self._frames():
                if code is not None:
                    self._handle(channel, code, fields)
                self._send_events()
        except (EOFError, OSError):
            pass
        finally:
            self._socket.close()
            with self._hub.lock:
                self._hub.connections -= 1
                for link in self._links.values():
                    self._leave(link)

    def _handshake(self) -> None:
        header = self._exactly(8)
        self._socket.sendall(header)
        if header[4] == 3:
            self._send(0, SASLMechanism([b"ANONYMOUS", b"EXTERNAL", b"PLAIN"]), b"\x01")
            self._exactly(struct.unpack(">I", self._exactly(4))[0] - 4)
            self._send(0, SASLOutcome(0, None), b"\x01")
            self._socket.sendall(self._exactly(8))

    def _exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            self._fill()
        taken, self._received = self._received[:size], self._received[size:]
        return taken

    def _fill(self) -> bool:
        """Return whether something came in time."""
        try:
            data = self._socket.recv(1 << 20)
        except TimeoutError:
            return False
        if not data:
            raise EOFError
        self._received += data
        return True

    def _frames(self) -> Iterator[tuple[int, int | None, list[Any]]]:
        """Yield channel, code, and fields of each frame; no code where none came for a moment."""
        while True:
            size = struct.unpack(">I", self._received[:4])[0] if len(self._received) >= 8 else 8
            if len(self._received) < size:
                if not self._fill():
                    yield 0, None, []
                continue
            frame = self._exactly(size)
            if size > 8:
                code, fields = decode_frame(memoryview(frame)[8:])
                yield struct.unpack(">H", frame[6:8])[0], code, fields

    def _send(self, channel: int, frame: Any, kind: bytes = b"\x00") -> None:
        header, data = encode_frame(frame, kind)
        self._socket.sendall(header + struct.pack(">H", channel) + bytes(data or b""))

    def _handle(self, channel: int, code: int, fields: list[Any]) -> None:
        if code == _OPEN:
            self._send(0, OpenFrame("hub", None, 65536, 65535, None, None, None, None, None, None))
        elif code == _BEGIN:
            self._send(channel, BeginFrame(channel, 0, _WINDOW, _WINDOW, 2**32 - 1, None, None, None))
        elif code == _ATTACH:
            self._attach(channel, fields)
        elif code == _FLOW and fields[4] is not None:
            link = self._links.get((channel, fields[4]))
            if link:
                link.credit = (fields[5] or 0) + fields[6] - link.sent
        elif code == _TRANSFER:
            self._transfer(channel, fields)
        elif code == _DETACH:
            link = self._links.pop((channel, fields[0]), None)
            if link:
                self._leave(link)
                self._send(channel, DetachFrame(fields[0], True, None))
        elif code == _END:
            self._send(channel, EndFrame(None))
        elif code == _CLOSE:
            self._send(0, CloseFrame(None))
            raise EOFError

    def _attach(self, channel: int, fields: list[Any]) -> None:
        name, handle, is_to_client = fields[0].decode(), fields[1], bool(fields[2])
        address = bytes(fields[5][0] if is_to_client else fields[6][0]).decode()
        link = Link(channel, handle, address, is_to_client)
        source, target = Source(address, *[None] * 10), Target(address, *[None] * 6)
        count = 0 if is_to_client else None
        answer = (name, handle, not is_to_client, 2, 0, source, target, None, False, count, 2**20, None, None, None)
        self._send(channel, AttachFrame(*answer))
        if refusal := self._refusal(link, fields):
            self._send(channel, DetachFrame(handle, True, AMQPError(*refusal, None)))
            return
        self._links[channel, handle] = link
        if not is_to_client:
            self._send(channel, FlowFrame(0, _WINDOW, 0, _WINDOW, handle, 0, 10_000, None, False, False, None))

    def _refusal(self, link: Link, fields: list[Any]) -> tuple[bytes, str] | None:
        """Return condition and description if the client may not have this link. Enter it as a reader, if it is one."""
        if link.address == "$cbs":
            return None
        if not self._is_trusted:
            return b"amqp:unauthorized-access", "Unauthorized access. 'Listen' claim(s) are required."
        if link.address != "$management" and f"/{self._hub.name}" not in link.address:
            return b"amqp:not-found", "The messaging entity could not be found."
        reading = re.search(r"/ConsumerGroups/([^/]+)/Partitions/(\d+)$", link.address)
        if not reading:
            return None
        if reading[1] not in self._hub.groups:
            return b"amqp:not-found", f"The consumer group {reading[1]!r} could not be found."
        with self._hub.lock:
            partition = self._hub.partitions[int(reading[2])]
            if partition.readers >= MOST_READERS:
                return b"amqp:resource-limit-exceeded", "Exceeded the maximum number of allowed receivers: 5."
            partition.readers += 1
            partition.most_readers = max(partition.most_readers, partition.readers)
        link.partition = partition
        (selector,) = fields[5][7].values()
        link.after = self._after(partition, selector.decode())
        self._until_drop = self._hub.drops.pop(0) if self._hub.drops else None
        return None

    @staticmethod
    def _after(partition: Partition, selector: str) -> int:
        """Return the number after which a reader begins."""
        matched = re.search(r"x-opt-(sequence-number|offset) >(=?) '([^']+)'", selector)
        if not matched:
            raise ValueError(f"the hub doesn't know the selector {selector!r}")
        kind, inclusive, value = matched.groups()
        if value == "@latest":
            return partition.next - 1
        number = int(value) if kind == "sequence-number" or value == "-1" else int(value) // 8
        return number - 1 if inclusive else number

    def _leave(self, link: Link) -> None:
        if link.partition:
            with self._hub.lock:
                link.partition.readers -= 1
            link.partition = None

    def _transfer(self, channel: int, fields: list[Any]) -> None:
        link = self._links[channel, fields[0]]
        link.payload += fields[11]
        if fields[5]:
            return
        message: Any = decode_payload(memoryview(bytes(link.payload)))
        link.payload = bytearray()
        self._send(channel, DispositionFrame(True, fields[1], fields[1], True, Accepted(), None))
        if link.address == "$cbs":
            name = f"skn={KEY_NAME}"
            self._is_trusted = name in message.value.decode()
            self._reply(link, message, None if self._is_trusted else (401, "InvalidSignature: the key isn't valid."))
        elif link.address == "$management":
            self._manage(link, message)
        else:
            self._take(link, message, is_batch=fields[3] == _BATCH)

    def _manage(self, link: Link, message: Any) -> None:
        asked = message.application_properties
        name = asked[b"name"].decode()
        if name != self._hub.name:
            self._reply(link, message, (404, f"The messaging entity {name!r} could not be found."))
            return
        with self._hub.lock:
            value: dict[str, Any] = {"name": name, "created_at": self._hub.created_at * 1000}
            if b"partition" in asked:
                value |= _properties(asked[b"partition"].decode(), self._hub.partitions)
            else:
                value["partition_ids"] = [str(number) for number in range(len(self._hub.partitions))]
        self._reply(link, message, None, value)

    def _reply(self, link: Link, message: Any, refused: tuple[int, str] | None, value: Any = None) -> None:
        status, description = refused or (200, "OK")
        properties: dict[str | bytes, Any] = {"status-code": status, "status-description": description}
        answer = Message(
            properties=Properties(correlation_id=message.properties[0]), application_properties=properties, value=value
        )
        (back,) = [one for one in self._links.values() if one.is_to_client and one.address == link.address]
        self._deliver(back, answer)

    def _take(self, link: Link, message: Any, *, is_batch: bool) -> None:
        """Add what a producer sent."""
        found = re.search(r"/Partitions/(\d+)$", link.address)
        number = int(found[1]) if found else next(self._rotation) % len(self._hub.partitions)
        messages: list[Any] = [decode_payload(memoryview(one)) for one in message.data] if is_batch else [message]
        for one in messages:
            key = (one.message_annotations or {}).get(b"x-opt-partition-key") or b""
            self._hub.put(number, b"".join(one.data), key=key.decode())

    def _deliver(self, link: Link, message: Any) -> None:
        payload = bytes(encode_payload(bytearray(), message))
        delivery = next(self._deliveries)
        parts = [payload[start : start + _FRAME] for start in range(0, len(payload), _FRAME)]
        for index, part in enumerate(parts):
            more = index < len(parts) - 1
            tag = delivery.to_bytes(4, "big")
            frame = (link.handle, delivery, tag, 0, True, more, None, None, False, False, False, part)
            self._send(link.channel, TransferFrame(*frame))
        link.sent += 1
        link.credit -= 1

    def _send_events(self) -> None:
        for link in list(self._links.values()):
            if link.partition is None or self._hub.is_silent:
                continue
            with self._hub.lock:
                events = [event for event in link.partition.events if event.number > link.after][: max(0, link.credit)]
            for event in events:
                if self._until_drop == 0:
                    raise EOFError
                if self._until_drop:
                    self._until_drop -= 1
                self._deliver(link, _message(event))
                link.after = event.number
                self._hub.sent += 1


def _message(event: Event) -> Message:
    annotations: dict[str | bytes, Any] = {
        "x-opt-sequence-number": _long(event.number),
        "x-opt-offset": str(event.number * 8),
        "x-opt-enqueued-time": {"TYPE": AMQPTypes.timestamp, "VALUE": int(event.enqueued * 1000)},
    }
    if event.key:
        annotations["x-opt-partition-key"] = event.key
    return Message(message_annotations=annotations, data=[event.data])


def _properties(number: str, partitions: list[Partition]) -> dict[str, Any]:
    partition = partitions[int(number)]
    events = partition.events
    return {
        "partition": number,
        "begin_sequence_number": _long(events[0].number if events else partition.next),
        "last_enqueued_sequence_number": _long(partition.next - 1),
        "last_enqueued_offset": str((partition.next - 1) * 8),
        "last_enqueued_time_utc": _long(int(events[-1].enqueued * 1000) if events else 0),
        "is_partition_empty": not events,
    }


def _long(number: int) -> dict[str, Any]:
    return {"TYPE": AMQPTypes.long, "VALUE": number}
