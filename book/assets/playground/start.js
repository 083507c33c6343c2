// Everything that pressing Start brings: the files of `press export`, a runtime, a model, a tokenizer.
import { Overtaken } from "./errors.js";
import { loadFile, loadList, LoadError } from "./loader.js";
import { Model } from "./model.js";
import { BookTokenizer } from "./tokenizer.js";

const FILES = new URL("../model/", import.meta.url);

export class Delivery {
  constructor() {
    this.kept = new Map(); // what has arrived whole, by its checksum: another attempt need not ask for it
  }

  // `progress` is told how much has arrived, from 0 to 1.
  async load(progress) {
    const again = Boolean(this.attempt);
    const { signal } = (this.attempt = new AbortController());
    const cancelled = new Promise((_, reject) => {
      signal.addEventListener("abort", () => reject(new Overtaken()));
    });
    try {
      const found = await Promise.race([this.bring(progress, again, signal), cancelled]);
      this.kept.clear();
      return found;
    } finally {
      this.attempt.abort(); // where one file has failed, the others need not arrive
    }
  }

  cancel() {
    this.attempt?.abort();
  }

  async bring(progress, again, signal) {
    const list = await loadList(new URL("manifest.json", FILES), signal);
    const names = Object.keys(list.files);
    const total = names.reduce((sum, name) => sum + list.files[name].bytes, 0);
    let done = 0;
    const arrived = (bytes) => progress((done += bytes) / total);
    const data = {};
    const scripts = {};
    await Promise.all(names.map(async (name) => {
      const expected = list.files[name];
      if (name.endsWith(".mjs")) scripts[name.split(".")[0]] = await script(name, expected, again, arrived);
      else data[name] = await this.file(name, expected, arrived, { cache: again ? "reload" : "default", signal });
    }));
    const { ort, tokenizers } = scripts;
    const json = JSON.parse(new TextDecoder().decode(data["tokenizer.json"]));
    const model = await open(ort, data, list.config);
    return { model, tokenizer: new BookTokenizer(json, tokenizers.Tokenizer) };
  }

  async file(name, expected, arrived, options) {
    const { sha256, bytes } = expected;
    if (this.kept.has(sha256)) arrived(bytes);
    else this.kept.set(sha256, await loadFile(new URL(name, FILES), expected, arrived, options));
    return this.kept.get(sha256);
  }
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

async function open(ort, data, config) {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = data[Object.keys(data).find((name) => name.endsWith(".wasm"))].buffer;
  try {
    return await Model.create(ort, data, config);
  } catch (error) {
    throw new LoadError(`This browser cannot run the model: ${String(error?.message ?? error).trim().replace(/\.?$/, ".")}`);
  }
}
