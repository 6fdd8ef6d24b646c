// hypercore beside the log: append blocks in commits, then read them all back. Prints {"append": s, "replay": s}.
//
//   node hypercore.js DIRECTORY RECORDS COMMIT_RECORDS BLOCK_BYTES
//
// Its appends are not durable when they return: nothing is synced before close. That is how its users use it.
const Hypercore = require('hypercore')
const crypto = require('crypto')

const [directory, ...numbers] = process.argv.slice(2)
const [records, commitRecords, blockBytes] = numbers.map(Number)

async function main () {
  const core = new Hypercore(directory)
  await core.ready()
  const blocks = Array.from({ length: records }, () => crypto.randomBytes(blockBytes))
  const began = process.hrtime.bigint()
  for (let at = 0; at < records; at += commitRecords) await core.append(blocks.slice(at, at + commitRecords))
  const appended = process.hrtime.bigint()
  let count = 0
  for await (const block of core.createReadStream()) count += block.length > 0
  const read = process.hrtime.bigint()
  if (count !== records) throw new Error(`read ${count} of ${records}`)
  await core.close()
  console.log(JSON.stringify({ append: Number(appended - began) / 1e9, replay: Number(read - appended) / 1e9 }))
}

main()
