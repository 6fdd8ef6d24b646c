// A client of a relay's two sockets for web pages (and node with a WebSocket): carries out what behaviour.js decides.
//
//   import { openReplica } from "https://gateway.example/client/replica.js";
//   const replica = await openReplica(state, async () => (await fetch("/my/token")).json());
//   for await (const { rows, cursor } of replica.follow([{ relayID }], { cursor: stored })) …   // store both together
//   const { accepted, reason } = await replica.publish(row);
//
// The provider gives a token (an answer of /api/relay-tokens/issue, or at least {token}); it is the page's own server
// that asks for it: no page may hold the workers' secret. It throws TokenRefused where asking again is no use; any other
// error means that it could not be reached.

import { Behaviour, UNANSWERED_MAX, addresses, socketOf } from "./behaviour.js";
export { NoAddress } from "./behaviour.js";

const BATCHES_MAX = 1_024; // that a subscriber has not taken; at it the socket is closed, and goes on from there later
const TIMER_MS_MAX = 2 ** 31 - 1; // above, browsers fire at once

/** A provider's word that there is no token to be had. */
export class TokenRefused extends Error {}

/** The client has stopped: `error` is "token-required" or "auth-failed", `reason` says more. */
export class ReplicaFailed extends Error {
  constructor(error, reason) {
    super(`${error}: ${reason}`);
    Object.assign(this, { error, reason });
  }
}

/** The gateway ended a subscription; the message is its reason, as "cursor-unknown: …". */
export class SubscriptionEnded extends Error {}

/**
 * Get a token and connect in the background. Rejects with NoAddress, and with ReplicaFailed without a token.
 * `tell` hears of lost sockets ({do: "lost", socket, code, reason}) and of notices ({do: "notice", socket, text}).
 */
export async function openReplica(state, provider, { tell = () => {}, WebSocket = globalThis.WebSocket } = {}) {
  const replica = new Replica(new Behaviour(addresses(state)), provider, tell, WebSocket);
  await replica.start();
  return replica;
}

class Replica {
  constructor(behaviour, provider, tell, WebSocket) {
    Object.assign(this, { behaviour, provider, tell, WebSocket });
    this.sockets = {};
    this.timers = new Map();
    this.inboxes = new Map();
    this.asked = new Map();
    this.subs = 0;
    this.failure = null;
    this.started = deferred();
  }

  async start() {
    this.take({ in: "start" });
    await this.started.promise;
    this.check();
  }

  /** Have one event or row stored; {accepted, reason}. Waits through reconnects; rejects with ReplicaFailed. */
  async publish(event) {
    return (await this.publishAll([event]))[0];
  }

  /** Have many stored, in order. At most 10,000 wait at a time: what is more is not accepted, and says so. */
  async publishAll(events) {
    this.check();
    if (this.behaviour.unanswered + events.length > UNANSWERED_MAX) throw new RangeError("too many events at a time");
    const answers = events.map((event) => {
      const name = `${socketOf(event)} ${event.id}`;
      const one = deferred();
      this.asked.set(name, [...(this.asked.get(name) ?? []), one]);
      return one.promise;
    });
    this.take({ in: "publish", events });
    const outcomes = await Promise.all(answers);
    this.check();
    return outcomes;
  }

  /**
   * Give what matches, stored and then live, through reconnects: {rows, cursor, caughtUp}. Replication filters go to the
   * mirror, others to the normal socket. `cursor`: a stored one. Ends when the loop is left or `signal` is aborted.
   */
  async *follow(filters, { cursor = null, signal = null } = {}) {
    this.check();
    this.subs += 1;
    const sub = `replica-${this.subs}`;
    const inbox = { batches: [], ended: null, news: deferred() };
    const aborted = () => inbox.news.resolve();
    signal?.addEventListener("abort", aborted);
    this.inboxes.set(sub, inbox);
    try {
      this.take({ in: "subscribe", sub, filters, cursor });
      while (!signal?.aborted) {
        while (inbox.batches.length && !signal?.aborted) yield inbox.batches.shift();
        if (inbox.ended !== null) throw new SubscriptionEnded(inbox.ended);
        this.check();
        await inbox.news.promise;
        inbox.news = deferred();
      }
    } finally {
      signal?.removeEventListener("abort", aborted);
      this.inboxes.delete(sub);
      this.take({ in: "unsubscribe", sub });
    }
  }

  /** Close both sockets; whatever waits is told that the client has stopped. */
  close() {
    this.take({ in: "stop" });
    this.fail(this.failure ?? new ReplicaFailed("closed", "by the page"));
  }

  // -- what happens, and what is done about it -----------------------------------------------------------------------

  check() {
    if (this.failure) throw this.failure;
  }

  take(what) {
    for (const effect of this.behaviour.take(what, Date.now())) this.carryOut(effect);
  }

  carryOut(effect) {
    switch (effect.do) {
      case "ask":
        return void this.ask();
      case "connect":
        return this.connect(effect.socket, effect.url);
      case "disconnect":
        return this.disconnect(effect.socket, 1000, "");
      case "say":
        return this.say(effect.socket, effect.frame);
      case "wake":
        return this.wake(effect.timer, effect.at);
      case "rows":
        return this.give(effect.sub, { rows: effect.rows, cursor: effect.cursor, caughtUp: false });
      case "caught":
        return this.give(effect.sub, { rows: [], cursor: effect.cursor, caughtUp: true });
      case "ended":
        return this.end(effect.sub, effect.reason);
      case "answer":
        return this.answer(effect);
      case "lost":
      case "notice":
        return this.tell(effect);
      case "report":
        return this.fail(new ReplicaFailed(effect.error, effect.reason));
      default:
        throw new TypeError(`nothing that can be done: ${effect.do}`);
    }
  }

  give(sub, batch) {
    const inbox = this.inboxes.get(sub);
    inbox?.batches.push(batch);
    inbox?.news.resolve();
  }

  end(sub, reason) {
    const inbox = this.inboxes.get(sub);
    if (!inbox) return;
    inbox.ended = reason;
    inbox.news.resolve();
  }

  answer({ socket, id, accepted, reason }) {
    const name = `${socket} ${id}`;
    const [first, ...others] = this.asked.get(name);
    if (others.length) this.asked.set(name, others);
    else this.asked.delete(name);
    first.resolve({ accepted, reason });
  }

  fail(failure) {
    this.failure = failure;
    this.started.resolve();
    for (const waiting of this.asked.values()) for (const one of waiting) one.resolve({ accepted: false, reason: "" });
    for (const inbox of this.inboxes.values()) inbox.news.resolve();
    for (const timer of this.timers.values()) clearTimeout(timer);
  }

  // -- the world -----------------------------------------------------------------------------------------------------

  async ask() {
    let answer;
    try {
      answer = await this.provider();
    } catch (error) {
      const final = error instanceof TokenRefused;
      this.take({ in: "denied", reason: String(error?.message ?? error), final, roll: Math.random() });
      return;
    }
    this.take({ ...grantOf(answer), in: "granted" });
    this.started.resolve();
  }

  wake(timer, at) {
    clearTimeout(this.timers.get(timer));
    const left = Math.max(0, at - Date.now());
    const due = () => (left > TIMER_MS_MAX ? this.wake(timer, at) : this.take({ in: "due", timer }));
    this.timers.set(timer, setTimeout(due, Math.min(left, TIMER_MS_MAX)));
  }

  connect(socket, url) {
    let wire;
    try {
      wire = new this.WebSocket(url);
    } catch (error) {
      queueMicrotask(() => this.closed(socket, null, 1006, String(error)));
      return;
    }
    this.sockets[socket] = wire;
    wire.onopen = () => this.take({ in: "opened", socket });
    wire.onmessage = ({ data }) => this.hear(socket, data);
    wire.onerror = () => {}; // a close follows, with the code
    wire.onclose = ({ code, reason }) => this.closed(socket, wire, code, reason);
  }

  /** Let go of a socket at once: a browser may wait long for the closing handshake of a network that is gone. */
  disconnect(socket, code, reason) {
    const wire = this.sockets[socket];
    wire.onopen = wire.onmessage = wire.onclose = null;
    wire.close(1000);
    queueMicrotask(() => this.closed(socket, wire, code, reason));
  }

  closed(socket, wire, code, reason) {
    if (wire && this.sockets[socket] !== wire) return;
    delete this.sockets[socket];
    this.take({ in: "closed", socket, code, reason, roll: Math.random() });
  }

  say(socket, frame) {
    const wire = this.sockets[socket];
    if (wire?.readyState === 1) wire.send(JSON.stringify(frame));
  }

  hear(socket, data) {
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      frame = null;
    }
    if (!Array.isArray(frame)) {
      this.tell({ do: "notice", socket, text: "a message that is no frame was left out" });
      return;
    }
    this.take({ in: "heard", socket, frame });
    for (const inbox of this.inboxes.values()) {
      if (inbox.batches.length < BATCHES_MAX || !this.sockets[socket]) continue;
      this.disconnect(socket, 1000, `a subscriber lags by ${BATCHES_MAX} batches`);
    }
  }
}

function grantOf(answer) {
  const { token, replicationToken, expiresAt, refreshAfter } = answer ?? {};
  const isText = (value) => typeof value === "string";
  return {
    token: isText(token) ? token : "",
    replicationToken: isText(replicationToken) ? replicationToken : null,
    expiresAt: Number.isInteger(expiresAt) ? expiresAt : null,
    refreshAfter: Number.isInteger(refreshAfter) ? refreshAfter : null,
  };
}

function deferred() {
  const one = {};
  one.promise = new Promise((resolve) => (one.resolve = resolve));
  return one;
}
