"""What an application of its own sees: DTMF both ways, mute, echo and what is refused."""
import asyncio
import time

import pytest
from app import App
from harness import CARRIER, Ear, Events, run_async


@pytest.fixture
def events(gateway):
    return Events(gateway)


def test_digits_from_the_application_reach_the_phone(gateway, processes, events):
    alice = gateway.token("alice")

    async def scenario():
        ear = Ear(CARRIER, 6000)
        carrier = processes("uas_answered", CARRIER, "udp")
        app = App(gateway, alice)
        call = await app.place("+442010000005")
        await asyncio.to_thread(events.wait, "call.answered", call=call)
        status, _ = await asyncio.to_thread(gateway.request, "POST", f"/v1/calls/{call}/dtmf", {"digits": "12#"}, alice)
        assert status in (200, 202, 204)
        await asyncio.sleep(2)
        await asyncio.to_thread(gateway.request, "DELETE", f"/v1/calls/{call}", None, alice)
        await asyncio.to_thread(carrier.done)
        await app.close()
        ear.sound()
        return [p for _, p in ear.packets if len(p) == 16 and p[1] & 127 == 101]

    packets = run_async(scenario())
    digits = []
    for packet in packets:
        stamp = packet[4:8]
        if not digits or digits[-1][0] != stamp:
            digits.append((stamp, packet[12], 0))
        digits[-1] = (*digits[-1][:2], digits[-1][2] + (packet[13] >> 7))
    assert [(d, ends) for _, d, ends in digits] == [(1, 3), (2, 3), (11, 3)], digits


def test_a_muted_application_is_not_heard(gateway, processes, events):
    alice = gateway.token("alice")

    async def scenario():
        ear = Ear(CARRIER, 6000)
        carrier = processes("uas_answered", CARRIER, "udp")
        app = App(gateway, alice)
        call = await app.place("+442010000006")
        await asyncio.to_thread(events.wait, "call.answered", call=call)
        status, _ = await asyncio.to_thread(gateway.request, "POST", f"/v1/calls/{call}/mute", {}, alice)
        assert status in (200, 202, 204)
        await asyncio.sleep(1)
        mark = time.monotonic()
        await asyncio.sleep(3)
        end = time.monotonic()
        await asyncio.to_thread(gateway.request, "DELETE", f"/v1/calls/{call}", None, alice)
        await asyncio.to_thread(carrier.done)
        await app.close()
        ear.packets = [p for p in ear.packets if mark < p[0] < end]
        return ear.sound()

    assert abs(run_async(scenario())).max() < 0.01, "only silence leaves a muted application"


def test_each_refusal_is_a_problem_document(gateway):
    token = gateway.token("bob")
    for method, path, body, auth, status, code in (
        ("GET", "/v1/calls/nothing-here", None, token, 404, "call-not-found"),
        ("POST", "/v1/calls", {"to": "+1500"}, token, 400, "invalid-request"),
        ("POST", "/v1/calls", {"to": "+15005550006", "offer": "v=0\r\n"}, token, None, None),
        ("POST", "/v1/calls", {"too": "+15005550006"}, token, 400, None),
        ("GET", "/v1/calls", None, "not-a-token", 401, None),
        ("GET", "/v1/nothing", None, token, 404, None),
    ):
        got, problem = gateway.request(method, path, body, auth)
        assert got >= 400 and (status is None or got == status), (path, body, got, problem)
        assert problem["status"] == got and problem["code"] and problem["title"], problem
        assert code is None or problem["code"] == code, problem


def test_an_application_that_never_connects_holds_no_call(gateway, events):
    """Its offer is taken, its media never comes: after 30 s the call is over, not after hours."""
    alice = gateway.token("alice")

    async def offer():
        app = App(gateway, alice)
        sdp = await app.offer()
        await app.close()
        return sdp

    status, body = gateway.request("POST", "/v1/calls", {"to": "app:echo", "offer": run_async(offer())}, alice)
    assert status == 201, body
    ended = events.wait("call.ended", seconds=45, call=body["id"])
    assert ended["reason"]["code"] == "media-lost", ended
