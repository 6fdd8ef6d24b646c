"""What every request passes before Quart: driven as hypercorn does, without a connection."""

import json

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.limits.serve import API_BODY_BYTES_MAX, BODIES_BYTES_MAX, BODY_S_MAX, DRAIN_BYTES_MAX, PUSH_BODY_BYTES_MAX
from gateway.serve.metrics import Metrics
from gateway.serve.port.asgi import Front
from gateway.serve.port.head import networks


class Exchange:
    """One request: what the application saw, what was answered, how much of the body was read."""

    def __init__(self, path: str = "/api/x", body: tuple[bytes, ...] = (), **scope: object) -> None:
        self.scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "client": ("127.0.0.1", 1234),
            "headers": [],
            **scope,
        }
        self.body, self.sent, self.seen = list(body), [], None
        self.leaves = False

    async def receive(self) -> dict:
        await trio.lowlevel.checkpoint()
        if self.body:
            piece = self.body.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(self.body) or self.leaves}
        if not self.sent and not self.leaves and self.seen is None:
            return {"type": "http.request", "body": b"", "more_body": False}
        return {"type": "http.disconnect"}

    async def send(self, message: dict) -> None:
        await trio.lowlevel.checkpoint()
        self.sent.append(message)

    async def app(self, scope, receive, send) -> None:
        message = await receive()
        self.seen = (scope["path"], scope["client"][0], message["body"], message["more_body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"fine"})

    async def run(self, trusted: tuple[str, ...] = (), front: Front | None = None) -> "Exchange":
        await (front or Front(self.app, Metrics(), networks(trusted)))(self.scope, self.receive, self.send)
        return self

    @property
    def status(self) -> int:
        return self.sent[0]["status"]

    @property
    def answer(self) -> dict:
        return json.loads(self.sent[1]["body"])


async def test_a_body_comes_whole_in_one_message() -> None:
    """Pieces are joined before the handler runs; after them it hears only that the client left."""
    one = await Exchange(body=(b"{", b'"a"', b":1}")).run()
    assert (one.status, one.seen) == (200, ("/api/x", "127.0.0.1", b'{"a":1}', False))


async def test_doubled_slashes_are_one() -> None:
    """Real clients send them; a target without a first slash gets one."""
    assert [(await Exchange(path).run()).seen[0] for path in ("//internal///push/events", "*", "")] == [
        "/internal/push/events",
        "/*",
        "/",
    ]


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("/push/register", PUSH_BODY_BYTES_MAX),
        ("//push/webhook", PUSH_BODY_BYTES_MAX),
        ("/internal/push/events", PUSH_BODY_BYTES_MAX),
        ("/api/relays", API_BODY_BYTES_MAX),
        ("/pushy", API_BODY_BYTES_MAX),
    ],
)
async def test_a_body_has_its_limit(path: str, limit: int) -> None:
    """At the limit it is taken, one byte more is 413; the rest is read first, so that the client hears it."""
    assert (await Exchange(path, (b"x" * limit,)).run()).status == 200
    over = await Exchange(path, (b"x" * limit, b"y", b"z" * 1000)).run()
    assert (over.status, over.seen, over.body) == (413, None, [])
    assert (b"connection", b"close") in over.sent[0]["headers"]


async def test_an_endless_body_is_not_read_to_its_end() -> None:
    """Beyond what is drained the answer comes at once."""
    pieces = (b"x" * 65_536,) * 40
    one = await Exchange("/api/x", pieces).run()
    assert one.status == 413
    assert len(one.body) > len(pieces) - DRAIN_BYTES_MAX // 65_536 - 2


@pytest.mark.parametrize(
    ("declared", "status"),
    [(b"%d" % DRAIN_BYTES_MAX, 200), (b"%d" % (DRAIN_BYTES_MAX + 1), 413), (b"9" * 5000, 413), (b"\xb2", 200)],
)
async def test_a_body_that_calls_itself_larger_than_is_ever_read_is_refused_unread(
    declared: bytes, status: int
) -> None:
    """Nobody waits for it: who declares a gigabyte and sends nothing is answered now."""
    one = await Exchange(body=(b"x", b"y"), headers=[(b"content-length", declared)]).run()
    assert (one.status, len(one.body)) == (status, 0 if status == 200 else 2)


async def test_errors_have_the_form_of_their_api() -> None:
    """The push API's has a code, the relay API's does not."""
    text = (("content-type", "text/plain"),)
    headers = [(name.encode(), value.encode()) for name, value in text]
    push = await Exchange("/push/register", (b"x",), headers=headers).run()
    assert (push.status, push.answer["ok"], push.answer["code"]) == (415, False, "unsupported-media-type")
    api = await Exchange("/api/relays", (b"x",), headers=headers).run()
    assert (api.status, list(api.answer)) == (415, ["error"])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 200),
        ([(b"content-type", b"application/json")], 200),
        ([(b"content-type", b"Application/JSON; charset=utf-8")], 200),
        ([(b"content-type", b"application/problem+json")], 200),
        ([(b"content-type", b"application/x-www-form-urlencoded")], 415),
        ([(b"content-type", b"application/json"), (b"content-encoding", b"gzip")], 415),
        ([(b"content-type", b"application/json"), (b"content-encoding", b"identity")], 200),
    ],
)
async def test_a_body_is_json(headers: list[tuple[bytes, bytes]], status: int) -> None:
    """One that says it is something else is refused; one that says nothing is tried."""
    assert (await Exchange(body=(b"{}",), headers=headers).run()).status == status


async def test_a_request_without_a_body_needs_no_type() -> None:
    """A form's content type on an empty body is nobody's harm."""
    assert (await Exchange(headers=[(b"content-type", b"text/plain")]).run()).status == 200


async def test_a_slow_body_is_given_up(autojump_clock) -> None:
    """408, and the connection ends with it."""
    one = Exchange()

    async def never() -> dict:
        await trio.sleep_forever()

    one.receive = never
    start = trio.current_time()
    await one.run()
    assert (one.status, trio.current_time() - start) == (408, pytest.approx(BODY_S_MAX))


async def test_a_client_that_leaves_within_its_body_is_not_served() -> None:
    """No handler runs, nothing is answered."""
    one = Exchange(body=(b"half",))
    one.leaves = True
    await one.run()
    assert (one.seen, one.sent) == (None, [])


async def test_all_bodies_together_have_a_limit() -> None:
    """Beyond it whoever sends more is told to come again, others are served; room comes back with the answers."""
    go = trio.Event()

    async def app(scope, receive, send) -> None:
        await go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    front = Front(app, Metrics())
    count = BODIES_BYTES_MAX // API_BODY_BYTES_MAX
    waiting = [Exchange(body=(b"x" * API_BODY_BYTES_MAX,)) for _ in range(count)]
    async with trio.open_nursery() as nursery:
        for one in waiting:
            nursery.start_soon(one.run, (), front)
        await trio.testing.wait_all_tasks_blocked()
        late = await Exchange(body=(b"x",)).run(front=front)
        assert (late.status, dict(late.sent[0]["headers"])[b"retry-after"]) == (503, b"1")
        empty = Exchange()
        nursery.start_soon(empty.run, (), front)
        go.set()
    assert {one.status for one in [*waiting, empty]} == {200}
    assert (await Exchange(body=(b"x",)).run(front=front)).status == 200


async def test_a_proxy_that_is_trusted_names_the_client() -> None:
    """And only such a one."""
    headers = [(b"x-forwarded-for", b"198.51.100.7")]
    assert (await Exchange(headers=headers).run()).seen[1] == "127.0.0.1"
    assert (await Exchange(headers=headers).run(trusted=("127.0.0.1",))).seen[1] == "198.51.100.7"


async def test_a_send_is_not_interrupted() -> None:
    """quart-trio cancels whoever sends; hypercorn must still finish what it began."""
    one, finished = Exchange(), []

    async def slow(message: dict) -> None:
        await trio.sleep(0.01)
        finished.append(message["type"])

    async def app(scope, receive, send) -> None:
        with trio.move_on_after(0.001):
            await send({"type": "http.response.start", "status": 200, "headers": []})

    one.send = slow
    await one.run(front=Front(app, Metrics()))
    assert finished == ["http.response.start"]


async def test_a_websocket_on_a_used_connection_is_sent_away() -> None:
    """421: the same request on a fresh connection will do."""
    assert (await Exchange(headers=[(b"upgrade", b"WebSocket")]).run()).status == 421


async def test_answers_are_counted_by_known_methods() -> None:
    """A client cannot make time series."""
    metrics = Metrics()
    for method in ("POST", "BREW", "BREW2"):
        one = Exchange(method=method)
        await one.run(front=Front(one.app, metrics))
    value = metrics.registry.get_sample_value
    assert value("gateway_http_answers_total", {"method": "other", "status": "200"}) == 2


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=30),
    st.lists(st.binary(max_size=9000), max_size=5),
    st.lists(st.tuples(st.sampled_from([b"content-type", b"content-encoding", b"x-forwarded-for"]), st.binary())),
)
def test_any_request_is_answered_once(path: str, body: list[bytes], headers: list[tuple[bytes, bytes]]) -> None:
    """Whatever the path, the pieces and the headers: one start and one body, a known status."""

    async def main() -> None:
        one = await Exchange(path, tuple(body), headers=headers).run(trusted=("127.0.0.1",))
        assert [message["type"] for message in one.sent] == ["http.response.start", "http.response.body"]
        assert one.status in {200, 413, 415}

    trio.run(main)
