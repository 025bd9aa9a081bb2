#!/usr/bin/env python3
"""Goodput under overload: SIPp caller -> Tandem -> SIPp called side, over UDP on loopback.

    bench/overload.py [--secs 8] [--reps 3] [--times 1.5,2,3] [--first] [--tandem target/release/tandem]

Finds the load that is sustained (nothing refused, nothing failed), offers `times` as much, and tells
which part of the best goodput of the run is left. Goodput is calls per second that were answered and ended in
good order; the CPU of a good call holds what refusing the others cost. Callers take a 503 for an answer and do not call again. The server has CPU 0 to itself, SIPp
the others, so that not the caller is what is overloaded; how many calls were really offered is told.
Needs SIPp (Debian: sip-tester).
"""
import argparse, csv, os, resource, statistics, time

from signalling import CALLER, CALLER_PORT, HERE, Server, cpu


class Pinned(Server):
    def __init__(self, args):
        super().__init__("tandem", args)
        self.cpus = sorted(os.sched_getaffinity(0))

    def __enter__(self):
        os.sched_setaffinity(0, self.cpus[:1])
        try:
            return super().__enter__()
        finally:
            os.sched_setaffinity(0, self.cpus)

    def sipp(self, *args):
        own = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self.cpus[1:] or self.cpus)
        try:
            return super().sipp(*args)
        finally:
            os.sched_setaffinity(0, own)

    def offer(self, rate, seconds):
        """What becomes of that many calls a second: offered, goodput (1/s), CPU of a good call (us), refused, failed
        when new, in a dialog."""
        count, self.run = int(rate * seconds), getattr(self, "run", 0) + 1
        tag = f"offer{self.run}"
        extra = ["-r", str(rate), "-m", str(count), "-d", str(self.args.hold), "-timeout", f"{int(seconds + 60)}s", "-recv_timeout", "33000"]
        began, before = time.time(), cpu(self.pid)
        process = self.sipp("uac_overload.xml", CALLER, CALLER_PORT, tag, extra)
        process.wait()
        used = cpu(self.pid) - before - self.idle * (time.time() - began)
        rows = list(csv.DictReader(open(f"{self.work}/{tag}.csv"), delimiter=";"))
        last = rows[-1]
        number = lambda row, name: int(row[name])
        refused, answered, ended = (number(last, f"GenericCounter{n}(C)") for n in (1, 2, 3))
        created, failed = number(last, "TotalCallCreated"), number(last, "FailedCall(C)")
        # How long it took to place them all: SIPp may be slower than it was told.
        placed = next((float(row["ElapsedTime(C)"].split(":")[-1]) + 60 * int(row["ElapsedTime(C)"].split(":")[-2])
                       for row in rows if number(row, "TotalCallCreated") >= created), time.time() - began)
        lost = answered - ended
        return created / placed, ended / placed, used / max(ended, 1) * 1e6, refused, failed - lost, lost

    def settle(self):
        time.sleep(3)


def show(what, result):
    offered, good, cost, refused, failed, lost = result
    print(f"{what:10} offered {offered:6.0f}/s  goodput {good:6.0f}/s  {cost:5.0f} us  refused {refused:6}  new calls failed {failed:4}  failed in a dialog {lost:3}", flush=True)


def run(args):
    with Pinned(args) as server:
        def sustained(rate):
            result = server.offer(rate, args.secs)
            show("search", result)
            server.settle()
            best.append(result[1])
            return sum(result[3:]) == 0 and result[0] > 0.95 * rate

        best, low, high = [], 0, args.start
        while sustained(high):
            low, high = high, high * 1.5
        for _ in range(args.steps):
            middle = (low + high) / 2
            low, high = (middle, high) if sustained(middle) else (low, middle)
        over = []
        for times in args.times:
            over.append((times, server.offer(low * times, args.secs * 2)))
            show(f"{times:g} times", over[-1][1])
            server.settle()
        show("afterwards", server.offer(low * 0.8, args.secs))
        peak = max(best + [result[1] for _, result in over])
        return [(times, low, peak, *result) for times, result in over]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--secs", type=float, default=8)
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="halvings of the search")
    parser.add_argument("--start", type=float, default=400, help="calls a second the search begins with")
    parser.add_argument("--times", type=lambda text: [float(part) for part in text.split(",")], default=[1.5, 2, 3])
    parser.add_argument("--hold", type=int, default=100, help="ms that a call stands: short, for media ports rest after it and may be what runs out")
    parser.add_argument("--first", action="store_true", help="before everything else that runs (real-time priority, root): for a machine that is busy otherwise")
    parser.add_argument("--tandem", default=f"{HERE}/../target/release/tandem")
    args = parser.parse_args()
    args.tandem = os.path.abspath(args.tandem)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if args.first:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    print(f"load {os.getloadavg()[0]:.1f}")
    rows = [row for _ in range(args.reps) for row in run(args)]
    print(f"\n{'times':>5} {'sustained':>10} {'peak':>7} {'offered':>8} {'goodput':>8} {'of peak':>8} {'CPU us':>7} {'refused':>8} {'new failed':>11} {'in a dialog':>12}")
    for times, low, peak, offered, good, cost, refused, failed, lost in sorted(rows):
        print(f"{times:5g} {low:8.0f}/s {peak:5.0f}/s {offered:6.0f}/s {good:6.0f}/s {good / peak:8.0%} {cost:7.0f} {refused:8} {failed:11} {lost:12}")
    for times in args.times:
        shares = [row[4] / row[2] for row in rows if row[0] == times]
        print(f"{times:g} times: {statistics.median(shares):.0%} of the peak (median; {min(shares):.0%} to {max(shares):.0%})")


main()
