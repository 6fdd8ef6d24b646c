// NDK and its sync against one relay: prints a JSON object of checks, each true or a text that says what came instead.
// node ndk.mjs ws://127.0.0.1:PORT/relay
import WebSocket from "ws";
globalThis.WebSocket = WebSocket;
const { default: NDK, NDKEvent, NDKPrivateKeySigner } = await import("@nostr-dev-kit/ndk");
const { NDKSync, supportsNegentropy } = await import("@nostr-dev-kit/sync");

const url = process.argv[2];
const now = Math.floor(Date.now() / 1000);
const checks = {};
const check = (name, good, instead) => (checks[name] = good || `came: ${JSON.stringify(instead ?? null)}`);

/** The store that NDK asks its users for: here a list. */
class Cache {
  locking = false;
  events = new Map();
  query(subscription) {
    const wanted = [...this.events.values()];
    return wanted.filter((event) => subscription.filters.some((one) => !one.kinds || one.kinds.includes(event.kind)));
  }
  async setEvent(event) {
    this.events.set(event.id, event);
  }
}

async function client(options = {}) {
  const signer = NDKPrivateKeySigner.generate();
  const ndk = new NDK({ explicitRelayUrls: [url], signer, enableOutboxModel: false, ...options });
  ndk.relayAuthDefaultPolicy = async () => true; // its `signIn` does not send again what waited for the proof
  await ndk.connect(10_000);
  return { ndk, signer, pubkey: (await signer.user()).pubkey };
}

async function event(owner, kind, content, tags = [], created_at = now) {
  const made = new NDKEvent(owner.ndk, { kind, content, tags, created_at, pubkey: owner.pubkey });
  await made.sign(owner.signer);
  return made;
}
const publish = (made) => made.publish(undefined, 10_000, 1).then((relays) => relays.size === 1, (error) => String(error));
const ids = (events) => [...events].map((one) => one.id).sort().join();

const alice = await client();
const bob = await client();

const note = await event(alice, 1, "héllo 🦅", [["t", "interop"]]);
check("publish", (await publish(note)) === true, note.id);
const found = await bob.ndk.fetchEvents({ kinds: [1], authors: [alice.pubkey] });
check("query", ids(found) === note.id, [...found].length);
check("what comes back verifies", [...found].every((one) => one.verifySignature(false) === true));

const live = new Promise((resolve) => {
  const sub = bob.ndk.subscribe({ kinds: [1], authors: [alice.pubkey], since: now + 1 }, { closeOnEose: false });
  sub.on("event", resolve);
  sub.on("eose", async () => publish(await event(alice, 1, "live", [], now + 2)));
});
check("subscribe", (await live).content === "live");

const counted = await bob.ndk.count({ kinds: [1], authors: [alice.pubkey] });
check("count", counted.count === 2, counted);

await publish(await event(alice, 5, "", [["e", note.id], ["k", "1"]]));
check("delete", [...(await bob.ndk.fetchEvents({ ids: [note.id] }))].length === 0);
check("the deletion itself is served", [...(await bob.ndk.fetchEvents({ kinds: [5], authors: [alice.pubkey] }))].length === 1);

const guarded = await event(alice, 1, "mine alone", [["-"]]);
check("auth, for a protected event", (await publish(guarded)) === true);
const wrap = await event(bob, 1059, "for alice", [["p", alice.pubkey]]);
await publish(wrap);
check("auth, for a gift wrap", ids(await alice.ndk.fetchEvents({ kinds: [1059], "#p": [alice.pubkey] })) === wrap.id);

check("negentropy is told", await supportsNegentropy(url.replace("ws", "http")).catch((error) => String(error)));
const cacheAdapter = new Cache();
const carol = await client({ cacheAdapter });
const theirs = [];
for (let at = 0; at < 50; at++) theirs.push(await event(carol, 7, String(at), [], now - at));
for (const one of theirs.slice(0, 40)) check("publish for sync", (await publish(one)) === true);
cacheAdapter.events = new Map(theirs.slice(30).map((one) => [one.id, one]));
const failed = [];
const options = { onRelayError: (_, error) => failed.push(error.message) };
const synced = await NDKSync.sync(carol.ndk, { kinds: [7], authors: [carol.pubkey] }, options);
check("negentropy finds what is missing here", [...synced.need].sort().join() === ids(theirs.slice(0, 30)), failed);
check("negentropy finds what is missing there", [...synced.have].sort().join() === ids(theirs.slice(40)), failed);
check("sync has it afterwards", cacheAdapter.events.size === 50, cacheAdapter.events.size);

console.log(JSON.stringify(checks));
process.exit(0);
