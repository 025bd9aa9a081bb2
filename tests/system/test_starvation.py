"""A flood of sound does not hold up signalling, and a flood of signalling does not hold up sound: neither
waits for the other, and neither uses the other's thread."""
import socket
import struct
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

import quality

SECONDS = 4
#: Far more than a busy machine makes of a free thread's answer, far less than a full one's queue.
LATE = 0.1
#: Calls that are flooded: each has up to 64 packets decoded and encoded in a row before the next one's turn.
CALLS = 24
PROBE = quality.ADDRESSES["CALLER"]


@pytest.fixture
def running():
    """A gateway with transcoded calls, its process, and the caller's and called side's addresses of each."""
    with quality.calls(("PCMU", "opus"), CALLS, quality.TANDEM) as calls:
        yield calls


def gateway_process():
    """The id of the gateway that the calls run through: a child of this process."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = stat.read_text().rsplit(")", 1)
        except OSError:
            continue
        if name.endswith("(" + quality.TANDEM.name[:15]) and int(rest.split()[1]) == int(Path("/proc/self").resolve().name):
            return int(stat.parent.name)
    raise AssertionError("no gateway runs")


def busy(process):
    """Seconds on a core so far, of the signalling thread and of the media threads."""
    used = {"signalling": 0.0, "media": 0.0}
    for task in Path(f"/proc/{process}/task").iterdir():
        kind = (task / "comm").read_text().strip().split("-")[0]
        if kind in used:
            used[kind] += int((task / "schedstat").read_text().split()[0]) / 1e9
    return used


def address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def rtp(kind, number, payload):
    return struct.pack("!BBHII", 0x80, kind, number & 0xFFFF, 160 * number & 0xFFFFFFFF, 0x51) + payload


@contextmanager
def beside(flood):
    """Runs `flood(over)` beside the block; it ends with the block."""
    over = threading.Event()
    thread = threading.Thread(target=flood, args=(over,))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def options(number):
    uri = f"sip:{quality.ADDRESSES['SERVER']}:15160"
    return (
        f"OPTIONS {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {PROBE};branch=z9hG4bKs{number};rport\r\nMax-Forwards: 70\r\n"
        f"From: <sip:probe@{PROBE}>;tag=s{number}\r\nTo: <{uri}>\r\nCall-ID: s{number}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def answered():
    """How long each of the questions took that were asked for a while, one after the other; seconds."""
    took = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((PROBE, 0))
        probe.connect((quality.ADDRESSES["SERVER"], 15160))
        probe.settimeout(2)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            began = time.monotonic()
            probe.send(options(time.monotonic_ns()))
            assert b" 200 " in probe.recv(4096)[:20]
            took.append(time.monotonic() - began)
            time.sleep(0.01)
    return took


def test_a_flood_of_sound_does_not_hold_up_signalling(running):
    def flood(over):
        ends = []
        for caller, _ in running:
            end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            end.bind(address(caller[0]))
            end.connect(address(caller[1]))
            ends.append((end, caller[2]))
        number = 0
        while not over.is_set():
            number += 1
            for end, kind in ends:
                try:
                    end.send(rtp(kind, number, bytes([number & 0xFF]) * 160))
                except OSError:
                    pass
        for end, _ in ends:
            end.close()

    process = gateway_process()
    with beside(flood):
        before, began = busy(process), time.monotonic()
        took = answered()
        passed, after = time.monotonic() - began, busy(process)
    used = {kind: after[kind] - before[kind] for kind in after}
    assert used["media"] > passed / 10, f"no flood: {used} in {passed:.1f} s"
    assert used["signalling"] < used["media"] / 4, f"sound is signalling's work: {used}"
    late = sum(time > LATE for time in took)
    assert len(took) > 20 and late <= len(took) / 5, f"{late} of {len(took)} answers came late"


def test_a_flood_of_signalling_does_not_hold_up_sound(running):
    def flood(over):
        number = 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as carrier:
            carrier.bind((PROBE, 0))
            carrier.connect((quality.ADDRESSES["SERVER"], 15160))
            while not over.is_set():
                number += 1
                try:
                    carrier.send(options(f"f{number}"))
                except OSError:
                    pass

    process = gateway_process()
    caller, called = running[0]
    talker, listener = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    talker.bind(address(caller[0]))
    listener.bind(address(called[0]))
    listener.settimeout(1)
    came = {}

    def listen():
        while True:
            try:
                packet = listener.recv(2048)
            except (TimeoutError, OSError):
                return
            if packet[1] & 127 == called[2]:
                timestamp = struct.unpack("!I", packet[4:8])[0]
                came.setdefault(timestamp, time.monotonic())

    ear = threading.Thread(target=listen)
    ear.start()
    sent = []
    with beside(flood):
        before, began = busy(process), time.monotonic()
        for number in range(SECONDS * 50):
            time.sleep(max(0, began + 0.02 * number - time.monotonic()))
            sent.append(time.monotonic())
            talker.sendto(rtp(caller[2], number, bytes([number & 0xFF]) * 160), address(caller[1]))
        passed, after = time.monotonic() - began, busy(process)
    ear.join()
    talker.close()
    listener.close()
    used = {kind: after[kind] - before[kind] for kind in after}
    assert used["signalling"] > passed / 10, f"no flood: {used} in {passed:.1f} s"
    assert used["media"] < used["signalling"] / 4, f"signalling is the media threads' work: {used}"
    # The first packet proves its source and is not passed on.
    first = next(iter(came))
    delays = [at - sent[1 + (timestamp - first) % 2**32 // 960] for timestamp, at in came.items() if 1 + (timestamp - first) % 2**32 // 960 < len(sent)]
    assert len(delays) > 0.9 * len(sent), f"{len(delays)} of {len(sent)} packets came"
    late = sum(delay > LATE for delay in delays)
    assert late <= len(delays) / 20, f"{late} of {len(delays)} packets came late"
