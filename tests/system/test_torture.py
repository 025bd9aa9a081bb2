"""RFC 4475's messages and other broken SIP, sent to the running gateway: the answer the RFC names, or
silence; the gateway lives on, and a call in progress is not disturbed."""
import re
import socket
import time

import pytest
from harness import CARRIER, GATEWAY, ROOT, SIP_PORT

MESSAGES = ROOT / "sip-fixtures/messages/rfc4475"

# What a user agent server may answer (RFC 4475, own reading of each section). None: it may stay
# silent. Requests that are fine in themselves get what their method gets here: 404 (no route), 405
# or 501 with Allow.
FINE = {200, 403, 404, 405, 416, 480, 481, 488, 501}
EXPECTED = {
    "badinv01": {400}, "clerr": {400}, "ncl": {400}, "scalar02": {400}, "quotbal": {400}, "mismatch01": {400},
    "insuf": {400, None}, "multi01": {400}, "mcl01": {400}, "mismatch02": {501, 400}, "badvers": {505, None},
    "ltgtruri": {400}, "lwsruri": {400}, "lwsstart": FINE | {400}, "trws": FINE | {400}, "escruri": FINE | {400},
    "regbadct": FINE | {400}, "badaspec": FINE | {400}, "baddn": FINE | {400}, "baddate": FINE | {400},
    "badbranch": FINE | {400, None}, "unkscm": {416, 404}, "novelsc": {416, 404}, "unksm2": FINE | {400},
    "bext01": {420}, "invut": {415}, "intmeth": {501}, "esc02": {501}, "sdp01": {400, 406, 488, 404},
    # Responses and things that are no request are never answered.
    "scalarlg": {None}, "bigcode": {None}, "bcast": {None}, "unreason": {None}, "noreason": {None}, "test": {None, 400},
}


def sip_status(data):
    match = re.match(rb"SIP/2\.0 (\d{3}) ", data)
    return int(match[1]) if match else None


@pytest.fixture
def udp():
    """The carrier's socket on the default port, where an answer without rport goes (RFC 3261 §18.2.2)."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((CARRIER, 5060))
    sock.settimeout(0.7)
    yield sock
    sock.close()


def final_answer(sock, sent):
    """The first final status that answers `sent`; 100 and what is resent of others is passed over."""
    deadline = time.monotonic() + sock.gettimeout()
    while time.monotonic() < deadline:
        try:
            data = sock.recv(65535)
        except TimeoutError:
            return None
        call = re.search(rb"\r\n(?:Call-ID|i):[ \t]*([^\r\n]*)", data, re.I)
        status = sip_status(data)
        if status and status >= 200 and (not call or call[1] in sent):
            return status
    return None


def options(number):
    return (
        f"OPTIONS sip:tandem@{GATEWAY} SIP/2.0\r\nVia: SIP/2.0/UDP {CARRIER}:5060;branch=z9hG4bKalive{number};rport\r\n"
        f"From: <sip:probe@{CARRIER}>;tag=p{number}\r\nTo: <sip:tandem@{GATEWAY}>\r\nCall-ID: alive{number}@{CARRIER}\r\n"
        "CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    ).encode()


@pytest.mark.parametrize("path", sorted(MESSAGES.glob("*.dat")), ids=lambda p: p.stem)
def test_rfc4475_over_udp(gateway, udp, path):
    # Several of them share a branch, and would be taken for the resending of another.
    data = re.sub(rb"(?<=branch=)(z9hG4bK\w+)", rb"\1" + path.stem.encode(), path.read_bytes())
    udp.sendto(data, (GATEWAY, SIP_PORT))
    sent_by = re.search(rb"(?:^|\n)(?:Via|v|vIa)[ \t]*:[ \t\r\n]*SIP[ \r\n]*/[ \r\n]*2\.0[ \r\n]*/[ \r\n]*\w+\s+([^;,\s]+)", data, re.I)
    port = sent_by and re.search(rb"[^\]:]:(\d+)$", sent_by[1])
    expected = EXPECTED.get(path.stem, FINE)
    if port and int(port[1]) != 5060:
        expected = expected | {None}  # the answer goes to another port
    status = final_answer(udp, data)
    assert status in expected, f"{path.stem}: {status}, expected {sorted(map(str, expected))}"
    alive = options(path.stem)
    udp.settimeout(2)
    udp.sendto(alive, (GATEWAY, SIP_PORT))
    assert final_answer(udp, alive) == 200, "the gateway lives and answers OPTIONS"


@pytest.mark.parametrize("path", sorted(MESSAGES.glob("*.dat")), ids=lambda p: p.stem)
def test_rfc4475_over_tcp(gateway, path):
    with socket.create_connection((GATEWAY, SIP_PORT), 2, (CARRIER, 0)) as stream:
        stream.sendall(path.read_bytes())
        stream.settimeout(0.3)
        try:
            data = stream.recv(65535)
            assert data == b"" or sip_status(data), data[:80]
        except (TimeoutError, ConnectionResetError):
            pass
    assert gateway.process.poll() is None


def test_malformed_messages_are_counted(gateway, udp):
    before = gateway.metric(r"tandem_sip_malformed")
    for _ in range(3):
        udp.sendto(b"INVITE sip:x SIP/2.0\r\nVia nothing\r\n\r\n", (GATEWAY, SIP_PORT))
    time.sleep(0.3)
    assert gateway.metric(r"tandem_sip_malformed") >= before + 3


def test_half_a_message_and_one_byte_at_a_time(gateway):
    with socket.create_connection((GATEWAY, SIP_PORT), 2, (CARRIER, 0)) as stalled:
        stalled.sendall(options("half").replace(b"/UDP", b"/TCP")[:60])
        with socket.create_connection((GATEWAY, SIP_PORT), 2, (CARRIER, 0)) as slow:
            for byte in options("slow").replace(b"/UDP", b"/TCP"):
                slow.send(bytes([byte]))
            slow.settimeout(2)
            assert sip_status(slow.recv(65535)) == 200


def test_a_ping_gets_its_pong(gateway):
    with socket.create_connection((GATEWAY, SIP_PORT), 2, (CARRIER, 0)) as stream:
        stream.settimeout(2)
        stream.sendall(b"\r\n\r\n")
        assert stream.recv(16) == b"\r\n"


def test_a_call_in_progress_is_not_disturbed(gateway, processes, udp):
    carrier = processes("uac_answered", CARRIER, "udp", "+442079460001", hold_ms=3000)
    time.sleep(0.8)
    for path in sorted(MESSAGES.glob("*.dat")) * 3:
        udp.sendto(path.read_bytes(), (GATEWAY, SIP_PORT))
    for junk in (b"", b"\x00" * 40, b"\r\n\r\n", bytes(range(256)) * 8, b"SIP/2.0 200 OK\r\n\r\n", b"BYE"):
        udp.sendto(junk, (GATEWAY, SIP_PORT))
    carrier.done()
