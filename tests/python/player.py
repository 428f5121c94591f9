#!/usr/bin/env python3
"""A player's client of the Python standard library alone, written from docs/PROTOCOL.md.

    player.py --hub http://127.0.0.1:8080 --login ada --password 'correct horse' [--register]
    player.py --hex docs/PROTOCOL.md

The first form logs in, plays a little and prints each frame it gets as one line; it exits with 0 after a welcome, with 3 when it was
refused, with 1 otherwise. The second reads the page's examples of frames, writes them again and compares.
"""

import argparse
import json
import re
import socket
import struct
import sys
import urllib.error
import urllib.parse
import urllib.request
import uuid

FRAME_BYTES_MAX = 4096
PATIENCE_S = 30

# Field types of section 2, tables of client and server frames.
U8, U32, STRING, BYTES, ID, RETRY, OPTION_ID = "u8", "u32", "string", "bytes", "id", "retry", "option<id>"
CLIENT = {
    0: ("hello", [("version", U8), ("token", STRING), ("build", STRING), ("app_data", BYTES)]),
    1: ("app", [("data", BYTES)]),
    2: ("leave", []),
    3: ("resume", [("version", U8), ("credential", STRING), ("build", STRING), ("app_data", BYTES)]),
    4: ("kept", []),
}
SERVER = {
    0: ("welcome", [("name", STRING), ("server", STRING), ("session", ID)]),
    1: ("delayed", [("deadline_ms", U32)]),
    2: ("refused", [("code", STRING), ("retry", RETRY), ("handover", OPTION_ID)]),
    3: ("app", [("data", BYTES)]),
    4: ("ending", [("code", STRING), ("save_within_ms", U32)]),
    5: ("notice", [("text", STRING)]),
    6: ("reconnect", [("credential", STRING), ("within_ms", U32)]),
}
RETRIES = {0: "never", 1: "same-token", 2: "new-handover"}


class Broken(Exception):
    """Bytes that are not what the page says."""


class Reader:
    def __init__(self, body):
        self.body, self.at = body, 0

    def take(self, n):
        if self.at + n > len(self.body):
            raise Broken("a body ends inside a field")
        self.at += n
        return self.body[self.at - n : self.at]

    def varint(self):
        value = shift = 0
        while shift < 64:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
        raise Broken("a varint without an end")

    def field(self, kind):
        if kind == U8:
            return self.take(1)[0]
        if kind == U32:
            return self.varint()
        if kind == BYTES:
            return self.take(self.varint())
        if kind == STRING:
            return self.take(self.varint()).decode()
        if kind == ID:
            return uuid.UUID(bytes=self.take(16))
        if kind == OPTION_ID:
            return self.field(ID) if self.take(1) != b"\0" else None
        if kind == RETRY:
            index = self.varint()
            if index not in RETRIES:
                raise Broken("an unknown retry")
            return (RETRIES[index], self.varint() if index else 0)
        raise AssertionError(kind)


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def write_field(kind, value):
    if kind == U8:
        return bytes([value])
    if kind == U32:
        return varint(value)
    if kind == BYTES:
        return varint(len(value)) + value
    if kind == STRING:
        return write_field(BYTES, value.encode())
    if kind == ID:
        return value.bytes
    if kind == OPTION_ID:
        return b"\0" if value is None else b"\1" + value.bytes
    if kind == RETRY:
        name, after_ms = value
        index = next(index for index, known in RETRIES.items() if known == name)
        return varint(index) + (varint(after_ms) if index else b"")
    raise AssertionError(kind)


def decode(body, frames):
    """The frame's name and fields; None for a tag that is newer than this client."""
    reader = Reader(body)
    tag = reader.varint()
    if tag not in frames:
        return None
    name, fields = frames[tag]
    values = {field: reader.field(kind) for field, kind in fields}
    if reader.at != len(body):
        raise Broken(f"{name} has {len(body) - reader.at} bytes too many")
    return name, values


def encode(name, values, frames):
    tag, fields = next((tag, fields) for tag, (known, fields) in frames.items() if known == name)
    body = varint(tag) + b"".join(write_field(kind, values[field]) for field, kind in fields)
    return struct.pack(">I", len(body)) + body


def show(name, values):
    words = [name]
    for field, value in values.items():
        if field == "retry":
            words += [f"retry={value[0]}", f"after_ms={value[1]}"]
        elif field == "data":
            words.append("data=" + json.dumps(value.decode(errors="replace")))
        else:
            words.append(f"{field}={'none' if value is None else value}")
    return " ".join(words)


class GameLink:
    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE_S)
        self.credential = None
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, name, **values):
        self.socket.sendall(encode(name, values, CLIENT))

    def read(self, n):
        data = b""
        while len(data) < n:
            more = self.socket.recv(n - len(data))
            if not more:
                raise Broken("the server closed the connection")
            data += more
        return data

    def next(self):
        while True:
            (length,) = struct.unpack(">I", self.read(4))
            if not 1 <= length <= FRAME_BYTES_MAX:
                raise Broken(f"a frame of {length} bytes")
            frame = decode(self.read(length), SERVER)
            if frame is not None and frame[0] == "reconnect":
                # A secret, as the token is: kept, not shown.
                self.credential = frame[1]["credential"]
                self.send("kept")
            elif frame is not None:
                print(show(*frame), flush=True)
                return frame


def post(hub, path, body):
    request = urllib.request.Request(
        urllib.parse.urljoin(hub, path),
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=PATIENCE_S) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        problem = json.load(error)
        wait = problem.get("retry_after_s", "none")
        print(f"problem status={problem['status']} code={problem['code']} retry_after_s={wait}", flush=True)
        return None


def play(hub, login, password, register):
    account = {"login": login, "password": password}
    if register and post(hub, "/auth/register", account) is None:
        return 1
    reply = post(hub, "/auth/login", account)
    if reply is None:
        return 1
    ticket = reply["handover"]
    endpoint = next((e for e in ticket["endpoints"] if e["transport"] == "tcp"), None)
    if endpoint is None:
        print("the reply names no tcp endpoint", file=sys.stderr)
        return 1
    link = GameLink(endpoint["address"])
    link.send("hello", version=1, token=ticket["token"], build="player.py", app_data=b"")
    while True:
        name, _ = link.next()
        if name == "refused":
            return 3
        if name == "welcome":
            break
    for data in (b"who", "hello, world".encode()):
        link.send("app", data=data)
        while (frame := link.next())[0] != "app":
            if frame[0] == "refused":
                return 3
    link.send("leave")
    link.socket.close()
    return 0


def check_examples(path):
    """Decodes and encodes every frame on the page."""
    with open(path, encoding="utf-8") as file:
        page = file.read()
    examples = re.findall(r"<!-- example: frame-(client|server)-(\S+) -->\n```hex\n([0-9a-f\s]+)```", page)
    failures = 0
    for side, example, text in examples:
        frames, data = (CLIENT if side == "client" else SERVER), bytes.fromhex(text)
        try:
            (length,) = struct.unpack(">I", data[:4])
            frame = decode(data[4:], frames)
            if length != len(data) - 4 or frame is None or not example.startswith(frame[0]):
                raise Broken(f"it reads as {frame}")
            if encode(*frame, frames) != data:
                raise Broken("it is written otherwise")
            print(f"frame-{side}-{example}: {show(*frame)}")
        except (Broken, ValueError, struct.error) as error:
            failures += 1
            print(f"frame-{side}-{example}: {error}", file=sys.stderr)
    print(f"{len(examples)} frames, {failures} differ")
    return 0 if examples and not failures else 1


def main():
    parser = argparse.ArgumentParser(description="A player's client in Python.")
    parser.add_argument("--hex", metavar="PAGE", help="check the page's examples of frames")
    parser.add_argument("--hub", help="http://host:port")
    parser.add_argument("--login")
    parser.add_argument("--password")
    parser.add_argument("--register", action="store_true", help="make the account first")
    arguments = parser.parse_args()
    if arguments.hex:
        return check_examples(arguments.hex)
    if not (arguments.hub and arguments.login and arguments.password):
        parser.error("--hub, --login and --password are needed")
    try:
        return play(arguments.hub, arguments.login, arguments.password, arguments.register)
    except (Broken, OSError, ValueError) as error:
        print(f"player.py: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
