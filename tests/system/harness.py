"""What the system tests share: a running gateway, SIPp as the carrier, ears, and speech to compare."""
import asyncio
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.request
import wave
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
TANDEM = Path(os.environ.get("TANDEM", ROOT / "target/release/tandem"))
SCENARIOS = ROOT / "sip-fixtures/sipp"
SPEECH = ROOT / "crates/tandem/speech"
API_KEY = "system-tests-system-tests-system-tests"

# Each carrier has an address of its own, because trunks are told apart by their source address.
GATEWAY, CARRIER, BACKUP, DIGEST, STRANGER = (f"127.0.0.{n}" for n in (1, 2, 3, 4, 9))
SIP_PORT, HTTP_PORT, WEBRTC_PORT, STUN_PORT = 25060, 28080, 23480, 23478
CARRIER_PORT = 5070


def wav(path):
    """A mono 16-bit WAV as floats in -1..1, and its rate in hertz."""
    with wave.open(str(path)) as f:
        assert f.getnchannels() == 1 and f.getsampwidth() == 2, path
        return np.frombuffer(f.readframes(f.getnframes()), "<i2") / 32768.0, f.getframerate()


def alaw_decode(data):
    """ITU-T G.711 A-law to floats."""
    a = np.frombuffer(data, np.uint8).astype(np.int32) ^ 0x55
    exponent, mantissa = (a >> 4) & 7, a & 15
    magnitude = np.where(exponent == 0, (mantissa << 4) + 8, ((mantissa << 4) + 0x108) << np.maximum(exponent - 1, 0))
    return np.where(a & 0x80, magnitude, -magnitude) / 32768.0


def alaw_encode(samples):
    """Floats to ITU-T G.711 A-law, by the nearest code."""
    table = alaw_decode(bytes(range(256)))
    order = np.argsort(table)
    codes = np.clip(np.searchsorted(table[order], samples), 0, 255)
    return order[codes].astype(np.uint8).tobytes()


def correlation(heard, spoken, seconds=1.5, rate=8000):
    """The best normalised cross-correlation of any loud stretch of `spoken` within `heard`."""
    n = int(seconds * rate)
    if len(heard) < n:
        return 0.0
    energy = np.convolve(spoken**2, np.ones(n), "valid")
    starts = [s for s in range(0, len(energy), rate // 2) if energy[s] > energy.max() / 2]
    return max(_correlation_of(heard, spoken[s : s + n]) for s in starts)


def _correlation_of(heard, piece):
    size = 1 << (len(heard) + len(piece)).bit_length()
    cross = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(piece, size)), size)[: len(heard) - len(piece) + 1]
    power = np.convolve(heard**2, np.ones(len(piece)), "valid")
    return float(np.max(cross / np.sqrt(np.maximum(power, 1e-3) * np.sum(piece**2))))


def trunk_file(name, address, media):
    """A trunk file of one gateway that takes every number; `media`: the lines of its `[media]`."""
    return f"""schema = 1
[trunk]
name = "{name}"
[[gateway]]
uri = "sip:{address}:{CARRIER_PORT}"
[inbound]
sources = ["{address}"]
did = ["*"]
[media]
{media}
"""


class Gateway:
    """`tandem serve` with trunks `carrier`, `backup`, `digest` and routes to the user alice."""

    def __init__(self, folder, extra_routes="", extra_main=""):
        self.folder = Path(folder)
        self.base = f"http://{GATEWAY}:{HTTP_PORT}"
        self._write_config(extra_routes, extra_main)
        self.log = open(self.folder / "tandem.log", "wb")
        self.process = subprocess.Popen(
            [TANDEM, "serve", "--config", self.folder / "tandem.toml"], stdout=self.log, stderr=self.log
        )
        self._wait_ready()

    def _write_config(self, extra_routes, extra_main):
        (self.folder / "trunks").mkdir(parents=True, exist_ok=True)
        (self.folder / "sounds").mkdir(exist_ok=True)
        shutil.copy(SPEECH / "app.wav", self.folder / "sounds/hello.wav")
        (self.folder / "tandem.toml").write_text(
            f"""data_dir = "data"
[[listener]]
name = "lan"
bind = "{GATEWAY}:{SIP_PORT}"
transports = ["udp", "tcp"]
[media]
bind = "{GATEWAY}"
ports = "30000-32999"
sounds = "sounds"
[webrtc]
bind = "{GATEWAY}:{WEBRTC_PORT}"
[stun]
bind = "{GATEWAY}:{STUN_PORT}"
relay = false
[http]
bind = "{GATEWAY}:{HTTP_PORT}"
[store]
url = "sqlite:tandem.db"
[[api_key]]
id = "tests"
secret = "{API_KEY}"
{extra_main}"""
        )
        self._trunk("carrier", CARRIER)
        self._trunk("backup", BACKUP)
        self._trunk("digest", DIGEST, '[auth]\nusername = "user123"\npassword = "secret456"\n')
        for transport in ("udp", "tcp"):
            self._trunk(f"out-{transport}", CARRIER, transport=transport, inbound=False)
            self._trunk(f"backup-{transport}", BACKUP, transport=transport, inbound=False)
            self._trunk(f"digest-{transport}", DIGEST, '[auth]\nusername = "user123"\npassword = "secret456"\n',
                        transport=transport, inbound=False)
        (self.folder / "routes.toml").write_text(
            extra_routes
            + """
[[route]]
trunk = "carrier"
did = "+442079460000"
to = "user:alice"
[[route]]
trunk = "carrier"
did = "+442079460001"
to = "app:echo"
[[route]]
trunk = "carrier"
did = "+442079460002"
to = "app:play/hello.wav"
[[route]]
trunk = "carrier"
did = "+4930*"
to = "trunk:backup-udp"
[[route]]
trunk = "carrier"
did = "+4931*"
to = "trunk:backup-tcp"
"""
            + "".join(
                f"""[[route]]
dial = "+4420{digit}*"
to = [{targets}]
"""
                for digit, targets in (
                    ("1", '"trunk:out-udp"'),
                    ("2", '"trunk:out-tcp"'),
                    ("3", '"trunk:out-udp", "trunk:backup-udp"'),
                    ("4", '"trunk:out-tcp", "trunk:backup-tcp"'),
                    ("5", '"trunk:digest-udp"'),
                    ("6", '"trunk:digest-tcp"'),
                )
            )
        )

    def _trunk(self, name, address, extra="", transport="udp", inbound=True):
        source = f'[inbound]\nsources = ["{address}"]\ndid = ["*"]\n' if inbound else ""
        (self.folder / "trunks" / f"{name}.toml").write_text(
            f"""schema = 1
[trunk]
name = "{name}"
direction = "{'both' if inbound else 'outbound'}"
[[gateway]]
uri = "sip:{address}:{CARRIER_PORT};transport={transport}"
{extra}{source}[identity]
caller_ids = ["+442079460000"]
[media]
codecs = ["PCMA", "PCMU", "telephone-event"]
[limits]
channels = 2000
cps = 500
"""
        )

    def _wait_ready(self):
        for _ in range(100):
            if self.process.poll() is not None:
                raise AssertionError((self.folder / "tandem.log").read_text())
            try:
                if urllib.request.urlopen(f"{self.base}/readyz", timeout=1).status == 200:
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError("not ready: " + (self.folder / "tandem.log").read_text())

    def request(self, method, path, body=None, token=API_KEY, headers=None):
        """(status, decoded body). Never raises for an HTTP status."""
        data = None if body is None else json.dumps(body).encode()
        head = {"Authorization": f"Bearer {token}", **({"Content-Type": "application/json"} if data else {}), **(headers or {})}
        request = urllib.request.Request(self.base + path, data, head, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, self._decode(answer)
        except urllib.error.HTTPError as refused:
            return refused.code, self._decode(refused)

    @staticmethod
    def _decode(answer):
        text = answer.read().decode()
        return json.loads(text) if "json" in (answer.headers.get("Content-Type") or "") else text

    def token(self, user):
        status, body = self.request("POST", "/v1/tokens", {"user": user})
        assert status == 201, body
        return body["token"]

    def cdr(self, call, seconds=5):
        """The call's record, once it is there."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            status, body = self.request("GET", f"/v1/cdrs?call={call}")
            assert status == 200, body
            if body["cdrs"]:
                return body["cdrs"][0]
            time.sleep(0.05)
        raise AssertionError(f"no CDR of {call}")

    def metric(self, pattern):
        """The sum of all samples whose line matches."""
        _, text = self.request("GET", "/metrics")
        lines = [l for l in text.splitlines() if re.match(pattern, l) and not l.startswith("#")]
        return sum(float(l.rsplit(" ", 1)[1]) for l in lines)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGTERM)
                self.process.wait(10)
        self.log.close()
        return self.process.returncode


class Events:
    """The event stream of one principal, read in a thread."""

    def __init__(self, gateway, token=API_KEY):
        self.seen, self.change = [], threading.Condition()
        request = urllib.request.Request(f"{gateway.base}/v1/events", headers={"Authorization": f"Bearer {token}"})
        self.stream = urllib.request.urlopen(request, timeout=60)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            for line in self.stream:
                if line.startswith(b"data:"):
                    with self.change:
                        self.seen.append(json.loads(line[5:]))
                        self.change.notify_all()
        except (OSError, ValueError, AttributeError):
            pass

    def wait(self, type, seconds=10, **fields):
        """The first event of that type (and with those fields), seen or to come."""
        deadline = time.monotonic() + seconds
        with self.change:
            while True:
                for event in self.seen:
                    if event["type"] == type and all(event.get(k) == v for k, v in fields.items()):
                        return event
                if not self.change.wait(max(0, deadline - time.monotonic())) and time.monotonic() >= deadline:
                    raise AssertionError(f"no {type} {fields} in {[e['type'] for e in self.seen]}")

    def of(self, call):
        with self.change:
            return [e for e in self.seen if e.get("call") == call]


class Sipp:
    """One sipp process: a scenario of sip-fixtures/sipp at an address of its own."""

    def __init__(self, folder, scenario, address, transport="udp", called=None, caller="+447700900123", port=CARRIER_PORT,
                 media_port=6000, calls=1, hold_ms=3000, rate=None, timeout=60):
        self.folder = Path(folder) / f"{scenario}-{address}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.scenario, self.media_port, self.address = scenario, media_port, address
        speech, _ = wav(SPEECH / "carrier.wav")
        (self.folder / "speech.alaw").write_bytes(alaw_encode(speech))
        command = ["sipp", "-sf", SCENARIOS / f"{scenario}.xml", "-i", address, "-p", str(port), "-mi", address,
                   "-mp", str(media_port), "-t", {"udp": "u1", "tcp": "t1"}[transport], "-m", str(calls), "-nostdin",
                   "-timeout", str(timeout), "-timeout_error", "-trace_err", "-error_file", self.folder / "errors.log",
                   "-trace_msg", "-message_file", self.folder / "messages.log"]
        if rate:
            command = [c for c in command if c != "-trace_msg"] + ["-r", str(rate), "-l", str(calls)]
        if called:
            (self.folder / "numbers.csv").write_text(f"SEQUENTIAL\n{called};{caller}\n")
            command += ["-inf", self.folder / "numbers.csv", "-d", str(hold_ms), f"{GATEWAY}:{SIP_PORT}"]
        self.out = open(self.folder / "out.log", "wb")
        self.process = subprocess.Popen(command, cwd=self.folder, stdout=self.out, stderr=self.out)
        if not called:
            time.sleep(0.3)  # sipp tells nobody when it listens

    def done(self, seconds=40):
        """Waits for its end and asserts that every call went as the scenario says."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.stop()
            code = "still running"
        assert code == 0, f"sipp {self.scenario} ended with {code}\n{self.report()}"

    def report(self):
        text = ""
        for name in ("errors.log", "messages.log", "out.log"):
            path = self.folder / name
            if path.exists():
                text += f"--- {name}\n{path.read_text(errors='replace')[-6000:]}\n"
        return text

    def failed_calls(self):
        """The cumulative count of failed calls on its last screen."""
        counts = re.findall(r"Failed call\s*\|\s*\d+\s*\|\s*(\d+)", (self.folder / "out.log").read_text(errors="replace"))
        return int(counts[-1]) if counts else None

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.out.close()


class Ear:
    """Hears the RTP that reaches a UDP port on loopback, whoever owns that port (needs root)."""

    def __init__(self, address, port):
        self.to, self.packets, self.running = (socket.inet_aton(address), port), [], True
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.socket.bind(("lo", 0x0800))
        self.socket.settimeout(0.2)
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self):
        while self.running:
            try:
                packet, (_, _, direction, *_rest) = self.socket.recvfrom(4096)
            except TimeoutError:
                continue
            header = (packet[0] & 15) * 4
            if direction == socket.PACKET_OUTGOING or packet[9] != 17 or packet[16:20] != self.to[0]:
                continue
            if struct.unpack("!H", packet[header + 2 : header + 4])[0] == self.to[1]:
                self.packets.append((time.monotonic(), packet[header + 8 :]))

    def sound(self):
        """A-law payloads in sequence order as floats; asserts continuity of sequence and timestamp."""
        self.running = False
        self.thread.join()
        self.socket.close()
        audio = [p for _, p in self.packets if len(p) > 12 and p[0] >> 6 == 2 and p[1] & 127 == 8]
        assert audio, "no PCMA reached the carrier"
        heads = [struct.unpack("!HII", p[2:12]) for p in audio]
        assert len({ssrc for _, _, ssrc in heads}) == 1, "one stream towards one listener"
        steps = [(b[0] - a[0]) & 0xFFFF for a, b in zip(heads, heads[1:])]
        assert max(steps, default=1) < 10, f"sequence numbers jump: {steps}"
        return np.concatenate([alaw_decode(p[12:]) for p in audio])


def run_async(coroutine, seconds=60):
    """Runs one coroutine to its end, bounded."""
    return asyncio.run(asyncio.wait_for(coroutine, seconds))
