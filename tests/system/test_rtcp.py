"""Two carriers with sockets of their own read the gateway's reports octet by octet: one shares a port
for sound and reports and asks for VoIP metrics, the other has a port for each. Times are the kernel's and the
gateway's own: on a busy machine this program reads late and speaks in bursts, which is no fault of the gateway."""
import re
import socket
import struct
import threading
import time

import pytest
from harness import CARRIER_PORT, GATEWAY, SIP_PORT, Gateway, trunk_file

CALLER, CALLEE = "127.0.3.20", "127.0.3.21"
SECONDS = 16
# RFC 3550 §6.3.1: 5 s times 0.5 to 1.5 over 1.21828, half of it at first; and by how much a busy machine lets the
# gateway send late.
FIRST, LATER, SLACK = (1.02, 3.08), (2.05, 6.16), 0.4
SO_TIMESTAMPNS = 35
NTP_EPOCH = 2_208_988_800


class Bare(Gateway):
    """The gateway of the other tests, with a route from one of the two to the other."""

    def _write_config(self, extra_routes, extra_main):
        super()._write_config('[[route]]\ntrunk = "here"\ndid = "*"\nto = "trunk:there"\n' + extra_routes, extra_main)
        for name, address in (("here", CALLER), ("there", CALLEE)):
            media = 'codecs = ["PCMA", "telephone-event"]'
            (self.folder / "trunks" / f"{name}.toml").write_text(trunk_file(name, address, media))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    gateway = Bare(tmp_path_factory.mktemp("reports"))
    yield gateway
    gateway.stop()


def udp(address, port):
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    out.bind((address, port))
    out.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    out.settimeout(5)
    return out


def receive(sock):
    """A packet, its source, and the time at which the kernel took it."""
    packet, extra, _, source = sock.recvmsg(2_000, 64)
    (seconds, nanoseconds), = (struct.unpack("qq", data) for _, kind, data in extra if kind == SO_TIMESTAMPNS)
    return packet, source, seconds + nanoseconds / 1e9


def ntp(at):
    return int((at + NTP_EPOCH) * 65536)


def parse(packet):
    """A compound packet as (type, count, body) of each part; the lengths must add up."""
    out = []
    while packet:
        first, kind, words = struct.unpack("!BBH", packet[:4])
        assert first >> 6 == 2 and not first & 0x20 and len(packet) >= 4 * (words + 1), packet.hex()
        out.append((kind, first & 31, packet[4 : 4 * (words + 1)]))
        packet = packet[4 * (words + 1) :]
    return out


def blocks(body, count):
    """Report blocks as (ssrc, fraction, lost, highest, jitter, LSR, DLSR)."""
    for n in range(count):
        ssrc, loss, *rest = struct.unpack("!IIIIII", body[24 * n : 24 * n + 24])
        yield ssrc, loss >> 24, loss & 0xFFFFFF, *rest


class Side:
    """One carrier's sockets: it speaks every 20 ms, loses what it is told to, and keeps what it hears."""

    def __init__(self, address, ssrc, mux, lost):
        self.address, self.ssrc, self.mux, self.lost = address, ssrc, mux, lost
        self.sip, self.rtp, self.rtcp = udp(address, CARRIER_PORT), udp(address, 40_000), udp(address, 40_001)
        self.sound, self.reports, self.spoken = [], [], 0
        self.went, self.sent_report = threading.Event(), None
        self.threads = []

    def sdp(self, more=""):
        shared = "a=rtcp-mux\r\n" if self.mux else ""
        return (
            f"v=0\r\no=- 1 1 IN IP4 {self.address}\r\ns=-\r\nc=IN IP4 {self.address}\r\nt=0 0\r\n"
            f"m=audio 40000 RTP/AVP 8\r\n{shared}{more}"
        )

    def start(self, port):
        self.port = port
        for run in (self._speak, lambda: self._hear(self.rtp), lambda: self._hear(self.rtcp)):
            self.threads.append(threading.Thread(target=run, daemon=True))
            self.threads[-1].start()

    def _speak(self):
        begun, n = time.monotonic(), 0
        while not self.went.is_set():
            if not self.lost(n):
                header = struct.pack("!BBHII", 0x80, 8, (65_400 + n) & 0xFFFF, 160 * n, self.ssrc)
                self.rtp.sendto(header + b"\xd5" * 160, (GATEWAY, self.port))
            n += 1
            self.spoken = n
            # In the fourth second; the gateway's first report has come by then, and is read before long.
            if n >= 200 and self.sent_report is None and self.reports:
                self._report(n)
            time.sleep(max(0, begun + 0.02 * n - time.monotonic()))

    def _report(self, n):
        """An SR of ours that says we have heard all, and when the gateway's last one came."""
        reports = [r for r in self.reports if r[1][0][0] == 200]
        came, parts = reports[-1]
        lsr = struct.unpack("!Q", parts[0][2][4:12])[0] >> 16 & 0xFFFFFFFF
        at = time.time()
        gone, now = int((at - came) * 65536), ntp(at)
        self.sent_report = now, at
        theirs, highest = self.sound[-1][1], self.sound[-1][2]
        packet = struct.pack("!BBHIQIII", 0x81, 200, 12, self.ssrc, now << 16, 160 * n, n, 160 * n)
        packet += struct.pack("!IIIIII", theirs, 0x40 << 24, highest, 0, lsr, gone)
        packet += struct.pack("!BBHIBB6s", 0x81, 202, 3, self.ssrc, 1, 4, b"peer\0\0")
        back = (self.rtp, self.port) if self.mux else (self.rtcp, self.port + 1)
        back[0].sendto(packet, (GATEWAY, back[1]))

    def _hear(self, sock):
        sock.settimeout(0.1)
        while not self.went.is_set():
            try:
                packet, source, came = receive(sock)
            except TimeoutError:
                continue
            if 192 <= packet[1] < 224:
                assert sock is (self.rtp if self.mux else self.rtcp), "reports on the wrong port"
                assert source == (GATEWAY, self.port if self.mux else self.port + 1), source
                self.reports.append((came, parse(packet)))
            else:
                assert sock is self.rtp and source == (GATEWAY, self.port), source
                sequence, timestamp, ssrc = struct.unpack("!HII", packet[2:12])
                self.sound.append((came, ssrc, sequence, timestamp))

    def stop(self):
        self.went.set()
        for thread in self.threads:
            thread.join()
        for sock in (self.sip, self.rtp, self.rtcp):
            sock.close()


def request(method, number, call, tag, body=""):
    kind = "Content-Type: application/sdp\r\n" if body else ""
    return (
        f"{method} sip:+442079460001@{GATEWAY} SIP/2.0\r\nVia: SIP/2.0/UDP {CALLER}:{CARRIER_PORT};"
        f"branch=z9hG4bK{call}{method}\r\nMax-Forwards: 70\r\nFrom: <sip:+33155@{CALLER}>;tag=a\r\n"
        f"To: <sip:+442079460001@{GATEWAY}>{tag}\r\nCall-ID: {call}\r\nCSeq: {number} {method}\r\n"
        f"Contact: <sip:{CALLER}:{CARRIER_PORT}>\r\n{kind}Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def answer(asked, body=""):
    """A 200 to a request, with its headers."""
    kept = re.findall(r"(?mi)^(?:Via|From|Call-ID|CSeq|Record-Route):[^\r]*\r\n", asked)
    to = re.search(r"(?mi)^To:[^\r]*", asked)[0]
    to += "" if ";tag=" in to else ";tag=b"
    kind = f"Contact: <sip:{CALLEE}:{CARRIER_PORT}>\r\nContent-Type: application/sdp\r\n" if body else ""
    return f"SIP/2.0 200 OK\r\n{''.join(kept)}{to}\r\n{kind}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def final(sip, wanted):
    while wanted not in (text := sip.recv(65_535).decode()).split("\r\n")[0]:
        pass
    return text


def media_port(text):
    return int(re.search(r"m=audio (\d+) RTP/AVP 8", text)[1])


def test_reports_of_both_legs(gateway):
    # Of each fifty packets five in a row are lost, and one alone.
    caller = Side(CALLER, 0xCA11E4, True, lambda n: n % 50 in (10, 11, 12, 13, 14, 40))
    callee = Side(CALLEE, 0xCA11EE, False, lambda n: False)
    call = f"reports-{time.monotonic_ns()}"
    try:
        to = (GATEWAY, SIP_PORT)
        caller.sip.sendto(request("INVITE", 1, call, "", caller.sdp("a=rtcp-xr:voip-metrics\r\n")), to)
        offered = final(callee.sip, "INVITE")
        assert "rtcp-mux" not in offered and "rtcp-xr" not in offered
        begun = time.time()
        callee.sip.sendto(answer(offered, callee.sdp()), to)
        answered = final(caller.sip, "200")
        assert "a=rtcp-mux" in answered
        tag = ";tag=" + re.search(r"\nTo:[^\r]*;tag=([^;\r]+)", answered)[1]
        caller.sip.sendto(request("ACK", 1, call, tag), to)
        caller.start(media_port(answered))
        callee.start(media_port(offered))
        time.sleep(SECONDS)
        spoken = {side: side.spoken for side in (caller, callee)}
        ended = time.time()
        caller.sip.sendto(request("BYE", 2, call, tag), to)
        callee.sip.sendto(answer(final(callee.sip, "BYE")), to)
        final(caller.sip, "200")
        time.sleep(1)
    finally:
        caller.stop()
        callee.stop()
    names = [check(side, spoken[side], begun, ended) for side in (caller, callee)]
    assert len(set(names)) == 2, "one name through a call, another for the other leg"
    metrics = [voip(parts) for _, parts in caller.reports]
    # 6 in 50 lost; bursts of 5 that are lost whole; 1 in 45 lost between them; 127: not known.
    _, ssrc, loss, late, burst, gap, burst_ms, gap_ms, *_, gmin, r_factor, external, listening, _ = metrics[-1]
    assert (ssrc, late, burst, burst_ms, gmin, external) == (caller.ssrc, 0, 255, 100, 16, 127), metrics[-1]
    assert 28 <= loss <= 32 and 5 <= gap <= 6 and 850 <= gap_ms <= 1_000, metrics[-1]
    assert r_factor < 85 and 10 <= listening <= 42, metrics[-1]
    assert all(metrics), "each report has them"
    assert not any(voip(parts) for _, parts in callee.reports), "who did not ask gets none"
    legs = _legs(gateway, call)
    for leg in legs:
        assert leg["stats"]["round_trip_ms"] < 250 and abs(leg["stats"]["remote_loss"] - 0.25) < 0.01, leg
    assert legs[0]["stats"]["voip_received"]["burst_ms"] == 100, legs[0]
    assert "tandem_media_burst_seconds_bucket" in gateway.request("GET", "/metrics")[1]


def voip(parts):
    """The VoIP metrics among the parts (RFC 3611 §4.7), field by field."""
    for kind, _, body in parts:
        if kind == 207:
            assert len(body) == 40 and body[4:8] == b"\x07\0\0\x08", body.hex()
            return struct.unpack("!IxxxxIBBBBHHHHbbBBBBBB", body[:32])
    return None


def check(side, spoken, begun, ended):
    """What RFC 3550 says of a leg's reports; the name that they give."""
    reports = sorted(side.reports, key=lambda report: report[0])
    sound = sorted(side.sound, key=lambda packet: packet[0])
    # When the gateway sent them, by its own clock, which goes as ours: the last one is the leave.
    stamps = [struct.unpack("!Q", parts[0][2][4:12])[0] / 2**32 - NTP_EPOCH for _, parts in reports]
    times = stamps[:-1]
    # The session was open before the call was answered, perhaps by as long as the callee took.
    assert FIRST[0] - 1 <= times[0] - begun <= FIRST[1] + SLACK, times[0] - begun
    for one, two in zip(times, times[1:]):
        assert LATER[0] - SLACK <= two - one <= LATER[1] + SLACK, times
    assert len(times) >= 3
    ssrc = sound[-1][1]
    names = set()
    for number, (came, parts) in enumerate(reports):
        kinds = [kind for kind, _, _ in parts]
        goodbye = number == len(reports) - 1
        extended = [207] if voip(parts) else []
        assert kinds == [200, 202] + extended + [203] * goodbye, kinds
        sender, stamp, rtp, packets, octets = struct.unpack("!IQIII", parts[0][2][:24])
        assert sender == ssrc and abs(stamp / 2**32 - NTP_EPOCH - came) < SLACK
        heard = [s for s in sound if s[0] <= came]
        assert abs(packets - len(heard)) <= 3 and octets == 160 * packets, (packets, len(heard))
        # The stream's clock at that moment: further on than the last packet by the time since then.
        ahead = ((rtp - heard[-1][3] + 2**31) & 0xFFFFFFFF) - 2**31
        assert abs(ahead / 8_000 - (came - heard[-1][0])) <= 0.06, (ahead, came - heard[-1][0])
        on_us = list(blocks(parts[0][2][24:], parts[0][1]))
        assert [b[0] for b in on_us] == [side.ssrc] if number else len(on_us) <= 1
        described, item, length = struct.unpack("!IBB", parts[1][2][:6])
        assert (described, item) == (ssrc, 1) and parts[1][1] == 1
        names.add(parts[1][2][6 : 6 + length])
        if goodbye:
            assert parts[-1][2] == struct.pack("!I", ssrc) and came - ended < 1
    assert len(names) == 1, names
    last = list(blocks(reports[-1][1][0][2][24:], 1))[0]
    lost = sum(map(side.lost, range(spoken)))
    assert abs(last[2] - lost) <= 12 and last[3] >> 16 == 1, "the numbers have wrapped once"
    # Our own report is named in those that follow, and how long ago it came (§6.4.1).
    sent, at = side.sent_report
    # One that came at once may have crossed it.
    after = [(came, list(blocks(parts[0][2][24:], 1))[0]) for came, parts in reports if came > at + SLACK]
    assert after and all(block[5] == sent & 0xFFFFFFFF for _, block in after)
    assert all(abs(block[6] / 65536 - (came - at)) < 0.2 for came, block in after)
    return names.pop()


def _legs(gateway, call):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        _, body = gateway.request("GET", "/v1/cdrs?limit=20")
        for cdr in body["cdrs"]:
            if cdr["legs"][0]["sip_call_id"] == call:
                return cdr["legs"]
        time.sleep(0.2)
    raise AssertionError("no record")
