// The scenario in node: node page.mjs MODULE OPTIONS(JSON); reads {"call","args"} a line, answers {"value"} or {"error"}.
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import WebSocket from "ws";
import { begin, refused } from "./scenario.mjs";

const module = await import(pathToFileURL(process.argv[2]));
const options = { ...module, ...JSON.parse(process.argv[3]), WebSocket };
const calls = { refused: () => refused(options), begin: async () => Object.assign(calls, await begin(options)) && true };
for await (const line of createInterface({ input: process.stdin })) {
  const { call, args } = JSON.parse(line);
  const answer = await calls[call](...args).then(
    (value) => ({ value }),
    (error) => ({ error: String(error) }),
  );
  console.log(JSON.stringify(answer));
}
process.exit(0);
