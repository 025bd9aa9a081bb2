"""Peers that speak SIP over every transport, byte by byte as they are told: nothing here mends a message."""
import base64
import datetime
import ipaddress
import os
import selectors
import socket
import ssl
import struct
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from harness import GATEWAY, SIP_PORT

TLS_PORT, WS_PORT, WSS_PORT = SIP_PORT + 1, SIP_PORT + 2, SIP_PORT + 3
STREAMS = ("tcp", "tls", "ws", "wss")
PORTS = {"udp": SIP_PORT, "tcp": SIP_PORT, "tls": TLS_PORT, "ws": WS_PORT, "wss": WSS_PORT}


def certificate(folder, name="gw"):
    """Writes NAME.pem and NAME.key for the gateway's address, good for one hour."""
    key = ec.generate_private_key(ec.SECP256R1())
    own = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    signed = (
        x509.CertificateBuilder()
        .subject_name(own)
        .issuer_name(own)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(GATEWAY))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return signed


def listeners():
    """What the main file says of the secure transports and WebSocket."""
    listener = '[[listener]]\nname = "{0}"\nbind = "{1}:{2}"\ntransports = ["{0}"]\n'
    secure = 'cert = "gw.pem"\nkey = "gw.key"\n'
    text = listener.format("tls", GATEWAY, TLS_PORT) + secure
    text += listener.format("ws", GATEWAY, WS_PORT)
    return text + listener.format("wss", GATEWAY, WSS_PORT) + secure


def connect(transport, address, timeout=5):
    """A connection from `address`, ready for bytes; without the WebSocket handshake."""
    stream = socket.create_connection((GATEWAY, PORTS[transport]), timeout, (address, 0))
    if transport in ("tls", "wss"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        stream = context.wrap_socket(stream)
    return stream


class Peer:
    """One stream to the gateway: sends messages, reads what comes."""

    def __init__(self, transport, address):
        self.transport = transport
        self.stream = connect(transport, address)
        self.heard = b""
        if transport in ("ws", "wss"):
            key = base64.b64encode(os.urandom(16)).decode()
            self.stream.sendall(
                f"GET / HTTP/1.1\r\nHost: {GATEWAY}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: sip\r\n\r\n".encode()
            )
            while b"\r\n\r\n" not in self.heard:
                more = self.stream.recv(4096)
                assert more, "no WebSocket"
                self.heard += more
            head, self.heard = self.heard.split(b"\r\n\r\n", 1)
            assert head.startswith(b"HTTP/1.1 101"), head

    def send(self, data):
        """One message; in one binary frame on a WebSocket."""
        if self.transport in ("ws", "wss"):
            mask = os.urandom(4)
            length = struct.pack("!BH", 0x80 | 126, len(data)) if len(data) > 125 else bytes([0x80 | len(data)])
            data = b"\x82" + length + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(data))
        self.stream.sendall(data)

    def read(self, seconds):
        """All that has come until nothing more comes for so long, or the end; frame headers included."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            pending = isinstance(self.stream, ssl.SSLSocket) and self.stream.pending()
            if not pending and not readable(self.stream, left):
                break
            try:
                more = self.stream.recv(65536)
            except (ssl.SSLWantReadError, TimeoutError):
                continue
            except OSError:
                break
            if not more:
                break
            self.heard += more
            if final_status(self.heard):
                break
        return self.heard

    def close(self):
        self.stream.close()


def readable(stream, seconds):
    """Whether there is something to read; select() knows no descriptors above 1,023."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        return bool(selector.select(seconds))


def final_status(data):
    """The first final status in what came, 100 and other 1xx passed over."""
    at = 0
    while (at := data.find(b"SIP/2.0 ", at)) >= 0:
        digits = data[at + 8 : at + 11]
        before = data[at - 4 : at]
        # Not the version in a header or a request's first line.
        if digits.isdigit() and int(digits) >= 200 and b"/" not in before:
            return int(digits)
        at += 8
    return None


def memory(process):
    """Resident bytes of the gateway."""
    text = open(f"/proc/{process.pid}/status").read()
    return int(text.split("VmRSS:")[1].split()[0]) * 1024


def files(process):
    """Its open descriptors."""
    return len(os.listdir(f"/proc/{process.pid}/fd"))
