#!/usr/bin/env python3
"""What a call costs a server: SIPp caller -> server -> SIPp called side, over UDP on loopback.

    bench/signalling.py [--server tandem --server kamailio] [--rates 400,800] [--secs 5] [--reps 3]
                        [--held 2000] [--standing 100,1000,4000] [--tandem target/release/tandem]

Needs SIPp (Debian: sip-tester); kamailio for the comparison. Servers take turns, so that whatever
else the machine does meets all alike. CPU is user + system time of the server's processes from
/proc, less what it uses idle. The delay is measured by calls of this program's own, 20 a second beside
the load: INVITE to 180, less the same straight to the called side. `standing` is the CPU of a call at
200 calls/s while so many other calls are held.
"""
import argparse, csv, glob, os, resource, shutil, signal, socket, statistics, subprocess, sys, tempfile, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
TICKS = os.sysconf("SC_CLK_TCK")
SERVER, CALLER, CALLED, PROBE = "127.0.90.1", "127.0.90.2", "127.0.90.3", "127.0.90.4"
MORE = ["127.0.90.11", "127.0.90.12"]
PORT, CALLER_PORT, CALLED_PORT, HELD_PORT = 15060, 15062, 15064, 15066

TANDEM = """
data_dir = "data"
[[listener]]
name = "lan"
bind = "{server}:{port}"
transports = ["udp"]
[media]
bind = "{server}"
more = {more}
ports = "{ports}"
{media}
[limits]
{limits}
[webrtc]
bind = "{server}:{webrtc}"
[http]
bind = "127.0.0.1:{http}"
[[api_key]]
id = "bench"
secret = "bench-secret-bench-secret-bench-secret"
"""
TRUNK = """
schema = 1
[trunk]
name = "{name}"
[[gateway]]
uri = "sip:{ip}:{port}"
[inbound]
sources = {sources}
did = ["*"]
[media]
codecs = {codecs}
[limits]
channels = 100000
cps = 100000
"""
ROUTES = '[[route]]\ntrunk = "caller"\ndid = "*"\nto = "trunk:called"\n'


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def configure(work, program, trunks, **main):
    """Writes a Tandem's files; returns its command. A trunk is a name, address, port, sources and codecs."""
    quoted = lambda items: "[" + ", ".join(f'"{item}"' for item in items) + "]"
    write(f"{work}/tandem.toml", TANDEM.format(**{**main, "more": quoted(main["more"])}))
    for name, ip, port, sources, codecs in trunks:
        trunk = TRUNK.format(name=name, ip=ip, port=port, sources=quoted(sources), codecs=quoted(codecs))
        write(f"{work}/trunks/{name}.toml", trunk)
    write(f"{work}/routes.toml", ROUTES)
    return [program, "serve", "--config", f"{work}/tandem.toml"]


def tandem(work, args):
    codecs = ["PCMU", "telephone-event"]
    trunks = [("caller", CALLER, CALLER_PORT, [CALLER, PROBE], codecs), ("called", CALLED, CALLED_PORT, [CALLED], codecs)]
    return configure(work, args.tandem, trunks, server=SERVER, port=PORT, more=MORE, ports="20000-59999", media="",
                     limits="calls = 60000\ntransactions = 1000000", webrtc=15085, http=15080)


def kamailio(work, args):
    modules = next(iter(glob.glob("/usr/lib/*/kamailio/modules")), "/usr/lib/kamailio/modules")
    text = open(f"{HERE}/kamailio.cfg").read()
    names = {"SERVER": SERVER, "PORT": PORT, "CALLED": CALLED, "CALLED_PORT": CALLED_PORT, "MODULES": modules}
    for name, value in names.items():
        text = text.replace(f"@{name}@", str(value))
    write(f"{work}/kamailio.cfg", text)
    os.makedirs(f"{work}/run")
    return ["kamailio", "-f", f"{work}/kamailio.cfg", "-DD", "-E", "-m", "1024", "-M", "16", "-Y", f"{work}/run"]


def processes(pid):
    """pid and its descendants."""
    children = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = open(f"/proc/{entry}/stat").read().rsplit(")", 1)[1].split()
            children.setdefault(int(fields[1]), []).append(int(entry))
        except OSError:
            pass
    found, left = [], [pid]
    while left:
        found.append(left.pop())
        left += children.get(found[-1], [])
    return found


def cpu(pid):
    total = 0
    for one in processes(pid):
        try:
            total += sum(map(int, open(f"/proc/{one}/stat").read().rsplit(")", 1)[1].split()[11:15]))
        except OSError:
            pass
    return total / TICKS


def memory(pid):
    """Proportional set size in KiB."""
    total = 0
    for one in processes(pid):
        try:
            lines = open(f"/proc/{one}/smaps_rollup").readlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        except (OSError, StopIteration):
            pass
    return total


class Probe:
    """Calls of our own: how long until the phone rings. Each is cancelled as soon as it does."""

    def __init__(self, target, per_second=20):
        self.target, self.pause, self.delays, self.number = target, 1 / per_second, [], 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((PROBE, 0))
        self.address = self.socket.getsockname()
        self.stop = threading.Event()

    def request(self, method, tag, to_tag=""):
        ip, port = self.address
        sdp = f"v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\n"
        body = sdp if method == "INVITE" else ""
        kind = "Content-Type: application/sdp\r\n" if body else ""
        return (f"{method} sip:+4930{self.number}@{self.target[0]}:{self.target[1]} SIP/2.0\r\n"
                f"Via: SIP/2.0/UDP {ip}:{port};branch=z9hG4bK{tag};rport\r\nMax-Forwards: 70\r\n"
                f"From: <sip:+49151{self.number}@{ip}>;tag={tag}\r\nTo: <sip:+4930{self.number}@{self.target[0]}>{to_tag}\r\n"
                f"Call-ID: {tag}\r\nCSeq: 1 {method}\r\nContact: <sip:probe@{ip}:{port}>\r\n{kind}"
                f"Content-Length: {len(body)}\r\n\r\n{body}").encode()

    def call(self):
        self.number += 1
        tag = f"probe{os.getpid()}x{time.time_ns()}"
        began = time.perf_counter()
        self.socket.sendto(self.request("INVITE", tag), self.target)
        self.socket.settimeout(1)
        try:
            while True:
                answer = self.socket.recv(4096)
                if tag.encode() in answer and answer.startswith(b"SIP/2.0 180"):
                    break
        except TimeoutError:
            return
        self.delays.append((time.perf_counter() - began) * 1000)
        self.socket.sendto(self.request("CANCEL", tag), self.target)
        self.socket.settimeout(0.2)
        try:
            while True:
                answer = self.socket.recv(4096).decode("latin-1")
                if tag in answer and answer.startswith("SIP/2.0 487"):
                    to = next(line for line in answer.split("\r\n") if line.lower().startswith("to:"))
                    to_tag = ";tag=" + to.split(";tag=", 1)[1] if ";tag=" in to else ""
                    return self.socket.sendto(self.request("ACK", tag, to_tag), self.target)
        except TimeoutError:
            return

    def run(self):
        while not self.stop.wait(self.pause):
            self.call()

    def __enter__(self):
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        self.socket.close()


def share(values, part):
    values = sorted(values)
    return values[min(len(values) - 1, int(part * len(values)))] if values else float("nan")


class Server:
    def __init__(self, name, args):
        self.name, self.args = name, args

    def __enter__(self):
        self.work = tempfile.mkdtemp(prefix=f"bench-{self.name}-")
        command = {"tandem": tandem, "kamailio": kamailio}[self.name](self.work, self.args)
        log = open(f"{self.work}/log", "wb")
        self.process = subprocess.Popen(command, cwd=self.work, stdout=log, stderr=log, start_new_session=True)
        self.pid = self.process.pid
        self.called = self.sipp("uas.xml", CALLED, CALLED_PORT, "called", [])
        for _ in range(50):
            time.sleep(0.2)
            probe = Probe((SERVER, PORT))
            probe.call()
            if probe.delays:
                break
        else:
            self.__exit__()
            sys.exit(f"{self.name} does not start; see {self.work}/log")
        self.load(50, 100, 100)
        time.sleep(1)
        began, before = time.time(), cpu(self.pid)
        time.sleep(2)
        self.idle = (cpu(self.pid) - before) / (time.time() - began)
        return self

    def __exit__(self, *_):
        self.called.kill()
        self.called.wait()
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.pid, sign)
                self.process.wait(3)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass
        shutil.rmtree(self.work, ignore_errors=True)

    def sipp(self, scenario, ip, port, tag, extra):
        command = ["sipp", f"{SERVER}:{PORT}", "-sf", f"{HERE}/{scenario}", "-i", ip, "-p", str(port), "-nostdin", "-l", "60000",
                   "-trace_stat", "-fd", "1", "-stf", f"{self.work}/{tag}.csv", "-watchdog_interval", "100000", "-buff_size", "4194304"]
        return subprocess.Popen(command + extra, cwd=self.work, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def calls(self, rate, count, hold_ms, tag, port=CALLER_PORT):
        limit = int(count / rate + hold_ms / 1000 + 20)
        extra = ["-r", str(rate), "-m", str(count), "-d", str(hold_ms), "-timeout", f"{limit}s", "-recv_timeout", "20000"]
        return self.sipp("uac.xml", CALLER, port, tag, extra)

    def result(self, tag):
        row = list(csv.DictReader(open(f"{self.work}/{tag}.csv"), delimiter=";"))[-1]
        return int(row["SuccessfulCall(C)"]), int(row["FailedCall(C)"]), int(row["CurrentCall"])

    def load(self, rate, count, hold_ms):
        began, before = time.time(), cpu(self.pid)
        self.calls(rate, count, hold_ms, "load").wait()
        time.sleep(1.5)
        done, failed, _ = self.result("load")
        used = cpu(self.pid) - before - getattr(self, "idle", 0) * (time.time() - began)
        return used / max(done, 1) * 1e6, failed

    def held(self, count, rate, seconds):
        """Starts calls that stand for so long; returns when they do."""
        process = self.calls(rate, count, int(seconds * 1000), "held", HELD_PORT)
        while process.poll() is None:
            time.sleep(0.5)
            if os.path.exists(f"{self.work}/held.csv") and self.result("held")[2] + self.result("held")[1] >= count:
                break
        time.sleep(1.5)
        return process


def measure(name, args, rows):
    with Server(name, args) as server:
        for rate in args.rates:
            with Probe((CALLED, CALLED_PORT)) as direct:
                time.sleep(2)
            with Probe((SERVER, PORT)) as probe:
                cost, failed = server.load(rate, int(rate * args.secs), 500)
            base = share(direct.delays, 0.5)
            delay = [share(probe.delays, part) - base for part in (0.5, 0.99)]
            rows.setdefault((name, rate), []).append((cost, *delay, failed))
            print(f"{name:10} {rate:5}/s {cost:7.0f} us/call  180 +{delay[0]:.2f} +{delay[1]:.2f} ms  failed {failed}", flush=True)


def measure_held(name, args):
    with Server(name, args) as server:
        before = memory(server.pid)
        process = server.held(args.held, max(50, args.held // 10), 15)
        done = server.result("held")[2]
        after = memory(server.pid)
        process.kill()
        process.wait()
        print(f"{name:10} held {done}: {(after - before) * 1024 / max(done, 1):.0f} bytes a call", flush=True)


def measure_standing(name, args):
    for count in args.standing:
        with Server(name, args) as server:
            process = server.held(count, max(100, count // 10), 60)
            done, failed = server.result("held")[2], server.result("held")[1]
            began, before = time.time(), cpu(server.pid)
            time.sleep(3)
            server.idle = (cpu(server.pid) - before) / (time.time() - began)
            cost, lost = server.load(200, 1000, 500)
            process.kill()
            process.wait()
            print(f"{name:10} {done:6} standing ({failed} failed): {cost:7.0f} us/call at 200/s, failed {lost}", flush=True)


def main():
    numbers = lambda text: [int(part) for part in text.split(",") if part]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", action="append", choices=["tandem", "kamailio"])
    parser.add_argument("--rates", type=numbers, default=[400, 800])
    parser.add_argument("--secs", type=float, default=5)
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--held", type=int, default=2000, help="0: not measured")
    parser.add_argument("--standing", type=numbers, default=[100, 1000, 4000], help="empty: not measured")
    parser.add_argument("--tandem", default=f"{HERE}/../target/release/tandem")
    args = parser.parse_args()
    args.tandem = os.path.abspath(args.tandem)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(f"open files {hard}: at most {hard // 4} calls of two SIP legs; load {os.getloadavg()[0]:.1f}")
    servers = args.server or (["tandem", "kamailio"] if shutil.which("kamailio") else ["tandem"])
    rows = {}
    for _ in range(args.reps):
        for name in servers:
            measure(name, args, rows)
    if args.held:
        for name in servers:
            measure_held(name, args)
    if args.standing and "tandem" in servers:
        measure_standing("tandem", args)
    print(f"\n{'server':10} {'calls/s':>8} {'CPU us/call':>12} {'180 p50':>9} {'p99':>7} {'failed':>7}   (medians)")
    for (name, rate), runs in rows.items():
        cost, p50, p99, failed = (statistics.median(column) for column in zip(*runs))
        print(f"{name:10} {rate:8} {cost:12.0f} {p50:8.2f}+ {p99:6.2f}+ {failed:7.0f}")


if __name__ == "__main__":
    main()
