"""The softphone page in a real browser: answers the carrier, calls the carrier, and both hear speech."""
import json
import subprocess
import wave
from pathlib import Path

import numpy as np
import pytest
from harness import CARRIER, SPEECH, Ear, Events, correlation, wav

ALICE = "+442079460000"

# A browser cancels echo, suppresses noise and levels its microphone before it encodes, so its voice
# is not the file's to the sample; another voice resembles it by less than 0.2.
FROM_MICROPHONE = 0.55


@pytest.fixture
def events(gateway):
    return Events(gateway)


class Browser:
    """The driver script as a process that reports its steps."""

    def __init__(self, gateway, folder, mode, number=""):
        self.folder = folder
        speech = folder / "app48.wav"
        samples, _ = wav(SPEECH / "app.wav")
        with wave.open(str(speech), "wb") as f:
            f.setnchannels(1), f.setsampwidth(2), f.setframerate(48000)
            grid = np.arange(len(samples) * 6) / 6
            f.writeframes((np.interp(grid, np.arange(len(samples)), samples) * 32767).astype("<i2").tobytes())
        script = Path(__file__).parent / "browser.mjs"
        self.process = subprocess.Popen(
            ["node", script, mode, gateway.base, gateway.token("alice"), speech, folder, number],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )

    def step(self, name):
        for line in self.process.stdout:
            report = json.loads(line)
            if report["step"] == name:
                return report
        raise AssertionError(f"no step {name}: {self.process.stderr.read()[-3000:]}")

    def heard(self, rate):
        """What the page played, at 8 kHz (a moving average before decimation keeps aliases out)."""
        samples = np.fromfile(self.folder / "heard.f32", "<f4").astype(float)
        step = int(rate) // 8000
        assert step * 8000 == rate
        smooth = np.convolve(samples, np.ones(step) / step, "same")
        return smooth[::step]

    def stop(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def browser(gateway, tmp_path):
    started = []

    def start(*args):
        started.append(Browser(gateway, tmp_path, *args))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def assert_page(done):
    assert not done["complaints"], done["complaints"]
    assert done["timer"] != "0:00" and done["state"].startswith("Call ended"), done
    assert "INVITE" in done["ladder"] and "BYE" in done["ladder"], done["ladder"]
    assert "Browser" in done["quality"] and "opus" in done["quality"].lower(), done["quality"]


def test_browser_answers_the_carrier(gateway, browser, processes, events):
    page = browser("answer")
    page.step("ready")
    ear = Ear(CARRIER, 6000)
    carrier = processes("uac_answered", CARRIER, "udp", ALICE, hold_ms=9000)
    ringing = page.step("ringing")
    assert ringing["from"].endswith("447700900123") and ringing["focus"] == "answer"
    page.step("digit")
    carrier.done()
    done = page.step("done")
    assert_page(done)
    spoken, _ = wav(SPEECH / "carrier.wav")
    assert correlation(page.heard(done["rate"]), spoken) > 0.7
    sound = ear.sound()
    said, _ = wav(SPEECH / "app.wav")
    assert correlation(sound, said) > FROM_MICROPHONE
    assert any(len(p) == 16 and p[1] & 127 == 101 and p[12] == 5 for _, p in ear.packets), "digit 5 reaches the carrier"


def test_browser_calls_the_carrier(gateway, browser, processes, events):
    carrier = processes("uas_answered", CARRIER, "udp")
    ear = Ear(CARRIER, 6000)
    page = browser("place", "+442010000007")
    done = page.step("done")
    carrier.done()
    assert_page(done)
    spoken, _ = wav(SPEECH / "carrier.wav")
    assert correlation(page.heard(done["rate"]), spoken) > 0.7
    said, _ = wav(SPEECH / "app.wav")
    assert correlation(ear.sound(), said) > FROM_MICROPHONE
    call = events.wait("call.ended")["call"]
    assert gateway.cdr(call)["reason"]["code"] == "hangup"
