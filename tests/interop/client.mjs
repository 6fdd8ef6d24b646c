// nostr-tools against one relay: prints a JSON object of checks, each true or a text that says what came instead.
// node client.mjs ws://127.0.0.1:PORT/relay
import { Relay } from "nostr-tools/relay";
import { finalizeEvent, generateSecretKey, getPublicKey, verifyEvent } from "nostr-tools/pure";
import { fetchRelayInformation } from "nostr-tools/nip11";
import WebSocket from "ws";
import { NegentropyStorageVector, NegentropySync } from "./node_modules/nostr-tools/lib/esm/nip77.js"; // not in its exports

globalThis.WebSocket = WebSocket;
const url = process.argv[2];
const key = generateSecretKey();
const me = getPublicKey(key);
const now = Math.floor(Date.now() / 1000);
const make = (kind, content, tags = [], created_at = now) => finalizeEvent({ kind, content, tags, created_at }, key);
const checks = {};
const check = (name, good, instead) => (checks[name] = good || `came: ${JSON.stringify(instead)}`);

const query = (relay, ...filters) =>
  new Promise((resolve) => {
    const events = [];
    const sub = relay.subscribe(filters, {
      onevent: (event) => events.push(event),
      oneose: () => (resolve(events), sub.close()),
      onclose: (reason) => resolve({ closed: reason, events }),
    });
  });
const attempt = (promise) => promise.then((text) => `ok ${text}`, (error) => String(error.message ?? error));

const relay = await Relay.connect(url);
const other = await Relay.connect(url);

const note = make(1, "héllo \u2028 \"quoted\" \\ \n 🦅", [["t", "interop"], ["p", me]]);
check("publish", (await attempt(relay.publish(note))).startsWith("ok"), note);
const found = await query(other, { ids: [note.id] });
check("query by id, verified by the client", found.length === 1 && verifyEvent(found[0]), found);
check("query by tag", (await query(other, { "#t": ["interop"], authors: [me] })).length === 1, null);
check("repeat is accepted", (await attempt(other.publish(note))).startsWith("ok"), null);

const forged = { ...make(1, "forged"), sig: "0".repeat(128) };
check("forged is refused", (await attempt(relay.publish(forged))).includes("invalid"), null);

const live = new Promise((resolve) => {
  other.subscribe([{ kinds: [1], authors: [me], since: now + 1 }], { onevent: resolve });
});
await query(other, { kinds: [9], limit: 1 });
const late = make(1, "live", [], now + 2);
await relay.publish(late);
check("live", (await live).id === late.id, await live);

const whisper = new Promise((resolve) => other.subscribe([{ kinds: [20001], authors: [me] }], { onevent: resolve }));
await query(other, { kinds: [9], limit: 1 });
const ephemeral = make(20001, "gone soon");
await relay.publish(ephemeral);
check("ephemeral reaches a listener", (await whisper).id === ephemeral.id, null);
check("ephemeral is not stored", (await query(other, { kinds: [20001] })).length === 0, null);

await relay.publish(make(0, "{}", [], now - 5));
await relay.publish(make(0, '{"name":"new"}', [], now));
await attempt(relay.publish(make(0, "old", [], now - 9)));
const profiles = await query(other, { kinds: [0], authors: [me] });
check("replaceable", profiles.length === 1 && profiles[0].content.includes("new"), profiles);

await relay.publish(make(30023, "a1", [["d", "a"]], now - 5));
await relay.publish(make(30023, "a2", [["d", "a"]], now));
await relay.publish(make(30023, "b1", [["d", "b"]], now));
const articles = await query(other, { kinds: [30023], authors: [me] });
check("addressable", articles.map((event) => event.content).sort().join() === "a2,b1", articles);

const doomed = make(1, "delete me");
await relay.publish(doomed);
await relay.publish(make(5, "", [["e", doomed.id], ["k", "1"]]));
check("deleted", (await query(other, { ids: [doomed.id] })).length === 0, null);
check("deleted stays away", (await attempt(other.publish(doomed))).includes("blocked"), null);

for (let at = 0; at < 9; at++) await relay.publish(make(7, String(at), [], now - at));
const newest = await query(other, { kinds: [7], authors: [me], limit: 3 });
check("limit gives the newest, first", newest.map((event) => event.content).join() === "0,1,2", newest);
const refused = await query(other, { kinds: ["x"] });
check("a bad filter is closed with a reason", (refused.closed ?? "").startsWith("invalid"), refused);

const counted = await other.count([{ kinds: [7], authors: [me] }], {});
check("count", counted === 9 || counted?.count === 9, counted);

const guarded = make(1, "mine alone", [["-"]]);
const unproved = await attempt(relay.publish(guarded));
check("a protected event waits for a proof", unproved.includes("auth-required"), unproved);
const proved = await attempt(relay.auth(async (template) => finalizeEvent(template, key)));
check("auth", proved.startsWith("ok"), proved);
check("a protected event from its author", (await attempt(relay.publish(guarded))).startsWith("ok"), null);

const wrap = finalizeEvent({ kind: 1059, content: "x", tags: [["p", me]], created_at: now }, generateSecretKey());
await other.publish(wrap);
const closed = await query(other, { kinds: [1059], "#p": [me] });
check("a gift wrap is not for a stranger", (closed.closed ?? "").startsWith("auth-required"), closed);
check("a gift wrap is for its addressee", (await query(relay, { kinds: [1059], "#p": [me] })).length === 1, null);

const fleeting = make(1, "soon over", [["expiration", String(now + 3600)]]);
check("an event with an end ahead", (await attempt(relay.publish(fleeting))).startsWith("ok"), null);
const over = await attempt(relay.publish(make(1, "over", [["expiration", String(now - 1)]])));
check("an event whose end is past", over.includes("invalid"), over);

const reactions = [];
for (let at = 0; at < 120; at++) reactions.push(make(17, String(at), [], now - at));
await Promise.all(reactions.slice(40).map((event) => relay.publish(event)));
const [have, need] = [new Set(), new Set()];
await new Promise((resolve) => {
  const storage = new NegentropyStorageVector();
  for (const event of reactions.slice(0, 80)) storage.insert(event.created_at, event.id);
  storage.seal();
  const params = { onhave: (id) => have.add(id), onneed: (id) => need.add(id), onclose: resolve };
  new NegentropySync(other, storage, { kinds: [17], authors: [me] }, params).start();
});
const named = (events) => events.map((event) => event.id).sort().join();
check("negentropy, what only we have", [...have].sort().join() === named(reactions.slice(0, 40)), [...have]);
check("negentropy, what only the relay has", [...need].sort().join() === named(reactions.slice(80)), [...need]);

await relay.publish(make(62, "goodbye", [["relay", url]], now + 5));
check("vanished", (await query(other, { authors: [me], kinds: [0, 1, 7, 30023] })).length === 0, null);
check("vanished for good", (await attempt(other.publish(note))).includes("blocked"), null);

const info = await fetchRelayInformation(url);
check("information document", [1, 9, 11, 40, 42, 45, 62, 70, 77].every((nip) => info.supported_nips.includes(nip)), info);

console.log(JSON.stringify(checks));
process.exit(0);
