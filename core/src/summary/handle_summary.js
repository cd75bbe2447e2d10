// The main script of the k6 that calls the script's own handleSummary() with the merged data. Its first lines are made
// for each run: `script` is the user's main module, `own` the URL of this file, `data` and `setupData` are JSON texts.
// It writes no file itself: what was returned goes to stdout as one JSON document, names and contents in Base64, because
// they may hold any bytes.
import { b64encode } from "k6/encoding";

export default function () {}

export async function handleSummary() {
  let outcome;
  try {
    outcome = await call();
  } catch (error) {
    outcome = { failed: words(error) };
  }
  return { stdout: JSON.stringify(outcome) };
}

async function call() {
  if (!("handleSummary" in script)) return "nothing";
  const { handleSummary } = script;
  if (typeof handleSummary !== "function") throw "handleSummary is exported, but it is no function";
  const returned = await handleSummary(given());
  if (returned === undefined || returned === null) return "nothing";
  if (type(returned) !== "Object") throw `handleSummary() returned ${type(returned)}: expected an object with the names of files as keys`;
  return { returned: Object.entries(returned).map(file) };
}

function given() {
  const input = JSON.parse(data);
  if (!input.metrics) {
    // The shape of --new-machine-readable-summary.
    input.metadata.generated_at = new Date().toISOString();
    return input;
  }
  for (const { values } of Object.values(input.metrics)) {
    // JSON has no infinity.
    for (const name in values) values[name] = Number(values[name]);
  }
  input.setup_data = setupData === null ? undefined : JSON.parse(setupData);
  return input;
}

function file([name, content]) {
  const accepted = typeof content === "string" || ["ArrayBuffer", "Uint8Array", "Uint8ClampedArray"].includes(type(content));
  if (!accepted) {
    throw `handleSummary() returned ${type(content)} for ${JSON.stringify(name)}: expected a String or an ArrayBuffer`;
  }
  return [b64encode(name), b64encode(content)];
}

function type(value) {
  return Object.prototype.toString.call(value).slice("[object ".length, -1);
}

function words(error) {
  const text = String((error && error.stack) || error);
  return text.split("\n").filter((line) => !line.includes(own)).join("\n").trim();
}
