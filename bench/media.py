#!/usr/bin/env python3
"""What the sound of a call costs a server: CPU, memory and delay, side by side with rtpengine.

    bench/media.py [--server tandem --server rtpengine] [--mode relay --mode transcode --mode same]
                   [--calls 50,200] [--secs 10] [--reps 3] [--capacity] [--tandem target/release/tandem]

Needs a C compiler; espeak-ng for the speech (or --speech FILE.wav, 8 kHz, 16 bits, mono), libopus for
the frames, rtpengine (Debian: rtpengine-daemon) for the comparison. rtpengine runs in userspace, as many
threads as cores, and is driven by its ng protocol; Tandem takes the calls as a caller's trunk and a called
one by SIP. Servers take turns, so that whatever else the machine does meets all alike.

relay      PCMU both sides: CPU per packet sent on.
transcode  PCMU <-> Opus, each server as it comes: CPU per second of a call.
same       the same with the same Opus on both: 24 kbit/s, complexity 10, no redundancy (nothing is lost).

`udpfloor` (relay only) is a bare loop of epoll, recv and send: what the system takes for a packet; `ringfloor` is the
same by io_uring (Debian: liburing-dev). --gather: microseconds that Tandem and those two let packets gather for.
The far side that speaks Opus does as the server's SDP tells it (RFC 7587 §6.1): frames of full band, as a browser makes them, or of
narrow band where it says maxplaybackrate=8000. --far-side full: full band to every server.
`floor` is libopus alone on the same frames of either band (`cargo run --release -p tandem-codec --example floor`, given by
--floor): what a call-second costs with no server at all. CPU is the time that the server's threads
spent on a core, by the scheduler's account, while all calls speak. Memory is the growth of its proportional set size from before
the first call to when all have spoken, divided by their number. --capacity pins the server to core 1 and
the generator to core 0 and looks for the calls at which packets get lost (more than 0.1 %) or late (p99
above 20 ms).
"""
import argparse, array, ctypes, ctypes.util, json, math, os, re, resource, shutil, signal, socket, statistics, struct, subprocess, sys, tempfile, time, wave

from signalling import HERE, configure, memory, processes, write

SERVER, CALLER, CALLED = "127.0.91.1", "127.0.91.2", "127.0.91.3"
MORE = [f"127.0.91.{n}" for n in range(11, 14)]
PORT, CALLER_PORT, CALLED_PORT, NG_PORT, FIRST = 15160, 15162, 15164, 15123, 20000
WARM = 2.0
BEFORE = 5.0
NAMES = {"pcmu": (0, "PCMU/8000", 8000), "opus": (96, "opus/48000/2", 48000)}


# ---- Speech, as frames for rtpload.

def speech(path):
    """About 20 s of speech at 8 kHz."""
    if path:
        with wave.open(path) as file:
            assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (8000, 2, 1), "8 kHz, 16 bits, mono"
            return array.array("h", file.readframes(file.getnframes()))
    text = ("The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background. It is easy to tell the depth "
            "of a well. These days a chicken leg is a rare dish. Rice is often served in round bowls. The juice of lemons makes "
            "fine punch. The box was thrown beside the parked truck. The hogs were fed chopped corn and garbage.")
    sound = subprocess.run(["espeak-ng", "-v", "en-us", "-s", "140", "--stdout", text], capture_output=True, check=True).stdout
    rate = struct.unpack_from("<I", sound, 24)[0]
    return resample(array.array("h", sound[44:len(sound) & ~1]), rate, 8000)


def resample(samples, have, want):
    """Windowed sinc, 16 zero crossings."""
    cut = min(1.0, want / have) * 0.95
    reach = int(8 / cut) + 1
    out = array.array("h")
    for n in range(len(samples) * want // have):
        at = n * have / want
        middle, total = int(at), 0.0
        for k in range(max(0, middle - reach), min(len(samples), middle + reach + 1)):
            x = at - k
            if abs(x) < reach:
                sinc = 1.0 if x == 0 else math.sin(math.pi * cut * x) / (math.pi * cut * x)
                total += samples[k] * cut * sinc * (0.5 + 0.5 * math.cos(math.pi * x / reach))
        out.append(max(-32768, min(32767, round(total))))
    return out


def mu_law(sample):
    sign, level = (0x80, -sample) if sample < 0 else (0, sample)
    level = min(level, 32635) + 132
    exponent = level.bit_length() - 8
    return ~(sign | exponent << 4 | level >> (exponent + 3) & 15) & 0xFF


class Opus:
    """An encoder as a browser sets it: 48 kHz, mono, 32 kbit/s, with redundancy allowed; or for who plays 8 kHz and takes 24 kbit/s."""

    def __init__(self, narrow=False):
        self.lib = ctypes.CDLL(ctypes.util.find_library("opus") or "libopus.so.0")
        self.lib.opus_encoder_create.restype = ctypes.c_void_p
        self.state = ctypes.c_void_p(self.lib.opus_encoder_create(48000, 1, 2048, None))
        for request, value in ((4002, 24000 if narrow else 32000), (4004, 1101 if narrow else 1105), (4010, 9), (4012, 1)):
            assert self.lib.opus_encoder_ctl(self.state, request, ctypes.c_int(value)) == 0

    def encode(self, samples):
        out = ctypes.create_string_buffer(1500)
        pcm = (ctypes.c_int16 * len(samples))(*samples)
        length = self.lib.opus_encode(self.state, pcm, len(samples), out, 1500)
        return out.raw[:length]


def make_frames(folder, path):
    """Writes speech.raw (8 kHz samples), pcmu, opus and opus-8000 (records for rtpload) unless they are there."""
    os.makedirs(folder, exist_ok=True)
    if not os.path.exists(f"{folder}/opus-8000") or path:
        samples = speech(path)[:20 * 8000]
        open(f"{folder}/speech.raw", "wb").write(samples.tobytes())
        wide = resample(samples, 8000, 48000)
        pcmu = [bytes(map(mu_law, samples[n:n + 160])) for n in range(0, len(samples) - 159, 160)]
        opus = {name: [encoder.encode(wide[n:n + 960]) for n in range(0, len(wide) - 959, 960)] for name, encoder in (("opus", Opus()), ("opus-8000", Opus(narrow=True)))}
        for name, frames in (("pcmu", pcmu), *opus.items()):
            with open(f"{folder}/{name}", "wb") as file:
                file.writelines(struct.pack("<H", len(frame)) + frame for frame in frames)
    return folder


# ---- Setting calls up.

def sdp(ip, port, codec, payload_type=None):
    number, name, _ = NAMES[codec]
    number = number if payload_type is None else payload_type
    fmtp = f"a=fmtp:{number} minptime=10;useinbandfec=1\r\n" if codec == "opus" else ""
    return (f"v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP {number}\r\n"
            f"a=rtpmap:{number} {name}\r\n{fmtp}a=ptime:20\r\na=sendrecv\r\n")


def place(text, codec):
    """Address, port and the codec's payload type in an SDP, and the frames that it asks for."""
    ip = re.search(r"^c=IN IP4 (\S+)", text, re.M).group(1)
    port = int(re.search(r"^m=audio (\d+)", text, re.M).group(1))
    found = re.search(rf"^a=rtpmap:(\d+) {NAMES[codec][1].split('/')[0]}/", text, re.M | re.I)
    number = int(found.group(1)) if found else NAMES[codec][0]
    plays = re.search(rf"^a=fmtp:{number} (?:.*;)?\s*maxplaybackrate=(\d+)", text, re.M | re.I)
    return ip, port, number, f"{codec}-8000" if codec == "opus" and plays and int(plays.group(1)) < 12000 else codec


def bencode(value):
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        return bencode(value.encode())
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(map(bencode, value)) + b"e"
    return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"


class Ng:
    """rtpengine's control protocol."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(("127.0.0.1", NG_PORT))
        self.socket.settimeout(2)
        self.number = 0

    def ask(self, **command):
        self.number += 1
        cookie = b"%d_%d" % (os.getpid(), self.number)
        self.socket.send(cookie + b" " + bencode({name.replace("_", "-"): value for name, value in command.items()}))
        while True:
            answer = self.socket.recv(65535)
            if answer.startswith(cookie):
                text = answer.decode("latin-1")
                assert "6:result5:error" not in text, text
                body = re.search(r"3:sdp(\d+):", text)
                return text[body.end():body.end() + int(body.group(1))] if body else text

    def call(self, n, codecs, opus):
        (one, two), name = codecs, f"bench-{os.getpid()}-{n}"
        extra = {"codec": {"transcode": [opus], "mask": ["PCMU"]}} if one != two else {}
        common = dict(call_id=name, from_tag="a", replace=["origin", "session-connection"], ICE="remove")
        offer = place(self.ask(command="offer", sdp=sdp(CALLER, FIRST + 2 * n, one), **common, **extra), two)
        answer = self.ask(command="answer", to_tag="b", sdp=sdp(CALLED, FIRST + 2 * n, two, offer[2]), **common)
        return place(answer, one), offer


class Sip:
    """A caller and the called side, one call after the other."""

    def __init__(self):
        self.ends = []
        for address in ((CALLER, CALLER_PORT), (CALLED, CALLED_PORT)):
            end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            end.bind(address)
            end.settimeout(5)
            self.ends.append(end)

    @staticmethod
    def header(text, name):
        return re.findall(rf"^{name}[ \t]*:[ \t]*(.*?)\r?$", text, re.M | re.I)

    def wait(self, end, wanted):
        while True:
            text, source = end.recvfrom(65535)
            text = text.decode("latin-1")
            if re.match(wanted, text):
                return text, source
            if not text.startswith("SIP/2.0"):
                end.sendto(self.reply(text, "200 OK").encode(), source)
            elif re.match(r"SIP/2.0 [3-6]", text):
                sys.exit(f"refused: {text.splitlines()[0]}")

    def reply(self, request, status, body="", contact=""):
        lines = [f"SIP/2.0 {status}"] + [f"{name}: {value}" for name in ("Via", "From", "Call-ID", "CSeq") for value in self.header(request, name)]
        to = self.header(request, "To")[0]
        lines.append(f"To: {to}" + ("" if ";tag=" in to else ";tag=b"))
        lines += [contact, "Content-Type: application/sdp"] if body else []
        return "\r\n".join(lines) + f"\r\nContent-Length: {len(body)}\r\n\r\n{body}"

    def request(self, method, n, uri, to, body=""):
        return (f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {CALLER}:{CALLER_PORT};branch=z9hG4bK{os.getpid()}{n}{method};rport\r\nMax-Forwards: 70\r\n"
                f"From: <sip:+4915{n:07}@{CALLER}>;tag=a{n}\r\nTo: {to}\r\nCall-ID: bench-{os.getpid()}-{n}\r\nCSeq: 1 {method}\r\n"
                f"Contact: <sip:caller@{CALLER}:{CALLER_PORT}>\r\n" + ("Content-Type: application/sdp\r\n" if body else "") + f"Content-Length: {len(body)}\r\n\r\n{body}").encode()

    def call(self, n, codecs, _opus):
        (one, two), (caller, called) = codecs, self.ends
        uri = f"sip:+4930{n:07}@{SERVER}:{PORT}"
        caller.sendto(self.request("INVITE", n, uri, f"<{uri}>", sdp(CALLER, FIRST + 2 * n, one)), (SERVER, PORT))
        invite, source = self.wait(called, "INVITE ")
        offer = place(invite.split("\r\n\r\n", 1)[1], two)
        body = sdp(CALLED, FIRST + 2 * n, two, offer[2])
        called.sendto(self.reply(invite, "200 OK", body, f"Contact: <sip:called@{CALLED}:{CALLED_PORT}>").encode(), source)
        ok, _ = self.wait(caller, "SIP/2.0 200")
        target = re.search(r"<([^>]+)>", self.header(ok, "Contact")[0]).group(1)
        caller.sendto(self.request("ACK", n, target, self.header(ok, "To")[0]), (SERVER, PORT))
        self.wait(called, "ACK ")
        return place(ok.split("\r\n\r\n", 1)[1], one), offer


# ---- Servers.

def cpu(pid):
    """Seconds on a CPU of all threads alive, as the scheduler counts them."""
    total = 0
    for one in processes(pid):
        for thread in os.listdir(f"/proc/{one}/task"):
            try:
                total += int(open(f"/proc/{one}/task/{thread}/schedstat").read().split()[0])
            except OSError:
                pass
    return total / 1e9


def tandem(work, args, codecs, same):
    complexity = 10 if same else args.complexity
    settings = [("opus_complexity", complexity), ("gather_microseconds", args.gather), ("gather_transcoded_microseconds", args.gather_transcoded), ("workers", args.workers), ("io_uring", args.io_uring)]
    one, other = ([NAMES[codec][1].split("/")[0]] for codec in codecs)
    trunks = [("caller", CALLER, CALLER_PORT, [CALLER], one), ("called", CALLED, CALLED_PORT, [CALLED], other)]
    return configure(work, args.tandem, trunks, server=SERVER, port=PORT, more=MORE, ports="30000-59999",
                     media="\n".join(f"{name} = {value}" for name, value in settings if value is not None), limits="calls = 20000", webrtc=15185, http=15180)


def rtpengine(work, _args, _codecs, _same):
    return ["rtpengine", "--config-file=none", "--foreground", "--log-stderr", "--log-level=3", "--table=-1", f"--interface={SERVER}",
            f"--listen-ng=127.0.0.1:{NG_PORT}", "--port-min=30000", "--port-max=59999", f"--num-threads={os.cpu_count()}",
            "--delete-delay=0", "--timeout=600", "--silent-timeout=600", f"--pidfile={work}/pid"]


def floor_command(name):
    return lambda _work, args, _codecs, _same: [f"{args.frames}/{name}", SERVER, "30000", str(max(args.calls)), str(args.gather or 0)]


class Ports:
    """The floor takes calls by their number."""

    def call(self, n, _codecs, _opus):
        return (SERVER, 30000 + 4 * n, 0, "pcmu"), (SERVER, 30002 + 4 * n, 0, "pcmu")


class Server:
    """A server with so many calls standing."""

    def __init__(self, name, args, mode, pinned=False):
        self.name, self.args, self.mode, self.pinned = name, args, mode, pinned
        self.codecs = ("pcmu", "pcmu") if mode == "relay" else ("pcmu", "opus")

    def __enter__(self):
        self.work = tempfile.mkdtemp(prefix=f"bench-{self.name}-")
        command = {"tandem": tandem, "rtpengine": rtpengine, "udpfloor": floor_command("udpfloor"),
                   "ringfloor": floor_command("ringfloor")}[self.name](self.work, self.args, self.codecs, self.mode == "same")
        command = self.args.before + (["taskset", "-c", "1"] if self.pinned else []) + command
        log = open(f"{self.work}/log", "wb")
        self.process = subprocess.Popen(command, cwd=self.work, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        self.pid = self.process.pid
        time.sleep(2)
        if self.process.poll() is not None:
            sys.exit(f"{self.name} does not start: {open(f'{self.work}/log', errors='replace').read()[-2000:]}")
        self.driver = {"tandem": Sip, "rtpengine": Ng, "udpfloor": Ports, "ringfloor": Ports}[self.name]()
        return self

    def __exit__(self, *_):
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.pid, sign)
                self.process.wait(5)
                break
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass
        for end in getattr(self.driver, "ends", []):
            end.close()
        shutil.rmtree(self.work, ignore_errors=True)

    def speak(self, secs):
        """Starts the generator for the calls of the plan."""
        load = self.args.before + (["taskset", "-c", "0"] if self.pinned else []) + [f"{self.args.frames}/rtpload", f"{self.work}/plan", str(secs + WARM), str(WARM)]
        return subprocess.Popen(load, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)

    def run(self, calls):
        """Sets the calls up and lets them speak, half of them before the others come: no server in the field is new."""
        opus = "opus/48000/2/24000" if self.mode == "same" else "opus/48000/2"
        before, spoken = memory(self.pid), set()
        with open(f"{self.work}/plan", "w") as plan:
            for n in range(calls):
                if 0 < n == calls // 2:
                    plan.flush()
                    self.speak(BEFORE).communicate(timeout=60)
                for at, (local, codec, to) in enumerate(zip((CALLER, CALLED), self.codecs, self.driver.call(n, self.codecs, opus))):
                    frames = codec if self.args.far_side == "full" else to[3]
                    spoken.add(frames)
                    plan.write(f"{local} {FIRST + 2 * n} {to[0]} {to[1]} {to[2]} {NAMES[codec][2]} {self.args.frames}/{frames} {(397 * n + 173 * at) % 900}\n")
        time.sleep(0.5)
        secs = self.args.secs
        load = self.speak(secs)
        time.sleep(WARM)
        began, used = time.time(), cpu(self.pid)
        time.sleep(secs - 0.5)
        took, used = time.time() - began, cpu(self.pid) - used
        grown = memory(self.pid) - before
        result = json.loads(load.communicate(timeout=60)[0])
        result["spoken"] = ", ".join(sorted(spoken))
        result["loss"] = 100 * (1 - result["answered"] / max(1, result["expected"]))
        result["cores"] = used / took
        result["ms_per_call_second"] = used / took / calls * 1e3
        result["us_per_packet"] = used / took / calls / 100 * 1e6
        result["kib_per_call"] = grown / calls
        return result


def floor(args):
    """CPU of libopus alone in ms per call-second, by frames and complexity."""
    costs = {}
    for frames in ("opus", "opus-8000") if args.floor else ():
        lines = subprocess.run([args.floor, f"{args.frames}/speech.raw", f"{args.frames}/{frames}"], capture_output=True, text=True, check=True).stdout
        costs |= {(frames, int(line.split()[0])): float(line.split()[1]) for line in lines.splitlines()}
    return costs


def show(name, mode, calls, r):
    return (f"{name:10} {mode:10} {calls:5} {r['cores']:6.3f} {r['us_per_packet']:8.2f} {r['ms_per_call_second']:9.3f} {r['delay_us']['p50']:7.0f} "
            f"{r['delay_us']['p99']:7.0f} {r['loss']:7.3f} {r['kib_per_call']:8.1f}")


HEAD = f"{'server':10} {'mode':10} {'calls':>5} {'cores':>6} {'us/pkt':>8} {'ms/call-s':>9} {'p50 us':>7} {'p99 us':>7} {'loss %':>7} {'KiB/call':>8}"


def compare(args):
    rows, floors = {}, {}
    print(HEAD)
    for _ in range(args.reps):
        for mode in args.mode:
            for calls in args.calls if mode == "relay" else args.transcoded:
                for name in args.server:
                    if name.endswith("floor") and mode != "relay":
                        continue
                    with Server(name, args, mode) as server:
                        result = server.run(calls)
                    rows.setdefault((name, mode, calls), []).append(result)
                    print(show(name, mode, calls, result), f"  lag p99 {result['lag_us']['p99']:.0f} us  {result['spoken']}", flush=True)
            if mode != "relay":
                for kind, cost in floor(args).items():
                    floors.setdefault(kind, []).append(cost)
    print(f"\nmedians; spread: highest less lowest CPU over the median\n{HEAD} {'spread':>7}")
    for (name, mode, calls), runs in rows.items():
        middle = {key: statistics.median(run[key] for run in runs) for key in ("cores", "us_per_packet", "ms_per_call_second", "loss", "kib_per_call")}
        middle["delay_us"] = {key: statistics.median(run["delay_us"][key] for run in runs) for key in ("p50", "p99")}
        costs = [run["cores"] for run in runs]
        print(show(name, mode, calls, middle), f"{(max(costs) - min(costs)) / (middle['cores'] or 1) * 100:6.0f}%")
    for (frames, complexity), costs in sorted(floors.items()):
        print(f"{'libopus':10} {frames:9} complexity {complexity:2}: {statistics.median(costs):.3f} ms per call-second, {min(costs):.3f} to {max(costs):.3f}")


def capacity(args):
    for mode in args.mode:
        for name in args.server:
            good, bad, calls = 0, None, 200 if mode == "relay" else 30
            while calls <= args.most and (bad is None or bad - good > max(2, good // 12)):
                with Server(name, args, mode, pinned=True) as server:
                    r = server.run(calls)
                fine = r["loss"] <= 0.1 and r["delay_us"]["p99"] <= 20_000
                print(show(name, mode, calls, r), "" if fine else " too many", f" lag p99 {r['lag_us']['p99']:.0f} us", flush=True)
                good, bad = (calls, bad) if fine else (good, calls)
                calls = min(args.most, int(calls * 1.6)) if bad is None else (good + bad) // 2
                if good == args.most:
                    break
            print(f"{name}: {good} calls per core ({mode})" + (", the most tried" if bad is None else ""), flush=True)


def main():
    numbers = lambda text: [int(one) for one in text.split(",") if one]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", action="append", choices=["tandem", "rtpengine", "udpfloor", "ringfloor"])
    parser.add_argument("--mode", action="append", choices=["relay", "transcode", "same"])
    parser.add_argument("--calls", type=numbers, default=[50, 200], help="calls relayed at once")
    parser.add_argument("--transcoded", type=numbers, default=[20, 40], help="calls transcoded at once")
    parser.add_argument("--secs", type=float, default=10)
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--complexity", type=int, help="Tandem's outside of `same`, in place of what it ships with")
    parser.add_argument("--gather", type=int, help="microseconds, in place of what Tandem ships with")
    parser.add_argument("--gather-transcoded", type=int, help="the same for calls that are transcoded")
    parser.add_argument("--io-uring", choices=["true", "false"], help="Tandem's, in place of what it ships with")
    parser.add_argument("--workers", type=int, help="Tandem's media workers, in place of one per core")
    parser.add_argument("--capacity", action="store_true")
    parser.add_argument("--most", type=int, default=1500, help="calls at which --capacity ends")
    parser.add_argument("--first", action="store_true", help="servers and generator go before all else on this machine (real-time class; root)")
    parser.add_argument("--far-side", choices=["told", "full"], default="told", help="Opus as the server's SDP tells, or of full band to all")
    parser.add_argument("--speech")
    parser.add_argument("--floor", help="the example program `floor`")
    parser.add_argument("--frames", default=f"{tempfile.gettempdir()}/bench-frames")
    parser.add_argument("--tandem", default=f"{HERE}/../target/release/tandem")
    args = parser.parse_args()
    args.tandem = os.path.abspath(args.tandem)
    args.before = ["chrt", "--rr", "1"] if args.first else []
    args.server = args.server or (["tandem", "rtpengine"] if shutil.which("rtpengine") else ["tandem"])
    args.mode = args.mode or ["relay", "transcode", "same"]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    make_frames(args.frames, args.speech)
    for program in ["rtpload"] + [name for name in args.server if name.endswith("floor")]:
        library = {"rtpload": ["-lpthread"], "ringfloor": ["-luring"]}.get(program, [])
        subprocess.run(["cc", "-O2", "-o", f"{args.frames}/{program}", f"{HERE}/{program}.c", *library], check=True)
    print(f"open files {hard}: at most {hard // 4} calls; load {os.getloadavg()[0]:.1f}")
    capacity(args) if args.capacity else compare(args)


if __name__ == "__main__":
    main()
