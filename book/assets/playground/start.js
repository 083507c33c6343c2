// Everything that pressing Start brings: the files of `press export`, a runtime, a model, a tokenizer.
import { loadFile, loadList, LoadError } from "./loader.js";
import { Model } from "./model.js";
import { BookTokenizer } from "./tokenizer.js";

const FILES = new URL("../model/", import.meta.url);

// `progress` is told how much has arrived, from 0 to 1; `again` asks past what the browser remembers.
export async function load(progress, again) {
  const list = await loadList(new URL("manifest.json", FILES));
  const names = Object.keys(list.files);
  const total = names.reduce((sum, name) => sum + list.files[name].bytes, 0);
  let done = 0;
  const arrived = (bytes) => progress((done += bytes) / total);
  const data = {};
  const scripts = {};
  await Promise.all(names.map(async (name) => {
    if (name.endsWith(".mjs")) scripts[name.split(".")[0]] = await script(name, list.files[name], again, arrived);
    else data[name] = await loadFile(new URL(name, FILES), list.files[name], arrived, again);
  }));
  const { ort, tokenizers } = scripts;
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = data[names.find((name) => name.endsWith(".wasm"))].buffer;
  const json = JSON.parse(new TextDecoder().decode(data["tokenizer.json"]));
  const model = await Model.create(ort, data, list.config);
  return { name: list.model, model, tokenizer: new BookTokenizer(json, tokenizers.Tokenizer) };
}

async function script(name, expected, again, arrived) {
  const url = new URL(name, FILES);
  // a browser remembers that a module has failed, so another try asks for another address
  url.searchParams.set("v", expected.sha256.slice(0, 12) + (again ? `-${Date.now()}` : ""));
  try {
    const found = await import(url);
    arrived(expected.bytes);
    return found;
  } catch {
    throw new LoadError(`${name} could not be loaded: it is missing, or it is not whole.`);
  }
}
