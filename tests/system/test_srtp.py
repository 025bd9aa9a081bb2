"""A carrier that speaks SRTP by libsrtp calls the echo: what it says comes back, protected by the
gateway's key, under each suite that both have."""
import base64
import re
import socket
import struct
import time

import pytest
from harness import CARRIER_PORT, GATEWAY, SIP_PORT, Gateway
from pylibsrtp import Policy, Session

PEER = "127.0.3.9"
SUITES = {
    "AES_CM_128_HMAC_SHA1_80": (Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 30),
    "AES_CM_128_HMAC_SHA1_32": (Policy.SRTP_PROFILE_AES128_CM_SHA1_32, 30),
    "AEAD_AES_128_GCM": (Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 28),
    "AEAD_AES_256_GCM": (Policy.SRTP_PROFILE_AEAD_AES_256_GCM, 44),
}


class Sealed(Gateway):
    """The gateway of the other tests, with a trunk that requires SRTP."""

    def _write_config(self, extra_routes, extra_main):
        super()._write_config('[[route]]\ntrunk = "sealed"\ndid = "*"\nto = "app:echo"\n' + extra_routes, extra_main)
        (self.folder / "trunks" / "sealed.toml").write_text(
            f"""schema = 1
[trunk]
name = "sealed"
[[gateway]]
uri = "sip:{PEER}:{CARRIER_PORT}"
[inbound]
sources = ["{PEER}"]
did = ["*"]
[media]
codecs = ["PCMA", "telephone-event"]
srtp = "required"
srtp_keys_over = "any"
srtp_suites = [{", ".join(f'"{name}"' for name in SUITES)}]
"""
        )


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    gateway = Sealed(tmp_path_factory.mktemp("sealed"))
    yield gateway
    gateway.stop()


def udp(port):
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    out.bind((PEER, port))
    out.settimeout(5)
    return out


class Call:
    """One call of the carrier, up to its answer."""

    def __init__(self, name, crypto, transport="RTP/SAVP"):
        self.id = f"{name}-{time.monotonic_ns()}"
        self.sip, self.rtp = udp(CARRIER_PORT), udp(40_000)
        lines = "".join(f"a=crypto:{line}\r\n" for line in crypto)
        sdp = (
            f"v=0\r\no=- 1 1 IN IP4 {PEER}\r\ns=-\r\nc=IN IP4 {PEER}\r\nt=0 0\r\n"
            f"m=audio 40000 {transport} 8\r\na=rtcp-mux\r\n{lines}"
        )
        self._send("INVITE", 1, "", sdp)
        self.answer = self._answer()
        self.tag = re.search(r"\nTo:[^\r]*;tag=([^;\r]+)", self.answer)[1]
        self._send("ACK", 1, f";tag={self.tag}")

    def _send(self, method, number, tag, body=""):
        kind = "Content-Type: application/sdp\r\n" if body else ""
        self.sip.sendto(
            f"{method} sip:+442079460001@{GATEWAY} SIP/2.0\r\nVia: SIP/2.0/UDP {PEER}:{CARRIER_PORT};"
            f"branch=z9hG4bK{self.id}{method}\r\nMax-Forwards: 70\r\nFrom: <sip:+33155@{PEER}>;tag=a\r\n"
            f"To: <sip:+442079460001@{GATEWAY}>{tag}\r\nCall-ID: {self.id}\r\nCSeq: {number} {method}\r\n"
            f"Contact: <sip:{PEER}:{CARRIER_PORT}>\r\n{kind}Content-Length: {len(body)}\r\n\r\n{body}".encode(),
            (GATEWAY, SIP_PORT),
        )

    def _answer(self):
        while True:
            text = self.sip.recv(65_535).decode()
            if not text.startswith("SIP/2.0 1"):
                return text

    def end(self):
        self._send("BYE", 2, f";tag={self.tag}")
        assert self._answer().startswith("SIP/2.0 200")

    def close(self):
        self.sip.close()
        self.rtp.close()


def session(profile, key, kind):
    return Session(policy=Policy(key=key, ssrc_type=kind, srtp_profile=profile))


@pytest.mark.parametrize("suite", SUITES)
def test_echo_under_each_suite(gateway, suite):
    profile, length = SUITES[suite]
    key = bytes(range(40, 40 + length))
    call = Call(suite, [f"7 {suite} inline:{base64.b64encode(key).decode()}|2^31"])
    try:
        assert call.answer.startswith("SIP/2.0 200"), call.answer
        tag, theirs = re.search(rf"a=crypto:(\d+) {suite} inline:([A-Za-z0-9+/=]+)", call.answer).groups()
        assert tag == "7" and len(base64.b64decode(theirs)) == length
        assert base64.b64decode(theirs) != key
        port = int(re.search(r"m=audio (\d+) RTP/SAVP 8", call.answer)[1])
        sender = session(profile, key, Policy.SSRC_ANY_OUTBOUND)
        receiver = session(profile, base64.b64decode(theirs), Policy.SSRC_ANY_INBOUND)
        said, heard = [], []
        call.rtp.settimeout(0.02)
        # Over the wrap of the sequence number.
        for n in range(60):
            said.append(bytes([0xd5 ^ n]) * 160)
            header = struct.pack("!BBHII", 0x80, 8, (65_500 + n) & 0xFFFF, 160 * n, 0xCAFE)
            call.rtp.sendto(sender.protect(header + said[-1]), (GATEWAY, port))
            # What is not protected is not heard.
            call.rtp.sendto(header + b"\x2a" * 160, (GATEWAY, port))
            try:
                packet = call.rtp.recv(2_000)
            except TimeoutError:
                continue
            assert said[-1] not in packet
            if 192 <= packet[1] < 224:
                receiver.unprotect_rtcp(packet)
            else:
                heard.append(receiver.unprotect(packet)[12:])
        # The echo may begin with noise.
        assert len([packet for packet in heard if packet in said]) >= 50
        # The last ones are read before the call ends.
        time.sleep(0.1)
        call.end()
        call.rtp.settimeout(2)
        packet = call.rtp.recv(2_000)
        while not 192 <= packet[1] < 224:
            packet = call.rtp.recv(2_000)
        assert receiver.unprotect_rtcp(packet)[1] in (200, 201)
    finally:
        call.close()
    legs = [leg for cdr in _cdrs(gateway) for leg in cdr["legs"]]
    stats = next(leg["stats"] for leg in legs if leg["sip_call_id"] == call.id)
    assert stats["srtp"] == suite, stats
    # Their numbers had come already.
    assert stats["srtp_replays"] + stats["srtp_failures"] == 60, stats


def _cdrs(gateway):
    time.sleep(0.5)
    return gateway.request("GET", "/v1/cdrs")[1]["cdrs"]


@pytest.mark.parametrize("crypto,transport", [([], "RTP/AVP"), (["1 F8_128_HMAC_SHA1_80 inline:x"], "RTP/SAVP")])
def test_without_a_usable_key_there_is_no_call(gateway, crypto, transport):
    call = Call("none", crypto, transport)
    call.close()
    assert call.answer.startswith("SIP/2.0 488") and "\nWarning: 30" in call.answer, call.answer
