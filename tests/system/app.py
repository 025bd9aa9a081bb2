"""An application on aiortc: the second WebRTC client, so that a browser is not the only truth."""
import asyncio
import fractions

import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame
from av.audio.resampler import AudioResampler

from harness import SPEECH, wav


class Mouth(MediaStreamTrack):
    """Speaks a WAV again and again, 20 ms a frame at 48 kHz."""

    kind = "audio"

    def __init__(self, path):
        super().__init__()
        samples, rate = wav(path)
        times = int(48000 / rate)
        assert times * rate == 48000, "speech is at a whole fraction of 48 kHz"
        grid = np.arange(len(samples) * times) / times
        self.samples = (np.interp(grid, np.arange(len(samples)), samples) * 32767).astype("<i2")
        self.at, self.start = 0, None

    async def recv(self):
        loop = asyncio.get_running_loop()
        self.start = self.start or loop.time()
        await asyncio.sleep(max(0, self.start + self.at / 48000 - loop.time()))
        index = (self.at + np.arange(960)) % len(self.samples)
        frame = AudioFrame.from_ndarray(self.samples[index].reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, self.at, fractions.Fraction(1, 48000)
        self.at += 960
        return frame


class App:
    """One application user's phone: offers, sets the answer, speaks and listens."""

    def __init__(self, gateway, token):
        self.gateway, self.token, self.heard, self.task = gateway, token, [], None
        self.peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.peer.addTrack(Mouth(SPEECH / "app.wav"))
        self.peer.on("track", self._on_track)

    def _on_track(self, track):
        self.task = asyncio.ensure_future(self._listen(track))

    async def _listen(self, track):
        to_phone_rate = AudioResampler(format="s16", layout="mono", rate=8000)
        try:
            while True:
                for frame in to_phone_rate.resample(await track.recv()):
                    self.heard.append(frame.to_ndarray().reshape(-1) / 32768.0)
        except MediaStreamError:
            pass

    async def offer(self):
        await self.peer.setLocalDescription(await self.peer.createOffer())
        return self.peer.localDescription.sdp

    async def _request(self, path, body):
        return await asyncio.to_thread(self.gateway.request, "POST", path, body, self.token)

    async def answer(self, call):
        status, body = await self._request(f"/v1/calls/{call}/answer", {"offer": await self.offer()})
        assert status == 200, body
        await self.peer.setRemoteDescription(RTCSessionDescription(body["answer"], "answer"))

    async def place(self, to):
        status, body = await self._request("/v1/calls", {"to": to, "offer": await self.offer()})
        assert status == 201, body
        await self.peer.setRemoteDescription(RTCSessionDescription(body["answer"], "answer"))
        return body["id"]

    def sound(self):
        assert self.heard, "the application heard nothing"
        return np.concatenate(self.heard)

    async def close(self):
        await self.peer.close()
        if self.task:
            self.task.cancel()
