// Files arrive whole and as they were written, or not at all.

export class LoadError extends Error {}

const count = (n) => n.toLocaleString("en");

async function sha256(bytes) {
  // Browsers offer it on https and on this machine; elsewhere the length has to do.
  if (!globalThis.crypto?.subtle) return null;
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function open(url, options) {
  const name = url.pathname.split("/").pop();
  let response;
  try {
    response = await fetch(url, options);
  } catch {
    throw new LoadError(`${name} could not be fetched: is there a connection?`);
  }
  if (!response.ok) throw new LoadError(`${name} could not be fetched: the server answers ${response.status}.`);
  return response;
}

export async function loadList(url, signal) {
  const response = await open(url, { cache: "no-cache", signal });
  try {
    return await response.json();
  } catch {
    throw new LoadError("The list of the model's files arrived damaged.");
  }
}

// Returns the bytes of one file of the list; `arrived` is told of each piece, `options` are those of fetch.
export async function loadFile(url, expected, arrived, options) {
  // A new version of a file has a new address, so no cache can mix two versions.
  url.searchParams.set("v", expected.sha256.slice(0, 12));
  const name = url.pathname.split("/").pop();
  const response = await open(url, options);
  const bytes = new Uint8Array(expected.bytes);
  const reader = response.body.getReader();
  let length = 0;
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      if (length + part.value.length <= bytes.length) bytes.set(part.value, length);
      length += part.value.length;
      arrived(part.value.length);
    }
  } catch {
    throw new LoadError(`${name} broke off after ${count(length)} of ${count(bytes.length)} bytes.`);
  }
  if (length !== bytes.length) {
    throw new LoadError(`${name} has ${count(length)} bytes, expected ${count(bytes.length)}: it is cut short or another version.`);
  }
  const found = await sha256(bytes);
  if (found !== null && found !== expected.sha256) {
    throw new LoadError(`${name} is damaged: its checksum is not the one that was written with it.`);
  }
  return bytes;
}
