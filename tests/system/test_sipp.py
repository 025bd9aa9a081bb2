"""The carrier's side by SIPp, the application's by REST (and aiortc where sound matters)."""
import asyncio
import time

import pytest
from app import App
from harness import BACKUP, CARRIER, DIGEST, SPEECH, STRANGER, Ear, Events, correlation, run_async, wav

ALICE = "+442079460000"
TRANSPORTS = ["udp", "tcp"]


@pytest.fixture
def alice(gateway):
    return gateway.token("alice")


@pytest.fixture
def events(gateway):
    return Events(gateway)


def assert_ended_once(gateway, events, call, code, ended_by=None, sip=None):
    """One `call.ended`, the last event, numbered without a gap, and one CDR that says the same."""
    ended = events.wait("call.ended", call=call)
    assert ended["reason"]["code"] == code, ended
    time.sleep(0.3)
    mine = events.of(call)
    assert [e["seq"] for e in mine] == list(range(1, len(mine) + 1))
    assert [e["type"] for e in mine].count("call.ended") == 1 and mine[-1]["type"] == "call.ended"
    cdr = gateway.cdr(call)
    assert cdr["reason"]["code"] == code
    if ended_by:
        assert ended["reason"]["ended_by"] == ended_by == cdr["reason"]["ended_by"]
    if sip:
        assert ended["reason"]["sip"] == sip == cdr["reason"]["sip"]
    return cdr


def assert_speech(heard, name, at_least=0.8):
    spoken, rate = wav(SPEECH / name)
    assert rate == 8000
    found = correlation(heard, spoken)
    assert found >= at_least, f"what arrived resembles {name} by {found:.2f} only"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_inbound_answered_both_hear_speech(gateway, processes, alice, events, transport):
    async def scenario():
        ear = Ear(CARRIER, 6000)
        carrier = processes("uac_answered", CARRIER, transport, ALICE, hold_ms=6000)
        call = (await asyncio.to_thread(events.wait, "call.incoming"))["call"]
        app = App(gateway, alice)
        await app.answer(call)
        await asyncio.to_thread(carrier.done)
        heard = app.sound()
        await app.close()
        return call, heard, ear.sound()

    call, app_heard, carrier_heard = run_async(scenario())
    assert_speech(app_heard, "carrier.wav")
    assert_speech(carrier_heard, "app.wav")
    cdr = assert_ended_once(gateway, events, call, "hangup", "caller")
    assert cdr["direction"] == "inbound" and cdr["trunk"] == "carrier"
    assert cdr["from_received"].endswith("447700900123") and cdr["duration_ms"] > 4000
    assert {leg["kind"] for leg in cdr["legs"]} == {"sip", "app"}


def test_inbound_announcement(gateway, processes, events):
    """The gateway answers, says it once, and hangs up."""
    ear = Ear(CARRIER, 6000)
    processes("uac_announced", CARRIER, "udp", "+442079460002").done()
    call = events.wait("playback.finished", reason="completed")["call"]
    heard = ear.sound()
    assert_speech(heard, "app.wav")
    spoken, _ = wav(SPEECH / "app.wav")
    assert abs(len(heard) - len(spoken)) < 2400, "once, and nothing else"
    cdr = assert_ended_once(gateway, events, call, "hangup", "gateway")
    assert [leg["kind"] for leg in cdr["legs"]] == ["sip"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_inbound_application_hangs_up(gateway, processes, alice, events, transport):
    async def scenario():
        carrier = processes("uac_app_hangs_up", CARRIER, transport, ALICE)
        call = (await asyncio.to_thread(events.wait, "call.incoming"))["call"]
        app = App(gateway, alice)
        await app.answer(call)
        await asyncio.to_thread(events.wait, "call.answered", call=call)
        status, _ = await asyncio.to_thread(gateway.request, "DELETE", f"/v1/calls/{call}", None, alice)
        assert status in (200, 202, 204)
        await asyncio.to_thread(carrier.done)
        await app.close()
        return call

    assert_ended_once(gateway, events, run_async(scenario()), "hangup", "callee")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_inbound_late_offer(gateway, processes, alice, events, transport):
    async def scenario():
        carrier = processes("uac_late_offer", CARRIER, transport, ALICE, hold_ms=4000)
        call = (await asyncio.to_thread(events.wait, "call.incoming"))["call"]
        app = App(gateway, alice)
        await app.answer(call)
        await asyncio.to_thread(carrier.done)
        heard = app.sound()
        await app.close()
        return call, heard

    call, heard = run_async(scenario())
    assert_speech(heard, "carrier.wav")
    assert_ended_once(gateway, events, call, "hangup", "caller")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_inbound_reliable_ringing(gateway, processes, alice, events, transport):
    async def scenario():
        carrier = processes("uac_prack", CARRIER, transport, ALICE)
        call = (await asyncio.to_thread(events.wait, "call.incoming"))["call"]
        status, _ = await asyncio.to_thread(gateway.request, "POST", f"/v1/calls/{call}/ring", {}, alice)
        assert status in (200, 202, 204)
        await asyncio.sleep(2)
        app = App(gateway, alice)
        await app.answer(call)
        await asyncio.to_thread(carrier.done)
        await app.close()
        return call

    assert_ended_once(gateway, events, run_async(scenario()), "hangup", "caller")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_inbound_busy(gateway, processes, alice, events, transport):
    carrier = processes("uac_expect_486", CARRIER, transport, ALICE)
    call = events.wait("call.incoming")["call"]
    assert gateway.request("POST", f"/v1/calls/{call}/reject", {"code": 486}, alice)[0] in (200, 202, 204)
    carrier.done()
    assert_ended_once(gateway, events, call, "busy", "callee", 486)


def test_inbound_rejected_is_603_by_default(gateway, processes, alice, events):
    carrier = processes("uac_expect_603", CARRIER, "udp", ALICE)
    call = events.wait("call.incoming")["call"]
    gateway.request("POST", f"/v1/calls/{call}/reject", {}, alice)
    carrier.done()
    assert_ended_once(gateway, events, call, "declined", "callee", 603)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_inbound_cancelled_while_ringing(gateway, processes, alice, events, transport):
    carrier = processes("uac_cancelled", CARRIER, transport, ALICE)
    call = events.wait("call.incoming")["call"]
    assert gateway.request("POST", f"/v1/calls/{call}/ring", {}, alice)[0] in (200, 202, 204)
    carrier.done()
    assert_ended_once(gateway, events, call, "cancelled", "caller")


def test_inbound_retransmitted_invite_and_lost_ack(gateway, processes, alice, events):
    async def scenario():
        carrier = processes("uac_retransmit_lost_ack", CARRIER, "udp", ALICE)
        call = (await asyncio.to_thread(events.wait, "call.incoming"))["call"]
        await asyncio.sleep(0.2)  # the copy of the INVITE has arrived
        app = App(gateway, alice)
        await app.answer(call)
        await asyncio.to_thread(carrier.done)
        await app.close()
        return call, (carrier.folder / "messages.log").read_text()

    call, messages = run_async(scenario())
    answers = [m for m in messages.split("message received") if "SIP/2.0 200" in m and "INVITE\n" in m.replace("\r", "")]
    assert len(answers) >= 3, "the 200 is resent until its ACK comes"
    calls = {e["call"] for e in events.seen if e.get("call")}
    assert calls == {call}, "one INVITE, however often it arrives, is one call"
    assert_ended_once(gateway, events, call, "hangup", "caller")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_stranger_and_unknown_number_are_refused(gateway, processes, transport):
    processes("uac_expect_403", STRANGER, transport, ALICE).done()
    processes("uac_expect_404", CARRIER, transport, "+15005550006").done()


@pytest.mark.parametrize("transport,number", [("udp", "+442010000001"), ("tcp", "+442020000001")])
def test_outbound_answered_both_hear_speech(gateway, processes, alice, events, transport, number):
    async def scenario():
        ear = Ear(CARRIER, 6000)
        carrier = processes("uas_answered", CARRIER, transport)
        app = App(gateway, alice)
        call = await app.place(number)
        await asyncio.to_thread(events.wait, "call.answered", call=call)
        await asyncio.sleep(5)
        await asyncio.to_thread(gateway.request, "DELETE", f"/v1/calls/{call}", None, alice)
        await asyncio.to_thread(carrier.done)
        heard = app.sound()
        await app.close()
        return call, heard, ear.sound()

    call, app_heard, carrier_heard = run_async(scenario())
    assert_speech(app_heard, "carrier.wav")
    assert_speech(carrier_heard, "app.wav")
    types = [e["type"] for e in events.of(call)]
    assert types.index("call.dialing") < types.index("call.ringing") < types.index("call.answered")
    cdr = assert_ended_once(gateway, events, call, "hangup", "caller")
    assert cdr["direction"] == "outbound" and cdr["to_received"] == number


def place(gateway, token, number):
    """An application's call with a real offer, without listening to it."""

    async def scenario():
        app = App(gateway, token)
        status, body = await asyncio.to_thread(
            gateway.request, "POST", "/v1/calls", {"to": number, "offer": await app.offer()}, token
        )
        await app.close()
        assert status == 201, body
        return body["id"]

    return run_async(scenario())


@pytest.mark.parametrize("transport,number", [("udp", "+442010000002"), ("tcp", "+442020000002")])
def test_outbound_busy(gateway, processes, alice, events, transport, number):
    carrier = processes("uas_busy", CARRIER, transport)
    call = place(gateway, alice, number)
    carrier.done()
    assert_ended_once(gateway, events, call, "busy", "callee", 486)


@pytest.mark.parametrize("transport,number", [("udp", "+442010000005"), ("tcp", "+442020000005")])
def test_outbound_announcement_before_the_refusal(gateway, processes, alice, events, transport, number):
    async def scenario():
        carrier = processes("uas_announcement", CARRIER, transport)
        app = App(gateway, alice)
        call = await app.place(number)
        await asyncio.to_thread(carrier.done)
        heard = app.sound()
        await app.close()
        return call, heard

    call, heard = run_async(scenario())
    assert_speech(heard, "carrier.wav", 0.7)
    assert "call.answered" not in [e["type"] for e in events.of(call)]
    assert_ended_once(gateway, events, call, "busy", "callee", 486)


@pytest.mark.parametrize("transport,number", [("udp", "+442030000003"), ("tcp", "+442040000003")])
def test_outbound_fails_over_to_the_second_gateway(gateway, processes, alice, events, transport, number):
    first = processes("uas_unavailable", CARRIER, transport)
    second = processes("uas_load", BACKUP, transport)
    call = place(gateway, alice, number)
    events.wait("call.answered", call=call)
    gateway.request("DELETE", f"/v1/calls/{call}", None, alice)
    first.done()
    second.done()
    cdr = assert_ended_once(gateway, events, call, "hangup", "caller")
    attempts = [(leg["trunk"], leg["sip_status"]) for leg in cdr["legs"] if leg["kind"] == "sip"]
    assert [a[1] for a in attempts] == [503, 200], attempts


@pytest.mark.parametrize("transport,number", [("udp", "+442050000004"), ("tcp", "+442060000004")])
def test_outbound_digest_challenge(gateway, processes, alice, events, transport, number):
    carrier = processes("uas_digest", DIGEST, transport)
    call = place(gateway, alice, number)
    events.wait("call.answered", call=call)
    gateway.request("DELETE", f"/v1/calls/{call}", None, alice)
    carrier.done()
    assert_ended_once(gateway, events, call, "hangup", "caller")


@pytest.mark.parametrize("transport,prefix", [("udp", "+4930"), ("tcp", "+4931")])
def test_fifty_calls_a_second_for_twenty_seconds(gateway, processes, transport, prefix):
    called = processes("uas_load", BACKUP, transport, calls=1000, timeout=90)
    caller = processes("uac_load", CARRIER, transport, prefix + "1234567", calls=1000, rate=50, hold_ms=2000, timeout=90,
                       media_port=7000)
    caller.done(80)
    called.done(20)
    assert caller.failed_calls() == 0 and called.failed_calls() == 0
    deadline = time.monotonic() + 5  # the gauge is read every 2 s
    while gateway.metric(r"tandem_calls_active") > 0 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert gateway.metric(r"tandem_calls_active") == 0
