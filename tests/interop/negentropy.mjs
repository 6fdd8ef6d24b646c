// nostr-tools' side of a comparison: reads one JSON object a line, answers with one.
import * as readline from 'node:readline'
import { Negentropy, NegentropyStorageVector } from './node_modules/nostr-tools/lib/esm/nip77.js' // not in its exports

let side
let have = []
let need = []
for await (const line of readline.createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line)
  let message
  if (asked.items) {
    const storage = new NegentropyStorageVector()
    for (const [time, id] of asked.items) storage.insert(time, id)
    storage.seal()
    ;[side, have, need] = [new Negentropy(storage, 60_000), [], []]
    message = side.initiate()
  } else {
    message = side.reconcile(asked.message, (id) => have.push(id), (id) => need.push(id))
  }
  console.log(JSON.stringify({ message: message ?? null, have, need }))
}
