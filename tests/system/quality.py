#!/usr/bin/env python3
"""How well speech survives the gateway: ITU-T P.862 (PESQ, narrowband MOS-LQO), row by row.

    tests/system/quality.py [--items 10] [--rows FILTER] [--gateway] [--quality target/release/examples/quality]

Each row is speech through the media processor on a virtual clock, over two networks that lose and
delay packets: `in` lies before the gateway, `out` behind it. With --gateway it goes besides through
`tandem serve`, in calls set up by SIP, in real time and many at once (about 20 s for 70 of them).
Beside it the same speech, with the
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
import time
import wave
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
QUALITY = Path(os.environ.get("TANDEM_QUALITY", ROOT / "target/release/examples/quality"))
TANDEM = Path(os.environ.get("TANDEM", ROOT / "target/release/tandem"))
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
    #: What the listener waits for a packet, ms, where that is less than any packet is late.
    buffer: int = 0
    #: The gateway takes the talker's jitter out for the listener.
    even: bool = False

    @property
    def name(self):
        parts = [f"{side} {loss} %" for side, loss in (("in", self.loss_in), ("out", self.loss_out)) if loss]
        if self.burst > 1:
            parts.append(f"in bursts of {self.burst}")
        if self.jitter:
            parts.append(f"±{self.jitter} ms jitter")
        if self.buffer:
            parts.append(f"listener waits {self.buffer} ms" + (" and gets it even" if self.even else ""))
        return f"{self.source} → {self.target}: {', '.join(parts) or 'clean'}"

    @property
    def conceals(self):
        """Whether the gateway conceals lost G.711, which it should do better than the reference."""
        return self.source != "opus" and self.loss_in > 0

    @property
    def limit(self):
        """How much less than the reference is allowed, MOS. Stretching is heard a little."""
        if self.buffer:
            return 0.4
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


def buffered(even):
    """A talker's jitter of up to 100 ms, for listeners that wait 60 ms."""
    for codecs in (("PCMU", "opus"), ("opus", "PCMU"), ("PCMU", "PCMU")):
        yield Row(*codecs, jitter=50, buffer=60, even=even)


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


@dataclass
class Figures:
    """Of a row, each the mean of its items."""

    offline: float | None = None
    #: Through the media processor on a virtual clock.
    virtual: float | None = None
    #: Through the running gateway.
    gateway: float | None = None
    #: The longest that a packet left after its place in the sound, ms, on the virtual clock if there is one.
    wait: float = 0
    #: The longest that the tester was late, ms: what the machine, not the gateway, has done to the sound.
    late: float = 0


#: How a job's sound travels.
OFFLINE, VIRTUAL, GATEWAY = "offline", "virtual", "gateway"


def measure(all_rows, count, ways=(OFFLINE, VIRTUAL), quality=QUALITY, tandem=TANDEM):
    """{row: Figures} of `count` items."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        speech = list(items(count, folder))

        def line(job, more=""):
            row, way, n = job
            return (
                f"in={speech[n][0]} out={folder / f'out-{id(job)}.raw'} from={row.source} to={row.target} loss_in={row.loss_in} "
                f"loss_out={row.loss_out} burst={row.burst} jitter={row.jitter} jitter_out={0 if row.buffer else row.jitter} "
                f"buffer={row.buffer or 250} even={int(row.even)} seed={n + 1} offline={int(way == OFFLINE)}{more}\n"
            )

        def run(lines):
            told = subprocess.run([quality], input=lines, text=True, check=True, capture_output=True).stdout
            return [[float(figure) for figure in answer.split()] for answer in told.splitlines()]

        def judge(job, told):
            out = folder / f"out-{id(job)}.raw"
            heard = np.frombuffer(out.read_bytes(), "<i2")
            out.unlink()
            return score(speech[job[2]][1], heard), *told

        jobs = [(row, way, n) for row in all_rows for way in ways for n in range(len(speech))]
        still = [job for job in jobs if job[1] != GATEWAY]
        real = [job for job in jobs if job[1] == GATEWAY]
        told = live(real, line, run, tandem) if real else {}
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            results = dict(zip(still, pool.map(lambda job: judge(job, *run(line(job))), still)))
            results |= dict(zip(real, pool.map(lambda job: judge(job, told[job]), real)))
    table = {}
    for row in all_rows:
        figures = {way: [results[row, way, n] for n in range(len(speech))] for way in ways}
        means = {way: float(np.mean([mos for mos, *_ in found])) for way, found in figures.items()}
        timed = figures.get(VIRTUAL) or figures.get(GATEWAY) or figures[OFFLINE]
        late = max(late for _, _, late in figures.get(GATEWAY, [(0, 0, 0)]))
        table[row] = Figures(**means, wait=max(wait for _, wait, _ in timed), late=late)
    return table


# ---- Calls through the running gateway.

#: Calls at once: few enough for two cores that are busy with other things too.
AT_ONCE = 72
ADDRESSES = dict(SERVER="127.0.93.1", CALLER="127.0.93.2", CALLED="127.0.93.3", MORE=[f"127.0.93.{n}" for n in range(11, 14)])


def live(jobs, line, run, tandem):
    """Plays jobs in calls; returns what the program told of each."""
    told = {}
    kind = lambda job: (tuple(sorted((job[0].source, job[0].target), key="PCMA PCMU opus".split().index)), job[0].even)
    for codecs, even in sorted({kind(job) for job in jobs}):
        mine = [job for job in jobs if kind(job) == (codecs, even)]
        for first in range(0, len(mine), AT_ONCE):
            batch = mine[first : first + AT_ONCE]
            with calls(codecs, len(batch), tandem, even) as ends:
                lines = "".join(line(job, talk(job[0], codecs, *pair)) for job, pair in zip(batch, ends))
                told |= dict(zip(batch, run(lines)))
    return told


def talk(row, codecs, caller, called):
    """A call's keys for the program: who talks is who sends the row's codec."""
    talker, listener = (caller, called) if row.source == codecs[0] else (called, caller)
    return " talker={0} talks_to={1} talks_as={2}".format(*talker) + " listener={0} listens_to={1} listens_as={2}".format(*listener)


@contextmanager
def calls(codecs, count, tandem, even=False):
    """A gateway with so many calls; of each the caller's and the called side's address, the gateway's, and payload type.

    `even`: both trunks want their sound by the clock."""
    sys.path.insert(0, str(ROOT / "bench"))
    import media as bench

    for name, address in ADDRESSES.items():
        setattr(bench, name, address)
    bench.NAMES.setdefault("pcma", (8, "PCMA/8000", 8000))
    codecs = [codec.lower() for codec in codecs]
    settings = argparse.Namespace(tandem=str(tandem), complexity=None, gather=None, gather_transcoded=None, workers=None, io_uring=None)
    with tempfile.TemporaryDirectory() as work, open(Path(work) / "log", "wb") as log:
        command = bench.tandem(work, settings, codecs, False)
        for trunk in Path(work, "trunks").iterdir() if even else ():
            trunk.write_text(trunk.read_text().replace("[media]\n", '[media]\njitter_buffer = "adaptive"\n'))
        process = subprocess.Popen(command, cwd=work, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        driver = None
        try:
            driver = ready(bench, process, Path(work) / "log")
            ends = []
            for n in range(count):
                sides = zip((bench.CALLER, bench.CALLED), driver.call(n, codecs, None))
                ends.append([(f"{local}:{bench.FIRST + 2 * n}", f"{ip}:{port}", kind) for local, (ip, port, kind, _) in sides])
            yield ends
        finally:
            for end in getattr(driver, "ends", []):
                end.close()
            # Once more means: at once, with the calls that stand.
            for _ in range(2):
                process.terminate()
                time.sleep(0.2)
            process.wait(20)


def ready(bench, process, log):
    """Waits until the gateway answers; returns who makes the calls."""
    driver = bench.Sip()
    driver.ends[0].settimeout(0.2)
    for n in range(100):
        if process.poll() is not None:
            break
        uri = f"sip:{bench.SERVER}:{bench.PORT}"
        driver.ends[0].sendto(driver.request("OPTIONS", 9_000_000 + n, uri, f"<{uri}>"), (bench.SERVER, bench.PORT))
        try:
            driver.ends[0].recv(65535)
        except (TimeoutError, ConnectionRefusedError):
            continue
        driver.ends[0].settimeout(5)
        return driver
    for end in driver.ends:
        end.close()
    raise AssertionError("the gateway does not answer: " + log.read_text(errors="replace")[-2000:])


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--items", type=int, default=10)
    arguments.add_argument("--rows", default="", help="only rows whose name has this in it")
    arguments.add_argument("--gateway", action="store_true", help="through the running gateway, too")
    arguments.add_argument("--quality", type=Path, default=QUALITY)
    arguments.add_argument("--tandem", type=Path, default=TANDEM)
    given = arguments.parse_args()
    wanted = [row for row in (*rows(), *buffered(False), *buffered(True)) if given.rows in row.name]
    ways = [OFFLINE, VIRTUAL] + [GATEWAY] * given.gateway
    table = measure(wanted, given.items, ways, given.quality, given.tandem)
    print("| speech | gateway | processor | offline | difference | target | longest wait |\n|---|---|---|---|---|---|---|")
    missed = 0
    for row, found in table.items():
        ours = [mos for mos in (found.gateway, found.virtual) if mos is not None]
        # A small buffer without help is there for comparison.
        judged = row.even or not row.buffer
        holds = min(ours) - found.offline >= -row.limit
        missed += judged and not holds
        target = f"≥ {-row.limit:+.2f}".replace("+0.00", "0").replace("-0.00", "0") + ("" if holds else " **missed**")
        target = target if judged else ""
        gateway = "" if found.gateway is None else f"{found.gateway:.2f}"
        difference = f"{min(ours) - found.offline:+.2f}"
        print(f"| {row.name} | {gateway} | {found.virtual:.2f} | {found.offline:.2f} | {difference} | {target} | {found.wait:.0f} ms |")
    if given.gateway:
        print(f"\nThis program sent no packet later than {max(found.late for found in table.values()):.0f} ms after its time.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
