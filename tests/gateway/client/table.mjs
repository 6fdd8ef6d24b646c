// Holds a page module against the behaviour table: node table.mjs MODULE TABLE; prints {"checked":N,"failures":[…]}.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { isDeepStrictEqual } from "node:util";

const { Behaviour, addresses } = await import(pathToFileURL(process.argv[2]));
const table = JSON.parse(readFileSync(process.argv[3], "utf8"));
const cases = new Map(table.cases.map((one) => [one.name, one]));
const usual = { connectionUrl: "ws://gw/a", replicationConnectionUrl: "ws://gw/mirror/a" };
const stepsOf = (one) => [...(one.like ? stepsOf(cases.get(one.like)) : []), ...one.steps];
const failures = [];

for (const one of table.addresses) {
  let found;
  try {
    found = { state: one.state, ...addresses(one.state) };
  } catch (error) {
    found = { state: one.state, error: error.message };
  }
  if (!isDeepStrictEqual(found, one)) failures.push({ expected: one, found });
}
for (const one of table.cases) {
  const behaviour = new Behaviour(addresses(one.relay ?? usual));
  for (const step of stepsOf(one)) {
    const found = JSON.parse(JSON.stringify(behaviour.take(step.in, step.now)));
    if (isDeepStrictEqual(found, step.out)) continue;
    failures.push({ name: one.name, step, found });
    break;
  }
}
for (const frame of [[], ["EVENT"], ["EOSE"], ["OK"], ["OKS", 7], ["OKS", [7]], ["EVENTS", "s", [7]], ["EVENT", "s", 7], [7], ["CLOSED", "s"]]) {
  const behaviour = new Behaviour(addresses(usual));
  behaviour.take({ in: "start" }, 0);
  behaviour.take({ in: "granted", token: "T" }, 0);
  behaviour.take({ in: "opened", socket: "mirror" }, 0);
  behaviour.take({ in: "subscribe", sub: "s", filters: [{ relayID: "r" }] }, 0);
  const found = behaviour.take({ in: "heard", socket: "mirror", frame }, 1);
  if (found.length) failures.push({ frame, found });
}
console.log(JSON.stringify({ checked: table.addresses.length + table.cases.length, failures }));
