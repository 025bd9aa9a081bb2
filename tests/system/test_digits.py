"""Digits through the running gateway, in every mixture of ways: each is passed on once, in order, and the
call's record says how it was heard and sent."""
import random
import re
import socket
import struct
import threading
import time

import numpy as np
import pytest
from harness import CARRIER, CARRIER_PORT, GATEWAY, SIP_PORT, Events, Gateway, alaw_decode, alaw_encode, trunk_file

KEYS = "123A456B789C*0#D"
ROWS, COLUMNS = (697, 770, 852, 941), (1209, 1336, 1477, 1633)
EVENTS = "0123456789*#ABCD"

#: Trunks by what their phones can do: the address, codecs, and how digits are sent and heard.
TRUNKS = {
    "events": ("127.0.4.1", ["PCMA", "telephone-event"], "rfc4733", ["rfc4733", "info"]),
    "info": ("127.0.4.2", ["PCMA"], "info", ["info"]),
    "sound": ("127.0.4.3", ["PCMA"], "inband", ["inband"]),
    "both": ("127.0.4.4", ["PCMA", "telephone-event"], "rfc4733", ["rfc4733", "info"]),
    "heard": ("127.0.4.5", ["PCMA"], "info", ["info", "inband"]),
}
#: The number that leads out by each trunk.
NUMBERS = {name: f"+49301000000{n}" for n, name in enumerate(TRUNKS)}


class Keyboards(Gateway):
    """The gateway of the other tests, with these trunks."""

    def _write_config(self, extra_routes, extra_main):
        routes = "".join(
            f'[[route]]\ntrunk = "*"\ndid = "{NUMBERS[name]}"\nto = "trunk:{name}"\n' for name in TRUNKS
        )
        super()._write_config(routes + extra_routes, extra_main)
        for name, (address, codecs, send, receive) in TRUNKS.items():
            media = f'codecs = {codecs}\n[media.dtmf]\nsend = "{send}"\nreceive = {receive}'
            (self.folder / "trunks" / f"{name}.toml").write_text(trunk_file(name, address, media))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    gateway = Keyboards(tmp_path_factory.mktemp("keyboards"))
    yield gateway
    gateway.stop()


class Phone:
    """A phone of one trunk: it speaks silence, presses keys as it is told, and keeps what it is sent."""

    def __init__(self, trunk):
        self.address, codecs, *_ = TRUNKS[trunk]
        self.has_events = "telephone-event" in codecs
        self.sip, self.rtp = self._socket(CARRIER_PORT), self._socket(40_000)
        self.dialog, self.remote, self.number = {}, None, 1
        self.infos, self.packets, self.answers, self.ended = [], [], {}, threading.Event()
        self.sequence, self.timestamp, self.to_send = random.randrange(65_536), random.randrange(1 << 32), []
        self.running = True
        self.threads = [threading.Thread(target=t, daemon=True) for t in (self._signal, self._hear, self._speak)]

    def _socket(self, port):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((self.address, port))
        made.settimeout(0.1)
        return made

    def start(self):
        for thread in self.threads:
            thread.start()

    def close(self):
        self.running = False
        for thread in self.threads:
            if thread.is_alive():
                thread.join()
        self.sip.close()
        self.rtp.close()

    # ---- signalling

    def sdp(self):
        kinds = "8 101" if self.has_events else "8"
        event = "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n" if self.has_events else ""
        return (
            f"v=0\r\no=- 1 1 IN IP4 {self.address}\r\ns=-\r\nc=IN IP4 {self.address}\r\nt=0 0\r\n"
            f"m=audio 40000 RTP/AVP {kinds}\r\na=rtpmap:8 PCMA/8000\r\n{event}a=ptime:20\r\n"
        )

    def connect(self, text):
        self.remote = (GATEWAY, int(re.search(r"m=audio (\d+)", text)[1]))

    def request(self, method, body="", kind=""):
        dialog = self.dialog
        self.number += method not in ("ACK", "INVITE")
        kind = f"Content-Type: {kind}\r\n" if body else ""
        self.sip.sendto(
            f"{method} {dialog['target']} SIP/2.0\r\nVia: SIP/2.0/UDP {self.address}:{CARRIER_PORT};"
            f"branch=z9hG4bK{dialog['id']}{method}{self.number}\r\nMax-Forwards: 70\r\nFrom: {dialog['from']}\r\n"
            f"To: {dialog['to']}\r\nCall-ID: {dialog['id']}\r\nCSeq: {self.number} {method}\r\n"
            f"Contact: <sip:phone@{self.address}:{CARRIER_PORT}>\r\n{kind}Content-Length: {len(body)}\r\n\r\n{body}".encode(),
            (GATEWAY, SIP_PORT),
        )

    def answer(self, text, status="200 OK", body=""):
        head = text.split("\r\n\r\n")[0].split("\r\n")
        kept = [line for line in head if re.match(r"(Via|From|Call-ID|CSeq|Record-Route):", line, re.I)]
        to = next(line for line in head if line.lower().startswith("to:"))
        kept.append(to if ";tag=" in to else f"{to};tag=callee")
        if body:
            kept.append("Content-Type: application/sdp")
        kept += [f"Contact: <sip:phone@{self.address}:{CARRIER_PORT}>", f"Content-Length: {len(body)}"]
        self.sip.sendto(("\r\n".join([f"SIP/2.0 {status}", *kept, "", body])).encode(), (GATEWAY, SIP_PORT))

    def receive(self, wanted):
        """The next message that begins so; what else comes is provisional."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                text = self.sip.recv(65_535).decode()
            except TimeoutError:
                continue
            if text.startswith(wanted):
                return text
            assert text.startswith("SIP/2.0 1"), text
        raise AssertionError(f"no {wanted}")

    def _signal(self):
        while self.running:
            try:
                text = self.sip.recv(65_535).decode()
            except TimeoutError:
                continue
            if text.startswith("SIP/2.0 "):
                self.answers[int(re.search(r"CSeq: *(\d+)", text)[1])] = int(text[8:11])
            elif text.startswith("INFO"):
                self.infos.append(re.search(r"Signal= *(\S)", text)[1])
                self.answer(text)
            elif text.startswith("BYE"):
                self.answer(text)
                self.ended.set()

    # ---- sound

    def _hear(self):
        while self.running:
            try:
                self.packets.append(self.rtp.recv(2_000))
            except TimeoutError:
                continue

    def _speak(self):
        """A packet each 20 ms: what is to be sent, else silence."""
        at = time.monotonic()
        while self.running:
            if self.remote:
                for packet in (self.to_send.pop(0) if self.to_send else self.sound(b"\xd5" * 160)):
                    self.rtp.sendto(packet, self.remote)
            at += 0.02
            time.sleep(max(0, at - time.monotonic()))

    def packet(self, kind, marker, timestamp, payload):
        self.sequence = (self.sequence + 1) & 0xFFFF
        return struct.pack("!BBHII", 0x80, marker << 7 | kind, self.sequence, timestamp & 0xFFFFFFFF, 0xD161) + payload

    def sound(self, payload):
        self.timestamp += 160
        return [self.packet(8, 0, self.timestamp, payload)]

    def drain(self):
        while self.to_send:
            time.sleep(0.01)

    # ---- keys

    def press_events(self, digit, harm=None):
        """RFC 4733: five packets and the end three times. `harm` loses and repeats some."""
        began = self.timestamp + 160
        slots = []
        for n in range(1, 9):
            end, lasts = n > 5, min(n, 6) * 160
            packet = self.packet(101, n == 1, began, struct.pack("!BBH", EVENTS.index(digit), end << 7 | 10, lasts))
            copies = harm.choice([0, 1, 1, 2]) if harm and n != 6 else 1
            slots.append([packet] * copies)
        # The end comes three times at once (§2.5.1.4).
        slots[5:] = [slots[5] + slots[6] + slots[7]]
        self.timestamp += 960
        self.to_send += slots
        self.drain()
        time.sleep(0.08)

    def press_info(self, digit):
        self.request("INFO", f"Signal={digit}\r\nDuration=120\r\n", "application/dtmf-relay")
        deadline = time.monotonic() + 5
        while self.number not in self.answers:
            assert time.monotonic() < deadline, "no answer to INFO"
            time.sleep(0.005)
        assert self.answers[self.number] == 200

    def press_sound(self, digit):
        at = KEYS.index(digit)
        t = np.arange(800) / 8_000
        tone = 0.25 * (np.sin(2 * np.pi * ROWS[at // 4] * t) + np.sin(2 * np.pi * COLUMNS[at % 4] * t))
        octets = alaw_encode(tone)
        for start in range(0, len(octets), 160):
            self.to_send.append(self.sound(octets[start : start + 160]))
        self.drain()
        time.sleep(0.1)

    # ---- what it was sent

    def events(self):
        """Digits by events: each has its timestamp, and ends three times."""
        digits = {}
        for packet in self.packets:
            if packet[1] & 127 == 101 and self.has_events:
                stamp = struct.unpack("!I", packet[4:8])[0]
                digits.setdefault(stamp, [EVENTS[packet[12]], 0])[1] += packet[13] >> 7
        assert all(ends == 3 for _, ends in digits.values()), digits
        return "".join(digit for digit, _ in digits.values())

    def tones(self):
        """Digits in the sound, each a run of 25 ms blocks in which two frequencies have nearly all the power."""
        sound = np.concatenate([alaw_decode(p[12:]) for p in self.packets if p[1] & 127 == 8] or [np.zeros(0)])
        found, before = "", None
        for block in sound[: len(sound) // 200 * 200].reshape(-1, 200):
            t = np.arange(200) / 8_000
            power = lambda f: abs(np.dot(block, np.exp(-2j * np.pi * f * t))) ** 2 / 100  # noqa: E731, B023
            rows, columns = [power(f) for f in ROWS], [power(f) for f in COLUMNS]
            loud = np.sum(block**2)
            key = None
            if loud > 1 and max(rows) + max(columns) > 0.8 * loud and min(max(rows), max(columns)) > 0.2 * loud:
                key = KEYS[4 * int(np.argmax(rows)) + int(np.argmax(columns))]
            if key and key != before:
                found += key
            before = key
        return found


class Call:
    """A call from a phone of one trunk to one of another, answered, with silence in both directions."""

    def __init__(self, gateway, from_trunk, to_trunk):
        self.gateway = gateway
        self.caller, self.callee = Phone(from_trunk), Phone(to_trunk)
        caller, callee, called = self.caller, self.callee, NUMBERS[to_trunk]
        caller.dialog = {
            "id": f"{from_trunk}-{to_trunk}-{time.monotonic_ns()}",
            "target": f"sip:{called}@{GATEWAY}:{SIP_PORT}",
            "from": f"<sip:+33155@{caller.address}>;tag=caller",
            "to": f"<sip:{called}@{GATEWAY}>",
        }
        caller.request("INVITE", caller.sdp(), "application/sdp")
        invite = callee.receive("INVITE")
        field = lambda text, name: re.search(rf"\r\n{name}: *([^\r]*)", text, re.I)[1]  # noqa: E731
        callee.dialog = {
            "id": field(invite, "Call-ID"),
            "target": re.search(r"<([^>]*)>", field(invite, "Contact"))[1],
            "from": field(invite, "To") + ";tag=callee",
            "to": field(invite, "From"),
        }
        callee.connect(invite)
        callee.answer(invite, body=callee.sdp())
        answer = caller.receive("SIP/2.0 200")
        caller.connect(answer)
        caller.dialog.update(to=field(answer, "To"), target=re.search(r"<([^>]*)>", field(answer, "Contact"))[1])
        caller.request("ACK")
        callee.receive("ACK")
        caller.start()
        callee.start()
        time.sleep(0.3)

    def end(self):
        """Hangs up; the digits of the record."""
        time.sleep(0.8)
        self.caller.request("BYE")
        assert self.callee.ended.wait(5)
        time.sleep(0.3)
        records = self.gateway.request("GET", "/v1/cdrs")[1]["cdrs"]
        mine = (c for c in records if any(leg["sip_call_id"] == self.caller.dialog["id"] for leg in c["legs"]))
        return next(mine)["digits"]

    def close(self):
        self.caller.close()
        self.callee.close()


@pytest.fixture
def call(gateway):
    made = []

    def start(*trunks):
        made.append(Call(gateway, *trunks))
        return made[-1]

    yield start
    for one in made:
        one.close()


def ledger(digits):
    return [(d["digit"], d["heard"], d.get("sent")) for d in digits]


def test_events_in_and_info_out(call):
    joined = call("events", "info")
    for digit in "1290*#":
        joined.caller.press_events(digit)
    digits = joined.end()
    assert "".join(joined.callee.infos) == "1290*#"
    assert ledger(digits) == [(d, ["rfc4733"], "info") for d in "1290*#"]
    assert {d["answer"] for d in digits} == {200} and all(100 <= d["duration_ms"] <= 140 for d in digits), digits
    assert joined.callee.tones() == "", "no key is heard in the sound besides"


def test_info_in_and_events_out(call):
    joined = call("info", "events")
    for digit in "4455D0":
        joined.caller.press_info(digit)
        time.sleep(0.2)
    digits = joined.end()
    assert joined.callee.events() == "4455D0"
    assert ledger(digits) == [(d, ["info"], "rfc4733") for d in "4455D0"]


def test_sound_in_and_events_out(call):
    joined = call("sound", "events")
    for digit in "7733*1":
        joined.caller.press_sound(digit)
    digits = joined.end()
    assert joined.callee.events() == "7733*1"
    assert joined.callee.infos == []
    assert ledger(digits) == [(d, ["inband"], "rfc4733") for d in "7733*1"]
    assert all(80 <= d["duration_ms"] <= 130 for d in digits), digits


def test_events_in_and_sound_out(call):
    joined = call("events", "sound")
    for digit in "8642A":
        joined.caller.press_events(digit)
        time.sleep(0.15)
    digits = joined.end()
    assert joined.callee.tones() == "8642A"
    assert ledger(digits) == [(d, ["rfc4733"], "inband") for d in "8642A"]


def test_one_press_in_two_ways_is_one_digit(call):
    joined = call("both", "info")
    for n, digit in enumerate("112358"):
        if n % 2:
            joined.caller.press_info(digit)
            joined.caller.press_events(digit)
        else:
            joined.caller.press_events(digit)
            joined.caller.press_info(digit)
    digits = joined.end()
    assert "".join(joined.callee.infos) == "112358"
    assert [d["digit"] for d in digits] == list("112358")
    assert all(sorted(d["heard"]) == ["info", "rfc4733"] and d["sent"] == "info" for d in digits), digits


def test_one_press_in_the_sound_and_by_info_is_one_digit(call):
    joined = call("heard", "events")
    for digit in "2468":
        joined.caller.press_sound(digit)
        joined.caller.press_info(digit)
    digits = joined.end()
    assert joined.callee.events() == "2468"
    assert [(d["digit"], sorted(d["heard"]), d["sent"]) for d in digits] == [
        (d, ["inband", "info"], "rfc4733") for d in "2468"
    ]


def test_both_sides_press_at_once_over_a_bad_line(call):
    joined = call("events", "both")
    harm = random.Random(7)
    theirs = threading.Thread(target=lambda: [joined.callee.press_events(d, harm) for d in "9081726354"])
    theirs.start()
    for digit in "1357924680":
        joined.caller.press_events(digit, harm)
    theirs.join()
    digits = joined.end()
    assert joined.callee.events() == "1357924680"
    assert joined.caller.events() == "9081726354"
    for leg, pressed in ((1, "1357924680"), (2, "9081726354")):
        assert "".join(d["digit"] for d in digits if d["from"] == leg) == pressed
    assert all(d["heard"] == ["rfc4733"] and d["sent"] == "rfc4733" for d in digits)


def test_captures_that_sipp_plays(gateway, processes):
    """SIPp plays the capture of each key to the echo."""
    events = Events(gateway)
    processes("uac_digits", CARRIER, "udp", "+442079460001").done()
    ended = events.wait("call.ended", 20)
    told = [(e["digit"], e["source"]) for e in events.of(ended["call"]) if e["type"] == "call.dtmf"]
    assert told == [(digit, "rfc4733") for digit in "1234567890*#"]
    record = gateway.cdr(ended["call"])
    assert ledger(record["digits"]) == [(digit, ["rfc4733"], None) for digit in "1234567890*#"]
