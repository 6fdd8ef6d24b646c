// What a client of a relay's two sockets does: happenings in, effects out, nothing touched. behaviour.py decides the
// same, and tests/gateway/client/behaviour.json holds both to it. No time, no dice, no sockets here: it is told.
//
// Replication goes to the mirror alone and everything else to the normal socket alone; nothing is opened without a
// token; a session that the gateway ends with 4403 is given one new token, and a second 4403 before anything was heard
// is reported.

const RECONNECT_MS_MIN = 1_000;
const RECONNECT_MS_MAX = 60_000;
const RECONNECT_DOUBLINGS_MAX = 5;
const SESSION_GOOD_MS = 10_000;
const REFRESH_MS_MIN = 250;
export const UNANSWERED_MAX = 10_000;
const PUBLISH_BATCH_ROWS = 256;
const PUBLISH_BATCH_CHARS = 262_144;
const PLAIN_OVERLAP_S = 600;
const SEEN_CHARS_MAX = 16 << 20;

const TOKEN_REFUSED = 4403;
const TOO_MANY_ATTEMPTS = 4429;
const REFRESH = "refresh";
const SINCE = "since:"; // a cursor of ours where the server has none: the newest created_at that was given follows
const MIXED = "error: a subscription is for replication rows in all of its filters or in none";
const STOPPED = "error: the client has stopped";
const FULL = "error: too many events wait for their answers";
const NO_BATCHES = "unsupported: EVENTS";

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

// -- addresses ---------------------------------------------------------------------------------------------------------

const URL_OF_HOST = /^(?:ws|http)(s?):\/\/([^/?#]+)([^#]*)/;

/** The relay's state does not say where to connect; the message says what is missing. */
export class NoAddress extends Error {}

/** Put a token into a URL, in the place of one that it has; "" takes it out. */
export function withToken(url, token) {
  const [bare, query = ""] = split(url, "?");
  const pairs = query.split("&").filter((pair) => pair && split(pair, "=")[0] !== "token");
  if (token) pairs.push(`token=${encodeURIComponent(token)}`);
  return pairs.length ? `${bare}?${pairs.join("&")}` : bare;
}

/** Where both sockets are, from a relay's state as the relay API gives it; throws NoAddress. */
export function addresses(state) {
  const known = { ...(isObject(state.metadata) ? state.metadata : {}), ...state };
  const normal = socketUrl(known.connectionUrl);
  if (normal === null) throw new NoAddress("the relay's state has no connectionUrl");
  let mirror = socketUrl(known.replicationConnectionUrl);
  if (mirror === null && known.requiresAuthForReplication !== false) mirror = endpointUrl(normal, known.replicationEndpoint);
  if (mirror === null) throw new NoAddress("the relay's state has no replicationConnectionUrl and no replicationEndpoint");
  return { normal, mirror, normalNeedsToken: known.requiresAuth !== false };
}

function split(text, mark) {
  const at = text.indexOf(mark);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

function socketUrl(value) {
  const found = typeof value === "string" ? URL_OF_HOST.exec(value) : null;
  return found ? withToken(`${found[1] ? "wss" : "ws"}://${found[2]}${found[3] || "/"}`, "") : null;
}

function endpointUrl(normal, endpoint) {
  if (typeof endpoint !== "string" || !endpoint) return null;
  if (endpoint.includes("://")) return socketUrl(endpoint);
  const [, secure, host] = URL_OF_HOST.exec(normal);
  return `${secure ? "wss" : "ws"}://${host}/${endpoint.replace(/^\/+/, "")}`;
}

const namesRelay = (filter) => isObject(filter) && (isSomething(filter.relayID) || isSomething(filter["#relay"]));
const isSomething = (value) => (Array.isArray(value) ? value.length > 0 : Boolean(value));

/** The socket that an event goes to: what names a relayID is replication. */
export const socketOf = (event) => (isSomething(event.relayID) ? "mirror" : "normal");

// -- a subscription ----------------------------------------------------------------------------------------------------

class Reading {
  constructor(sub, socket, filters, cursor) {
    const plain = cursor !== null && cursor.startsWith(SINCE);
    Object.assign(this, { sub, socket, filters });
    this.fast = socket === "mirror" && !plain;
    this.cursor = cursor === null || plain ? "" : cursor;
    this.newest = plain ? Number(cursor.slice(SINCE.length)) : 0;
    this.complete = false;
    this.forget();
  }

  request() {
    this.complete = false;
    return ["REQ", this.sub, ...this.filters.map((one) => ({ ...one, ...this.place(one) }))];
  }

  rows(rows, tail) {
    let cursor = this.advance(tail);
    let fresh = rows;
    if (cursor === null) {
      fresh = rows.filter((row) => this.isNew(row));
      if (!this.fast && this.complete && this.socket === "mirror") cursor = this.since();
    } else if (this.seen.size) {
      // Behind a cursor nothing comes twice, save what an earlier session gave without one and was then cut.
      fresh = rows.filter((row) => !this.recall(row));
    }
    return fresh.length || cursor !== null ? [{ do: "rows", sub: this.sub, rows: fresh, cursor }] : [];
  }

  eose(tail) {
    let cursor = this.advance(tail);
    if (cursor !== null) {
      this.forget();
    } else {
      this.fast = false;
      this.complete = true;
      cursor = this.socket === "mirror" ? this.since() : null;
    }
    return [{ do: "caught", sub: this.sub, cursor }];
  }

  closed(reason) {
    if (this.fast && (reason.startsWith("invalid: after") || reason.startsWith("invalid: batch"))) {
      this.fast = false;
      return null;
    }
    return [{ do: "ended", sub: this.sub, reason }];
  }

  place(one) {
    if (this.fast) return { after: this.cursor, batch: true };
    if (this.socket === "normal" || !this.newest) return {};
    return { since: Math.max(one.since ?? 0, this.newest - PLAIN_OVERLAP_S) };
  }

  advance(tail) {
    const cursor = isObject(tail[0]) ? tail[0].cursor : null;
    if (!this.fast || typeof cursor !== "string") return null;
    this.cursor = cursor;
    return cursor;
  }

  since() {
    return this.newest ? `${SINCE}${this.newest}` : null;
  }

  isNew(row) {
    const key = keyOf(row);
    if (Number.isInteger(row.created_at)) this.newest = Math.max(this.newest, row.created_at);
    if (this.seen.has(key)) return false;
    this.seen.add(key);
    this.seenChars += key.length;
    while (this.seenChars > SEEN_CHARS_MAX) {
      const [oldest] = this.seen;
      this.seen.delete(oldest);
      this.seenChars -= oldest.length;
    }
    return true;
  }

  recall(row) {
    const key = keyOf(row);
    if (!this.seen.delete(key)) return false;
    this.seenChars -= key.length;
    return true;
  }

  forget() {
    this.seen = new Set();
    this.seenChars = 0;
  }
}

const keyOf = (row) => `${row.id}:${row.eventData || ""}`;

// -- what has yet to be stored -----------------------------------------------------------------------------------------

class Publishing {
  constructor() {
    this.waiting = new Set();
    this.byId = new Map();
    this.unsent = { normal: [], mirror: [] };
    this.batches = true;
  }

  add(socket, event) {
    const id = String(event.id);
    if (this.waiting.size >= UNANSWERED_MAX) return { do: "answer", socket, id, accepted: false, reason: FULL };
    const one = { socket, event, sent: false };
    this.waiting.add(one);
    this.byId.set(id, [...(this.byId.get(id) ?? []), one]);
    this.unsent[socket].push(one);
    return null;
  }

  *frames(socket) {
    const unsent = this.unsent[socket];
    this.unsent[socket] = [];
    for (const one of unsent) one.sent = true;
    const size = socket === "mirror" && this.batches ? PUBLISH_BATCH_ROWS : 1;
    for (const batch of batchesOf(unsent.map((one) => one.event), size)) {
      yield batch.length === 1 ? ["EVENT", batch[0]] : ["EVENTS", batch];
    }
  }

  answered(socket, [id, accepted, reason]) {
    const name = String(id);
    const waiting = this.byId.get(name) ?? [];
    const found = waiting.find((one) => one.socket === socket && one.sent);
    if (!found) return [];
    this.waiting.delete(found);
    if (waiting.length === 1) this.byId.delete(name);
    else this.byId.set(name, waiting.filter((one) => one !== found));
    return [{ do: "answer", socket, id: name, accepted: accepted === true, reason: String(reason ?? "") }];
  }

  lost(socket) {
    const mine = [...this.waiting].filter((one) => one.socket === socket);
    for (const one of mine) one.sent = false;
    this.unsent[socket] = mine;
  }

  noticed(text) {
    if (!text.startsWith(NO_BATCHES) || !this.batches) return false;
    this.batches = false;
    this.lost("mirror");
    return true;
  }
}

function* batchesOf(events, rowsMax) {
  let batch = [];
  let chars = 0;
  for (const event of events) {
    const size = (event.eventData ?? "").length;
    if (batch.length && (batch.length >= rowsMax || chars + size > PUBLISH_BATCH_CHARS)) {
      yield batch;
      batch = [];
      chars = 0;
    }
    batch.push(event);
    chars += size;
  }
  if (batch.length) yield batch;
}

// -- the client --------------------------------------------------------------------------------------------------------

class Link {
  constructor(socket) {
    this.socket = socket;
    this.state = "idle"; // then: connecting, open, waiting (for a timer), tokenless (for a token)
    this.since = -RECONNECT_MS_MIN;
    this.opened = 0;
    this.good();
  }

  good() {
    this.tries = 0; // that failed, since a session was good
    this.rejected = false; // 4403 came, and a new token was asked for, since a session was good
  }
}

/** The state of one client; `take` is all there is to do with it. */
export class Behaviour {
  constructor(where) {
    this.where = where;
    this.links = { normal: new Link("normal"), mirror: new Link("mirror") };
    this.grant = null;
    this.asking = false;
    this.denials = 0;
    this.readings = new Map();
    this.publishing = new Publishing();
    this.stopped = false;
  }

  /** How many published events wait for their answers. */
  get unanswered() {
    return this.publishing.waiting.size;
  }

  /** Decide what to do about one happening (`in` names it) at a wall time in ms; a list of effects (`do` names each). */
  take(what, now) {
    return [...(this.stopped ? this.afterTheEnd(what) : this.decide(what, now))];
  }

  *decide(what, now) {
    switch (what.in) {
      case "start":
        return yield* this.ask();
      case "granted":
        return yield* this.granted(what, now);
      case "denied":
        return yield* this.denied(what, now);
      case "opened":
        return yield* this.opened(this.links[what.socket], now);
      case "closed":
        return yield* this.closed(what, now);
      case "heard":
        return yield* this.heard(this.links[what.socket], what.frame);
      case "due":
        return yield* this.due(what.timer, now);
      case "publish":
        return yield* this.publish(what.events, now);
      case "subscribe":
        return yield* this.subscribe(what, now);
      case "unsubscribe":
        return yield* this.unsubscribe(what.sub);
      case "stop":
        return yield* this.stop();
      default:
        throw new TypeError(`nothing that can happen: ${what.in}`);
    }
  }

  *afterTheEnd(what) {
    for (const event of what.in === "publish" ? what.events : []) {
      yield { do: "answer", socket: socketOf(event), id: String(event.id), accepted: false, reason: STOPPED };
    }
    if (what.in === "subscribe") yield { do: "ended", sub: what.sub, reason: STOPPED };
  }

  *ask() {
    if (this.asking) return;
    this.asking = true;
    yield { do: "ask" };
  }

  *granted(grant, now) {
    this.asking = false;
    if (!grant.token && !grant.replicationToken) {
      return yield* this.denied({ reason: "the provider gave no token", final: true, roll: 0 }, now);
    }
    const first = this.grant === null;
    this.grant = grant;
    this.denials = 0;
    if (isTime(grant.refreshAfter)) yield { do: "wake", timer: REFRESH, at: refreshAt(grant, now) };
    const { mirror } = this.links;
    if (first) yield* this.connect(mirror, now);
    else if (mirror.state === "open") yield { do: "say", socket: "mirror", frame: ["AUTH", forMirror(grant)] };
    for (const link of Object.values(this.links)) if (link.state === "tokenless") yield* this.connectSoon(link, now);
  }

  *denied({ reason, final = true, roll = 0 }, now) {
    this.asking = false;
    if (this.grant === null) {
      yield* this.report("token-required", reason);
    } else if (final && Object.values(this.links).some((link) => link.state === "tokenless")) {
      yield* this.report("auth-failed", reason);
    } else {
      yield { do: "notice", socket: "mirror", text: `no new token: ${reason}` };
      if (final) return; // the one that we have serves until it ends, and then it is asked once more
      yield { do: "wake", timer: REFRESH, at: now + pause(this.denials, roll) };
      this.denials += 1;
    }
  }

  *connect(link, now) {
    link.state = "connecting";
    link.since = now;
    const wanted = link.socket === "mirror" ? forMirror(this.grant) : this.where.normalNeedsToken ? this.grant.token : "";
    yield { do: "connect", socket: link.socket, url: withToken(this.where[link.socket], wanted) };
  }

  *connectSoon(link, now) {
    const at = link.since + RECONNECT_MS_MIN;
    if (at <= now) return yield* this.connect(link, now);
    link.state = "waiting";
    yield { do: "wake", timer: link.socket, at };
  }

  *wanted(socket, now) {
    const link = this.links[socket];
    if (socket !== "normal" || link.state !== "idle") return;
    if (this.grant === null) link.state = "tokenless";
    else yield* this.connect(link, now);
  }

  *opened(link, now) {
    link.state = "open";
    link.opened = now;
    for (const reading of this.readings.values()) {
      if (reading.socket === link.socket) yield { do: "say", socket: link.socket, frame: reading.request() };
    }
    yield* this.flush(link);
  }

  *closed({ socket, code, reason = "", roll = 0 }, now) {
    const link = this.links[socket];
    if (link.state === "open" && now - link.opened >= SESSION_GOOD_MS) link.good();
    link.state = "idle";
    this.publishing.lost(socket);
    if (code === TOKEN_REFUSED && link.rejected) return yield* this.report("auth-failed", reason);
    yield { do: "lost", socket, code, reason };
    if (code === TOKEN_REFUSED) {
      link.rejected = true;
      link.state = "tokenless";
      return yield* this.ask();
    }
    link.state = "waiting";
    const wait = code === TOO_MANY_ATTEMPTS ? RECONNECT_MS_MAX : pause(link.tries, roll);
    link.tries += 1;
    yield { do: "wake", timer: socket, at: now + wait };
  }

  *due(timer, now) {
    if (timer === REFRESH) return yield* this.ask();
    const link = this.links[timer];
    if (link.state !== "waiting") return;
    const expires = this.grant?.expiresAt;
    if (isTime(expires) && expires <= now && !link.rejected) {
      link.state = "tokenless";
      yield* this.ask();
    } else {
      yield* this.connect(link, now);
    }
  }

  *heard(link, frame) {
    const [verb, name, ...rest] = frame;
    if (verb === "NOTICE" || (verb === "TOKEN" && name === "REVOKED")) return yield* this.noticed(link, frame);
    link.good();
    if (verb === "OK") return yield* this.publishing.answered(link.socket, frame.slice(1));
    if (verb === "OKS" && Array.isArray(name)) {
      for (const answer of name.filter(Array.isArray)) yield* this.publishing.answered(link.socket, answer);
      return;
    }
    const reading = this.readings.get(name);
    if (!reading) return; // TOKEN RENEWED, an AUTH challenge, a row of a subscription that was just ended
    if (verb === "EVENT" && isObject(rest[0])) yield* reading.rows([rest[0]], rest.slice(1));
    else if (verb === "EVENTS" && Array.isArray(rest[0])) yield* reading.rows(rest[0].filter(isObject), rest.slice(1));
    else if (verb === "EOSE") yield* reading.eose(rest);
    else if (verb === "CLOSED" && typeof rest[0] === "string") yield* this.subClosed(link, reading, rest[0]);
  }

  *noticed(link, frame) {
    const text = frame[0] === "NOTICE" && frame.length > 1 ? String(frame[1]) : "token revoked";
    if (link.socket === "mirror" && this.publishing.noticed(text)) return yield* this.flush(link);
    yield { do: "notice", socket: link.socket, text };
    if (link.socket === "mirror" && text.startsWith("token refused")) yield { do: "disconnect", socket: "mirror" };
  }

  *subClosed(link, reading, reason) {
    if (reason.startsWith("auth-required")) return; // the token has just ended: 4403 follows
    const ended = reading.closed(reason);
    if (ended === null) {
      yield { do: "say", socket: link.socket, frame: reading.request() };
    } else {
      this.readings.delete(reading.sub);
      yield* ended;
    }
  }

  *publish(events, now) {
    const used = new Set();
    for (const event of events) {
      const socket = socketOf(event);
      const refused = this.publishing.add(socket, event);
      if (refused) yield refused;
      used.add(socket);
    }
    for (const socket of used) {
      yield* this.wanted(socket, now);
      yield* this.flush(this.links[socket]);
    }
  }

  *flush(link) {
    if (link.state !== "open") return;
    for (const frame of this.publishing.frames(link.socket)) yield { do: "say", socket: link.socket, frame };
  }

  *subscribe({ sub, filters, cursor = null }, now) {
    const kinds = new Set(filters.map(namesRelay));
    if (kinds.size !== 1) {
      yield { do: "ended", sub, reason: MIXED };
      return;
    }
    const socket = kinds.has(true) ? "mirror" : "normal";
    yield* this.unsubscribe(sub);
    const reading = new Reading(sub, socket, filters, cursor);
    this.readings.set(sub, reading);
    yield* this.wanted(socket, now);
    if (this.links[socket].state === "open") yield { do: "say", socket, frame: reading.request() };
  }

  *unsubscribe(sub) {
    const reading = this.readings.get(sub);
    this.readings.delete(sub);
    if (reading && this.links[reading.socket].state === "open") {
      yield { do: "say", socket: reading.socket, frame: ["CLOSE", sub] };
    }
  }

  *report(error, reason) {
    yield { do: "report", error, reason };
    yield* this.stop();
  }

  *stop() {
    this.stopped = true;
    for (const { state, socket } of Object.values(this.links)) {
      if (state === "connecting" || state === "open") yield { do: "disconnect", socket };
    }
  }
}

const forMirror = (grant) => grant.replicationToken || grant.token;
const isTime = (value) => value !== null && value !== undefined;

function pause(tries, roll) {
  const longest = Math.min(RECONNECT_MS_MAX, RECONNECT_MS_MIN * 2 ** (1 + Math.min(tries, RECONNECT_DOUBLINGS_MAX)));
  return RECONNECT_MS_MIN + Math.floor(roll * (longest - RECONNECT_MS_MIN));
}

function refreshAt(grant, now) {
  if (grant.refreshAfter > now) return grant.refreshAfter;
  return now + Math.max(REFRESH_MS_MIN, Math.floor(((grant.expiresAt ?? now) - now) / 2));
}
