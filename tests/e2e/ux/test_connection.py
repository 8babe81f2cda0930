"""The connection goes and comes back: the page tells it calmly, and is quick to be there again."""

from __future__ import annotations

import re
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from playwright.sync_api import Locator, WebSocket, expect

from tests.e2e.conftest import Meet
from tests.e2e.ux.clock import Clock
from tests.e2e.ux.wire import Sent
from tests.support.browser import Person
from tests.support.proxy import TcpProxy
from tests.support.servers import HOST, Node

NewName = Callable[[str], str]

# A shorter interruption is not told.
BLIP_MS = 1_000
# The longest wait between two attempts, and what an attempt may take.
ATTEMPT_MS = 20_000
# How long a request may take, and one that only asks whether the connection is alive.
REQUEST_MS = 8_000
PROBE_MS = 3_000
# An attempt that takes longer than this is given up when somebody wants to be there.
HANGS_MS = 2_000
# Notes whether the banner was ever seen, even for a moment.
WATCH_BANNER = """() => {
    const banner = document.getElementById('banner');
    window.bannerWasSeen = false;
    new MutationObserver(() => { window.bannerWasSeen ||= !banner.hidden; })
        .observe(banner, {attributes: true, attributeFilter: ['hidden']});
}"""


def comes_with_a_clock(meet: Meet, road: TcpProxy) -> tuple[Person, Clock]:
    """Ada, whose timers and whose network are in the test's hands."""
    ada = meet("Ada", signed_in=False, road=road)
    clock = Clock(ada)
    ada.sign_in()
    return ada, clock


@contextmanager
def cut_off(ada: Person, clock: Clock, road: TcpProxy) -> Iterator[None]:
    """The server is gone, and the page waits some seconds for its next attempt; its clock stands still."""
    with ada.watch.outage():
        clock.stop()
        road.refuse()
        road.cut()
        waits = re.compile("Next try in [3-5] s")
        countdown = ada.page.locator(".banner-countdown")
        clock.within(
            ATTEMPT_MS, lambda: waits.search(countdown.text_content() or ""), "the attempts become rare", 100
        )
        yield


class Middlebox(socketserver.BaseRequestHandler):
    """Carries everything to a node, except that it never answers the handshake of a WebSocket."""

    port: int
    swallowed: list[bytes]

    def handle(self) -> None:
        """Look at the first request of a connection: browsers make a new one for a WebSocket."""
        head = self.request.recv(65_536)
        if b"upgrade: websocket" in head.lower():
            self.swallowed.append(head)
            while self.request.recv(65_536):
                pass
            return
        with socket.create_connection((HOST, self.port)) as node:
            node.sendall(head)
            back = threading.Thread(target=carry, args=(node, self.request), daemon=True)
            back.start()
            carry(self.request, node)
            back.join()


def carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def middlebox(port: int) -> Iterator[tuple[str, list[bytes]]]:
    """Its address, and the handshakes that it has swallowed so far."""
    swallowed: list[bytes] = []
    handler = type("Here", (Middlebox,), {"port": port, "swallowed": swallowed})
    with ExitStack() as ends:
        server = ends.enter_context(socketserver.ThreadingTCPServer((HOST, 0), handler))
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        ends.callback(server.shutdown)
        yield f"http://{HOST}:{server.server_address[1]}", swallowed


def seconds_left(countdown: Locator) -> int:
    return int(re.sub(r"\D", "", countdown.inner_text()))


def test_05_reconnecting_sends_what_waits_at_once(meet: Meet, road: TcpProxy, new_name: NewName) -> None:
    bob = meet("Bob")
    name = new_name("waiting")
    bob.create_room(name)
    ada, clock = comes_with_a_clock(meet, road)
    ada.join_room(name)
    expect(ada.find("beginning")).to_be_attached()
    with cut_off(ada, clock, road):
        for text in ("First.", "Second."):
            ada.write(text)
            clock.at_once(lambda text=text: ada.message(text).count() == 1, "the row")
            expect(ada.message(text)).to_have_attribute("data-state", "pending")
        road.resume()
        ada.find("reconnect-now").click()
        sent = ada.page.locator('[data-testid="message"][data-state="sent"]')
        clock.at_once(lambda: sent.count() == 2, "both are sent")
    expect(bob.find("message")).to_have_count(2)
    assert bob.messages() == ["First.", "Second."]


def test_06_the_banner_is_an_alert_that_counts_down_and_tries_at_once(meet: Meet, road: TcpProxy) -> None:
    ada, clock = comes_with_a_clock(meet, road)
    banner = ada.find("connection-banner")
    expect(banner).to_have_attribute("role", "alert")
    with cut_off(ada, clock, road):
        expect(banner).to_be_visible()
        expect(banner).to_contain_text("Connection lost")
        countdown = ada.page.locator(".banner-countdown")
        sentence = banner.locator(".banner-text").element_handle()
        ada.page.evaluate(
            "text => new MutationObserver(() => { window.saidAgain = true; })"
            ".observe(text, {childList: true, characterData: true, subtree: true})",
            sentence,
        )
        before = seconds_left(countdown)
        clock.run(1_000)
        assert seconds_left(countdown) == before - 1
        # A screen reader hears the sentence once, and not each second.
        assert not ada.page.evaluate("window.saidAgain")
        expect(countdown).to_have_attribute("aria-hidden", "true")
        road.resume()
        ada.find("reconnect-now").click()
        clock.at_once(banner.is_hidden, "the connection")


def test_06_a_blip_is_not_told(meet: Meet, road: TcpProxy) -> None:
    ada = meet("Ada", signed_in=False, road=road)
    clock, sent = Clock(ada), Sent(ada)
    ada.sign_in()
    ada.page.evaluate(WATCH_BANNER)
    with ada.watch.outage():
        clock.stop()
        assert road.cut()
        clock.within(BLIP_MS - 100, lambda: len(sent("hello")) == 2, "the next connection", 10)
        clock.run(5 * BLIP_MS)
    assert ada.page.evaluate("window.bannerWasSeen") is False


def test_07_the_banner_clears_when_traffic_resumes(meet: Meet, road: TcpProxy, new_name: NewName) -> None:
    bob, ada = meet("Bob"), meet("Ada", road=road)
    name = new_name("clear")
    bob.create_room(name)
    ada.join_room(name)
    banner = ada.find("connection-banner")
    with ada.watch.outage():
        road.refuse()
        road.cut()
        expect(banner).to_be_visible()
        road.resume()
        expect(banner).to_be_hidden()
    bob.send("Back again.")
    expect(ada.message("Back again.")).to_be_visible()
    expect(banner).to_be_hidden()


def test_10_waking_up_reconnects_at_once(meet: Meet, road: TcpProxy) -> None:
    ada, clock = comes_with_a_clock(meet, road)
    banner = ada.find("connection-banner")
    for wake in (
        # The lid is opened, or the tab is looked at again.
        "document.dispatchEvent(new Event('visibilitychange'))",
        # The network is there again.
        "window.dispatchEvent(new Event('online'))",
    ):
        with cut_off(ada, clock, road):
            road.resume()
            ada.page.evaluate(wake)
            clock.at_once(banner.is_hidden, wake)
        clock.go_on()


def test_10_an_attempt_that_hangs_is_not_waited_for(meet: Meet, road: TcpProxy) -> None:
    ada = meet("Ada", signed_in=False, road=road)
    clock, attempts = Clock(ada), list[WebSocket]()
    # Playwright marks what it is given, which a method of a list cannot be.
    ada.page.on("websocket", lambda socket: attempts.append(socket))  # noqa: PLW0108
    ada.sign_in()
    with cut_off(ada, clock, road):
        road.resume()
        road.blackhole()
        for hurry in (
            lambda: ada.find("reconnect-now").click(),
            lambda: ada.find("reconnect-now").click(),
            lambda: ada.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))"),
            lambda: ada.page.evaluate("window.dispatchEvent(new Event('online'))"),
        ):
            before = len(attempts)
            hurry()
            clock.at_once(lambda before=before: len(attempts) == before + 1, "an attempt")
            # One that has just begun is given its time.
            ada.page.evaluate("window.dispatchEvent(new Event('online'))")
            clock.run(HANGS_MS)
            assert len(attempts) == before + 1
        road.resume()
        clock.within(ATTEMPT_MS, ada.find("connection-banner").is_hidden, "the connection", 100)


def test_10_a_connection_that_is_open_and_dead_is_found_on_waking(meet: Meet, road: TcpProxy) -> None:
    ada, clock = comes_with_a_clock(meet, road)
    banner = ada.find("connection-banner")
    with ada.watch.outage():
        clock.stop()
        road.blackhole()
        ada.page.evaluate("window.dispatchEvent(new Event('online'))")
        clock.within(PROBE_MS + 2 * BLIP_MS, banner.is_visible, "the banner", 100)
        road.cut()
        road.resume()
        clock.within(ATTEMPT_MS, banner.is_hidden, "the connection", 100)


def test_10_a_send_that_is_not_answered_ends_a_dead_connection(
    meet: Meet, road: TcpProxy, new_name: NewName
) -> None:
    ada, clock = comes_with_a_clock(meet, road)
    ada.create_room(new_name("dead"))
    expect(ada.find("beginning")).to_be_attached()
    banner = ada.find("connection-banner")
    with ada.watch.outage():
        clock.stop()
        road.blackhole()
        ada.write("Is anybody there?")
        row = ada.message("Is anybody there?")
        failed = ada.page.locator('[data-testid="message"][data-state="failed"]')
        clock.within(REQUEST_MS + 500, lambda: failed.count() == 1, "it is not sent", 100)
        clock.within(2 * BLIP_MS, banner.is_visible, "the banner", 100)
        road.cut()
        road.resume()
        clock.within(ATTEMPT_MS, banner.is_hidden, "the connection", 100)
        clock.go_on()
    expect(row).to_have_attribute("data-state", "sent")
    expect(row).to_have_count(1)


def test_21_reconnecting_gives_the_focus_back(meet: Meet, road: TcpProxy) -> None:
    ada, clock = comes_with_a_clock(meet, road)
    banner, button = ada.find("connection-banner"), ada.find("reconnect-now")
    with cut_off(ada, clock, road):
        road.resume()
        road.blackhole()
        button.focus()
        ada.page.keyboard.press("Enter")
        countdown = ada.page.locator(".banner-countdown")
        clock.at_once(lambda: countdown.text_content() == "Connecting…", "the attempt")
        clock.run(BLIP_MS)
        expect(button).to_be_focused()
        road.resume()
        clock.within(ATTEMPT_MS, banner.is_hidden, "the connection", 100)
        expect(ada.find("composer")).to_be_focused()


def test_a_network_that_swallows_websockets_is_crossed_by_polling(meet: Meet, node: Node) -> None:
    with middlebox(node.port) as (url, swallowed):
        ada = meet("Ada", signed_in=False)
        ada.url = url
        with ada.watch.outage():
            ada.sign_in()
            assert swallowed
            ada.send("By polling.")
            ada.page.goto("about:blank")
