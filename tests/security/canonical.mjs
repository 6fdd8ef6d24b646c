// An independent canonicaliser: what an instance's runtime makes of a JSON text, for tests/security/test_canonical.py.
//
// Each line in is a JSON string that holds a JSON text; each line out is {"ok", "spelled", "original", "odd"}:
//   ok        whether JSON.parse takes the text and gives an object
//   spelled   the canonical form: sorted keys (UTF-16 code units), JSON.stringify for all else
//   original  the form as the first client wrote it: keys between quotes as they are, an array directly inside an array
//             as the object {"0":…}
//   odd       why a verifier should refuse the text: what makes two meanings share a form
// or, for {"a": text, "b": text}, {"same": whether both mean the same to a program that reads them}.
import { isDeepStrictEqual } from "node:util";
import { createInterface } from "node:readline";

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

const spelled = (value) => {
  if (Array.isArray(value)) return `[${value.map(spelled).join(",")}]`;
  if (!isObject(value)) return JSON.stringify(value);
  const members = Object.keys(value).sort().map((key) => `${JSON.stringify(key)}:${spelled(value[key])}`);
  return `{${members.join(",")}}`;
};

const original = (value, inArray = false) => {
  if (Array.isArray(value) && !inArray) return `[${value.map((member) => original(member, true)).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  return `{${Object.keys(value).sort().map((key) => `"${key}":${original(value[key])}`).join(",")}}`;
};

const odd = (value, depth = 1) => {
  if (typeof value === "string") return value.isWellFormed() ? "" : "surrogate";
  if (typeof value === "number") return Number.isFinite(value) ? "" : "number";
  if (value === null || typeof value !== "object") return "";
  if (depth > 16) return "depth";
  if (Array.isArray(value)) {
    if (value.some(Array.isArray)) return "array";
    return value.map((member) => odd(member, depth + 1)).find(Boolean) ?? "";
  }
  const keys = Object.keys(value);
  if (keys.some((key) => /["\\\u0000-\u001f]/.test(key))) return "key";
  if (keys.some((key) => !key.isWellFormed())) return "surrogate";
  return keys.map((key) => odd(value[key], depth + 1)).find(Boolean) ?? "";
};

const answer = (asked) => {
  if (typeof asked !== "string") return { same: isDeepStrictEqual(JSON.parse(asked.a), JSON.parse(asked.b)) };
  let value;
  try {
    value = JSON.parse(asked);
  } catch {
    return { ok: false };
  }
  if (!isObject(value)) return { ok: false };
  return { ok: true, spelled: spelled(value), original: original(value), odd: odd(value) };
};

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(answer(JSON.parse(line)))}\n`);
}
