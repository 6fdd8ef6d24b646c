// What a page does with the client, in a browser and in node alike; driven by test_page_client.py through `begin`'s calls.

/** Open a replica of a relay and follow one relayID, storing rows and cursor together; `calls` are what the test may ask. */
export async function begin({ openReplica, state, tokens, relayID, WebSocket }) {
  const store = { ids: [], cursor: null };
  const told = [];
  const waiting = [];
  const provider = async () => {
    const answer = await fetch(tokens);
    if (!answer.ok) throw new Error(`no token: ${answer.status}`);
    return answer.json();
  };
  const wake = () => waiting.splice(0).forEach((resolve) => resolve());
  const tell = (what) => (told.push(what), wake());
  const replica = await openReplica(state, provider, { tell, ...(WebSocket ? { WebSocket } : {}) });
  const following = (async () => {
    for await (const { rows, cursor } of replica.follow([{ relayID }])) {
      store.ids.push(...rows.map((row) => row.id));
      store.cursor = cursor ?? store.cursor;
      wake();
    }
  })().catch((error) => tell({ do: "failed", text: error.message }));
  return {
    /** Publish rows; the number that was accepted. */
    publish: async (rows) => (await replica.publishAll(rows)).filter((one) => one.accepted).length,
    /** Wait until so many rows are here; their ids. */
    until: async (count) => {
      while (store.ids.length < count) await new Promise((resolve) => waiting.push(resolve));
      return store.ids;
    },
    /** Wait until a socket was lost with this code. */
    lost: async (code) => {
      while (!told.some((one) => one.do === "lost" && one.code === code)) {
        await new Promise((resolve) => waiting.push(resolve));
      }
      return true;
    },
    /** End; what was told. */
    close: async () => {
      replica.close();
      await following;
      return told;
    },
  };
}

/** What opening without a token says. */
export async function refused({ openReplica, TokenRefused, state, WebSocket }) {
  const provider = async () => {
    throw new TokenRefused("not a member");
  };
  return openReplica(state, provider, WebSocket ? { WebSocket } : {}).then(
    () => "opened",
    (error) => `${error.name}: ${error.message}`,
  );
}
