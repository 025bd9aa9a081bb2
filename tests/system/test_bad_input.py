"""Broken SIP and peers that misbehave, over every transport, against the running gateway: it lives on, keeps
nothing, answers what the RFC names, and a call in progress with sound is not disturbed."""
import re
import resource
import socket
import time

import pytest
from harness import CARRIER, GATEWAY, HTTP_PORT, ROOT, SIP_PORT, SPEECH, STRANGER, Ear, Gateway, correlation, wav
from peers import PORTS, STREAMS, Peer, certificate, connect, files, final_status, listeners, memory
from test_torture import EXPECTED, FINE, options

TORTURE = sorted((ROOT / "sip-fixtures/messages/rfc4475").glob("*.dat"))
# Ours, and those of others whose licence lets them stand here; SOURCE.md beside them says whose they are.
SETS = TORTURE + sorted(
    path
    for folder in ("sip-fixtures/messages/rfc5118", "fuzz/corpus/message", "fuzz/corpus/stream", "fuzz/corpus/values")
    for path in (ROOT / folder).iterdir()
    if path.is_file()
)
JUNK = [
    b"", b"\x00" * 40, b"\r\n" * 50, bytes(range(256)) * 8, b"SIP/2.0 200 OK\r\n\r\n", b"BYE", b"\x80" * 1400,
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"INVITE " + b"a" * 60_000, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
]

# A stream is framed by Content-Length, so these are other messages there than in a datagram.
ON_STREAMS = {
    "clerr": {None},  # the rest of the body never comes (RFC 4475 §3.1.2.2)
    "baddn": {None},  # nor does the line that ends its head
    "insuf": {400, None}, "inv2543": FINE | {400, None}, "test": {None, 400},
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gateway")
    certificate(folder)
    gateway = Gateway(folder, extra_main=listeners())
    yield gateway
    gateway.stop()


def inputs():
    return [path.read_bytes() for path in SETS] + JUNK


def flood(address, until=float("inf")):
    """Everything over everything, as far as the time goes: a datagram, and a stream of each kind, for each message."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind((address, 0))
        for data in inputs():
            udp.sendto(data, (GATEWAY, SIP_PORT))
    for data in inputs():
        for transport in STREAMS:
            if time.monotonic() > until:
                return
            peer = Peer(transport, address)
            try:
                peer.send(data)
            except OSError:
                pass  # closed on us: what it is to do with some of these
            peer.close()


def unique(data, mark):
    """With a branch and a Call-ID of its own: otherwise what came by another transport is the same request."""
    data = re.sub(rb"(?<=branch=)(z9hG4bK\w+)", rb"\1" + mark.encode(), data)
    return re.sub(rb"(?im)^(call-id|i)([ \t]*:[ \t]*)(?=\S)", rb"\1\2" + mark.encode() + b"-", data)


def is_alive(gateway):
    assert gateway.process.poll() is None, (gateway.folder / "tandem.log").read_text()[-4000:]
    for transport in STREAMS:
        peer = Peer(transport, CARRIER)
        peer.send(options(f"{transport}{time.monotonic_ns()}").replace(b"SIP/2.0/UDP", f"SIP/2.0/{transport.upper()}".encode()))
        assert final_status(peer.read(5)) == 200, transport
        peer.close()


@pytest.mark.parametrize("transport", STREAMS)
def test_rfc4475_over_streams(gateway, transport):
    wrong = []
    for path in TORTURE:
        peer = Peer(transport, CARRIER)
        peer.send(unique(path.read_bytes(), f"{transport}-{path.stem}"))
        expected = EXPECTED.get(path.stem, FINE)
        if transport in ("tcp", "tls"):
            expected = ON_STREAMS.get(path.stem, expected)
        # Silence takes its time to show; an answer is read as soon as it is there.
        status = final_status(peer.read(3 if None not in expected else 0.3))
        peer.close()
        if status not in expected:
            wrong.append(f"{path.stem}: {status}, expected {sorted(map(str, expected))}")
    assert not wrong, "\n".join(wrong)
    is_alive(gateway)


def test_nothing_is_left_of_any_input(gateway):
    flood(CARRIER)
    flood(STRANGER)
    settled(gateway)
    before = memory(gateway.process), files(gateway.process)
    for _ in range(3):
        flood(CARRIER)
        flood(STRANGER)
    is_alive(gateway)
    settled(gateway)
    # A connection that a peer has just closed, the last of metrics among them, is open for a moment longer.
    deadline = time.monotonic() + 10
    while files(gateway.process) > before[1] and time.monotonic() < deadline:
        time.sleep(0.2)
    after = memory(gateway.process), files(gateway.process)
    assert after[1] <= before[1], f"open files: {before[1]}, then {after[1]}"
    # The ladder's ring fills up meanwhile; a leak of one message each would be 20 MiB.
    assert after[0] < before[0] + (16 << 20), f"memory: {before[0]}, then {after[0]}"


def settled(gateway, seconds=60):
    """Waits until no call, transaction and dialog is left."""
    deadline = time.monotonic() + seconds
    names = (r"tandem_calls_active", r"tandem_sip_transactions", r"tandem_sip_dialogs")
    while left := {name: count for name in names if (count := gateway.metric(name))}:
        assert time.monotonic() < deadline, f"left over: {left}"
        time.sleep(0.5)


def test_a_call_with_sound_is_not_disturbed(gateway, processes):
    ear = Ear(CARRIER, 6000)
    carrier = processes("uac_answered", CARRIER, "udp", "+442079460001", hold_ms=8000)
    time.sleep(1)
    end = time.monotonic() + 5
    while time.monotonic() < end:
        flood(STRANGER, end - 2.5)
        flood(CARRIER, end)
    carrier.done()
    times = [at for at, packet in ear.packets if len(packet) > 12]
    heard = ear.sound()
    spoken, _ = wav(SPEECH / "carrier.wav")
    assert correlation(heard, spoken) >= 0.8
    assert max(b - a for a, b in zip(times, times[1:])) < 0.5, "the sound stopped"


def log_lines(gateway, words):
    return sum(words in line for line in (gateway.folder / "tandem.log").read_text(errors="replace").splitlines())


def test_peers_that_stall_are_closed_and_logged_once(gateway):
    """Half a message, nothing, one byte at a time, half a handshake: each is closed within half a minute."""
    half = options("stall").replace(b"/UDP", b"/TCP")[:60]
    before = {why: gateway.metric(f'tandem_sip_connections_closed_total.*"{why}"') for why in ("stalled", "mute")}
    stalled = [connect("tcp", STRANGER) for _ in range(20)]
    for stream in stalled:
        stream.sendall(half)
    slow = [connect("tcp", STRANGER) for _ in range(3)]
    silent = [connect(transport, STRANGER) for transport in ("tcp", "tls", "ws", "wss")]
    raw = [socket.create_connection((GATEWAY, PORTS[t]), 5, (STRANGER, 0)) for t in ("tls", "wss")]
    for stream in raw:
        stream.sendall(b"\x16\x03\x01\x02\x00\x01")
    everybody, start, sent = stalled + slow + silent + raw, time.monotonic(), 0
    opened = set(everybody)
    while opened and time.monotonic() < start + 45:
        for stream in list(opened & set(slow)):
            try:
                stream.sendall(options("slow")[sent % 200 : sent % 200 + 1])
            except OSError:
                opened.discard(stream)
        sent += 1
        for stream in list(opened):
            stream.setblocking(False)
            try:
                if stream.recv(100) == b"":
                    opened.discard(stream)
            except (BlockingIOError, OSError) as error:
                if isinstance(error, ConnectionResetError):
                    opened.discard(stream)
            stream.setblocking(True)
        time.sleep(1)
    assert not opened, f"{len(opened)} of {len(everybody)} are still open"
    for stream in everybody:
        stream.close()
    assert gateway.metric('tandem_sip_connections_closed_total.*"stalled"') >= before["stalled"] + 23
    assert gateway.metric('tandem_sip_connections_closed_total.*"mute"') > before["mute"]
    assert 1 <= log_lines(gateway, "a message began and did not end") <= 3
    is_alive(gateway)


def test_ten_thousand_connections(gateway):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 12_000:
        pytest.skip(f"only {hard} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    settled(gateway)
    before = memory(gateway.process), files(gateway.process)
    refused = gateway.metric("tandem_sip_connections_refused_total")
    start, streams = time.monotonic(), []
    try:
        for number in range(10_000):
            stream = socket.socket()
            stream.bind((f"127.0.1.{number % 100 + 1}", 0))
            stream.setblocking(False)
            stream.connect_ex((GATEWAY, SIP_PORT))
            streams.append(stream)
            if number % 200 == 199:
                time.sleep(0.05)  # the kernel's queue of new connections is finite
        deadline = time.monotonic() + 30
        while gateway.metric("tandem_sip_connections_refused_total") < refused + 8_000 and time.monotonic() < deadline:
            time.sleep(0.5)
        # Strangers have 1,024 places, 64 each; whoever a trunk names has others.
        assert files(gateway.process) <= before[1] + 1_024 + 50
        assert memory(gateway.process) < before[0] + (128 << 20)
        assert gateway.metric("tandem_sip_connections_refused_total") >= refused + 8_000
        is_alive(gateway)
        windows = (time.monotonic() - start) / 10 + 1
        assert 1 <= log_lines(gateway, "too many connections: more are refused") <= windows
    finally:
        for stream in streams:
            stream.close()
    deadline = time.monotonic() + 20
    while files(gateway.process) > before[1] + 5 and time.monotonic() < deadline:
        time.sleep(0.5)
    assert files(gateway.process) <= before[1] + 5


def test_http_clients_that_stall_are_closed(gateway):
    head = b"POST /v1/calls HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    pieces = (b"", b"GET /v1/ca", head, head + b"Authorization: Bearer x\r\nContent-Length: 100\r\n\r\n{")
    streams = [socket.create_connection((GATEWAY, HTTP_PORT), 5) for _ in pieces]
    for stream, piece in zip(streams, pieces):
        stream.sendall(piece)
    for stream, piece in zip(streams, pieces):
        stream.settimeout(25)
        heard = b""
        while more := stream.recv(4096):
            heard += more
            if b"\r\n\r\n" in heard:
                break
        assert heard == b"" or heard.startswith((b"HTTP/1.1 408", b"HTTP/1.1 401", b"HTTP/1.1 400")), (piece, heard)
        stream.close()
    assert gateway.request("GET", "/v1/calls")[0] == 200
