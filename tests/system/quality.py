#!/usr/bin/env python3
"""How well speech survives the gateway: ITU-T P.862 (PESQ, narrowband MOS-LQO), row by row.

    tests/system/quality.py [--items 10] [--rows FILTER] [--quality target/release/examples/quality]

Each row is speech through the media processor on a virtual clock, over two networks that lose and
delay packets: `in` lies before the gateway, `out` behind it. Beside it the same speech, with the
same losses, through the same codecs without a gateway: *offline*. There an ideal playout buffer
takes all jitter, libopus recovers what it can from forward error correction, and G.711 is
concealed by its last packet at half the loudness.

The speech is recorded (Asterisk's prompts in English, French and Italian, of the Debian packages
asterisk-core-sounds-*-wav) and synthetic (espeak-ng). Each item is heard twice, and the
second hearing counts, so that what the gateway has to learn about the networks is learnt.
"""
import argparse
import os
import subprocess
import sys
import tempfile
import wave
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
QUALITY = Path(os.environ.get("TANDEM_QUALITY", ROOT / "target/release/examples/quality"))
RATE = 8_000
SOUNDS = Path("/usr/share/asterisk/sounds")
PROMPTS = [
    ("en_US_f_Allison", ["demo-congrats"]),
    ("fr_CA_f_June", ["demo-instruct"]),
    ("it_IT_m_Carlo", ["demo-congrats"]),
    ("en_US_f_Allison", ["demo-instruct"]),
    ("it_IT_m_Carlo", ["demo-instruct"]),
    ("fr_CA_f_June", ["demo-congrats"]),
]
SENTENCES = [
    ("en-us+m3", "The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background. It is easy to tell the depth of a well."),
    ("en-gb+f2", "These days a chicken leg is a rare dish. Rice is often served in round bowls. The juice of lemons makes fine punch."),
    ("de+m1", "Der Zug nach Hamburg faehrt heute von Gleis sieben. Bitte halten Sie Ihre Kundennummer bereit und warten Sie einen Augenblick."),
    ("fr+f4", "Le train pour Marseille partira de la voie numero douze. Veuillez patienter, un conseiller va prendre votre appel."),
]


@dataclass(frozen=True)
class Row:
    """One line of the table: two codecs and what their networks do, percent and milliseconds."""

    source: str
    target: str
    loss_in: int = 0
    loss_out: int = 0
    burst: int = 1
    jitter: int = 0

    @property
    def name(self):
        parts = [f"{side} {loss} %" for side, loss in (("in", self.loss_in), ("out", self.loss_out)) if loss]
        if self.burst > 1:
            parts.append(f"in bursts of {self.burst}")
        if self.jitter:
            parts.append(f"±{self.jitter} ms jitter")
        return f"{self.source} → {self.target}: {', '.join(parts) or 'clean'}"

    @property
    def conceals(self):
        """Whether the gateway conceals lost G.711, which it should do better than the reference."""
        return self.source != "opus" and self.loss_in > 0

    @property
    def limit(self):
        """How much less than the reference is allowed, MOS."""
        clean = not (self.loss_in or self.loss_out or self.jitter)
        return 0.05 if clean else 0.0 if self.conceals else 0.1


def rows():
    for codecs in (("PCMU", "opus"), ("opus", "PCMU"), ("PCMA", "PCMU")):
        yield Row(*codecs)
        for loss in (1, 3, 5, 10):
            yield Row(*codecs, loss_in=loss)
            yield Row(*codecs, loss_out=loss)
        yield Row(*codecs, loss_in=5, loss_out=5)
        yield Row(*codecs, loss_in=5, burst=3)
        yield Row(*codecs, loss_out=5, burst=3)
        yield Row(*codecs, jitter=30)
        yield Row(*codecs, loss_in=3, jitter=30)


def read_wav(path):
    with wave.open(str(path)) as f:
        return np.frombuffer(f.readframes(f.getnframes()), "<i2").astype(np.float64), f.getframerate()


def resample(samples, rate):
    """To 8 kHz by the spectrum, whose upper part is cut off."""
    length = int(len(samples) * RATE / rate)
    spectrum = np.fft.rfft(samples)[: length // 2 + 1]
    return np.fft.irfft(spectrum, length) * length / len(samples)


def level(samples):
    """Speech at -26 dBov, the level P.862 is meant for."""
    loud = samples[np.abs(samples) > np.abs(samples).max() / 50]
    return np.clip(samples * (32768 * 10 ** (-26 / 20)) / np.sqrt(np.mean(loud**2)), -32768, 32767)


def spoken(voice, text, folder):
    path = folder / "spoken.wav"
    subprocess.run(["espeak-ng", "-v", voice, "-s", "150", "-w", path, text], check=True, capture_output=True)
    return resample(*read_wav(path))


def recorded(voice, names):
    rest = np.zeros(RATE // 3)
    return np.concatenate([part for name in names for part in (read_wav(SOUNDS / voice / f"{name}.wav")[0], rest)])


def items(count, folder):
    """Recorded and synthetic speech by turns, eight seconds each, as files of raw samples."""
    makers = [lambda p=p: recorded(*p) for p in PROMPTS if (SOUNDS / p[0]).is_dir()]
    spoken_ones = [lambda s=s: spoken(*s, folder) for s in SENTENCES]
    order = [m for pair in zip(makers[: len(spoken_ones)], spoken_ones) for m in pair] + makers[len(spoken_ones) :]
    for n, maker in enumerate(order[:count]):
        samples = level(maker())[: 8 * RATE].astype("<i2")
        # Whole packets, and silence around, so that each hearing begins alike.
        samples = np.concatenate([np.zeros(RATE // 2, "<i2"), samples])
        samples = samples[: len(samples) // 160 * 160]
        path = folder / f"item{n}.raw"
        path.write_bytes(np.concatenate([samples, samples]).tobytes())
        yield path, samples


def score(reference, heard):
    from pesq import pesq

    return pesq(RATE, reference, heard[len(reference) :], "nb")


def measure(all_rows, count, quality=QUALITY):
    """[(row, gateway's MOS, offline MOS, longest wait in ms)], each the mean of `count` items."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        speech = list(items(count, folder))

        def one(job):
            row, offline, n = job
            path, reference = speech[n]
            out = folder / f"out-{id(job)}.raw"
            line = (
                f"in={path} out={out} from={row.source} to={row.target} loss_in={row.loss_in} loss_out={row.loss_out} "
                f"burst={row.burst} jitter={row.jitter} seed={n + 1} offline={int(offline)}\n"
            )
            told = subprocess.run([quality], input=line, text=True, check=True, capture_output=True).stdout
            heard = np.frombuffer(out.read_bytes(), "<i2")
            out.unlink()
            return score(reference, heard), float(told)

        jobs = [(row, offline, n) for row in all_rows for offline in (False, True) for n in range(len(speech))]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            results = dict(zip(jobs, pool.map(one, jobs)))
    table = []
    for row in all_rows:
        figures = [[results[row, offline, n] for n in range(len(speech))] for offline in (False, True)]
        ours, theirs = (float(np.mean([mos for mos, _ in side])) for side in figures)
        table.append((row, ours, theirs, max(wait for _, wait in figures[0])))
    return table


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--items", type=int, default=10)
    arguments.add_argument("--rows", default="", help="only rows whose name has this in it")
    arguments.add_argument("--quality", type=Path, default=QUALITY)
    given = arguments.parse_args()
    wanted = [row for row in rows() if given.rows in row.name]
    print("| speech | Tandem | offline | difference | target | longest wait |\n|---|---|---|---|---|---|")
    missed = 0
    for row, ours, theirs, wait in measure(wanted, given.items, given.quality):
        holds = ours - theirs >= -row.limit
        missed += not holds
        target = f"≥ {-row.limit:+.2f}".replace("+0.00", "0").replace("-0.00", "0")
        print(f"| {row.name} | {ours:.2f} | {theirs:.2f} | {ours - theirs:+.2f} | {target}{'' if holds else ' **missed**'} | {wait:.0f} ms |")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
