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
      data[name] = await this.file(name, list.files[name], arrived, { cache: again ? "reload" : "default", signal });
      if (name.endsWith(".mjs")) scripts[name.split(".")[0]] = await run(data[name]);
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

// A script runs from the very bytes whose checksum was compared, not from its address.
async function run(bytes) {
  const url = URL.createObjectURL(new Blob([bytes], { type: "text/javascript" }));
  try {
    return await import(url);
  } finally {
    URL.revokeObjectURL(url);
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
